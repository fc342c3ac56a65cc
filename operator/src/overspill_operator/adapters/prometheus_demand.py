"""Demand from Prometheus: ``ports.DemandSource`` by what it has scraped from the gateways' ``/metrics/demand``.

Scaling alone goes by it; what status says of hosted APIs, budgets and documents still comes by the gateways' streams. A
gateway that was not scraped lately is silent, whatever the reason, and so are all while Prometheus does not answer:
nothing goes down then. The client library is not asynchronous, so it works in a thread of its own.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock
from overspill_operator.core.demand.prometheus_answers import (
    Scrape,
    ToldLine,
    asked_at,
    lines_of,
    scrapes_of,
    scrapes_query,
    series_query,
)
from overspill_operator.core.demand.recent_work import RecentWork
from overspill_operator.core.demand.steady_coverage import SteadyCoverage
from overspill_operator.core.demand.traffic import Coverage, GatewayView

logger = logging.getLogger(__name__)

ASK_EVERY_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 5
"""The longest that Prometheus may take for one answer."""
QUESTION_SECONDS: Final = 15.0
"""The longest that is waited for both answers of one look: a server may send the head of one for ever."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one answer: 1,400 routes that are busy at one gateway each, or 140 at ten. Read, it takes five times that."""
STARTING_SECONDS: Final = 30.0
"""After that long every gateway that runs has been scraped."""
FORGET_SECONDS: Final = 300.0
"""A gateway that was not scraped for so long is gone: Prometheus itself looks no further back."""


class Asks(Protocol):
    """As much of ``prometheus_api_client.PrometheusConnect`` as is used here."""

    def custom_query(self, query: str, params: dict[str, Any] | None = None) -> Any:
        """The result of an instant query. Raises what the library raises."""


def connect(url: str, clock: Clock) -> Asks:
    """The client. It is imported only where it is used: others need not pay for what it loads."""
    from prometheus_api_client import PrometheusConnect  # noqa: PLC0415 - see above

    from overspill_operator.adapters.bounded_session import BoundedSession  # noqa: PLC0415 - see above

    session = BoundedSession(ANSWER_BYTES_MAX, ANSWER_SECONDS, clock.monotonic)
    client: Asks = PrometheusConnect(url=url.rstrip("/"), retry=0, timeout=ANSWER_SECONDS, session=session)
    return client


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one question brought."""

    scrapes: dict[str, Scrape]
    lines: tuple[ToldLine, ...]


class PrometheusDemand:
    """What gateways said when they were scraped last."""

    def __init__(
        self,
        client: Asks,
        clock: Clock,
        *,
        matchers: str,
        expected: Callable[[], int],
        on_demand: Callable[[list[str], float], None],
        on_coverage: Callable[[], None],
        on_forget: Callable[[str], None] = lambda _key: None,
    ) -> None:
        """``matchers``: PromQL's, such as ``namespace="overspill"``, that only this release's gateways have.

        ``expected``: how many gateways there are; ``on_demand`` gets the routes that were spoken of and when
        (monotonic); ``on_coverage`` is called when what status says of the gateways has changed; ``on_forget`` gets the
        keys of routes that are gone.
        """
        self.views: dict[str, GatewayView] = {}
        self.work = RecentWork()
        self.trouble = ""
        self._client = client
        self._clock = clock
        self._matchers = matchers
        self._expected = expected
        self._on_demand = on_demand
        self._on_coverage = on_coverage
        self._on_forget = on_forget
        self._scraped: dict[str, float] = {}
        self._question: tuple[float, asyncio.Future[_Answer]] | None = None
        """That is not answered yet, and when it was asked: no second one is asked beside it."""
        self._steady = SteadyCoverage()
        self._started_unix = clock.unix()

    @property
    def reported(self) -> Coverage:
        """See ``ports.DemandSource``."""
        return self._steady.told

    @property
    def expected(self) -> int:
        """See ``ports.DemandSource``."""
        return self._expected()

    @property
    def starting(self) -> bool:
        """See ``ports.DemandSource``."""
        return self._clock.unix() - self._started_unix < STARTING_SECONDS

    def unheard(self, now_unix: float) -> int:
        """See ``ports.DemandSource``: how many of those that there are were not scraped lately."""
        return max(0, self.expected - sum(not view.is_stale(now_unix) for view in self.views.values()))

    def forget(self, key: str) -> None:
        """See ``ports.DemandSource``."""
        for view in self.views.values():
            view.forget(key)
        self.work.forget(key)
        self._on_forget(key)

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await self.ask()
            await self._clock.sleep(ASK_EVERY_SECONDS)

    async def ask(self) -> None:
        """Ask once, and take what is new."""
        now = self._clock.unix()
        if self._question is None:
            self._question = now, asyncio.ensure_future(asyncio.to_thread(self._ask, now))
        asked_unix, question = self._question
        await asyncio.wait((question,), timeout=QUESTION_SECONDS)
        if not question.done():
            self._troubled(f"Prometheus does not answer: nothing whole within {QUESTION_SECONDS:g} s")
            self._settle(now)
            return
        self._question = None
        try:
            answer = question.result()
        except Exception as error:  # noqa: BLE001 - whatever a client library raises, the next question may do better
            self._troubled(f"Prometheus does not answer: {str(error) or type(error).__name__}"[:500])
        else:
            if not answer.scrapes:
                self._troubled("Prometheus has no series of this release's gateways: is /metrics/demand scraped?")
            else:
                self._troubled("")
            for told in answer.lines:
                self._take(told, asked_unix)
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Forget who is gone, and tell how much is known."""
        for instance, view in list(self.views.items()):
            if now - view.last_line_unix > FORGET_SECONDS:
                del self.views[instance]
                self._scraped.pop(instance, None)
        before = self._steady.told
        self._steady = self._steady.seen(self._coverage(now), now, starting=self.starting)
        if self._steady.told is not before:
            self._on_coverage()

    def _ask(self, now_unix: float) -> _Answer:
        """In a thread: two questions of one moment, and reading what came."""
        result = self._client.custom_query(scrapes_query(self._matchers))
        scrapes = scrapes_of(result)
        news = {name: scrape for name, scrape in scrapes.items() if scrape.at > self._scraped.get(name, 0.0)}
        at = asked_at(result)
        if not news or at is None:
            return _Answer(scrapes, ())
        series = self._client.custom_query(series_query(self._matchers), params={"time": f"{at:.3f}"})
        return _Answer(scrapes, tuple(lines_of(series, news, now_unix)))

    def _take(self, told: ToldLine, now_unix: float) -> None:
        scrape, line = told.scrape, told.line
        self._scraped[scrape.instance] = scrape.at
        if line is None:
            telemetry.DEMAND_REFUSED.labels("line").inc()
            logger.warning("demand of a gateway: %s", told.trouble, extra={"gateway": scrape.instance})
            return
        at = now_unix - scrape.age_seconds
        view = self.views.setdefault(scrape.instance, GatewayView(at, at))
        heard = view.take(line, at)
        for growth in heard.growth:
            self.work.heard(growth, now_unix)
        for doubt in heard.doubts:
            telemetry.DEMAND_REFUSED.labels("route").inc()
            logger.debug("figures of %s are not believed: %s", doubt.route, doubt.message)
        self._on_demand(heard.keys, self._clock.monotonic())

    def _coverage(self, now_unix: float) -> Coverage:
        if all(view.is_stale(now_unix) for view in self.views.values()):
            return Coverage.NONE
        return Coverage.PARTIAL if self.unheard(now_unix) else Coverage.COMPLETE

    def _troubled(self, trouble: str) -> None:
        """Say what is wrong once, and once that it is over."""
        if bool(trouble) != bool(self.trouble):
            level = logging.WARNING if trouble else logging.INFO
            logger.log(level, "demand from Prometheus: %s", trouble or "it is there again")
        self.trouble = trouble

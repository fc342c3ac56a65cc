"""Reads the engines' own gauges (``GET /metrics``): what other gateways send there, and how full an engine is.

Some once a second, and only while its route has requests at replicas; each engine at a time of its own, on a
connection of its own, so that no request waits for it. An engine that takes long to say is asked the more rarely, one
that does not say is left alone for up to a minute. What gauges mean for a replica's load is said in ``load``; the
operator is told of them, which asks no engine itself.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from random import random
from typing import Final

from overspill_api.engine_metrics import EngineFigures, read_figures
from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.backends.side_request import SideRequest
from overspill_gateway.core.admission.route_pool import RoutePool
from overspill_gateway.wire.pool import Pool

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 1.0
ENGINE_SHARE: Final = 0.05
"""Writing its metrics may take at most this share of an engine's time; it takes some milliseconds."""
ANSWER_SECONDS_MAX: Final = 2.0
CONNECT_SECONDS_MAX: Final = 0.5
IDLE_SECONDS: Final = 4.0
"""vLLM closes an idle connection after five."""
AGAIN_SECONDS_MAX: Final = 60.0
"""After answers that say nothing: two seconds, four, eight, ..., this."""
ANSWER_BYTES_MAX: Final = 4 << 20
ANSWERS_PER_SECOND_MAX: Final = 50.0
"""Of all engines together: an answer costs the gateway some 0.1 ms, so these cost half a percent of a core."""
TELL_AGAIN_SECONDS: Final = 5.0
"""The operator hears of gauges when they change, and this often where they do not: it goes by none that are old."""
CONCURRENT_MAX: Final = 32
"""Engines that are asked at the same time; more wait for their turn."""

Pools = Callable[[], Iterable[RoutePool[Replica, Hosted]]]
"""The pools of all routes, as they are now."""


class EngineGauges:
    """Reads the gauges of all routes' replicas."""

    def __init__(self, pools: Pools) -> None:
        self.answers_total = 0
        """Answers that had the gauges, for metrics."""
        self.failures_total = 0
        """Questions without such an answer, for metrics."""
        self.asking = 0
        """Questions that are not answered yet."""
        self.turns: deque[_Engine] = deque()
        """Engines that wait until there is room for their question."""
        self._pools = pools
        self._loop = asyncio.get_running_loop()
        self._engines: dict[int, _Engine] = {}
        """By the identity of their replica, which they keep alive."""
        self._round: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to read."""
        if self._round is None:
            self._round = self._loop.call_later(EVERY_SECONDS, self._look)

    def stop(self) -> None:
        """Read no more; connections are closed."""
        if self._round is not None:
            self._round.cancel()
            self._round = None
        self.turns.clear()
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    @property
    def every_seconds(self) -> float:
        """Between two readings of one engine, at least."""
        return max(EVERY_SECONDS, len(self._engines) / ANSWERS_PER_SECOND_MAX)

    def ended(self) -> None:
        """A question has ended, however it did: the next one that waits is asked."""
        self.asking -= 1
        if self.turns:
            self.turns.popleft().ask()

    def _look(self) -> None:
        """See which replicas are to be asked in the coming second."""
        self._round = self._loop.call_later(EVERY_SECONDS, self._look)
        now = self._loop.time()
        gone = set(self._engines)
        for pool in self._pools():
            replicas = pool.replicas
            if not any(replica.load.in_flight for replica in replicas):
                continue
            for replica in replicas:
                gone.discard(id(replica))
                engine = self._engines.get(id(replica))
                if engine is None:
                    engine = self._engines[id(replica)] = _Engine(replica, pool, self, self._loop)
                engine.plan(now)
        for identity in gone:  # not usable any more, or its route is idle: what was learned of pauses is kept
            engine = self._engines[identity]
            if engine.rests(now):
                continue
            engine.close()
            del self._engines[identity]


class _Engine:
    """One engine and when it is asked next."""

    __slots__ = (
        "_asked_at", "_due", "_gauges", "_in_flight_before", "_loop", "_pool", "_question", "_replica", "_route",
        "_timer", "_told", "_told_at",
    )  # fmt: skip

    def __init__(
        self,
        replica: Replica,
        route: RoutePool[Replica, Hosted],
        gauges: EngineGauges,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._replica = replica
        self._route = route
        self._gauges = gauges
        self._loop = loop
        self._pool = Pool(replica.address, idle_seconds=IDLE_SECONDS, connect_seconds=CONNECT_SECONDS_MAX)
        self._due = loop.time() + gauges.every_seconds * random()  # noqa: S311 - spreads engines over the second
        self._told = (0, 0)
        self._told_at = float("-inf")
        self._asked_at = 0.0
        self._in_flight_before = 0
        self._timer: asyncio.TimerHandle | None = None
        self._question: SideRequest | None = None

    def rests(self, now: float) -> bool:
        """Whether it is left alone because it did not say."""
        return self._replica.load.missed > 0 and self._due > now

    def plan(self, now: float) -> None:
        """Its route has requests: ask when it is due, if that is within the coming second."""
        if self._timer is None and self._question is None and self._due < now + EVERY_SECONDS:
            self._timer = self._loop.call_later(max(0.0, self._due - now), self.ask)

    def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        question, self._question = self._question, None
        if self in self._gauges.turns:
            self._gauges.turns.remove(self)
        if question is not None:
            question.withdraw()
            self._gauges.ended()
        self._pool.close()

    def ask(self) -> None:
        """Ask now, or as soon as there is room."""
        self._timer = None
        if self._gauges.asking >= CONCURRENT_MAX:
            if self not in self._gauges.turns:
                self._gauges.turns.append(self)
            return
        self._gauges.asking += 1
        self._asked_at = self._loop.time()
        self._in_flight_before = self._replica.load.in_flight
        head = b"GET /metrics HTTP/1.1\r\n" + self._replica.host_line + b"accept: text/plain\r\n\r\n"
        self._question = SideRequest(head, b"", answer_bytes_max=ANSWER_BYTES_MAX, then=self._answered)
        self._question.ask(self._pool, ANSWER_SECONDS_MAX)

    def _answered(self, status: int, body: bytes) -> None:
        self._question = None
        self._gauges.ended()
        now = self._loop.time()
        figures = read_figures(body) if status == 200 else EngineFigures()
        if figures.running is None or figures.waiting is None:
            self._said_nothing(now, status)
            return
        self._gauges.answers_total += 1
        self._due = self._asked_at + max(self._gauges.every_seconds, (now - self._asked_at) / ENGINE_SHARE)
        self._replica.load.scraped(
            now,
            int(figures.running),
            int(figures.waiting),
            min(figures.kv_cache_usage or 0.0, 1.0),
            in_flight_before=self._in_flight_before,
        )
        self._tell(now)
        self.plan(now)  # if the route is idle by then, the next look ends it

    def _tell(self, now: float) -> None:
        """The operator is to hear of it."""
        load = self._replica.load
        read = load.running, load.waiting
        if read != self._told or now - self._told_at >= TELL_AGAIN_SECONDS:
            self._told, self._told_at = read, now
            self._route.listener.demand_changed()

    def _said_nothing(self, now: float, status: int) -> None:
        self._gauges.failures_total += 1
        load = self._replica.load
        load.missed += 1
        self._due = now + min(EVERY_SECONDS * 2.0 ** min(load.missed, 16), AGAIN_SECONDS_MAX)
        self._route.listener.demand_changed()
        logger.debug(
            "no gauges in an engine's /metrics: its load is known from our own requests only",
            extra={"engine": f"{self._replica.address.host}:{self._replica.address.port}", "status": status},
        )

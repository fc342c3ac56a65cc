"""Contract 2, the operator's end: one ``GET /demand`` stream to every gateway pod, opened again when it breaks."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from random import random
from typing import cast

import aiohttp

from overspill_api.demand import DEMAND_VERSION
from overspill_api.pauses import pause_seconds
from overspill_operator.adapters import telemetry
from overspill_operator.adapters.line_reader import LineReader
from overspill_operator.clock import Clock
from overspill_operator.core.demand.demand_lines import Line, reading
from overspill_operator.core.demand.line_pieces import LineError
from overspill_operator.core.demand.recent_work import RecentWork
from overspill_operator.core.demand.steady_coverage import SteadyCoverage
from overspill_operator.core.demand.traffic import STALE_AFTER_SECONDS, Coverage, GatewayView, key_senders
from overspill_operator.core.engine_access import KeySenders
from overspill_operator.ports import Json

logger = logging.getLogger(__name__)

ADMIN_PORT_NAME = "admin"
ADMIN_PORT = 9090
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=STALE_AFTER_SECONDS)
RETRY_SECONDS = 0.1
RETRY_SECONDS_MAX = 5.0
HEALTHY_SECONDS = 10.0
"""A stream that lasts for so long is in order: the pause after it is the shortest one again."""

FAILURES_TOLD = 4
"""Streams that end soon one after the other before the log says so."""

LINE_BYTES_MAX = 2**25
"""Some 15,000 busy routes, which take two kilobytes each; those that nobody asks take a hundred bytes."""

TURN_SECONDS = 0.005
"""After so much of its lines a gateway waits for as long: it never takes more than half of the operator's time."""

TELL_AGAIN_SECONDS = 600.0
TOLD_MAX = 100

TICK_SECONDS = 2.0

STARTING_SECONDS = 15.0
"""After that long the gateways that run have been heard."""


class GatewayStreams:
    """The gateways that there are, and what each has said."""

    def __init__(
        self,
        clock: Clock,
        on_demand: Callable[[list[str], float], None],
        on_coverage: Callable[[], None],
        on_refused: Callable[[set[tuple[str, str]]], None] = lambda _documents: None,
        fixed: Iterable[str] = (),
    ) -> None:
        """``on_demand`` gets the routes that a line speaks of and when it came (monotonic).

        ``on_coverage`` is called when what status says of the gateways has changed; ``on_refused`` gets kind and key
        of the documents that a gateway has begun or ceased to refuse.
        ``fixed``: gateways that no EndpointSlice names.
        """
        self.views: dict[str, GatewayView] = {}
        self.work = RecentWork()
        self.reported = Coverage.NONE
        self._clock = clock
        self._on_demand = on_demand
        self._on_coverage = on_coverage
        self._on_refused = on_refused
        self._fixed = frozenset(fixed)
        self._addresses: set[str] = set(fixed)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slices: dict[str, set[str]] = {}
        self._told: dict[str, dict[str, float]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._started_unix = self._clock.unix()
        self._worse_since: float | None = None
        self._senders = KeySenders.UNKNOWN

    trouble = ""
    """Each stream fails by itself: that a gateway is silent says it all."""

    @property
    def expected(self) -> int:
        """Gateways that there are."""
        return len(self._addresses)

    @property
    def key_senders(self) -> KeySenders:
        """Which of them send replicas their keys."""
        now = self._clock.unix()
        return key_senders(self.views.values(), self.unheard(now), now)

    @property
    def starting(self) -> bool:
        """Whether this process has only just begun to listen."""
        return self._clock.unix() - self._started_unix < STARTING_SECONDS

    @property
    def identities(self) -> frozenset[str]:
        """Gateway processes that are being listened to."""
        return frozenset(view.identity for view in self.views.values() if view.identity)

    def on_slice(self, key: str, live: Json | None) -> None:
        """An EndpointSlice of the gateways' admin Service has changed or is gone."""
        if live is None:
            self._slices.pop(key, None)
        else:
            self._slices[key] = _addresses(live)
        self._addresses = set(self._fixed).union(*self._slices.values())
        self._start_missing()

    async def run(self) -> None:
        """Listen for ever."""
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            self._session = session
            self._start_missing()
            try:
                while True:
                    await self._clock.sleep(TICK_SECONDS)
                    self.report()
            finally:
                for task in self._tasks.values():
                    task.cancel()

    def forget(self, key: str) -> None:
        """A route is gone: what was said of it is not said of the next one of its name."""
        for view in self.views.values():
            view.forget(key)
        self.work.forget(key)

    def unheard(self, now_unix: float) -> int:
        """Gateways that there are and that are silent; one that drains does not stand in for another."""
        heard = {address for address, view in self.views.items() if not view.is_stale(now_unix)}
        return len(self._addresses - heard)

    def coverage(self, now_unix: float) -> Coverage:
        """How many of the gateways are being heard."""
        if all(view.is_stale(now_unix) for view in self.views.values()):
            return Coverage.NONE
        return Coverage.PARTIAL if self.unheard(now_unix) else Coverage.COMPLETE

    def _start_missing(self) -> None:
        if self._session is None:
            return
        for address in self._addresses - self._tasks.keys():
            task = asyncio.create_task(self._follow(address), name=f"demand of {address}")
            self._tasks[address] = task
            task.add_done_callback(partial(self._ended, address))

    def _ended(self, address: str, task: "asyncio.Task[None]") -> None:
        del self._tasks[address]
        view = self.views.pop(address, None)
        self._told.pop(address, None)
        if view is not None and view.refused:
            self._on_refused(set(view.refused))
        if not task.cancelled() and task.exception() is not None:
            logger.error("demand stream failed", exc_info=task.exception(), extra={"gateway": address})
            self._clock.call_later(RETRY_SECONDS_MAX, self._start_missing)
        elif not task.cancelled():
            self._start_missing()

    async def _follow(self, address: str) -> None:
        """Until the address is no gateway's any more and its stream has ended: a gateway that drains still counts."""
        failures = 0
        while failures == 0 or address in self._addresses:
            began = self._clock.monotonic()
            why = await self._stream(address)
            # A stream that says something and ends at once is no better than one that says nothing.
            failures = 1 if self._clock.monotonic() - began >= HEALTHY_SECONDS else failures + 1
            level = logging.WARNING if failures == FAILURES_TOLD else logging.DEBUG
            logger.log(level, "demand stream of a gateway keeps ending: %s", why, extra={"gateway": address})
            draw = random()  # noqa: S311 - no secret
            await self._clock.sleep(pause_seconds(failures, first=RETRY_SECONDS, most=RETRY_SECONDS_MAX, draw=draw))

    async def _stream(self, address: str) -> str:
        """Read one stream to its end; why it ended."""
        if self._session is None:
            return "stopping"
        telemetry.GATEWAY_STREAMS.inc()
        reader = LineReader(LINE_BYTES_MAX)
        try:
            async with self._session.get(f"http://{address}/demand", allow_redirects=False) as response:
                response.raise_for_status()
                async for content in response.content.iter_any():
                    received = turn = self._clock.monotonic()
                    for line in reader.feed(content):
                        turn = await self._take(address, line, received, turn)
                    if reader.skipped:
                        self._doubt(address, "line", f"a line is longer than {LINE_BYTES_MAX} bytes")
                        reader.skipped = 0
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return str(error) or type(error).__name__
        else:
            return "the gateway has ended it"
        finally:
            telemetry.GATEWAY_STREAMS.dec()

    async def _take(self, address: str, content: bytes, received: float, turn: float) -> float:
        """Take one line; one that can't be read is left out and counted. ``turn``: since when others wait; so it gives.

        Others have their turns meanwhile, however long and odd the line is.
        """
        steps = reading(content, self._clock.unix())
        while True:
            turn = await self._give_way(turn)
            try:
                next(steps)
            except StopIteration as over:
                self._heard(address, cast("Line", over.value), received)
                return turn
            except LineError as error:
                self._doubt(address, "line", f"a line can't be read: {error}")
                return turn

    async def _give_way(self, turn: float) -> float:
        """Wait for as long as this has lasted, if that is long."""
        took = self._clock.monotonic() - turn
        if took < TURN_SECONDS:
            return turn
        await self._clock.sleep(took)
        return self._clock.monotonic()

    def _heard(self, address: str, line: Line, received: float) -> None:
        """A line was read."""
        now = self._clock.unix()
        view = self.views.get(address)
        is_news = view is None or view.is_stale(now) or view.sends_engine_keys != line.sends_engine_keys
        view = self.views.setdefault(address, GatewayView(now, now))
        refused_before = set(view.refused.items())
        heard = view.take(line, now)
        for growth in heard.growth:
            self.work.heard(growth, now)
        for doubt in heard.doubts:
            self._doubt(address, "route", f"figures of {doubt.route} are not believed: {doubt.message}")
        self._on_demand(heard.keys, received)
        if line.refused is not None and refused_before != set(view.refused.items()):
            self._on_refused({document for document, _ in refused_before ^ set(view.refused.items())})
        if is_news:
            self.report()

    def _doubt(self, address: str, what: str, message: str) -> None:
        """Say what is not believed of a gateway: once for each thing in a while, however often it says it."""
        telemetry.DEMAND_REFUSED.labels(what).inc()
        now = self._clock.unix()
        told = self._told.setdefault(address, {})
        if len(told) >= TOLD_MAX:
            told.clear()
        if now - told.get(message, 0.0) >= TELL_AGAIN_SECONDS:
            told[message] = now
            logger.warning("demand of a gateway: %s", message, extra={"gateway": address})

    def _look_at_senders(self) -> None:
        """Tell when engines may begin to ask for their keys, and, in the log, what keeps them from it."""
        before, now = self._senders, self.key_senders
        if now is KeySenders.UNKNOWN or now is before:
            return
        self._senders = now
        if now is KeySenders.NOT_ALL:
            old = sorted(address for address, view in self.views.items() if not view.sends_engine_keys)
            logger.info("engines get no keys yet: gateways of an older version send none", extra={"gateways": old})
            return
        if before is KeySenders.NOT_ALL:
            logger.info("engines get their keys: every gateway sends them now")
        self._on_coverage()

    def _count_versions(self, now: float) -> None:
        versions = [view.version for view in self.views.values() if not view.is_stale(now)]
        for version in range(1, DEMAND_VERSION + 1):
            telemetry.GATEWAYS.labels(str(version)).set(versions.count(version))
        telemetry.GATEWAYS.labels("newer").set(sum(version > DEMAND_VERSION for version in versions))

    def report(self) -> None:
        """Tell when coverage has changed: at once when it gets better, after a while when it gets worse."""
        now = self._clock.unix()
        self._look_at_senders()
        self._count_versions(now)
        before = self.reported
        steady = SteadyCoverage(before, self._worse_since).seen(self.coverage(now), now, starting=self.starting)
        self.reported, self._worse_since = steady.told, steady.worse_since
        if steady.told is not before:
            self._on_coverage()


def _addresses(live: Json) -> set[str]:
    """``host:port`` of the endpoints of a slice that serve."""
    ports = {port.get("name"): port.get("port") for port in live.get("ports") or ()}
    port = ports.get(ADMIN_PORT_NAME) or next(iter(ports.values()), None) or ADMIN_PORT
    ipv6 = live.get("addressType") == "IPv6"
    addresses = set()
    for endpoint in live.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        addresses |= {
            f"[{address}]:{port}" if ipv6 else f"{address}:{port}" for address in endpoint.get("addresses") or ()
        }
    return addresses

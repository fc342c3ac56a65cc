"""Contract 2, the operator's end: one ``GET /demand`` stream to every gateway pod, opened again when it breaks."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from random import uniform
from time import time

import aiohttp
from pydantic import ValidationError

from overspill_api.demand import GatewayDemand
from overspill_operator.adapters import telemetry
from overspill_operator.core.traffic import STALE_AFTER_SECONDS, Coverage, GatewayView
from overspill_operator.ports import Json

logger = logging.getLogger(__name__)

ADMIN_PORT_NAME = "admin"
ADMIN_PORT = 9090
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=STALE_AFTER_SECONDS)
RETRY_SECONDS = 0.1
RETRY_SECONDS_MAX = 5.0
LINE_BYTES_MAX = 2**24

TICK_SECONDS = 2.0
WORSE_AFTER_SECONDS = 30.0
"""A gateway that is replaced is silent for a moment; status says so only when it lasts."""

STARTING_SECONDS = 15.0
"""After that long the gateways that run have been heard."""


class GatewayStreams:
    """The gateways that there are, and what each has said."""

    def __init__(
        self,
        on_demand: Callable[[list[str], float], None],
        on_coverage: Callable[[], None],
        fixed: Iterable[str] = (),
    ) -> None:
        """``on_demand`` gets the routes that a line speaks of and when it came (loop time).

        ``on_coverage`` is called when what status says of the gateways has changed.
        ``fixed``: gateways that no EndpointSlice names.
        """
        self.views: dict[str, GatewayView] = {}
        self.reported = Coverage.NONE
        self._on_demand = on_demand
        self._on_coverage = on_coverage
        self._fixed = frozenset(fixed)
        self._addresses: set[str] = set(fixed)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slices: dict[str, set[str]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._started_unix = time()
        self._worse_since: float | None = None

    @property
    def expected(self) -> int:
        """Gateways that there are."""
        return len(self._addresses)

    @property
    def starting(self) -> bool:
        """Whether this process has only just begun to listen."""
        return time() - self._started_unix < STARTING_SECONDS

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
        async with aiohttp.ClientSession(timeout=TIMEOUT, read_bufsize=LINE_BYTES_MAX) as session:
            self._session = session
            self._start_missing()
            try:
                while True:
                    await asyncio.sleep(TICK_SECONDS)
                    self._report()
            finally:
                for task in self._tasks.values():
                    task.cancel()

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
        self.views.pop(address, None)
        if not task.cancelled() and task.exception() is not None:
            logger.error("demand stream failed", exc_info=task.exception(), extra={"gateway": address})
        if not task.cancelled():
            self._start_missing()

    async def _follow(self, address: str) -> None:
        """Until the address is no gateway's any more and its stream has ended: a gateway that drains still counts."""
        failures = 0
        while failures == 0 or address in self._addresses:
            heard = await self._stream(address)
            failures = 1 if heard else failures + 1
            await asyncio.sleep(min(RETRY_SECONDS * 2 ** min(failures - 1, 10), RETRY_SECONDS_MAX) * uniform(0.5, 1))  # noqa: S311

    async def _stream(self, address: str) -> bool:
        """Read one stream to its end; whether it said anything."""
        heard = False
        if self._session is None:
            return heard
        telemetry.GATEWAY_STREAMS.inc()
        try:
            async with self._session.get(f"http://{address}/demand") as response:
                response.raise_for_status()
                async for line in response.content:
                    received = asyncio.get_running_loop().time()
                    demand = GatewayDemand.model_validate_json(line)
                    now = time()
                    view = self.views.setdefault(address, GatewayView(now, now))
                    first = not heard
                    heard = True
                    self._on_demand(view.take(demand, now), received)
                    if first:
                        self._report()
        except (aiohttp.ClientError, TimeoutError, ValidationError, ValueError) as error:
            logger.debug("demand stream ended: %s", error, extra={"gateway": address})
        finally:
            telemetry.GATEWAY_STREAMS.dec()
        return heard

    def _report(self) -> None:
        """Tell when coverage has changed: at once when it gets better, after a while when it gets worse."""
        now = time()
        actual = self.coverage(now)
        if actual is self.reported:
            self._worse_since = None
            return
        if actual is not Coverage.COMPLETE and not self.starting:
            self._worse_since = self._worse_since or now
            if now - self._worse_since < WORSE_AFTER_SECONDS and self.reported is Coverage.COMPLETE:
                return
        self.reported, self._worse_since = actual, None
        self._on_coverage()


def _addresses(live: Json) -> set[str]:
    """``host:port`` of the endpoints of a slice that serve."""
    ports = {port.get("name"): port.get("port") for port in live.get("ports") or ()}
    port = ports.get(ADMIN_PORT_NAME) or next(iter(ports.values()), None) or ADMIN_PORT
    ipv6 = live.get("addressType") == "IPv6"
    found = set()
    for endpoint in live.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        found |= {f"[{address}]:{port}" if ipv6 else f"{address}:{port}" for address in endpoint.get("addresses") or ()}
    return found

"""vLLM's own metrics, read from the replicas of routes where they can change a decision: busy, and not at the most.

The gateways know all else. Where no request is in flight nothing can wait inside an engine, so idle routes cost
nothing.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import aiohttp

from overspill_api.engine_metrics import EngineFigures, read_figures
from overspill_api.names import ENGINE_PORT, engine_name
from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock
from overspill_operator.core.autoscaler import QueueDepth
from overspill_operator.core.engine_metrics import queue_reading
from overspill_operator.ports import ENDPOINT_SLICES, Cluster, ClusterError

logger = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
FRESH_SECONDS = 15.0
"""Three rounds: an older reading says nothing about now."""

ROUNDS_MISSED = 3
"""After that many rounds without an answer status says so."""

TIMEOUT = aiohttp.ClientTimeout(total=2)
PARALLEL = 16
ROUTES_PER_ROUND_MAX = 100
BODY_BYTES_MAX = 2**22
"""Forty times what vLLM's metrics are."""

REPLICAS_PER_ROUTE_MAX = 64


@dataclass(slots=True)
class _Reading:
    waiting: int | None = None
    read_unix: float = 0.0
    missed: int = 0


class EngineScraper:
    """The ``app.scaler.QueueSource`` that asks the replicas themselves."""

    def __init__(
        self, cluster: Cluster, clock: Clock, wanted: Callable[[], Iterable[str]], on_reading: Callable[[str], None]
    ) -> None:
        """``wanted`` names the routes to ask about; ``on_reading`` gets each one that was asked about."""
        self._cluster = cluster
        self._clock = clock
        self._wanted = wanted
        self._on_reading = on_reading
        self._readings: dict[str, _Reading] = {}
        self._turn = ""

    def queue(self, key: str, now_unix: float) -> QueueDepth | None:
        """See ``app.scaler.QueueSource``."""
        reading = self._readings.get(key)
        if reading is None or reading.waiting is None or now_unix - reading.read_unix > FRESH_SECONDS:
            return None
        return QueueDepth(reading.waiting)

    def unread(self, key: str) -> str:
        """See ``app.scaler.QueueSource``."""
        reading = self._readings.get(key)
        if reading is None or reading.missed < ROUNDS_MISSED:
            return ""
        return "No replica gives vllm:num_requests_waiting at /metrics on its port."

    async def run(self) -> None:
        """Read for ever."""
        async with aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0)) as session:
            while True:
                await self._clock.sleep(EVERY_SECONDS)
                every = sorted(self._wanted())
                for key in self._readings.keys() - every:
                    del self._readings[key]
                wanted, self._turn = in_turn(every, self._turn, ROUTES_PER_ROUND_MAX)
                async with asyncio.TaskGroup() as group:
                    for key in wanted:
                        group.create_task(self._read_alone(session, key))

    async def _read_alone(self, session: aiohttp.ClientSession, key: str) -> None:
        """What one route's replicas are and say concerns that route alone."""
        try:
            await self._read(session, key)
        except Exception:
            logger.exception("a queue was not read", extra={"route": key})

    async def _read(self, session: aiohttp.ClientSession, key: str) -> None:
        reading = self._readings.setdefault(key, _Reading())
        try:
            addresses = await self._replicas(key)
        except ClusterError as error:
            logger.debug("endpoints not listed: %s", error, extra={"route": key})
            addresses = []
        # A limit for each route: replicas that hang hold up nobody else's.
        limit = asyncio.Semaphore(PARALLEL)
        figures = await asyncio.gather(*(self._ask(session, address, limit) for address in addresses))
        result = queue_reading(figures)
        if result.answered:
            reading.waiting, reading.read_unix, reading.missed = result.waiting, self._clock.unix(), 0
        else:
            reading.missed += 1
        self._on_reading(key)

    async def _replicas(self, key: str) -> list[str]:
        namespace, _, name = key.partition("/")
        labels = f"kubernetes.io/service-name={engine_name(name)}"
        listing = await self._cluster.list(ENDPOINT_SLICES.path(namespace), labels=labels)
        found = [
            f"[{address}]:{ENGINE_PORT}" if live.get("addressType") == "IPv6" else f"{address}:{ENGINE_PORT}"
            for live in listing.items
            for endpoint in live.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready")
            for address in endpoint.get("addresses") or ()
        ]
        return found[:REPLICAS_PER_ROUTE_MAX]

    async def _ask(
        self, session: aiohttp.ClientSession, address: str, limit: asyncio.Semaphore
    ) -> EngineFigures | None:
        async with limit:
            try:
                async with session.get(f"http://{address}/metrics", allow_redirects=False) as response:
                    response.raise_for_status()
                    figures = read_figures(await _bounded_body(response))
            except (aiohttp.ClientError, TimeoutError, ValueError, OverflowError) as error:
                logger.debug("metrics of a replica not read: %s", error, extra={"replica": address})
                telemetry.ENGINE_SCRAPES.labels("failed").inc()
                return None
        telemetry.ENGINE_SCRAPES.labels("ok" if figures.waiting is not None else "missing").inc()
        return figures


def in_turn(every: Sequence[str], after: str, most: int) -> tuple[list[str], str]:
    """Whose turn it is, at most so many, and the last of them: each has its turn before anyone has another.

    ``every`` is sorted; ``after`` is the last of the round before.
    """
    begin = bisect_right(every, after)
    turn = [*every[begin:], *every[:begin]][:most]
    return turn, turn[-1] if turn else ""


async def _bounded_body(response: aiohttp.ClientResponse) -> bytes:
    """The body; raises ValueError for one that is too long to be metrics."""
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > BODY_BYTES_MAX:
            raise ValueError(f"its metrics are longer than {BODY_BYTES_MAX} bytes")
    return bytes(content)

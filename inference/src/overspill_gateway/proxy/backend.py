"""Backends as they are now: replicas of a route and its hosted APIs, with their connections and counters."""

import asyncio
import math
import ssl
from bisect import bisect_left
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from overspill_api.compiled import HostedBackend
from overspill_gateway.core.body import json_string
from overspill_gateway.core.rotation import EndpointFact, Health, usable
from overspill_gateway.core.usage import Price, Usage, cost_nano_usd
from overspill_gateway.wire.pool import Address, Pool

if TYPE_CHECKING:
    from overspill_gateway.proxy.exchange import Exchange

LOCAL_IDLE_SECONDS: Final = 4.0
"""Shorter than vLLM keeps an idle connection (uvicorn: 5 s), so that it is not closed under a request."""
HOSTED_IDLE_SECONDS: Final = 30.0
LOCAL_CONNECT_SECONDS_MAX: Final = 0.5
"""Inside a cluster a connection takes milliseconds; a pod that vanished without a word costs this much."""
LATENCY_BUCKETS: Final = (
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, math.inf,
)  # fmt: skip


class Histogram:
    """Counts by upper bound, and a sum; cheaper to add to than a metrics library's."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * len(LATENCY_BUCKETS)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.sum += seconds


class BackendCounters:
    """What one backend of a route (``local`` or ``hosted/<name>``) has done in this process's life."""

    __slots__ = ("cost_nano_usd", "duration", "errors", "failures", "first_byte", "output_tokens", "prompt_tokens",
                 "served", "statuses")  # fmt: skip

    def __init__(self) -> None:
        self.served = 0
        self.errors = 0
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.cost_nano_usd = 0
        self.statuses: dict[int, int] = {}
        self.failures: dict[str, int] = {}
        self.first_byte = Histogram()
        self.duration = Histogram()


class Replica:
    """One replica of a route."""

    def __init__(self, fact: EndpointFact, port: int, connect_seconds: float, counters: BackendCounters) -> None:
        self.fact: EndpointFact | None = fact
        self.pod = fact.pod
        self.served_by = f"local/{fact.pod}"
        self.counters = counters
        self.health = Health.UNKNOWN
        self.exchanges: set[Exchange] = set()
        """Requests at it now."""
        self.probe_failures = 0
        self.connect_failures = 0
        self.probe_timer: asyncio.TimerHandle | None = None
        self.probe_due = math.inf
        self.probe_task: asyncio.Task[None] | None = None
        self.address = Address(fact.address, fact.port or port)
        host = f"[{fact.address}]" if ":" in fact.address else fact.address
        self.host_line = f"host: {host}:{self.address.port}\r\n".encode()
        self.pool = Pool(
            self.address,
            idle_seconds=LOCAL_IDLE_SECONDS,
            connect_seconds=min(connect_seconds, LOCAL_CONNECT_SECONDS_MAX),
        )

    @property
    def in_flight(self) -> int:
        """Requests at it now, from this gateway."""
        return len(self.exchanges)

    @property
    def usable(self) -> bool:
        """Whether it may get a new request."""
        return usable(self.fact, self.health)


class Hosted:
    """One hosted API of a route."""

    def __init__(
        self, backend: HostedBackend, connect_seconds: float, tls: ssl.SSLContext | None, counters: BackendCounters
    ) -> None:
        url = urlsplit(backend.base_url)
        secure = url.scheme == "https"
        self.backend = backend
        self.served_by = f"hosted/{backend.name}"
        self.counters = counters
        self.path_prefix = url.path.rstrip("/").encode()
        self.model = json_string(backend.model)
        self.price = price_of(backend)
        self.exchanges: set[Exchange] = set()
        """Requests at it now."""
        authorization = f"authorization: Bearer {backend.api_key}\r\n" if backend.api_key else ""
        self.head_lines = f"host: {url.netloc}\r\naccept-encoding: identity\r\n{authorization}".encode("latin-1")
        self.pool = Pool(
            Address(url.hostname or "", url.port or (443 if secure else 80), secure),
            idle_seconds=HOSTED_IDLE_SECONDS,
            connect_seconds=connect_seconds,
            tls=tls if secure else None,
        )

    def cost(self, usage: Usage) -> int:
        """Nano-dollars for the tokens of one answer; 0 where no price is known."""
        return cost_nano_usd(usage, self.price) if self.price is not None else 0


def price_of(backend: HostedBackend) -> Price | None:
    """The price of a hosted API, or None where it is unknown."""
    if backend.input_nano_usd_per_million is None or backend.output_nano_usd_per_million is None:
        return None
    cached = backend.cached_input_nano_usd_per_million
    fresh = backend.input_nano_usd_per_million
    return Price(fresh, fresh if cached is None else cached, backend.output_nano_usd_per_million)


def tls_context() -> ssl.SSLContext:
    """Checks certificates against the system's authorities (SSL_CERT_FILE names others)."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context

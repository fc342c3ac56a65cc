"""Backends as they are now: replicas of a route and its hosted APIs, with their connections and counters."""

import asyncio
import math
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from overspill_api.compiled import HostedBackend
from overspill_gateway.core.body import json_string
from overspill_gateway.core.outcome import FailureKind
from overspill_gateway.core.rotation import EndpointFact, Health, usable
from overspill_gateway.core.usage import Price, Usage, cost_nano_usd
from overspill_gateway.proxy.counting import BackendCounters
from overspill_gateway.wire.pool import Address, Pool

if TYPE_CHECKING:
    from overspill_gateway.proxy.exchange import Exchange

LOCAL_IDLE_SECONDS: Final = 4.0
"""Shorter than vLLM keeps an idle connection (uvicorn: 5 s), so that it is not closed under a request."""
HOSTED_IDLE_SECONDS: Final = 30.0
LOCAL_CONNECT_SECONDS_MAX: Final = 0.5
"""Inside a cluster a connection takes milliseconds; a pod that vanished without a word costs this much."""


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


def count_answer(backend: Replica | Hosted, status: int, usage: Usage | None, seconds: float) -> None:
    """Count an answer that was passed on, and what it cost."""
    counters = backend.counters
    counters.served += 1
    counters.statuses[status] = counters.statuses.get(status, 0) + 1
    counters.duration.observe(seconds)
    if usage is not None:
        counters.prompt_tokens += usage.prompt_tokens
        counters.output_tokens += usage.output_tokens
        if isinstance(backend, Hosted):
            counters.cost_nano_usd += backend.cost(usage)


def count_failure(backend: Replica | Hosted | None, kind: FailureKind) -> None:
    """Count an attempt that failed."""
    if backend is not None:
        counters = backend.counters
        counters.errors += 1
        counters.failures[kind.value] = counters.failures.get(kind.value, 0) + 1


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

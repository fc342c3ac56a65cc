"""Backends as they are now: replicas of a route and its hosted APIs, with their connections and counters."""

import asyncio
import math
import re
from typing import Final, Protocol
from urllib.parse import urlsplit

from overspill_api.compiled import HostedBackend
from overspill_gateway.backends.problems import BackendProblems
from overspill_gateway.core.answers.usage import Price
from overspill_gateway.core.backends.engine_keys import EngineKeys
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.backends.rotation import EndpointFact, Health, usable
from overspill_gateway.core.backends.unusable import UnusableError
from overspill_gateway.core.counters import BackendCounters
from overspill_gateway.core.dialects.endpoints import Dialect, Endpoint
from overspill_gateway.core.dialects.provider_traits import form_of
from overspill_gateway.core.http.forwarding import to_hosted, to_replica, with_json_type
from overspill_gateway.core.http.head import Head, Header
from overspill_gateway.core.http.outbound_proxy import host_and_port
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.requests.ask import Ask, Needs
from overspill_gateway.core.requests.body import json_string
from overspill_gateway.money.metering import HostedMeter
from overspill_gateway.wire.outbound import Outbound
from overspill_gateway.wire.pool import Address, Pool
from overspill_gateway.wire.resolver import literal_address
from overspill_gateway.wire.stream_reads import StreamReads

_CONTROLS: Final = re.compile("[\x00-\x20\x7f]")
LOCAL_IDLE_SECONDS: Final = 4.0
"""Shorter than vLLM keeps an idle connection (uvicorn: 5 s), so that it is not closed under a request."""
HOSTED_IDLE_SECONDS: Final = 30.0
LOCAL_CONNECT_SECONDS_MAX: Final = 0.5
"""Inside a cluster a connection takes milliseconds; a pod that vanished without a word costs this much."""


class Vanishing(Protocol):
    """An attempt at a backend, as the backend knows it."""

    def vanished(self, detail: str) -> None:
        """The backend is gone without a word."""
        ...


class Replica(ReplicaState):
    """One replica of a route, with its connections."""

    def __init__(
        self,
        fact: EndpointFact,
        port: int,
        connect_seconds: float,
        counters: BackendCounters,
        problems: BackendProblems,
        rates: ServiceRates,
        reads: StreamReads | None = None,
        outbound: Outbound | None = None,
    ) -> None:
        """``outbound`` knows what a name leads to; without it the address is literal."""
        super().__init__(f"local/{fact.pod}", rates)
        self.fact: EndpointFact | None = fact
        self.pod = fact.pod
        self.keys = EngineKeys()
        self.meter: HostedMeter | None = None
        """Its work costs no money."""
        self.model = b""
        """As what a request names the model, as JSON; empty: as its route does."""
        self.counters = counters
        self.problems = problems
        """Of all replicas of the route together."""
        self.health = Health.UNKNOWN
        self.attempts: set[Vanishing] = set()
        """Attempts at it now."""
        self.reports_usage = True
        """An engine always does where it is asked to, and it is."""
        self.probe_failures = 0
        self.connect_failures = 0
        self.probe_timer: asyncio.TimerHandle | None = None
        self.probe_due = math.inf
        self.probe_task: asyncio.Task[None] | None = None
        self.address = Address(fact.address, fact.port or port)
        named = literal_address(fact.address, self.address.port) is None
        self.host_line = f"host: {host_and_port(fact.address, self.address.port)}\r\n".encode()
        self.dialer = outbound.direct(fact.address, self.address.port) if outbound is not None and named else None
        """Where its address is a name."""
        self.pool = Pool(
            self.address,
            idle_seconds=LOCAL_IDLE_SECONDS,
            connect_seconds=min(connect_seconds, LOCAL_CONNECT_SECONDS_MAX),
            dialer=self.dialer,
            reads=reads,
        )

    @property
    def in_flight(self) -> int:
        """Requests at it now, from this gateway."""
        return len(self.attempts)

    def speaks(self, dialect: Dialect) -> bool:  # noqa: ARG002 - vLLM has all of them
        """Whether it takes a request of this dialect as it is."""
        return True

    def target(self, head: Head, path: bytes) -> bytes:
        """What a request line names there."""
        return path + head.query

    def lines(self, head: Head, endpoint: Endpoint) -> bytes:
        """Header lines of a request there, remembered at its head."""
        forwarded = head.replica_lines
        if forwarded is None:
            forwarded = head.replica_lines = to_replica(_typed(head, endpoint))
        return b"".join([self.host_line, self.keys.line, *forwarded])

    def another_head(self, head: bytes, tried: int) -> bytes | None:
        """A head that it refused for its key, with another of its route's keys; None: there is none left."""
        return self.keys.another(head, tried)

    @property
    def usable(self) -> bool:
        """Whether it may get a new request."""
        return usable(self.fact, self.health)


class HostedTarget:
    """Where a hosted API is and what is sent there: all of it that a document could have wrong."""

    def __init__(self, backend: HostedBackend, outbound: Outbound) -> None:
        """Raises UnusableError."""
        try:
            url = urlsplit(backend.base_url)
            host, port = url.hostname, url.port
        except ValueError as error:
            raise UnusableError(f"hosted entry {backend.name}: its base URL can't be used: {error}") from None
        self.secure = url.scheme == "https"
        if url.scheme not in {"http", "https"} or not host or port == 0:
            raise UnusableError(f"hosted entry {backend.name}: its base URL has no http, no host or port 0")
        self.host: str = host
        self.port: int = port or (443 if self.secure else 80)
        authorization = f"authorization: Bearer {backend.api_key}\r\n" if backend.api_key else ""
        try:
            path, place = url.path.rstrip("/").encode("ascii"), url.netloc.encode("ascii")
            self.head_lines = f"host: {url.netloc}\r\naccept-encoding: identity\r\n{authorization}".encode("latin-1")
        except UnicodeEncodeError:
            what = "its key does not fit into a header; put the key alone into the Secret"
            if not backend.base_url.isascii():
                what = "its base URL has characters beyond ASCII; write a host in punycode (xn--...), a path with %XX"
            raise UnusableError(f"hosted entry {backend.name}: {what}") from None
        if _CONTROLS.search(f"{backend.base_url}{backend.api_key or ''}"):
            raise UnusableError(
                f"hosted entry {backend.name}: its base URL or its key has a space, a line break or a control character"
            )
        self.path_prefix = path
        proxy = outbound.proxies.proxy_for(host, self.port, secure=self.secure)
        if proxy is not None and not self.secure:  # in the open a proxy is told the request itself, not the way
            self.path_prefix = b"http://" + place + path
            if proxy.authorization:
                self.head_lines += b"proxy-authorization: %b\r\n" % proxy.authorization
        self.dialer = outbound.dialer(host, self.port, secure=self.secure)
        self.model = json_string(backend.model)


class Hosted(HostedState):
    """One hosted API of a route, with its connections and its meter."""

    def __init__(
        self,
        backend: HostedBackend,
        target: HostedTarget,
        connect_seconds: float,
        connection_seconds: float,
        meter: HostedMeter,
        problems: BackendProblems,
        reads: StreamReads | None = None,
    ) -> None:
        """``connection_seconds``: how old a connection may be and still get a request."""
        offered = (backend.tools, Needs.TOOLS), (backend.json_mode, Needs.JSON_MODE), (backend.vision, Needs.VISION)
        super().__init__(
            f"hosted/{backend.name}",
            unable=Needs(sum(need.value for has, need in offered if not has)),
            paths=frozenset(path.encode() for path in backend.paths) if backend.paths is not None else None,
            context_tokens=backend.context_tokens,
        )
        self.backend = backend
        self.meter = meter
        self.counters = meter.counters
        self.problems = problems
        self.path_prefix = target.path_prefix
        self.model = target.model
        self.attempts: set[Vanishing] = set()
        """Attempts at it now."""
        self.reports_usage = False
        """Whether it has ever reported usage: until then text is kept to be counted."""
        self.form = form_of(target.host, backend.max_tokens_field, stream_options=backend.stream_options)
        """How it takes what the gateway adds to a request; learned where a refusal says otherwise."""
        self.head_lines = target.head_lines
        self.pool = Pool(
            Address(target.host, target.port, target.secure),
            idle_seconds=HOSTED_IDLE_SECONDS,
            connect_seconds=connect_seconds,
            dialer=target.dialer,
            connection_seconds=connection_seconds,
            reads=reads,
        )

    def speaks(self, dialect: Dialect) -> bool:
        """Whether it takes a request of this dialect as it is: it knows OpenAI's alone."""
        return dialect is not Dialect.MESSAGES

    def target(self, head: Head, path: bytes) -> bytes:  # noqa: ARG002 - a query is the client's and ours alone
        """What a request line names there, below its base URL, which stands for ``/v1``."""
        return self.path_prefix + path[3:]

    def lines(self, head: Head, endpoint: Endpoint) -> bytes:
        """Header lines of a request there, remembered at its head."""
        forwarded = head.hosted_lines
        if forwarded is None:
            forwarded = head.hosted_lines = to_hosted(_typed(head, endpoint))
        return self.head_lines + forwarded

    def another_head(self, head: bytes, tried: int) -> bytes | None:  # noqa: ARG002 - it has one key
        """A head that it refused for its key, with another key; None: there is none left."""
        return None

    @property
    def price(self) -> Price | None:
        """What tokens cost there; None: unknown."""
        return self.meter.price

    def affords(self, ask: Ask, now: float) -> bool:
        """Whether its limits and the budget allow this request now."""
        return self.meter.may_take(ask, now)

    def worst_case(self, ask: Ask) -> int:
        """The most that a call may cost, in nano-dollars; 0 where the price is unknown."""
        offer = self.meter.offered(ask, None)
        return offer.nano_usd if offer is not None else 0


def _typed(head: Head, endpoint: Endpoint) -> list[Header]:
    """A request's fields, with the type of its body where its client did not say."""
    return head.headers if endpoint.dialect is Dialect.OTHER else with_json_type(head.headers)

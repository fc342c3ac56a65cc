"""Contract 1, operator to gateway: a route and a consumer with everything slow or secret resolved.

One JSON document each, in a Secret of the release's namespace (``names.compiled_route_secret_name``) under the
key ``names.COMPILED_KEY``. Durations are seconds, money is nano-dollars, credentials are in clear: treat the
document as a secret. Gateways ignore fields they do not know, so that an operator may be newer than a gateway.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from overspill_api.credentials import ApiKey
from overspill_api.quantities import DnsLabel
from overspill_api.urls import BackendUrl

DOCUMENT_VERSION: Final = 1
"""Raised only for a change that an older gateway would misread; such a document it refuses and keeps its last."""


class Compiled(BaseModel):
    """Base of the compiled types: immutable, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, hide_input_in_errors=True)


class LocalPool(Compiled):
    """The replicas of a route, found by the EndpointSlices of one Service."""

    service: str
    """Name of the Service, in the route's namespace."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """TCP port of the engines."""
    served_model: str
    """The name that the engine knows the model by."""
    api_keys: Annotated[tuple[str, ...], Field(repr=False)] = ()
    """Keys that replicas may have been started with, the present one first; none: they ask for none."""
    may_wake: bool = True
    """Whether the pool may run at all now (false while a window holds it at zero): a request then neither
    waits for it nor wakes it."""
    refused: bool = False
    """Whether that is so because the engine can't be made, which the ModelRoute's status tells of, and by no rule."""


class HostedBackend(Compiled):
    """One hosted API, in order of preference; what becomes part of a head is checked, so that it adds nothing to it."""

    name: DnsLabel
    """Unique in the route; ``x-overspill-served-by: hosted/<name>``."""
    base_url: BackendUrl
    """Without a trailing slash; ``/chat/completions`` and the rest are appended."""
    model: str
    """Written into the request's ``model``."""
    api_key: ApiKey | None = Field(default=None, repr=False)
    """Sent as ``Authorization: Bearer``; None sends none."""
    input_nano_usd_per_million: int | None = None
    """Nano-dollars per million prompt tokens; None: unknown."""
    cached_input_nano_usd_per_million: int | None = None
    """Nano-dollars per million cached prompt tokens; None: as input."""
    output_nano_usd_per_million: int | None = None
    """Nano-dollars per million output tokens; None: unknown."""
    price_version: str = ""
    """Short hash of the prices, stamped on what is charged by them."""
    requests_per_minute: int | None = None
    """Limit of the provider; None: unknown."""
    tokens_per_minute: int | None = None
    """Limit of the provider; None: unknown."""
    concurrency: int | None = None
    """Limit of the provider; None: unknown."""
    context_tokens: int | None = None
    """Prompt and output tokens that the model takes together; None: unknown."""
    output_tokens_max: int | None = None
    """The longest answer that the model writes; None: unknown."""
    tools: bool = True
    """Whether it takes tools."""
    json_mode: bool = True
    """Whether it takes ``response_format``."""
    vision: bool = True
    """Whether it takes content other than text."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The field of a chat that limits its output, where the gateway writes one; None: by what is known of the host."""
    stream_options: bool | None = None
    """Whether a stream may be asked for usage; None: until it refuses to be."""
    paths: tuple[str, ...] | None = None
    """Paths that it has, such as ``/v1/chat/completions``; None: it is asked for each."""


class OverflowRules(Compiled):
    """When a request leaves the pool."""

    on_cold_start: Literal["Hosted", "Hold"]
    """Resolved: Hosted only where a hosted backend is usable."""
    time_to_first_token_seconds: float | None = None
    """Spill above this predicted time; None: not looked at."""
    hold_timeout_seconds: float = 120.0
    """The longest a request waits for a replica."""
    hold_requests_max: int = 500
    """The most requests that wait in one gateway."""


class TimeoutRules(Compiled):
    """Seconds; see ``modelroute.Timeouts``."""

    connect_seconds: float = 2.0
    """For a connection to be made."""
    first_token_seconds: float = 30.0
    """Of a streamed answer, to its first token; comments are none."""
    idle_seconds: float = 20.0
    """Between two pieces of a streamed answer."""
    total_seconds: float = 600.0
    """For the whole request, holding included."""


class HedgingRules(Compiled):
    """When a second backend is asked for an answer that is slow to begin."""

    after_seconds: float
    """Without a first token for this long."""
    max_percent: int = 5
    """Of the requests, at most."""
    hosted_nano_usd_per_hour: int = 0
    """What hedges at hosted APIs may cost an hour; 0: hedges go to replicas only."""


class BudgetRules(Compiled):
    """What the hosted APIs of a route may cost."""

    limit_nano_usd: int
    """The cap of one period."""
    period: Literal["Day", "Week", "Month"] = "Month"
    """Calendar period after which the count starts anew."""
    time_zone: str = "UTC"
    """IANA time zone in which the period begins."""
    on_exhausted: Literal["SelfHostedOnly", "Reject"] = "SelfHostedOnly"
    """At the cap: wait for replicas, or refuse."""
    alerts: tuple[int, ...] = (50, 75, 100)
    """Percentages of the limit of which somebody is told, once each a period."""


class ConsumerLimitRules(Compiled):
    """Limits of one consumer, None: no limit."""

    requests_per_minute: int | None = None
    """Requests a minute."""
    tokens_per_minute: int | None = None
    """Prompt and output tokens a minute."""


class CompiledRoute(Compiled):
    """All that a gateway needs to serve one ModelRoute."""

    version: int = DOCUMENT_VERSION
    """Of the document's form."""
    namespace: str
    """Of the ModelRoute."""
    name: str
    """Of the ModelRoute."""
    uid: str
    """Of the ModelRoute."""
    generation: int
    """metadata.generation it was compiled from."""
    model: str
    """Canonical model name."""
    aliases: tuple[str, ...] = ()
    """Further names that clients may send."""
    allowed_consumers: tuple[str, ...] | None = None
    """Consumers of other namespaces that may call it, ``namespace/name``, ``namespace/*`` or ``*/*``; None: written by
    an operator that did not ask the route's owner, so whoever names the route may call it."""
    local: LocalPool | None = None
    """None: hosted only."""
    hosted: tuple[HostedBackend, ...] = ()
    """Usable hosted backends in order of preference; one whose credentials are missing is left out."""
    overflow: OverflowRules
    """When a request leaves the pool."""
    timeouts: TimeoutRules = TimeoutRules()
    """How long the gateway waits."""
    retry_attempts: int = 2
    """Tries beyond the first."""
    per_consumer: ConsumerLimitRules = ConsumerLimitRules()
    """Limits that hold for each consumer on its own."""
    hedging: HedgingRules | None = None
    """None: no hedging."""
    on_stream_failure: Literal["Error", "Continue"] = "Error"
    """What follows when a backend breaks off in the middle of a stream."""
    validate_structured_output: bool = False
    """Check plain answers against the request's JSON schema."""
    budget: BudgetRules | None = None
    """None: no cap."""

    @property
    def key(self) -> str:
        """``namespace/name``, the route's identity in demand, metrics and logs."""
        return f"{self.namespace}/{self.name}"


class CompiledKey(Compiled):
    """One API key."""

    id: str
    """Public part, 12 characters."""
    hash: str = Field(repr=False)
    """HMAC-SHA256 of the whole key under the release's pepper, hex."""


class CompiledConsumer(Compiled):
    """All that a gateway needs to let one Consumer in."""

    version: int = DOCUMENT_VERSION
    """Of the document's form."""
    namespace: str
    """Of the Consumer."""
    name: str
    """Of the Consumer."""
    uid: str
    """Of the Consumer."""
    generation: int
    """metadata.generation it was compiled from."""
    created: str = ""
    """When the Consumer was made, RFC 3339 in UTC: of two that have one key, it opens what the older one may call."""
    keys: tuple[CompiledKey, ...] = ()
    """Keys that let it in; empty where it is suspended."""
    routes: tuple[str, ...] = ()
    """Routes it may call: ``namespace/name`` or ``namespace/*``."""
    limits: ConsumerLimitRules = ConsumerLimitRules()
    """Limits over all routes together."""
    priority: int = 0
    """A higher one leaves the waiting queue first."""

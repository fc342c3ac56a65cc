"""Contract 2, gateway to operator: what the autoscaler needs to know of each route.

``GET /demand`` on the gateway's admin port answers one ``GatewayDemand`` as a line of JSON and stays open: after
the first line, which holds every route, each further line holds the routes that changed. A line is written at once
when a route starts to want replicas that it does not have (a first request at zero), else at most once a second,
and an empty one every 10 s, so that a reader knows a dead stream from a quiet one. Counters only grow during a
gateway process's life, which ``gateway`` identifies: a line that is lost loses nothing.

What has its default is left out of a line. In one of version 2 that means nothing, none or zero. A gateway of version 1
does not know the fields that version 2 has added (each says so): from it their absence means that nobody knows.
"""

from math import inf
from typing import Annotated, Final, Literal

from pydantic import Field

from overspill_api.compiled import Compiled

DEMAND_VERSION: Final = 2
"""Of the lines that this version writes. Raised when fields are added that a reader must not take for zero where they
are missing; a field never changes its meaning, so that either side may be the newer one."""

FIRST_TOKEN_BOUNDS: Final[tuple[float, ...]] = (
    0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0,
    60.0, 120.0, inf,
)  # fmt: skip
"""Upper bounds, in seconds, of histograms of the time to first token. From what a small model on an idle GPU takes to
the longest that requests usually wait for a cold start; between 50 ms and 30 s, where targets lie, each is at most 1.7
times the one before, so that a percentile is known to within a fifth or so by interpolation."""

INTER_TOKEN_BOUNDS: Final[tuple[float, ...]] = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3,
    0.5, 1.0, 2.0, inf,
)  # fmt: skip
"""The same of the inter-token latency: finest between 15 and 100 ms, where people begin to notice and targets lie."""

REFUSAL_REASONS: Final[tuple[str, ...]] = (
    "BudgetSpent", "Failed", "HoldTimeout", "HostedUnable", "InvalidOutput", "NotAvailable", "OutputUnchecked",
    "QueueFull", "ShuttingDown", "TotalTimeout",
)  # fmt: skip
"""Why requests are refused that were let in."""


def bound_name(bound: float) -> str:
    """A bound as a key of ``HistogramDemand.counts``, spelled as Prometheus does."""
    return "+Inf" if bound == inf else f"{bound:g}"


class BackendProblem(Compiled):
    """Why a backend fails now; gone once it has answered again."""

    reason: Annotated[str, Field(max_length=64)]
    """One word in CamelCase, such as CredentialsRefused, NameNotResolved, CertificateRefused, Unreachable,
    ModelNotFound, RateLimited or Failing."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """The provider's or the network's own words, cut; without secrets."""
    since_unix_seconds: float = 0.0
    """When the first failure of the present run of failures was."""
    failures: int = 0
    """Failures in a row."""


class RefusedDocument(Compiled):
    """A compiled document that a gateway can't use; its last good version, where there is one, goes on serving."""

    kind: Literal["route", "consumer"]
    """What it compiles."""
    key: Annotated[str, Field(max_length=320)]
    """``namespace/name`` of the object that it was compiled from."""
    generation: int = 0
    """metadata.generation that it was compiled from; 0: can't be read."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """What is wrong with it; without secrets."""


class BackendDemand(Compiled):
    """Counters of one backend of a route: ``local`` or ``hosted/<name>``."""

    served_total: int = 0
    """Requests that it answered (any status that was passed to the client)."""
    errors_total: int = 0
    """Attempts that failed, in whatever way: no connection, a timeout, a reset, an error in the answer, a redirect, a
    status that another backend may do better (401, 403, 429 and 5xx among them)."""
    cost_nano_usd_total: int = 0
    """Nano-dollars that were charged: by reports, by estimates, and in full where nobody knows. 0 for ``local``."""
    problem: BackendProblem | None = None
    """Why it fails now; None: it answers, or has not been asked."""


class HistogramDemand(Compiled):
    """How often something took how long. All of it only grows, so that gateways and times can be added up."""

    counts: dict[str, int] = Field(default={})
    """By upper bound in seconds: how many values were above the bound before it and not above this one; not added up
    over bounds. Bounds without a value are left out, and all are of the table that the field names."""
    seconds_sum: float = 0.0
    """Of all values."""


class WorkDemand(Compiled):
    """What one kind of backend has done for a route in this gateway process's life."""

    answers_total: int = 0
    """Requests that it answered, whatever the status."""
    prompt_tokens_total: int = 0
    """Prompt tokens that it has read; counted by the gateway where they were not reported."""
    output_tokens_total: int = 0
    """Output tokens that it has written, likewise."""
    request_seconds_total: float = 0.0
    """Seconds from sending to the end, summed over what it answered: over any time, divided by it, the mean number of
    requests there."""
    first_token: HistogramDemand = HistogramDemand()
    """Time to first token as clients see it: from a streamed request's arrival, so that waiting for a replica and
    backends that failed before are in it. By ``FIRST_TOKEN_BOUNDS``, one value for each request."""
    first_token_since_sent: HistogramDemand = HistogramDemand()
    """The same requests, from when they were sent to this backend: its own part. What the sums differ by is waiting."""
    inter_token: HistogramDemand = HistogramDemand()
    """Inter-token latency: one value for each streamed answer that came whole, its mean, seconds from its first token
    to its end over tokens after the first. By ``INTER_TOKEN_BOUNDS``. Each answer counts once, however long it is: a
    target speaks of people who read. One whose client was too slow to take it does not count."""


class SpilledDemand(Compiled):
    """Work that hosted APIs did and that a replica would have done, had there been one that was free."""

    requests_total: int = 0
    """Requests that were answered so."""
    prompt_tokens_total: int = 0
    """Prompt tokens read there."""
    output_tokens_total: int = 0
    """Output tokens written there."""
    request_seconds_total: float = 0.0
    """Seconds that they took there, from sending to the end."""
    cost_nano_usd_total: int = 0
    """Nano-dollars that was charged for all that was sent there in replicas' place, also where nothing came of it."""
    needed_total: int = 0
    """Of requests that went there for lateness: those of which replicas have shown since that they had begun them late.
    Whoever does not count such things says none of this and the next three: nothing is known of as many as spilled."""
    regretted_total: int = 0
    """Those of which replicas have shown that they would have begun them in time."""
    regret_nano_usd_total: int = 0
    """Nano-dollars that was charged for those that are regretted."""
    late_holds_total: int = 0
    """Streams that replicas began too late, though a hosted API would have been in time."""


class EngineDemand(Compiled):
    """One replica's own gauges as this gateway last read them, which show the requests of all gateways."""

    served_by: Annotated[str, Field(max_length=300)]
    """``local/<pod>``, the same in every gateway."""
    running: int | None = None
    """``vllm:num_requests_running``; None: not read in the last half minute."""
    waiting: int | None = None
    """``vllm:num_requests_waiting``, likewise."""
    kv_cache_usage: float | None = None
    """``vllm:kv_cache_usage_perc``, 0 to 1, likewise; 0 where the engine does not say."""
    age_seconds: float = 0.0
    """How long before the line was written they were read."""
    missed: int = 0
    """Questions since then, in a row, that it has not answered with them."""


class BudgetDemand(Compiled):
    """A route's budget as one gateway process keeps it."""

    period_start_unix_seconds: float
    """When the period began that it speaks of."""
    limit_nano_usd: int
    """The cap of the period."""
    charged_nano_usd: int = 0
    """What the period has cost, as far as it is settled; of all processes that share the ledger."""
    exhausted: bool = False
    """Whether calls to hosted APIs are not made for lack of money."""


class RouteDemand(Compiled):
    """Demand for one route as one gateway sees it. A spilled or a held request counts as demand."""

    route: str
    """``namespace/name``. It comes first: by that long lines are taken apart."""
    uid: str = ""
    """Of the ModelRoute that the gateway serves under this name, so that figures of a former one do not count; empty:
    an older gateway, or a document without it."""
    in_flight_local: int = 0
    """Requests at replicas now."""
    in_flight_spilled: int = 0
    """Requests at hosted APIs now."""
    held: int = 0
    """Requests that wait for a replica now."""
    wants_replica: bool = False
    """A request came while no replica could serve it, and since then none could: wake the pool."""
    last_arrival_unix_seconds: float | None = None
    """When the last request came; None: none in this process's life."""
    backends: dict[str, BackendDemand] = Field(default={})
    """By backend."""
    budget: BudgetDemand | None = None
    """None: the route has none, it can't be kept, or an older gateway."""
    arrivals_total: int = 0
    """Requests that were let in. From version 2 on. Those that were neither answered nor refused, and are not there any
    more, were left by their clients before anything came."""
    work: dict[str, WorkDemand] = Field(default={})
    """By kind of backend, ``local`` and ``hosted``; a kind that has done nothing is left out. From version 2 on."""
    spilled: SpilledDemand = SpilledDemand()
    """Of the work of hosted APIs, what replicas would have done. From version 2 on."""
    refused_total: dict[str, int] = Field(default={})
    """Requests that were let in and that nobody served, by reason (``REFUSAL_REASONS``). From version 2 on."""
    engines: tuple[EngineDemand, ...] = ()
    """The replicas that this gateway can use and has lately asked for their gauges: once a second while it has requests
    at any of them. From version 2 on."""


class GatewayDemand(Compiled):
    """One line of the stream."""

    gateway: str
    """Identity of the gateway process: pod name and start time."""
    now_unix_seconds: float
    """The gateway's clock when the line was written."""
    version: int = 1
    """Of the gateway's side of this contract."""
    uptime_seconds: float = 0.0
    """How long the process has run: of a young one all that it has counted is recent. From version 2 on."""
    routes: tuple[RouteDemand, ...] = ()
    """All routes (first line) or those that changed."""
    refused: tuple[RefusedDocument, ...] | None = None
    """All documents that this gateway can't use now; None: as in the line before."""
    sends_engine_keys: bool = False
    """Whether it sends replicas the keys of ``compiled.LocalPool.api_keys``; one that does not say is of a version that
    sends none, and an engine that asked for its key would refuse it."""

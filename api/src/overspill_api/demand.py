"""Contract 2, gateway to operator: what the autoscaler needs to know of each route.

``GET /demand`` on the gateway's admin port answers one ``GatewayDemand`` as a line of JSON and stays open: after
the first line, which holds every route, each further line holds the routes that changed. A line is written at once
when a route starts to want replicas that it does not have (a first request at zero), else at most once a second,
and an empty one every 10 s, so that a reader knows a dead stream from a quiet one. Counters only grow during a
gateway process's life, which ``gateway`` identifies.
"""

from typing import Annotated, Literal

from pydantic import Field

from overspill_api.compiled import Compiled


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
    """``namespace/name``."""
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


class GatewayDemand(Compiled):
    """One line of the stream."""

    gateway: str
    """Identity of the gateway process: pod name and start time."""
    now_unix_seconds: float
    """The gateway's clock when the line was written."""
    routes: tuple[RouteDemand, ...] = ()
    """All routes (first line) or those that changed."""
    refused: tuple[RefusedDocument, ...] | None = None
    """All documents that this gateway can't use now; None: as in the line before."""
    sends_engine_keys: bool = False
    """Whether it sends replicas the keys of ``compiled.LocalPool.api_keys``; one that does not say is of a version that
    sends none, and an engine that asked for its key would refuse it."""

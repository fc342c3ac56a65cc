"""What the operator asks of the world.

Where engines run is behind two ports: ``Engines`` are replicas of a route, whatever they are made of
(``adapters.kubernetes_engines``), and an ``EngineMaker`` makes the engine that a plan wants (``app.kubernetes_parts``);
processes on one machine would be others. ``DemandSource`` is where it hears what the gateways say
(``adapters.gateway_streams``, ``adapters.prometheus_demand``). ``Statuses`` and ``Events`` tell people.
``Cluster`` is Kubernetes alone: eight calls on JSON objects, which ``adapters.api_server`` makes. Tests bring doubles.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from urllib.parse import quote

from overspill_operator.core.demand.recent_work import RecentWork
from overspill_operator.core.demand.traffic import Coverage, GatewayView
from overspill_operator.core.faults import Fault
from overspill_operator.core.json_object import Json as Json  # noqa: PLC0414 - the ports speak of it
from overspill_operator.core.objects import Metadata, RouteObject

P_contra = TypeVar("P_contra", contravariant=True)

_PATH_SYNTAX = frozenset("/?#%\\")


class PathError(ValueError):
    """A name would change the meaning of a path in the API: it would lead to another object, or to a list."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where it lies in the API."""

    group_version: str
    """``/api/v1`` or ``/apis/<group>/<version>``."""
    plural: str
    """Its name in paths."""

    def path(self, namespace: str = "", name: str | None = None, subresource: str | None = None) -> str:
        """Path of the collection (of all namespaces where none is given), of one object, or of a subresource of it.

        Raises PathError for a name or namespace that would lead elsewhere than below the collection.
        """
        parts = [self.group_version]
        if namespace or name is not None:
            parts += ["namespaces", _path_part("namespace", namespace)]
        parts.append(self.plural)
        if name is not None:
            parts.append(_path_part("name", name))
        if subresource is not None:
            parts.append(_path_part("subresource", subresource))
        return "/".join(parts)


def _path_part(what: str, text: str) -> str:
    """The text as one part of a path. Names of Kubernetes need no quoting; quoting is for what comes later."""
    if not text or text in (".", "..") or not text.isprintable() or not _PATH_SYNTAX.isdisjoint(text):
        raise PathError(f"{text!r} can't be the {what} of an object: write a name of Kubernetes, such as my-secret")
    return quote(text, safe="")


DEPLOYMENTS = Resource("/apis/apps/v1", "deployments")
SERVICES = Resource("/api/v1", "services")
SECRETS = Resource("/api/v1", "secrets")
PODS = Resource("/api/v1", "pods")
CLAIMS = Resource("/api/v1", "persistentvolumeclaims")
NETWORK_POLICIES = Resource("/apis/networking.k8s.io/v1", "networkpolicies")
DISRUPTION_BUDGETS = Resource("/apis/policy/v1", "poddisruptionbudgets")
ENDPOINT_SLICES = Resource("/apis/discovery.k8s.io/v1", "endpointslices")
LEASES = Resource("/apis/coordination.k8s.io/v1", "leases")
POD_EVENTS = Resource("/api/v1", "events")
"""In the older group: there Events can be selected by the object that they are about in every Kubernetes."""
EVENTS = Resource("/apis/events.k8s.io/v1", "events")
ACCESS_REVIEWS = Resource("/apis/authorization.k8s.io/v1", "selfsubjectaccessreviews")
MODEL_ROUTES = Resource("/apis/overspill.dev/v1alpha1", "modelroutes")
CONSUMERS = Resource("/apis/overspill.dev/v1alpha1", "consumers")


class ClusterError(Exception):
    """The API server refused, or could not be reached (status 0)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def is_answer(self) -> bool:
        """Whether the API server has answered at all: its words are worth telling, whatever the status.

        A template with a field that no pod has gets 500, one with a value of another type 400, a quota 403.
        """
        return self.status != 0

    @property
    def may_pass(self) -> bool:
        """Whether trying again unchanged may well succeed: a conflict, too many requests, a fault of the server."""
        return self.status in (0, 408, 409, 429) or self.status >= 500


class NotOwnedError(ClusterError):
    """There is an object of the name already, and it is somebody else's."""

    def __init__(self, message: str) -> None:
        super().__init__(409, "NotOwned", message)


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer to a list."""

    items: tuple[Json, ...]
    """Objects in it."""
    resource_version: str
    """From where to watch on."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change."""

    type: str
    """ADDED, MODIFIED, DELETED or BOOKMARK."""
    object: Json
    """The object after it (before it, where it was deleted)."""


class Cluster(Protocol):
    """An API server. Every call raises ClusterError where it fails."""

    async def get(self, path: str) -> Json | None:
        """The object, or None where there is none."""

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", metadata_only: bool = False, fresh: bool = False
    ) -> Listing:
        """The objects of a collection; ``fresh``: not from a cache that may be behind."""

    def watch(self, path: str, *, resource_version: str, labels: str = "") -> AsyncIterator[WatchEvent]:
        """Changes since ``resource_version``, until the server ends the watch. A 410 asks for a new list."""

    async def apply(self, path: str, manifest: Json, *, force: bool = True, dry_run: bool = False) -> Json:
        """Server-side apply with this operator's field manager; the object after it.

        ``force``: also over fields that others have set; ``dry_run``: only say what would be.
        """

    async def merge_patch(self, path: str, patch: Json) -> Json:
        """A JSON merge patch; the object after it."""

    async def create(self, path: str, manifest: Json) -> Json:
        """A new object in a collection."""

    async def replace(self, path: str, manifest: Json) -> Json:
        """Another content; with a resourceVersion in it, only where that is the current one."""

    async def delete(self, path: str, *, uid: str = "") -> None:
        """Away with it; that it is not there (or is another one than ``uid``) is no error."""


class DemandSource(Protocol):
    """Where what the gateways say is known: their streams, or Prometheus."""

    @property
    def views(self) -> Mapping[str, GatewayView]:
        """What each has said, by its address."""

    @property
    def work(self) -> RecentWork:
        """What was done lately, by what they have counted."""

    @property
    def reported(self) -> Coverage:
        """How much of the demand status says is known."""

    @property
    def expected(self) -> int:
        """Gateways that there are."""

    @property
    def starting(self) -> bool:
        """Whether this process has only just begun to listen."""

    def unheard(self, now_unix: float) -> int:
        """Gateways that there are and that are silent."""

    def forget(self, key: str) -> None:
        """A route is gone: what was said of it is not said of the next one of its name."""

    @property
    def trouble(self) -> str:
        """Why nothing is known, where the source itself is what fails; empty: it does not."""


class EngineError(Exception):
    """What was asked of an engine was refused, or nobody was there to do it: the next reconcile tries again."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """Replicas of one route's engine."""

    wanted: int | None
    """How many there are to be, as was written last; None: nobody has said."""
    ready: int = 0
    """How many can answer."""
    ready_since_unix: float | None = None
    """Since when the engine as a whole has been available; None: it is not, or nobody knows."""


class Engines(Protocol):
    """Engines of routes, wherever they run."""

    @property
    def are_known(self) -> bool:
        """Whether all that there are have been seen: nothing is decided before."""

    def replicas(self, route: RouteObject) -> Replicas | None:
        """The route's replicas, with what was just written; None: it has no engine."""

    async def set_replicas(self, route: RouteObject, number: int) -> None:
        """There shall be so many from now on. Raises EngineError. A route without an engine has none afterwards."""


@dataclass(slots=True)
class Outcome:
    """What came of carrying out a plan."""

    faults: list[Fault] = field(default_factory=list)
    """What is refused, to be told."""
    unreached: Exception | None = None
    """The last call that got no answer, for the queue's back-off."""
    retry_seconds: float | None = None
    """When to try again; None: nothing was refused."""
    engine_hash: str | None = None
    """What the engine shall be made from; None: there shall be none, or it is not known."""
    template_generation: int | None = None
    """With which generation of the engine what its replicas are made from last changed; None: it did not since this
    process began."""


class EngineMaker(Protocol[P_contra]):
    """Makes engines as planned; what hinders is noted in the outcome, and hinders nothing else."""

    async def make(self, route: RouteObject, engine: P_contra, outcome: Outcome) -> None:
        """Make and change what shall be there."""

    async def take_away(self, route: RouteObject, engine: P_contra, outcome: Outcome) -> None:
        """What shall not be there any more goes, once the gateways do not speak of it."""

    async def forget(self, key: str, is_orphan: Callable[[Json | None], bool]) -> None:
        """The route of this key is gone: what was made of it goes, where it is nobody else's (``is_orphan``)."""


class DocumentWriter(Protocol):
    """Puts compiled documents where the gateways find them."""

    async def write(self, route: RouteObject, document: bytes, outcome: Outcome) -> None:
        """The document of a route; what hinders is noted in the outcome."""


class Events(Protocol):
    """Tells people of what has happened to an object; it does not wait, and what cannot be told is given up."""

    def record(self, kind: str, meta: Metadata, *, warning: bool, reason: str, note: str, action: str) -> None:
        """Tell it: ``reason`` for programs, ``note`` for people."""


class Statuses(Protocol):
    """Where what is so of an object is written down for people and programs."""

    async def report(self, kind: str, meta: Metadata, status: Json) -> Json | None:
        """Write the whole status of a ModelRoute or Consumer; what was written, or None where the object is gone.

        Raises ClusterError where it can't be written now.
        """

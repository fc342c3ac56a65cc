"""Everything that reconciling reads and acts through, put together once by ``process``."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from overspill_api.names import engine_name
from overspill_api.profile import Profile
from overspill_operator.adapters.event_recorder import EventRecorder
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.applier import Applier
from overspill_operator.app.creation_slots import CreationSlots
from overspill_operator.app.diagnosis import Diagnosis
from overspill_operator.app.engine_keys import EngineKeys
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.scaler import Scaler
from overspill_operator.app.secret_reader import SecretReader
from overspill_operator.app.tenancy import Tenancy
from overspill_operator.app.work_queue import WorkQueue
from overspill_operator.clock import Clock
from overspill_operator.core.engine_access import EngineAccess
from overspill_operator.core.manifests import cache_claim_name
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.ownership import is_owned
from overspill_operator.ports import Cluster, Json


@dataclass(frozen=True, slots=True)
class Caches:
    """What the operator has made, as the API server has it."""

    deployments: WatchCache
    """Engines."""
    services: WatchCache
    """Their Services."""
    claims: WatchCache
    """Their caches."""
    budgets: WatchCache
    """What a drain must leave of them."""
    policies: WatchCache
    """Who may reach them."""
    compiled: WatchCache
    """Compiled documents."""

    def engine(self, route: RouteObject) -> Json | None:
        """The Deployment of a route, where there is one that is its own."""
        return _own(self.deployments, route, engine_name(route.meta.name))

    def claim(self, route: RouteObject) -> Json | None:
        """The claim of a route's cache, where there is one that is its own."""
        return _own(self.claims, route, cache_claim_name(route.meta.name))

    @property
    def all(self) -> tuple[WatchCache, ...]:
        """Each of them."""
        return (self.deployments, self.services, self.claims, self.budgets, self.policies, self.compiled)

    async def synced(self) -> None:
        """Wait until each has been listed."""
        await asyncio.gather(*(cache.synced.wait() for cache in self.all))


@dataclass(frozen=True, slots=True)
class World:
    """The parts."""

    release_namespace: str
    """Where compiled documents lie."""
    watched: tuple[str, ...]
    """Namespaces of the release; none: all."""
    tenancy: Tenancy
    """Whether a namespace is the release's."""
    engine_keys: EngineKeys
    """Keys of engines."""
    engine_access: EngineAccess | None
    """Who may reach engines; None: they get no NetworkPolicy."""
    url: str
    """``status.url`` of every route."""
    cluster: Cluster
    """The API server."""
    caches: Caches
    """What the operator has made."""
    routes: Routes
    """ModelRoutes."""
    consumers: Consumers
    """Consumers."""
    gateways: GatewayStreams
    """What the gateways say."""
    scaler: Scaler
    """Numbers of replicas."""
    secrets: SecretReader
    """Secrets that routes name."""
    events: EventRecorder
    """Kubernetes Events."""
    applier: Applier
    """Server-side apply."""
    slots: CreationSlots
    """Engines on their way."""
    diagnosis: Diagnosis
    """Why engines do not start."""
    queue: WorkQueue
    """What is to be reconciled."""
    profiles: Callable[[], Mapping[str, Profile]]
    """Hardware profiles as they are now."""
    clock: Clock
    """The time."""


def _own(cache: WatchCache, route: RouteObject, name: str) -> Json | None:
    live = cache.get(route.meta.namespace, name)
    return live if is_owned(live, route.meta.uid) else None

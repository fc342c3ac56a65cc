"""The parts of a leader, put together: who tells whom of what. Starting and ending them is ``process``."""

import logging
import random
from base64 import b64decode
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

from overspill_api.names import COMPILED_KEY, LABEL_COMPILED, LABEL_MANAGED_BY, LABEL_ROUTE, MANAGED_BY
from overspill_operator.adapters.engine_scraper import EngineScraper
from overspill_operator.adapters.event_recorder import EventRecorder
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.adapters.kubernetes_engines import KubernetesEngines
from overspill_operator.adapters.own_deployment import OwnDeployment
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.applier import Applier
from overspill_operator.app.consumer_reconciler import CONSUMER, ConsumerReconciler
from overspill_operator.app.creation_slots import CreationSlots
from overspill_operator.app.diagnosis import Diagnosis
from overspill_operator.app.engine_keys import EngineKeys
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.pepper import keep_pepper
from overspill_operator.app.route_reconciler import RouteReconciler
from overspill_operator.app.route_teller import ROUTE, RouteTeller
from overspill_operator.app.scaler import Scaler
from overspill_operator.app.secret_reader import SecretReader
from overspill_operator.app.tenancy import Tenancy
from overspill_operator.app.work_queue import Key, WorkQueue
from overspill_operator.app.world import Caches, World
from overspill_operator.clock import Clock
from overspill_operator.core import in_force
from overspill_operator.core.engine_access import EngineAccess
from overspill_operator.core.engine_state import engine_state, is_settled
from overspill_operator.ports import (
    CLAIMS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    ENDPOINT_SLICES,
    NETWORK_POLICIES,
    SECRETS,
    SERVICES,
    Cluster,
    Json,
)
from overspill_operator.profiles import CHECK_EVERY_SECONDS, Profiles
from overspill_operator.settings import Settings

logger = logging.getLogger(__name__)

WORKERS = 6
"""Reconciles at a time: enough to keep the API server busy, few enough that a wake's call is served at once."""

SLOTS_EVERY_SECONDS = 1.0
COUNTS_SECONDS = 1.0


class Parts:
    """The parts of a leader, put together."""

    def __init__(self, settings: Settings, cluster: Cluster, clock: Clock) -> None:
        self._settings = settings
        queue = WorkQueue(self._reconcile, clock, workers=WORKERS, jitter=random.random)
        self._queue = queue
        self._engines: dict[str, tuple[object, ...]] = {}
        routes = Routes(self._on_route)
        self.gateways = GatewayStreams(
            clock, self._on_demand, self._all_routes, self._on_refused, fixed=settings.gateway_addresses
        )
        self.slices = WatchCache(
            cluster,
            ENDPOINT_SLICES,
            clock=clock,
            namespace=settings.namespace,
            labels=f"kubernetes.io/service-name={settings.gateway_admin_service}",
            on_change=self.gateways.on_slice,
        )
        engines = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_ROUTE}"
        watch = partial(WatchCache, cluster, clock=clock, labels=engines, namespaces=settings.watched_namespaces)
        caches = Caches(
            deployments=watch(DEPLOYMENTS, on_change=self._on_engine),
            services=watch(SERVICES, on_change=self._on_child),
            claims=watch(CLAIMS, on_change=self._on_child),
            budgets=watch(DISRUPTION_BUDGETS, on_change=self._on_child),
            policies=watch(NETWORK_POLICIES, on_change=self._on_child),
            compiled=WatchCache(
                cluster,
                SECRETS,
                clock=clock,
                namespace=settings.namespace,
                labels=LABEL_COMPILED,
                on_change=self._on_compiled,
            ),
        )
        own = OwnDeployment(cluster, settings.namespace, settings.deployment, settings.pod_name, clock)
        self.profiles = Profiles(settings.profiles, self._all_routes)
        self.scraper = EngineScraper(cluster, clock, self._routes_to_scrape, self._on_reading)
        events = EventRecorder(cluster, settings.pod_name, clock)
        scaler = Scaler(
            KubernetesEngines(cluster, caches.deployments),
            clock,
            routes,
            self.gateways,
            self.scraper,
            events,
            on_decided=lambda key: queue.add((ROUTE, key)),
        )
        secrets = SecretReader(cluster, clock, random.random, lambda key: queue.add((ROUTE, key)))
        access = EngineAccess(settings.namespace, settings.engine_metrics_from)
        self.world = World(
            release_namespace=settings.namespace,
            watched=settings.watched_namespaces,
            tenancy=Tenancy(cluster, clock, settings.namespace, settings.watched_namespaces, own),
            engine_keys=EngineKeys(cluster, secrets, settings.namespace),
            engine_access=access if settings.engine_network_policies else None,
            url=f"{settings.gateway_url}/v1",
            cluster=cluster,
            caches=caches,
            routes=routes,
            consumers=Consumers(lambda key: queue.add((CONSUMER, key))),
            gateways=self.gateways,
            scaler=scaler,
            secrets=secrets,
            events=events,
            applier=Applier(cluster, clock),
            slots=CreationSlots(lambda key: queue.add((ROUTE, key))),
            diagnosis=Diagnosis(cluster, clock, self._engine_of, lambda key: queue.add((ROUTE, key))),
            queue=queue,
            profiles=self.profiles.current,
            clock=clock,
        )
        self.profiles.read()
        self._teller = RouteTeller(self.world)
        self._route_reconciler = RouteReconciler(self.world, self._teller)
        self._consumer_reconciler = ConsumerReconciler(self.world)

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Everything that runs beside the queue."""
        world = self.world
        for cache in (*world.caches.all, self.slices):
            yield f"watch {cache.resource.plural}", cache.run()
        yield "gateways", self.gateways.run()
        yield "engines", self.scraper.run()
        yield "events", world.events.run()
        yield "secrets", world.secrets.run()
        yield "diagnosis", world.diagnosis.run()
        yield "slots", self._expire_slots()
        yield "profiles", self._follow_profiles()
        if self._settings.pepper_secret:
            yield (
                "pepper",
                keep_pepper(world.cluster, world.clock, self._settings.namespace, self._settings.pepper_secret),
            )

    async def _reconcile(self, key: Key) -> None:
        kind, name = key
        if kind == ROUTE:
            await self._route_reconciler.reconcile(name)
        else:
            await self._consumer_reconciler.reconcile(name)

    def _on_demand(self, keys: list[str], received: float) -> None:
        for key in keys:
            try:
                self.world.scaler.evaluate(key, received)
                self._teller.note_demand(key)
            except Exception:
                # A fault of one route must not end the stream that speaks of all.
                logger.exception("demand not acted upon", extra={"route": key})

    def _on_refused(self, documents: set[tuple[str, str]]) -> None:
        """Gateways have begun or ceased to refuse documents: status is to say so."""
        for kind, key in documents:
            self._queue.add((ROUTE if kind == "route" else CONSUMER, key))

    def _on_route(self, key: str) -> None:
        self._queue.add((ROUTE, key))
        for consumer in self.world.consumers.naming(key.partition("/")[0]):
            self._queue.add((CONSUMER, consumer), background=True)

    def _on_reading(self, key: str) -> None:
        self.world.scaler.evaluate(key)

    def _on_engine(self, key: str, live: Json | None) -> None:
        route = route_of_child(key, live)
        if live is None or is_settled(live):
            self.world.slots.release(route)
        before, now = self._engines.get(key), _signature(live)
        self._engines[key] = now
        if live is None:
            del self._engines[key]
        if before == now or not self.world.caches.deployments.synced.is_set():
            return
        if before is not None and before[1:] == now[1:]:
            # Replicas that come into being: status shows them, nothing waits for it.
            self._queue.add_after((ROUTE, route), COUNTS_SECONDS, background=True)
            return
        self.world.scaler.evaluate(route)
        self._queue.add((ROUTE, route))

    def _on_child(self, key: str, live: Json | None) -> None:
        self._queue.add((ROUTE, route_of_child(key, live)))

    def _on_compiled(self, key: str, live: Json | None) -> None:
        kind, _, source = key.partition("/")[2].partition(".")
        namespace, _, name = source.partition(".")
        if kind == "route":
            text = (live.get("data") or {}).get(COMPILED_KEY) if live else None
            self.world.routes.note_in_force(f"{namespace}/{name}", in_force.names(b64decode(text) if text else None))
        if live is None or self.world.caches.compiled.synced.is_set():
            self._queue.add((ROUTE if kind == "route" else CONSUMER, f"{namespace}/{name}"))

    def _all_routes(self) -> None:
        for route in self.world.routes:
            self._queue.add((ROUTE, route.key), background=True)

    def _engine_of(self, key: str) -> Json | None:
        route = self.world.routes.get(key)
        return self.world.caches.engine(route) if route else None

    def _routes_to_scrape(self) -> list[str]:
        return [route.key for route in self.world.routes if self.world.scaler.wants_queue_depth(route)]

    async def _expire_slots(self) -> None:
        while True:
            await self.world.clock.sleep(SLOTS_EVERY_SECONDS)
            self.world.slots.expire(self.world.clock.monotonic())

    async def _follow_profiles(self) -> None:
        while True:
            await self.world.clock.sleep(CHECK_EVERY_SECONDS)
            self.profiles.read()


def route_of_child(key: str, live: Json | None) -> str:
    """``namespace/name`` of the route that a child belongs to; one that is gone (None) is told by its name alone."""
    namespace, _, name = key.partition("/")
    if live is not None:
        return f"{namespace}/{live['metadata']['labels'][LABEL_ROUTE]}"
    # One ending only: the engine of a route "x-cache" is "x-cache-engine".
    return f"{namespace}/{name.removesuffix('-engine') if name.endswith('-engine') else name.removesuffix('-cache')}"


def _signature(live: Json | None) -> tuple[object, ...]:
    """What of a Deployment matters here; the first item alone can wait."""
    state = engine_state(live)
    meta = live["metadata"] if live else {}
    written = (meta.get("uid"), meta.get("generation"), meta.get("labels"), meta.get("annotations"))
    owners = meta.get("ownerReferences")
    counts = state.replicas, state.updated, state.is_observed
    return counts, state.exists, state.ready, state.ready_since_unix, state.refused, written, owners

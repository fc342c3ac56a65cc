"""The parts of a leader, put together: who tells whom of what. Starting and ending them is ``process``."""

import logging
import random
from base64 import b64decode
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from overspill_api.names import COMPILED_KEY, LABEL_COMPILED, LABEL_MANAGED_BY, LABEL_ROUTE, MANAGED_BY
from overspill_operator.adapters import telemetry
from overspill_operator.adapters.event_recorder import EventRecorder
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.adapters.kubernetes_engines import KubernetesEngines
from overspill_operator.adapters.kubernetes_statuses import KubernetesStatuses
from overspill_operator.adapters.own_deployment import OwnDeployment
from overspill_operator.adapters.prometheus_demand import PrometheusDemand, connect
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.applier import Applier
from overspill_operator.app.cache_keeper import CacheKeeper
from overspill_operator.app.caches import Caches
from overspill_operator.app.compiled_documents import CompiledDocuments
from overspill_operator.app.consumer_reconciler import CONSUMER, ConsumerReconciler
from overspill_operator.app.creation_slots import CreationSlots
from overspill_operator.app.diagnosis import Diagnosis
from overspill_operator.app.engine_keys import EngineKeys
from overspill_operator.app.kubernetes_parts import KubernetesParts
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.pepper import keep_pepper
from overspill_operator.app.route_observer import RouteObserver
from overspill_operator.app.route_parts import RouteParts
from overspill_operator.app.route_reconciler import RouteReconciler
from overspill_operator.app.route_teller import ROUTE, RouteTeller
from overspill_operator.app.scaler import Scaler
from overspill_operator.app.secret_reader import SecretReader
from overspill_operator.app.start_looks import StartLooks
from overspill_operator.app.start_record import StartRecord
from overspill_operator.app.sweep import Sweep
from overspill_operator.app.tenancy import Tenancy
from overspill_operator.app.work_queue import Key, WorkQueue
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
        self._clock = clock
        self._cluster = cluster
        self.queue = queue = WorkQueue(self.reconcile, clock, workers=WORKERS, jitter=random.random)
        self._engines: dict[str, tuple[object, ...]] = {}
        self.routes = Routes(self._on_route)
        self.consumers = Consumers(lambda key: queue.add((CONSUMER, key)))
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
        self.caches = self._watched(settings)
        self.profiles = Profiles(settings.profiles, self._all_routes)
        self._events = EventRecorder(cluster, settings.pod_name, clock)
        self._secrets = SecretReader(cluster, clock, random.random, self._look_at_route)
        self._slots = CreationSlots(self._look_at_route)
        self._diagnosis = Diagnosis(cluster, clock, self._engine_of, self._look_at_route)
        self._starts = StartRecord(self._events, clock, self.gateways.work, self._look_at_route)
        self._start_looks = StartLooks(cluster, clock, self.routes, self._engine_of, self._starts)
        self._prometheus = self._prometheus_demand(settings)
        self._scaler = Scaler(
            KubernetesEngines(cluster, self.caches.deployments),
            clock,
            self.routes,
            self._prometheus or self.gateways,
            self._events,
            on_decided=self._look_at_route,
            load_seconds=self._starts.expected_seconds,
            unschedulable=self._diagnosis.unschedulable,
        )
        telemetry.ROUTES.source = self._scaler.figures
        self.profiles.read()
        self._reconcilers(settings)

    def _prometheus_demand(self, settings: Settings) -> PrometheusDemand | None:
        """The source that scaling goes by in place of the streams; None: it goes by them."""
        if not settings.prometheus_url:
            return None
        return PrometheusDemand(
            connect(settings.prometheus_url, self._clock),
            self._clock,
            matchers=settings.prometheus_matchers,
            expected=lambda: self.gateways.expected,
            on_demand=self._on_scrape,
            on_coverage=self._all_routes,
            on_forget=self.gateways.forget,
        )

    def _watched(self, settings: Settings) -> Caches:
        engines = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_ROUTE}"
        cache = partial(WatchCache, self._cluster, clock=self._clock)
        watch = partial(cache, labels=engines, namespaces=settings.watched_namespaces)
        return Caches(
            deployments=watch(DEPLOYMENTS, on_change=self._on_engine),
            services=watch(SERVICES, on_change=self._on_child),
            claims=watch(CLAIMS, on_change=self._on_child),
            budgets=watch(DISRUPTION_BUDGETS, on_change=self._on_child),
            policies=watch(NETWORK_POLICIES, on_change=self._on_child),
            compiled=cache(SECRETS, namespace=settings.namespace, labels=LABEL_COMPILED, on_change=self._on_compiled),
        )

    def _reconcilers(self, settings: Settings) -> None:
        """What acts: each part with what it uses, and nothing else."""
        cluster, clock, queue, caches = self._cluster, self._clock, self.queue, self.caches
        own = OwnDeployment(cluster, settings.namespace, settings.deployment, settings.pod_name, clock)
        tenancy = Tenancy(cluster, clock, settings.namespace, settings.watched_namespaces, own)
        access = EngineAccess(settings.namespace, settings.engine_metrics_from)
        applier = Applier(cluster, clock)
        documents = CompiledDocuments(applier, caches.compiled, settings.namespace)
        keeper = CacheKeeper(cluster, clock, applier, caches.claims, queue, self._events)
        statuses = KubernetesStatuses(cluster, {ROUTE: self.routes.wrote, CONSUMER: self.consumers.wrote})
        made = KubernetesParts(
            caches=caches,
            applier=applier,
            scaler=self._scaler,
            slots=self._slots,
            keeper=keeper,
            events=self._events,
            release_namespace=settings.namespace,
            clock=clock,
        )
        self._teller = RouteTeller(
            routes=self.routes,
            engine_of=made.engine,
            scaler=self._scaler,
            gateways=self.gateways,
            diagnosis=self._diagnosis,
            retained_cache=keeper.note,
            scaling_of=self._scaler.facts,
            load_time_of=self._starts.status,
            queue=queue,
            statuses=statuses,
            events=self._events,
            url=f"{settings.gateway_url}/v1",
            clock=clock,
        )
        observer = RouteObserver(
            routes=self.routes,
            engine_of=caches.engine,
            claim_of=caches.claim,
            documents=documents,
            scaler=self._scaler,
            key_senders=lambda: self.gateways.key_senders,
            diagnosis=self._diagnosis,
            secrets=self._secrets,
            engine_keys=EngineKeys(cluster, self._secrets, settings.namespace),
            engine_access=access if settings.engine_network_policies else None,
            profiles=self.profiles.current,
            queue=queue,
            clock=clock,
        )
        self._route_reconciler = RouteReconciler(
            observer=observer,
            parts=RouteParts(made, made),
            teller=self._teller,
            routes=self.routes,
            documents=documents,
            scaler=self._scaler,
            diagnosis=self._diagnosis,
            secrets=self._secrets,
            tenancy=tenancy,
            queue=queue,
            cluster=cluster,
        )
        self._consumer_reconciler = ConsumerReconciler(
            consumers=self.consumers,
            routes=self.routes,
            documents=documents,
            gateways=self.gateways,
            tenancy=tenancy,
            queue=queue,
            statuses=statuses,
            events=self._events,
            clock=clock,
        )

    def sweep(self, on_trouble: Callable[[str], None]) -> Sweep:
        """The resync; ``on_trouble`` gets why objects cannot be listed, or nothing."""
        return Sweep(
            cluster=self._cluster,
            clock=self._clock,
            caches=self.caches,
            routes=self.routes,
            consumers=self.consumers,
            queue=self.queue,
            watched=self._settings.watched_namespaces,
            jitter=random.random,
            on_trouble=on_trouble,
        )

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Everything that runs beside the queue."""
        for cache in (*self.caches.all, self.slices):
            yield f"watch {cache.resource.plural}", cache.run()
        yield "gateways", self.gateways.run()
        yield "scaling", self._scaler.run()
        if self._prometheus is not None:
            yield "prometheus", self._prometheus.run()
        yield "events", self._events.run()
        yield "secrets", self._secrets.run()
        yield "diagnosis", self._diagnosis.run()
        yield "starts", self._start_looks.run()
        yield "slots", self._expire_slots()
        yield "profiles", self._follow_profiles()
        if self._settings.pepper_secret:
            yield (
                "pepper",
                keep_pepper(self._cluster, self._clock, self._settings.namespace, self._settings.pepper_secret),
            )

    async def reconcile(self, key: Key) -> None:
        """One object: what is made of it and said of it becomes what it says. Raises what the queue is to try again."""
        kind, name = key
        if kind == ROUTE:
            await self._route_reconciler.reconcile(name)
        else:
            await self._consumer_reconciler.reconcile(name)

    def _look_at_route(self, key: str) -> None:
        self.queue.add((ROUTE, key))

    def _on_demand(self, keys: list[str], received: float) -> None:
        for key in keys:
            try:
                if self._prometheus is None:
                    self._scaler.heard(key, received)
                self._teller.note_demand(key)
                self._starts.note_demand(key)
            except Exception:
                # A fault of one route must not end the stream that speaks of all.
                logger.exception("demand not acted upon", extra={"route": key})

    def _on_scrape(self, keys: list[str], received: float) -> None:
        for key in keys:
            try:
                self._scaler.heard(key, received)
            except Exception:
                # As above: Prometheus speaks of all routes as well.
                logger.exception("demand not acted upon", extra={"route": key})

    def _on_refused(self, documents: set[tuple[str, str]]) -> None:
        """Gateways have begun or ceased to refuse documents: status is to say so."""
        for kind, key in documents:
            self.queue.add((ROUTE if kind == "route" else CONSUMER, key))

    def _on_route(self, key: str) -> None:
        self.queue.add((ROUTE, key))
        if self.routes.get(key) is None:
            self._start_looks.forget(key)
        for consumer in self.consumers.naming(key.partition("/")[0]):
            self.queue.add((CONSUMER, consumer), background=True)

    def _on_engine(self, key: str, live: Json | None) -> None:
        route = route_of_child(key, live)
        if live is None or is_settled(live):
            self._slots.release(route)
        before, now = self._engines.get(key), _signature(live)
        self._engines[key] = now
        self._start_looks.note(route, engine_state(live))
        if live is None:
            del self._engines[key]
        if before == now or not self.caches.deployments.synced.is_set():
            return
        if before is not None and before[1:] == now[1:]:
            # Replicas that come into being: status shows them, nothing waits for it.
            self.queue.add_after((ROUTE, route), COUNTS_SECONDS, background=True)
            return
        self._scaler.evaluate(route)
        self.queue.add((ROUTE, route))

    def _on_child(self, key: str, live: Json | None) -> None:
        self.queue.add((ROUTE, route_of_child(key, live)))

    def _on_compiled(self, key: str, live: Json | None) -> None:
        kind, _, source = key.partition("/")[2].partition(".")
        namespace, _, name = source.partition(".")
        if kind == "route":
            text = (live.get("data") or {}).get(COMPILED_KEY) if live else None
            self.routes.note_in_force(f"{namespace}/{name}", in_force.names(b64decode(text) if text else None))
        if live is None or self.caches.compiled.synced.is_set():
            self.queue.add((ROUTE if kind == "route" else CONSUMER, f"{namespace}/{name}"))

    def _all_routes(self) -> None:
        for route in self.routes:
            self.queue.add((ROUTE, route.key), background=True)

    def _engine_of(self, key: str) -> Json | None:
        route = self.routes.get(key)
        return self.caches.engine(route) if route else None

    async def _expire_slots(self) -> None:
        while True:
            await self._clock.sleep(SLOTS_EVERY_SECONDS)
            self._slots.expire(self._clock.monotonic())

    async def _follow_profiles(self) -> None:
        while True:
            await self._clock.sleep(CHECK_EVERY_SECONDS)
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

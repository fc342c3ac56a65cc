"""The reconcile of one ModelRoute: observe, plan (``core.plan``), carry out, say so in status."""

import json
from base64 import b64decode
from collections.abc import Mapping
from time import monotonic
from typing import Any

from overspill_api.names import COMPILED_KEY, compiled_route_secret_name, engine_name
from overspill_operator.adapters import telemetry
from overspill_operator.app.secret_reader import decode
from overspill_operator.app.world import World
from overspill_operator.core.engine_state import EngineState, engine_state
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.manifests import ANNOTATION_HASH, Manifest, cache_claim_name, compiled_secret
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import RoutePlan, RouteWorld, plan_route
from overspill_operator.core.route_status import TrafficFigures, status_document
from overspill_operator.core.spend import add_reports, read_spend
from overspill_operator.core.status_changes import same, transitions, urgent_part
from overspill_operator.core.traffic import Coverage, costs, demand_of, has_traffic, served_by
from overspill_operator.ports import MODEL_ROUTES, ClusterError, Json

ROUTE = "ModelRoute"
"""Kind of the keys in the queue."""

STATUS_PAUSE_SECONDS = 2.0
"""Between two writes of one status that nobody waits for."""

TRAFFIC_SECONDS = 30.0
"""How often figures of traffic and spend are written."""

REFUSAL_SECONDS = 30.0
"""When a refused engine is tried again."""


class RouteReconciler:
    """Reconciles ModelRoutes."""

    def __init__(self, world: World) -> None:
        """In ``world``."""
        self._world = world
        self._written: dict[str, float] = {}
        self._sampled: dict[str, float] = {}

    async def reconcile(self, key: str) -> None:
        """Make the world as the route says, from whatever it is now."""
        route = self._world.routes.get(key)
        if route is None:
            await self._remove(key)
            return
        seen = await self._observe(route)
        plan = plan_route(route, seen)
        faults = plan.faults
        if not any(fault.blocks for fault in faults):
            profile = route.spec.self_hosted.profile if route.spec and route.spec.self_hosted else ""
            self._world.scaler.accept(route, seen.profiles.get(profile))
            refusal = await self._carry_out(route, plan)
            faults += (refusal,) if refusal else ()
        if plan.drop_document:
            await self._drop_document(key)
        await self._say(route, faults, frozenset(seen.api_keys))

    def note_traffic(self, key: str) -> None:
        """A gateway has spoken of the route: its figures are due within a while, if there are any."""
        if not has_traffic(key, self._world.gateways.views.values()):
            return
        due = self._sampled.get(key, 0.0) + TRAFFIC_SECONDS - monotonic()
        self._world.queue.add_after((ROUTE, key), max(1.0, due), background=True)

    async def _observe(self, route: RouteObject) -> RouteWorld:
        world, meta, spec = self._world, route.meta, route.spec
        api_keys: dict[str, str | None] = {}
        missing: dict[str, str] = {}
        source_missing = False
        if spec:
            for index, entry in enumerate(spec.hosted):
                credentials = entry.credentials
                if credentials is None:
                    api_keys[entry.name] = None
                    continue
                data = await self._world.secrets.read(meta.namespace, credentials.secret_name, credentials.key)
                api_key = decode(data, credentials.key) if data is not None else None
                if api_key is None:
                    what = f"there is no Secret {credentials.secret_name!r} in this namespace; create it"
                    if data is not None:
                        what = f"Secret {credentials.secret_name!r} has no key {credentials.key!r} with text; add it"
                    self._look_again(route, credentials.secret_name)
                    missing[entry.name] = f"spec.hosted[{index}].credentials ({entry.name}): {what}."
                else:
                    api_keys[entry.name] = api_key
            if spec.self_hosted and spec.self_hosted.source_secret_name:
                name = spec.self_hosted.source_secret_name
                source_missing = await self._world.secrets.read(meta.namespace, name) is None
                if source_missing:
                    self._look_again(route, name)
        lost = world.routes.lost_names(route)
        return RouteWorld(
            profiles=world.profiles(),
            replicas=world.scaler.desired(route),
            may_wake=world.scaler.may_wake(route),
            lost_names=lost,
            api_keys=api_keys,
            missing_credentials=missing,
            source_secret_missing=source_missing,
            engine_exists=world.caches.deployments.get(meta.namespace, engine_name(meta.name)) is not None,
            live_claim=world.caches.claims.get(meta.namespace, cache_claim_name(meta.name)),
            compiled_names=self._compiled_names(route) if lost else frozenset(),
        )

    def _look_again(self, route: RouteObject, secret_name: str) -> None:
        """Reconcile again once a Secret that is missing may have come."""
        pause = self._world.secrets.seconds_until_due(route.meta.namespace, secret_name)
        self._world.queue.add_after((ROUTE, route.key), pause)

    async def _carry_out(self, route: RouteObject, plan: RoutePlan) -> Fault | None:
        """Apply what differs; a fault where the API server refuses the engine."""
        world, namespace = self._world, route.meta.namespace
        caches, applier = world.caches, world.applier
        try:
            if plan.claim:
                await applier.ensure(caches.claims, plan.claim)
            if plan.deployment:
                await self._apply_engine(route, plan.deployment)
            if plan.service:
                await applier.ensure(caches.services, plan.service)
        except ClusterError as error:
            if not error.is_refusal:
                raise
            world.queue.add_after((ROUTE, route.key), REFUSAL_SECONDS)
            return Fault(FaultReason.ENGINE_REFUSED, f"The API server refuses the engine: {error.message}.")
        if plan.remove_engine:
            await applier.remove(caches.deployments, namespace, engine_name(route.meta.name))
            await applier.remove(caches.services, namespace, engine_name(route.meta.name))
            world.slots.release(route.key)
        if plan.remove_claim:
            await applier.remove(caches.claims, namespace, cache_claim_name(route.meta.name))
        if plan.document is not None:
            name = compiled_route_secret_name(namespace, route.meta.name)
            secret = compiled_secret(world.release_namespace, name, "route", route.meta, plan.document)
            await applier.ensure(caches.compiled, secret)
        return None

    async def _apply_engine(self, route: RouteObject, desired: Manifest) -> None:
        """The Deployment, in its turn where it makes pods; the number of replicas is the one decided by now."""
        world, caches = self._world, self._world.caches
        desired["spec"]["replicas"] = world.scaler.desired(route)
        live = caches.deployments.get(route.meta.namespace, desired["metadata"]["name"])
        if live is not None and world.scaler.is_writing(route):
            return  # its number is on its way; once it is there, this comes again
        if not world.applier.is_due(caches.deployments, desired):
            return
        if _makes_pods(desired, live) and not world.slots.take(route.key, monotonic()):
            return
        answer = await world.applier.ensure(caches.deployments, desired)
        if answer["spec"].get("replicas") != world.scaler.desired(route):
            world.scaler.write(route)  # decided while the apply was under way

    async def _say(self, route: RouteObject, faults: tuple[Fault, ...], usable_hosted: frozenset[str]) -> None:
        world = self._world
        engine = engine_state(world.caches.deployments.get(route.meta.namespace, engine_name(route.meta.name)))
        scaling = world.scaler.facts(route)
        waiting = scaling is not None and engine.exists and scaling.desired > engine.ready
        problem = world.diagnosis.suspect(route.key, waiting=waiting)
        current = world.routes.get(route.key)
        if current is None or current.meta.generation != route.meta.generation:
            return  # there is a newer one, and it is in the queue
        traffic = self._traffic(current)
        document = status_document(
            current,
            faults=faults,
            engine=engine if scaling else EngineState(),
            problem=problem,
            scaling=scaling,
            usable_hosted=usable_hosted,
            traffic=traffic,
            decisions=world.scaler.decisions(route),
            url=world.url,
            now_unix=world.now_unix(),
        )
        if await self._write_status(current, document) and traffic:
            self._sampled[route.key] = monotonic()

    async def _write_status(self, route: RouteObject, document: Mapping[str, Any]) -> bool:
        """Write what has changed; false: it can wait, and will be looked at again."""
        world, before = self._world, route.status
        if same(before, document):
            return True
        if urgent_part(before) == urgent_part(document):
            pause = self._written.get(route.key, 0.0) + STATUS_PAUSE_SECONDS - monotonic()
            if pause > 0:
                world.queue.add_after((ROUTE, route.key), pause, background=True)
                return False
        path = MODEL_ROUTES.path(route.meta.namespace, route.meta.name, "status")
        try:
            with world.routes.writing(route.key):
                world.routes.wrote(await world.cluster.merge_patch(path, {"status": document}))
        except ClusterError as error:
            if error.status == 404:
                return True
            raise
        self._written[route.key] = monotonic()
        telemetry.STATUS_WRITES.inc()
        for condition, is_warning in transitions(before, document):
            world.events.record(
                ROUTE,
                route.meta,
                warning=is_warning,
                reason=condition["reason"],
                note=f"{condition['type']} is {condition['status']}. {condition['message']}",
                action="Reconcile",
            )
        return True

    def _traffic(self, route: RouteObject) -> TrafficFigures | None:
        """Fresh figures, every now and then; None: leave those that status has."""
        world, now = self._world, monotonic()
        views = [view for view in world.gateways.views.values() if has_traffic(route.key, [view])]
        due = now - self._sampled.get(route.key, -TRAFFIC_SECONDS) >= TRAFFIC_SECONDS
        if not views or not due:
            return None
        unix = world.now_unix()
        spend = read_spend(route.status)
        gone: frozenset[str] = frozenset()
        if world.gateways.coverage(unix) is Coverage.COMPLETE and not world.gateways.starting:
            gone = frozenset(entry.gateway for entry in spend.gateways) - world.gateways.identities
        demand = demand_of(route.key, views, 0, unix)
        return TrafficFigures(
            served_by=served_by(route.key, views),
            last_request_unix=demand.last_arrival_unix,
            spend=add_reports(spend, costs(route.key, views), gone),
        )

    def _compiled_names(self, route: RouteObject) -> frozenset[str]:
        """Model names in the document that the gateways have."""
        name = compiled_route_secret_name(route.meta.namespace, route.meta.name)
        live = self._world.caches.compiled.get(self._world.release_namespace, name)
        if live is None:
            return frozenset()
        document = json.loads(b64decode((live.get("data") or {}).get(COMPILED_KEY) or "e30="))
        return frozenset([document.get("model", ""), *document.get("aliases", ())])

    async def _remove(self, key: str) -> None:
        """The route is gone, and so shall be what was made of it.

        Kubernetes would collect what the route owns as well, once its collector knows the kind: up to a minute
        after the kind was installed.
        """
        world = self._world
        namespace, _, name = key.partition("/")
        await self._drop_document(key)
        for cache, child in (
            (world.caches.deployments, engine_name(name)),
            (world.caches.services, engine_name(name)),
            (world.caches.claims, cache_claim_name(name)),
        ):
            if world.routes.is_orphan(cache.get(namespace, child)):
                await world.applier.remove(cache, namespace, child)
            world.applier.forget(cache, namespace, child)
        world.scaler.forget(key)
        world.slots.release(key)
        world.diagnosis.suspect(key, waiting=False)
        world.queue.forget((ROUTE, key))
        self._written.pop(key, None)
        self._sampled.pop(key, None)

    async def _drop_document(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        secret = compiled_route_secret_name(namespace, name)
        await self._world.applier.remove(self._world.caches.compiled, self._world.release_namespace, secret)


def _makes_pods(desired: Manifest, live: Json | None) -> bool:
    """Whether applying sets the controllers to work on pods: a new engine or a new template, and not at zero."""
    if not desired["spec"]["replicas"]:
        return False
    if live is None:
        return True
    annotations = live["metadata"].get("annotations") or {}
    return bool(annotations.get(ANNOTATION_HASH) != desired["metadata"]["annotations"][ANNOTATION_HASH])

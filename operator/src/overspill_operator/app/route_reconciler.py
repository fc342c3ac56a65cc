"""The reconcile of one ModelRoute: observe, plan (``core.plan``), carry out, say so in status."""

from collections.abc import Mapping
from dataclasses import replace
from time import monotonic
from typing import Any

from overspill_api.modelroute import ModelRouteSpec
from overspill_api.names import compiled_route_secret_name, engine_name
from overspill_operator.adapters import telemetry
from overspill_operator.app.cache_keeper import CacheKeeper
from overspill_operator.app.route_observer import RouteObserver
from overspill_operator.app.route_parts import Outcome, RouteParts
from overspill_operator.app.world import World
from overspill_operator.core.engine_state import EngineState, engine_state
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.manifests import applied_hash, cache_claim_name
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import RoutePlan, RouteWorld, plan_route
from overspill_operator.core.rollout import seconds_of_patience
from overspill_operator.core.route_status import TrafficFigures, status_document
from overspill_operator.core.spend import add_reports, read_spend
from overspill_operator.core.status_changes import same, transitions, urgent_part
from overspill_operator.core.traffic import Coverage, costs, demand_of, has_traffic, served_by
from overspill_operator.ports import MODEL_ROUTES, ClusterError, Json

ROUTE = "ModelRoute"
"""Kind of the keys in the queue."""

STATUS_PAUSE_SECONDS = 2.0
"""Between two writes of one status that nobody waits for."""

SECRETS_SECONDS = 60.0
"""How often the Secrets of a spec that is in force instead of a broken one are looked at."""

TRAFFIC_SECONDS = 30.0
"""How often figures of traffic and spend are written."""


class RouteReconciler:
    """Reconciles ModelRoutes."""

    def __init__(self, world: World) -> None:
        """In ``world``."""
        self._world = world
        self._observer = RouteObserver(world)
        self._parts = RouteParts(world)
        self._keeper = CacheKeeper(world)
        self._written: dict[str, float] = {}
        self._sampled: dict[str, float] = {}

    async def reconcile(self, key: str) -> None:
        """Make the world as the route says, from whatever it is now."""
        route = self._world.routes.get(key)
        if route is None:
            await self._remove(key)
            return
        outcome = Outcome()
        try:
            seen = await self._observer.observe(route)
            plan = plan_route(route, seen)
            faults, usable = plan.faults, frozenset(seen.api_keys)
            if plan.drop_document:
                await self._drop_document(key)
            outcome = await self._carry_out(route, seen, plan)
        except ClusterError:
            raise
        except Exception as error:
            # Whatever is wrong with this process: the person hears of it, and the queue tries again.
            message = f"{type(error).__name__}: {error}; see the operator's log."
            await self._say(route, (Fault(FaultReason.INTERNAL_ERROR, message),), frozenset(), outcome)
            raise
        if outcome.retry_seconds is not None:
            self._world.queue.add_after((ROUTE, key), outcome.retry_seconds)
        await self._say(route, tuple(dict.fromkeys((*faults, *outcome.faults))), usable, outcome)
        if outcome.unreached:
            raise outcome.unreached

    async def _carry_out(self, route: RouteObject, seen: RouteWorld, plan: RoutePlan) -> Outcome:
        """Bring the spec into force, or keep the last good one in force where there is a fault in this one."""
        in_force: RouteObject | None = route
        if plan.is_blocked:
            in_force = self._observer.last_good(route)
            if in_force is None:
                return Outcome()
            seen = await self._observer.observe(in_force)
            plan = plan_route(in_force, seen)
            # The sweep knows the Secrets that the spec names, not those that the one in force does.
            self._world.queue.add_after((ROUTE, route.key), SECRETS_SECONDS, background=True)
        if in_force is None or in_force.spec is None or plan.is_blocked:
            return Outcome()
        profile = in_force.spec.self_hosted.profile if in_force.spec.self_hosted else ""
        self._world.scaler.accept(in_force, seen.profiles.get(profile))
        self._look_after_roll_out(in_force.spec, seen, route.key)
        may_wake = self._world.scaler.may_wake(in_force)
        if may_wake != seen.may_wake:  # by the bounds that have just come into force
            seen = replace(seen, may_wake=may_wake)
            plan = plan_route(in_force, seen)
        return await self._parts.carry_out(in_force, in_force.spec, seen, plan)

    def _look_after_roll_out(self, spec: ModelRouteSpec, seen: RouteWorld, key: str) -> None:
        """Come back when a new replica has waited for room as long as it may."""
        if spec.self_hosted and seen.no_room_since_unix is not None:
            pause = seconds_of_patience(spec.self_hosted.rollout, seen.no_room_since_unix, seen.now_unix)
            if pause > 0:
                self._world.queue.add_after((ROUTE, key), pause + 0.1)

    def note_traffic(self, key: str) -> None:
        """A gateway has spoken of the route: its figures are due within a while, if there are any."""
        route = self._world.routes.get(key)
        if route is None or not has_traffic(key, self._world.gateways.views.values(), route.meta.uid):
            return
        due = self._sampled.get(key, 0.0) + TRAFFIC_SECONDS - monotonic()
        self._world.queue.add_after((ROUTE, key), max(1.0, due), background=True)

    async def _say(
        self,
        route: RouteObject,
        faults: tuple[Fault, ...],
        usable_hosted: frozenset[str],
        outcome: Outcome,
    ) -> None:
        world = self._world
        engine = _engine(world.caches.engine(route), outcome)
        scaling = world.scaler.facts(route)
        lacks = scaling is not None and scaling.desired > 0 and (scaling.desired > engine.ready or engine.rolls)
        waiting = engine.exists and lacks
        problem = world.diagnosis.suspect(route.key, waiting=waiting)
        if waiting and problem is None and _had_problem(route):
            # This process has only just begun, and what was known is no less true for that.
            problem = await world.diagnosis.look_at_once(route.key)
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
            retained_cache=self._keeper.note(route),
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
        world, now, uid = self._world, monotonic(), route.meta.uid
        views = [view for view in world.gateways.views.values() if has_traffic(route.key, [view], uid)]
        due = now - self._sampled.get(route.key, -TRAFFIC_SECONDS) >= TRAFFIC_SECONDS
        if not views or not due:
            return None
        unix = world.now_unix()
        spend = read_spend(route.status)
        gone: frozenset[str] = frozenset()
        if world.gateways.coverage(unix) is Coverage.COMPLETE and not world.gateways.starting:
            gone = frozenset(entry.gateway for entry in spend.gateways) - world.gateways.identities
        demand = demand_of(route.key, views, 0, unix, uid)
        return TrafficFigures(
            served_by=served_by(route.key, views, uid),
            last_request_unix=demand.last_arrival_unix,
            spend=add_reports(spend, costs(route.key, views, uid), gone),
        )

    async def _remove(self, key: str) -> None:
        """The route is gone, and so shall be what was made of it.

        Kubernetes would collect what the route owns as well, once its collector knows the kind: up to a minute
        after the kind was installed.
        """
        world = self._world
        namespace, _, name = key.partition("/")
        failed: ClusterError | None = None
        await self._drop_document(key)
        for cache, child in (
            (world.caches.deployments, engine_name(name)),
            (world.caches.services, engine_name(name)),
            (world.caches.budgets, engine_name(name)),
            (world.caches.claims, cache_claim_name(name)),
        ):
            try:
                if world.routes.is_orphan(cache.get(namespace, child)):
                    await world.applier.remove(cache, namespace, child)
            except ClusterError as error:
                failed = error  # the others go all the same
            world.applier.forget(cache, namespace, child)
        world.scaler.forget(key)
        world.slots.release(key)
        world.diagnosis.suspect(key, waiting=False)
        self._parts.forget(key)
        self._written.pop(key, None)
        self._sampled.pop(key, None)
        if failed:
            raise failed
        world.queue.forget((ROUTE, key))

    async def _drop_document(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        secret = compiled_route_secret_name(namespace, name)
        await self._world.applier.remove(self._world.caches.compiled, self._world.release_namespace, secret)


def _engine(live: Json | None, outcome: Outcome) -> EngineState:
    """The engine, told apart from one that has yet to change. Scaling changes a Deployment and no template."""
    engine = engine_state(live)
    since = outcome.template_generation
    if live is not None and since is not None:
        observed = (live.get("status") or {}).get("observedGeneration", 0)
        engine = replace(engine, is_observed=observed >= since)
    return replace(engine, is_current=outcome.engine_hash in (None, applied_hash(live)))


def _had_problem(route: RouteObject) -> bool:
    """Whether status says that a pod has a problem."""
    return any(c.get("reason") in ("PodFailed", "Unschedulable") for c in route.status.get("conditions") or ())

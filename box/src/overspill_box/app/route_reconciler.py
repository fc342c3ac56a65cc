"""The reconcile of one ModelRoute on one machine: observe, plan, carry out, say so in status.

As the operator's, with Secrets out of files and the last good spec in memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from overspill_api.profile import Profile
from overspill_box.app.secrets import Secrets
from overspill_box.app.source import BoxSource
from overspill_operator.app.objects import Routes
from overspill_operator.app.route_parts import RouteParts
from overspill_operator.app.route_teller import ROUTE, RouteTeller
from overspill_operator.app.scaler import Scaler
from overspill_operator.app.work_queue import WorkQueue
from overspill_operator.core import in_force
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import EngineView, RoutePlan, RouteWorld, plan_route
from overspill_operator.ports import Json, Outcome

LOOK_AGAIN_SECONDS = 2.0
"""When a Secret that is missing may have come."""

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)


class EngineViews(Protocol[P_co]):
    """Routes' engines as they are."""

    def view(self, route: RouteObject) -> EngineView[P_co]:
        """That of a route."""

    def key(self, route: RouteObject) -> str:
        """The key that it asks for."""

    def source_secret_problem(self, route: RouteObject) -> str:
        """What is wrong with the Secret that ``sourceSecretName`` names; empty: nothing, or none is named."""


class RouteReconciler(Generic[P]):
    """Reconciles ModelRoutes."""

    def __init__(
        self,
        *,
        routes: Routes,
        engines: EngineViews[P],
        parts: RouteParts[P],
        source: BoxSource,
        secrets: Secrets,
        scaler: Scaler,
        teller: RouteTeller,
        profiles: Callable[[], Mapping[str, Profile]],
        queue: WorkQueue,
    ) -> None:
        """``parts`` makes, ``teller`` says in status what has come of it; ``profiles``: as they are now."""
        self._routes = routes
        self._engines = engines
        self._parts = parts
        self._source = source
        self._secrets = secrets
        self._scaler = scaler
        self._teller = teller
        self._profiles = profiles
        self._queue = queue
        self._accepted: dict[str, RouteObject] = {}
        """By key, the route with the spec that is in force."""

    async def reconcile(self, key: str) -> None:
        """Make the world as the route says, from whatever it is now."""
        route = self._routes.get(key)
        if route is None:
            await self._remove(key)
            return
        outcome = Outcome()
        try:
            seen = self._observe(route)
            plan = plan_route(route, seen)
            if plan.drop_document:
                self._source.remove_route(key)
            outcome = await self._carry_out(route, seen, plan)
        except Exception as error:
            # Whatever is wrong with this process: the person hears of it, and the queue tries again.
            message = f"{type(error).__name__}: {error}; see the log."
            await self._teller.say(route, (Fault(FaultReason.INTERNAL_ERROR, message),), frozenset(), outcome)
            raise
        self._routes.note_in_force(key, in_force.names(self._source.document(key)))
        if outcome.retry_seconds is not None:
            self._queue.add_after((ROUTE, key), outcome.retry_seconds)
        faults = tuple(dict.fromkeys((*plan.faults, *outcome.faults)))
        await self._teller.say(route, faults, frozenset(seen.api_keys), outcome)

    def _observe(self, route: RouteObject) -> RouteWorld[P]:
        """Everything outside the route that its plan depends on."""
        api_keys, missing = self._hosted_keys(route)
        lost = self._routes.lost_names(route)
        has_engine = route.spec is not None and route.spec.self_hosted is not None
        return RouteWorld(
            profiles=self._profiles(),
            replicas=self._scaler.desired(route),
            may_wake=self._scaler.may_wake(route),
            lost_names=lost,
            api_keys=api_keys,
            missing_credentials=missing,
            source_secret_problem=self._engines.source_secret_problem(route),
            engine=self._engines.view(route),
            compiled_names=in_force.names(self._source.document(route.key)) if lost else frozenset(),
            engine_keys=(self._engines.key(route),) if has_engine else (),
        )

    def _hosted_keys(self, route: RouteObject) -> tuple[dict[str, str | None], dict[str, str]]:
        """By hosted entry: its key where it is usable (None: it needs none), else what is missing."""
        api_keys: dict[str, str | None] = {}
        missing: dict[str, str] = {}
        for index, entry in enumerate(route.spec.hosted if route.spec else ()):
            if entry.credentials is None:
                api_keys[entry.name] = None
                continue
            names = entry.credentials
            value, problem = self._secrets.api_key(route.meta.namespace, names.secret_name, names.key)
            if value is None:
                missing[entry.name] = f"spec.hosted[{index}].credentials ({entry.name}): {problem}."
            else:
                api_keys[entry.name] = value
        if missing:
            self._queue.add_after((ROUTE, route.key), LOOK_AGAIN_SECONDS, background=True)
        return api_keys, missing

    async def _carry_out(self, route: RouteObject, seen: RouteWorld[P], plan: RoutePlan[P]) -> Outcome:
        """Bring the spec into force, or keep the last good one in force where there is a fault in this one."""
        in_force_now: RouteObject | None = route
        if plan.is_blocked:
            in_force_now = self._accepted.get(route.key)
            if in_force_now is not None:
                seen = self._observe(in_force_now)
                plan = plan_route(in_force_now, seen)
                if plan.drop_document:
                    self._source.remove_route(route.key)
        if in_force_now is None or in_force_now.spec is None or plan.is_blocked:
            return Outcome()
        self._accepted[route.key] = in_force_now
        self_hosted = in_force_now.spec.self_hosted
        self._scaler.accept(in_force_now, seen.profiles.get(self_hosted.profile) if self_hosted else None)
        may_wake = self._scaler.may_wake(in_force_now)
        if may_wake != seen.may_wake:  # by the bounds that have just come into force
            seen = replace(seen, may_wake=may_wake)
            plan = plan_route(in_force_now, seen)
        return await self._parts.carry_out(in_force_now, in_force_now.spec, seen, plan)

    async def _remove(self, key: str) -> None:
        """The route is gone, and so shall be what was made of it."""
        self._accepted.pop(key, None)
        self._source.remove_route(key)
        try:
            await self._parts.forget(key, _is_orphan)
        finally:
            self._scaler.forget(key)
            self._teller.forget(key)
        self._queue.forget((ROUTE, key))


def _is_orphan(_live: Json | None) -> bool:
    """Whatever lies under a route's name is the route's own here."""
    return True

"""The reconcile of one ModelRoute: observe, plan (``core.plan``), carry out, say so in status."""

from dataclasses import replace

from overspill_api.modelroute import ModelRouteSpec
from overspill_api.names import compiled_route_secret_name, engine_key_secret
from overspill_operator.app.compiled_documents import CompiledDocuments
from overspill_operator.app.diagnosis import Diagnosis
from overspill_operator.app.first_number import write_first_number
from overspill_operator.app.objects import Routes
from overspill_operator.app.route_observer import RouteObserver
from overspill_operator.app.route_parts import RouteParts
from overspill_operator.app.route_teller import ROUTE, RouteTeller
from overspill_operator.app.scaler import Scaler
from overspill_operator.app.secret_reader import SecretReader
from overspill_operator.app.tenancy import LOOK_AGAIN_SECONDS, Tenancy
from overspill_operator.app.work_queue import WorkQueue
from overspill_operator.core.credentials import secret_names
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.kubernetes_engine import EngineObjects
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import RoutePlan, RouteWorld, plan_route
from overspill_operator.ports import Cluster, ClusterError, Outcome

SECRETS_SECONDS = 60.0
"""How often the Secrets of a spec that is in force instead of a broken one are looked at."""


AGAIN_SECONDS = 1.0
"""When a route that changed under a write is looked at again."""


class RouteReconciler:
    """Reconciles ModelRoutes."""

    def __init__(
        self,
        *,
        observer: RouteObserver,
        parts: RouteParts[EngineObjects],
        teller: RouteTeller,
        routes: Routes,
        documents: CompiledDocuments,
        scaler: Scaler,
        diagnosis: Diagnosis,
        secrets: SecretReader,
        tenancy: Tenancy,
        queue: WorkQueue,
        cluster: Cluster,
    ) -> None:
        """``observer`` sees, ``parts`` makes, ``teller`` says in status what has come of it."""
        self._observer = observer
        self._parts = parts
        self._teller = teller
        self._routes = routes
        self._documents = documents
        self._scaler = scaler
        self._diagnosis = diagnosis
        self._secrets = secrets
        self._tenancy = tenancy
        self._queue = queue
        self._cluster = cluster

    async def reconcile(self, key: str) -> None:
        """Make the world as the route says, from whatever it is now."""
        route = self._routes.get(key)
        if route is None:
            await self._remove(key)
            return
        if await self._is_foreign(route):
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
            await self._teller.say(route, (Fault(FaultReason.INTERNAL_ERROR, message),), frozenset(), outcome)
            raise
        self._routes.note_in_force(key, self._observer.compiled_names(route))
        if outcome.retry_seconds is not None:
            self._queue.add_after((ROUTE, key), outcome.retry_seconds)
        await self._teller.say(route, tuple(dict.fromkeys((*faults, *outcome.faults))), usable, outcome)
        if outcome.unreached:
            raise outcome.unreached
        await self._begin_external(key)

    async def _begin_external(self, key: str) -> None:
        """Give /scale a number where another autoscaler is to write it and nobody has."""
        route = self._routes.get(key)  # as it is after its status was written
        if route is None:
            return
        if not await write_first_number(self._cluster, route, self._scaler.desired(route)):
            self._queue.add_after((ROUTE, key), AGAIN_SECONDS)

    async def _is_foreign(self, route: RouteObject) -> bool:
        """Whether the route's namespace is another release's, which is then told and looked at again later."""
        other = await self._tenancy.other_holder(route.meta.namespace)
        if other:
            self._queue.add_after((ROUTE, route.key), LOOK_AGAIN_SECONDS, background=True)
            await self._drop_document(route.key)
        return bool(other)

    async def _carry_out(
        self, route: RouteObject, seen: RouteWorld[EngineObjects], plan: RoutePlan[EngineObjects]
    ) -> Outcome:
        """Bring the spec into force, or keep the last good one in force where there is a fault in this one."""
        in_force: RouteObject | None = route
        if plan.is_blocked:
            in_force = self._observer.last_good(route)
            if in_force is not None:
                seen = await self._observer.observe(in_force)
                plan = plan_route(in_force, seen)
                # The sweep knows the Secrets that the spec names, not those that the one in force does.
                self._queue.add_after((ROUTE, route.key), SECRETS_SECONDS, background=True)
                if plan.drop_document:  # an older route has taken a name that only the spec in force has
                    await self._drop_document(route.key)
        in_use = secret_names(route.spec) | secret_names(in_force.spec if in_force else None)
        self._secrets.retain(route.key, in_use | {engine_key_secret(route.meta.name)})
        if in_force is None or in_force.spec is None or plan.is_blocked:
            return Outcome()
        profile = in_force.spec.self_hosted.profile if in_force.spec.self_hosted else ""
        self._scaler.accept(in_force, seen.profiles.get(profile))
        self._look_after_roll_out(in_force.spec, seen, route.key)
        may_wake = self._scaler.may_wake(in_force)
        if may_wake != seen.may_wake:  # by the bounds that have just come into force
            seen = replace(seen, may_wake=may_wake)
            plan = plan_route(in_force, seen)
        return await self._parts.carry_out(in_force, in_force.spec, seen, plan)

    def _look_after_roll_out(self, spec: ModelRouteSpec, seen: RouteWorld[EngineObjects], key: str) -> None:
        """Come back when a new replica has waited for room as long as it may."""
        pause = seen.engine.patience_seconds(spec.self_hosted) if spec.self_hosted else 0.0
        if pause > 0:
            self._queue.add_after((ROUTE, key), pause + 0.1)

    async def _remove(self, key: str) -> None:
        """The route is gone, and so shall be what was made of it.

        Kubernetes would collect what the route owns as well, once its collector knows the kind: up to a minute
        after the kind was installed.
        """
        if key.partition("/")[0] in self._routes.unread:
            return  # nobody knows whether it is gone; the sweep asks again
        await self._drop_document(key)
        try:
            await self._parts.forget(key, self._routes.is_orphan)
        finally:
            self._scaler.forget(key)
            self._diagnosis.suspect(key, waiting=False)
            self._teller.forget(key)
            self._secrets.retain(key, frozenset())
        self._queue.forget((ROUTE, key))

    async def _drop_document(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        secret = compiled_route_secret_name(namespace, name)
        await self._documents.remove(secret)

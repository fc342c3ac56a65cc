"""Making an engine on Kubernetes, and keeping compiled documents there, part by part.

What hinders one part hinders no other.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from overspill_api.names import compiled_route_secret_name, engine_name
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.applier import Applier
from overspill_operator.app.cache_keeper import CacheKeeper
from overspill_operator.app.caches import Caches
from overspill_operator.app.creation_slots import CreationSlots
from overspill_operator.app.scaler import Scaler
from overspill_operator.clock import Clock
from overspill_operator.core.engine_state import EngineState, engine_state, replaces
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.in_force import accepted_spec
from overspill_operator.core.kubernetes_engine import EngineObjects
from overspill_operator.core.manifests import Manifest, applied_hash, cache_claim_name, compiled_secret, mark_release
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.ownership import is_owned
from overspill_operator.ports import ClusterError, Events, Json, NotOwnedError, Outcome

logger = logging.getLogger(__name__)


class KubernetesParts:
    """Makes the objects of a route as its plan says: ``ports.EngineMaker`` and ``ports.DocumentWriter``."""

    def __init__(
        self,
        *,
        caches: Caches,
        applier: Applier,
        scaler: Scaler,
        slots: CreationSlots,
        keeper: CacheKeeper,
        events: Events,
        release_namespace: str,
        clock: Clock,
    ) -> None:
        """``release_namespace``: where compiled documents lie, and what is made is marked with."""
        self._caches = caches
        self._applier = applier
        self._scaler = scaler
        self._slots = slots
        self._keeper = keeper
        self._events = events
        self._release_namespace = release_namespace
        self._clock = clock
        self._template_generations: dict[str, int] = {}

    def engine(self, route: RouteObject, outcome: Outcome) -> EngineState:
        """The engine, told apart from one that has yet to change. Scaling changes a Deployment and no template."""
        live = self._caches.engine(route)
        engine = engine_state(live)
        since = outcome.template_generation
        if live is not None and since is not None:
            observed = (live.get("status") or {}).get("observedGeneration", 0)
            engine = replace(engine, is_observed=observed >= since)
        return replace(engine, is_current=outcome.engine_hash in (None, applied_hash(live)))

    async def make(self, route: RouteObject, engine: EngineObjects, outcome: Outcome) -> None:
        """See ``ports.EngineMaker``: apply what differs."""
        caches = self._caches
        outcome.engine_hash = applied_hash(engine.deployment)
        for manifest in engine.made:
            mark_release(manifest, self._release_namespace)
        if engine.network_policy:
            await self._ensure(outcome, caches.policies, engine.network_policy)
        if engine.service:
            await self._ensure(outcome, caches.services, engine.service)
        if engine.claim:
            await self._part(outcome, caches.claims, engine.claim, self._ensure_claim(route, engine.claim))
        if engine.deployment and self._has_claim(route, engine):
            applying = self._apply_engine(route, engine.deployment)
            await self._part(outcome, caches.deployments, engine.deployment, applying)
        if engine.disruption_budget:
            await self._ensure(outcome, caches.budgets, engine.disruption_budget)
        outcome.template_generation = self._template_generations.get(route.key)

    async def write(self, route: RouteObject, document: bytes, outcome: Outcome) -> None:
        """See ``ports.DocumentWriter``: a Secret in the release's namespace."""
        meta = route.meta
        name = compiled_route_secret_name(meta.namespace, meta.name)
        secret = compiled_secret(self._release_namespace, name, "route", meta, document, accepted_spec(route))
        await self._ensure(outcome, self._caches.compiled, secret)

    async def take_away(self, route: RouteObject, engine: EngineObjects, outcome: Outcome) -> None:
        """See ``ports.EngineMaker``."""
        caches = self._caches
        if engine.remove_engine:
            await self._remove(outcome, route, caches.deployments, engine_name(route.meta.name))
            await self._remove(outcome, route, caches.services, engine_name(route.meta.name))
            self._slots.release(route.key)
        if engine.network_policy is None:
            await self._remove(outcome, route, caches.policies, engine_name(route.meta.name))
        if engine.disruption_budget is None:
            await self._remove(outcome, route, caches.budgets, engine_name(route.meta.name))
        if engine.remove_claim:
            named = {"namespace": route.meta.namespace, "name": cache_claim_name(route.meta.name)}
            claim = {"kind": "PersistentVolumeClaim", "metadata": named}
            await self._part(outcome, caches.claims, claim, self._keeper.retire(route))

    async def forget(self, key: str, is_orphan: Callable[[Json | None], bool]) -> None:
        """See ``ports.EngineMaker``. Raises the last ClusterError."""
        namespace, _, name = key.partition("/")
        failed: ClusterError | None = None
        for cache, child in (
            (self._caches.deployments, engine_name(name)),
            (self._caches.services, engine_name(name)),
            (self._caches.budgets, engine_name(name)),
            (self._caches.policies, engine_name(name)),
            (self._caches.claims, cache_claim_name(name)),
        ):
            try:
                if is_orphan(cache.get(namespace, child)):
                    await self._applier.remove(cache, namespace, child)
            except ClusterError as error:
                failed = error  # the others go all the same
            self._applier.forget(cache, namespace, child)
        self._slots.release(key)
        self._template_generations.pop(key, None)
        if failed:
            raise failed

    async def _ensure(self, outcome: Outcome, cache: WatchCache, desired: Manifest) -> None:
        await self._part(outcome, cache, desired, self._applier.ensure(cache, desired))

    async def _ensure_claim(self, route: RouteObject, desired: Manifest) -> None:
        await self._keeper.welcome(route)
        await self._applier.ensure(self._caches.claims, desired)

    async def _apply_engine(self, route: RouteObject, desired: Manifest) -> None:
        """The Deployment, in its turn where it makes pods; the number of replicas is the one decided by now."""
        caches = self._caches
        desired["spec"]["replicas"] = self._scaler.desired(route)
        live = caches.deployments.get(route.meta.namespace, desired["metadata"]["name"])
        if live is not None and self._scaler.is_writing(route):
            return  # its number is on its way; once it is there, this comes again
        if not self._applier.is_due(caches.deployments, desired):
            return
        if _makes_pods(desired, live) and not self._slots.take(route.key, self._clock.monotonic()):
            return
        try:
            changes_pods = applied_hash(live) != applied_hash(desired)
            answer = await self._applier.ensure(caches.deployments, desired, try_first=changes_pods)
            if changes_pods:
                self._template_generations[route.key] = answer["metadata"].get("generation", 0)
        except ClusterError:
            self._slots.release(route.key)
            raise
        if live is not None and replaces(answer) and not replaces(live):
            self._tell_replacing(route)
        if answer["spec"].get("replicas") != self._scaler.desired(route):
            self._scaler.write(route)  # decided while the apply was under way

    def _tell_replacing(self, route: RouteObject) -> None:
        self._events.record(
            "ModelRoute",
            route.meta,
            warning=False,
            reason="ReplacingReplicas",
            note="From now on an old replica goes before a new one comes: spec.selfHosted.rollout says so, or a new "
            "one finds no room beside the old ones.",
            action="RollOut",
        )

    def _has_claim(self, route: RouteObject, engine: EngineObjects) -> bool:
        """Whether the engine's cache is there and its own: else its pods would wait, or write to another one's."""
        return engine.claim is None or self._caches.claim(route) is not None

    async def _remove(self, outcome: Outcome, route: RouteObject, cache: WatchCache, name: str) -> None:
        live = cache.get(route.meta.namespace, name)
        if live is not None and is_owned(live, route.meta.uid):
            removal = self._applier.remove(cache, route.meta.namespace, name)
            await self._part(outcome, cache, {"kind": cache.resource.plural, "metadata": live["metadata"]}, removal)

    async def _part(self, outcome: Outcome, cache: WatchCache, desired: Manifest, work: Awaitable[object]) -> None:
        """Do one part; what goes wrong is noted, and the others go on."""
        meta = desired["metadata"]
        try:
            await work
        except ClusterError as error:
            pause = self._applier.seconds_until_retry(cache, meta["namespace"], meta["name"])
            outcome.retry_seconds = min(pause, outcome.retry_seconds or pause)
            if not error.is_answer:
                outcome.unreached = error
            # A server that stumbles once is no news where the object is there already.
            failures = self._applier.failures(cache, meta["namespace"], meta["name"])
            is_new = cache.get(meta["namespace"], meta["name"]) is None
            if isinstance(error, NotOwnedError) or not error.may_pass or failures > 1 or (is_new and error.is_answer):
                outcome.faults.append(self._fault(cache, desired, error, is_new=is_new))
        except Exception as error:  # whatever is wrong with one part, the others go on
            logger.exception("part not carried out", extra={"kind": desired["kind"], "object": meta["name"]})
            outcome.retry_seconds = outcome.retry_seconds or 1.0
            what = f"{desired['kind']} {meta['name']!r}: {type(error).__name__}: {error}; see the operator's log."
            outcome.faults.append(Fault(FaultReason.INTERNAL_ERROR, what, keeps_last_good=False))

    def _fault(self, cache: WatchCache, desired: Manifest, error: ClusterError, *, is_new: bool) -> Fault:
        caches, kind = self._caches, desired["kind"]
        is_service = cache is caches.services
        if cache is caches.policies:
            message = f"The API server refuses the NetworkPolicy, so every pod may reach the engine: {error.message}."
            return Fault(FaultReason.NETWORK_POLICY_REFUSED, message)
        if cache is caches.budgets:
            message = error.message
            if not isinstance(error, NotOwnedError):
                message = f"The API server refuses the PodDisruptionBudget: {error.message.rstrip('.')}."
            return Fault(FaultReason.DISRUPTION_BUDGET_REFUSED, message)
        if isinstance(error, NotOwnedError):
            reason = FaultReason.DOCUMENT_REFUSED if cache is caches.compiled else FaultReason.NOT_OWNED
            return Fault(reason, error.message, cuts_off=is_service)
        if cache is caches.compiled:
            message = f"The API server refuses the compiled document, so the gateways do not have it: {error.message}."
            return Fault(FaultReason.DOCUMENT_REFUSED, message)
        said = f"The API server refuses the engine: {error.message.rstrip('.')}. ({kind} {desired['metadata']['name']})"
        return Fault(FaultReason.ENGINE_REFUSED, said, cuts_off=is_service and is_new)


def _makes_pods(desired: Manifest, live: Json | None) -> bool:
    """Whether applying sets the controllers to work on pods: a new engine or a new template, and not at zero."""
    if not desired["spec"]["replicas"]:
        return False
    return applied_hash(live) != applied_hash(desired)

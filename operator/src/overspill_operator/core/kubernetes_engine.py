"""An engine on Kubernetes: which objects it shall be, from what it is. ``app.kubernetes_parts`` makes them so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overspill_api.modelroute import DisruptionBudget, SelfHosted
from overspill_operator.core import manifests
from overspill_operator.core.engine_access import EngineAccess, KeySenders, asks_for_key
from overspill_operator.core.engine_pod import ReservedError
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import EngineSpec
from overspill_operator.core.pod_merge import MergeError
from overspill_operator.core.rollout import seconds_of_patience, strategy
from overspill_operator.core.served_model import served_model


@dataclass(frozen=True, slots=True)
class EngineObjects:
    """The objects of one engine as they shall be. None: leave it as it is, unless ``remove`` says otherwise."""

    deployment: manifests.Manifest | None = None
    """The engine."""
    service: manifests.Manifest | None = None
    """Its Service."""
    claim: manifests.Manifest | None = None
    """Its cache."""
    disruption_budget: manifests.Manifest | None = None
    """What a drain must leave of it; None: there shall be none (any more)."""
    network_policy: manifests.Manifest | None = None
    """Who may reach the engine; None: everybody who can, and there shall be none (any more)."""
    remove_engine: bool = False
    """Whether there shall be no engine (any more)."""
    remove_claim: bool = False
    """Whether there shall be no cache (any more)."""

    @property
    def made(self) -> tuple[manifests.Manifest, ...]:
        """All that shall be there."""
        every = (self.network_policy, self.service, self.claim, self.deployment, self.disruption_budget)
        return tuple(manifest for manifest in every if manifest)


@dataclass(frozen=True, slots=True)
class KubernetesEngineView:
    """An engine as the API server has it: ``plan.EngineView``."""

    live_engine: Mapping[str, Any] | None = None
    """The route's own Deployment as it is."""
    live_claim: Mapping[str, Any] | None = None
    """The cache's claim as it is, where it is the route's own."""
    key_senders: KeySenders = KeySenders.ALL
    """Which gateways send a key."""
    engine_access: EngineAccess | None = None
    """Who may reach engines; None: everybody who can."""
    no_room_since_unix: float | None = None
    """Since when a new replica lacks the room that an old one has; None: it does not, as far as is known."""
    now_unix: float = 0.0
    """The time."""

    @property
    def exists(self) -> bool:
        """See ``plan.EngineView``."""
        return self.live_engine is not None

    def served_model(self, model: str, replicas: int) -> str:
        """See ``plan.EngineView``."""
        return served_model(model, self.live_engine, replicas)

    @property
    def asks_for_key(self) -> bool:
        """See ``plan.EngineView``."""
        return asks_for_key(self.live_engine, self.key_senders)

    def patience_seconds(self, self_hosted: SelfHosted) -> float:
        """See ``plan.EngineView``."""
        if self.no_room_since_unix is None:
            return 0.0
        return seconds_of_patience(self_hosted.rollout, self.no_room_since_unix, self.now_unix)

    def plan(
        self, route: RouteObject, engine: EngineSpec | None, *, is_blocked: bool, hosted_stands_in: bool
    ) -> tuple[EngineObjects, tuple[Fault, ...]]:
        """See ``plan.EngineView``."""
        if engine is None:
            return EngineObjects(remove_engine=True, remove_claim=True), ()
        deployment = self._deployment(route, engine)
        faults = (deployment,) if isinstance(deployment, Fault) else ()
        budget = policy = None
        if engine.self_hosted.disruption_budget is not DisruptionBudget.NONE:
            budget = manifests.disruption_budget(route.meta, hosted_stands_in=hosted_stands_in)
        if self.engine_access is not None:
            policy = manifests.network_policy(route.meta, self.engine_access)
        has_cache = engine.self_hosted.cache is not None
        if is_blocked or isinstance(deployment, Fault):
            return EngineObjects(disruption_budget=budget, network_policy=policy, remove_claim=not has_cache), faults
        made = EngineObjects(
            deployment=deployment,
            service=manifests.service(route.meta),
            claim=manifests.cache_claim(route.meta, engine, self.live_claim) if has_cache else None,
            disruption_budget=budget,
            network_policy=policy,
            remove_claim=not has_cache,
        )
        return made, faults

    def _deployment(self, route: RouteObject, engine: EngineSpec) -> manifests.Manifest | Fault:
        """The Deployment, or why its form is wrong."""
        if not engine.profile.image:
            message = (
                f"spec.selfHosted.profile: profile {engine.self_hosted.profile!r} has no image, which a pod needs; "
                "add it to the chart's values."
            )
            return Fault(FaultReason.PROFILE_NOT_FOUND, message)
        try:
            deployment = manifests.deployment(route.meta, engine)
        except MergeError as error:
            message = f"{error}: write it as in a pod template of a Deployment."
            return Fault(FaultReason.INVALID_POD_TEMPLATE, message)
        except ReservedError as error:
            return Fault(FaultReason.RESERVED_ARGUMENT, str(error), keeps_last_good=False)
        is_same = manifests.applied_hash(self.live_engine) == manifests.applied_hash(deployment)
        live = self.live_engine if is_same else None
        chosen = strategy(engine.self_hosted.rollout, live, self.no_room_since_unix, self.now_unix)
        deployment["spec"]["strategy"] = chosen
        return deployment

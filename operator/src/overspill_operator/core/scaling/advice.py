"""How many replicas Overspill would run of a route that another autoscaler scales: published, and never written.

It is decided by the same rules, bounds, windows and memory as if Overspill decided, from what is seen of the replicas
that the other one runs.
"""

from dataclasses import dataclass, replace

from overspill_api.scaling import Autoscaler
from overspill_operator.core.scaling.autoscaler import Decision
from overspill_operator.core.scaling.scaling_state import Observation, ScalingPolicy, ScalingState


def advising(policy: ScalingPolicy) -> ScalingPolicy | None:
    """The policy by which it is decided; None: Overspill decides itself, or there is no engine."""
    scaling = policy.scaling
    if scaling.autoscaler is not Autoscaler.EXTERNAL or not policy.has_engine:
        return None
    own = {"autoscaler": Autoscaler.OVERSPILL, "replicas": None, "paused": False}
    return replace(policy, scaling=scaling.model_copy(update=own))


@dataclass(frozen=True, slots=True)
class Advice:
    """What is advised, and what is remembered for it."""

    state: ScalingState
    """As of a route that Overspill scales."""
    decision: Decision | None = None
    """The last one, with its reasons."""

    @property
    def replicas(self) -> int:
        """How many it would run."""
        return self.state.replicas


def advised(before: Advice | None, state: ScalingState, seen: Observation, now_unix: float) -> Advice | None:
    """The advice after a look at the route whose own ``state`` follows the other autoscaler; None: none is wanted."""
    policy = advising(state.policy) if state.policy is not None else None
    if policy is None:
        return None
    own = before.state if before is not None else ScalingState.begun(now_unix, known=[state.replicas])
    if own.policy != policy:
        own = own.accept(policy, generation=state.generation, now_unix=now_unix)
    step = own.decide(seen, now_unix)
    return Advice(step.state, step.decision)

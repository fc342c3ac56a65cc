"""The condition RolledOut: whether what serves is what the spec says. Whether anything serves is EngineAvailable."""

from overspill_api.status import ConditionType
from overspill_operator.core.conditions import Statement, false, true
from overspill_operator.core.engine_state import EngineState
from overspill_operator.core.faults import Fault, FaultReason, summary
from overspill_operator.core.pod_problems import PodProblem

_KIND = ConditionType.ROLLED_OUT
_NO_BUDGET = FaultReason.DISRUPTION_BUDGET_REFUSED


def rolled_out(  # noqa: PLR0911 - one return a case
    faults: tuple[Fault, ...], engine: EngineState, problem: PodProblem | None, desired: int
) -> Statement:
    """True once every replica has the current spec and one of them is ready, or none runs; else what it waits for."""
    wrong = tuple(fault for fault in faults if fault.of_engine or fault.blocks or fault.reason is _NO_BUDGET)
    if wrong:
        kept = " The replicas that run have the spec before it." if engine.replicas else ""
        return false(_KIND, wrong[0].reason.value, summary(wrong) + kept)
    if not engine.exists or not engine.is_current:
        return false(_KIND, "RollingOut", "The engine's Deployment is being made or changed.")
    if desired == 0 and engine.replicas == 0:
        return true(_KIND, "NoReplicas", "No replica runs; the next one has the current spec.")
    if not engine.rolls and engine.ready:
        return true(_KIND, "ReplicasCurrent", "Every replica has the current spec.")
    progress = _progress(engine)
    if engine.refused:
        return false(_KIND, "PodsRefused", f"{progress} Kubernetes makes no pods: {engine.refused}")
    if problem:
        return false(_KIND, problem.reason, f"{progress} {problem.message}")
    rolling = engine.ready or engine.replicas > engine.updated
    return false(_KIND, "RollingOut" if rolling else "Loading", progress)


def _progress(engine: EngineState) -> str:
    if not engine.is_observed:
        return "Kubernetes has yet to take up the change."
    old = engine.replicas - engine.updated
    what = f"Replicas with the current spec: {engine.updated} of {engine.replicas}; "
    what += f"ready, of either spec: {engine.ready}."
    if engine.replaces and old > 0:
        what += " An old one goes before a new one comes."
    return what

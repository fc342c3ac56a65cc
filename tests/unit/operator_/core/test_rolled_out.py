"""Whether what serves is what the spec says is another question than whether anything serves."""

from overspill_operator.core.conditions import Statement
from overspill_operator.core.engine_state import EngineState
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.pod_problems import PodProblem
from overspill_operator.core.rolled_out import rolled_out

SERVES = EngineState(exists=True, replicas=1, ready=1, updated=1)
ROLLS = EngineState(exists=True, replicas=2, ready=1, updated=1)
PROBLEM = PodProblem("Unschedulable", "Pod new finds no node: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")


def says(statement: Statement) -> tuple[str, str]:
    """Status and reason."""
    return statement.status.value, statement.reason


def test_every_replica_has_the_current_spec() -> None:
    """And one of them is ready; or none runs, and the next one will have it."""
    assert says(rolled_out((), SERVES, None, 1)) == ("True", "ReplicasCurrent")
    assert says(rolled_out((), EngineState(exists=True), None, 0)) == ("True", "NoReplicas")


def test_a_roll_out_that_goes_on() -> None:
    """How far it is, while the old one serves."""
    statement = rolled_out((), ROLLS, None, 1)
    assert says(statement) == ("False", "RollingOut")
    assert "Replicas with the current spec: 1 of 2; ready, of either spec: 1." in statement.message
    assert says(rolled_out((), EngineState(exists=True, replicas=1, updated=1), None, 1)) == ("False", "Loading")


def test_a_roll_out_that_hangs_names_the_new_pods_problem() -> None:
    """In the words of the scheduler, the kubelet or the quota."""
    hangs = rolled_out((), ROLLS, PROBLEM, 1)
    assert says(hangs) == ("False", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in hangs.message
    refused = EngineState(exists=True, replicas=1, ready=1, updated=0, refused="exceeded quota")
    assert says(rolled_out((), refused, None, 1)) == ("False", "PodsRefused")


def test_a_change_that_has_not_arrived_is_not_rolled_out() -> None:
    """Not applied yet, or not taken up by Kubernetes: the counts speak of what was before."""
    assert says(rolled_out((), EngineState(), None, 1)) == ("False", "RollingOut")
    behind = EngineState(exists=True, replicas=1, ready=1, updated=1, is_observed=False)
    assert says(rolled_out((), behind, None, 1)) == ("False", "RollingOut")
    other = EngineState(exists=True, replicas=1, ready=1, updated=1, is_current=False)
    assert says(rolled_out((), other, None, 1)) == ("False", "RollingOut")


def test_a_spec_that_is_refused_is_not_rolled_out() -> None:
    """By the API server or by a fault of its own; a missing credential of a hosted API is another matter."""
    wrong = Fault(FaultReason.ENGINE_REFUSED, "No.")
    assert says(rolled_out((wrong,), SERVES, None, 1)) == ("False", "EngineRefused")
    assert says(rolled_out((Fault(FaultReason.UNKNOWN_TIME_ZONE, "No."),), SERVES, None, 1))[0] == "False"
    assert says(rolled_out((Fault(FaultReason.CREDENTIALS_MISSING, "No."),), SERVES, None, 1))[0] == "True"

"""What Deployments and pods say of an engine."""

from typing import Any

from overspill_operator.core.engine_state import EngineState, engine_state, is_settled
from overspill_operator.core.pod_problems import pod_problem


def deployment(**status: Any) -> dict[str, Any]:
    """A Deployment of one replica at generation 2."""
    return {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}


def pod(name: str, created: str = "2026-01-01T00:00:00Z", **status: Any) -> dict[str, Any]:
    """A pod."""
    return {"metadata": {"name": name, "creationTimestamp": created}, "status": status}


def test_states() -> None:
    """Missing, new, ready, refused."""
    assert engine_state(None) == EngineState()
    assert engine_state(deployment()) == EngineState(exists=True, is_observed=False)
    available = {"type": "Available", "status": "True", "lastTransitionTime": "1970-01-01T00:01:00Z"}
    ready = engine_state(deployment(replicas=2, readyReplicas=1, conditions=[available]))
    assert ready == EngineState(exists=True, replicas=2, ready=1, is_observed=False, ready_since_unix=60.0)
    # At zero a Deployment is "available" as well; that is no replica.
    assert engine_state(deployment(conditions=[available])).ready_since_unix is None
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    assert engine_state(deployment(conditions=[failure])).refused == "exceeded quota"


def test_a_change_is_settled_once_its_pods_were_made_or_refused() -> None:
    """Until then the controllers have work with it."""
    assert not is_settled(deployment(observedGeneration=1, updatedReplicas=1))
    assert not is_settled(deployment(observedGeneration=2))
    assert is_settled(deployment(observedGeneration=2, updatedReplicas=1))
    failure = {"type": "ReplicaFailure", "status": "True"}
    assert is_settled(deployment(observedGeneration=2, conditions=[failure]))
    assert is_settled({**deployment(observedGeneration=2), "spec": {"replicas": 0}})


def test_an_image_that_cannot_be_pulled() -> None:
    """Kubernetes' words, and the pod's name."""
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    problem = pod_problem([pod("p", containerStatuses=[{"name": "engine", "state": {"waiting": waiting}}])])
    assert problem is not None
    assert problem.reason == "PodFailed"
    assert "Pod p: ImagePullBackOff: no such image" in problem.message


def test_a_crash_names_its_exit_and_where_to_look() -> None:
    """The command to type next is in the message."""
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    problem = pod_problem([pod("p", containerStatuses=[{"name": "engine", "state": state, "lastState": last}])])
    assert problem is not None
    assert "exit code 137 (OOMKilled)" in problem.message
    assert "kubectl logs p -c engine --previous" in problem.message


def test_a_pod_without_a_node() -> None:
    """The scheduler's words."""
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    problem = pod_problem([pod("p", conditions=[condition])])
    assert problem is not None
    assert problem.reason == "Unschedulable"


def test_loading_is_no_problem() -> None:
    """A container that is being created or runs without being ready only needs time."""
    creating = {"name": "engine", "state": {"waiting": {"reason": "ContainerCreating"}}}
    running = {"name": "engine", "state": {"running": {}}, "ready": False}
    assert pod_problem([pod("p", containerStatuses=[creating]), pod("q", containerStatuses=[running])]) is None

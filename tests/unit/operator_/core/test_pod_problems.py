"""Each thing that keeps a replica from starting is said by the name that Kubernetes gives it."""

from typing import Any

import pytest

from overspill_operator.core.pod_problems import event_problem, pod_problem, puzzling


def pod(name: str = "p", created: str = "2026-01-01T00:00:00Z", **status: Any) -> dict[str, Any]:
    """A pod."""
    return {"metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": created}, "status": status}


def container(**more: Any) -> dict[str, Any]:
    """The state of the engine's container."""
    return {"name": "engine", **more}


def said(*pods: dict[str, Any]) -> str:
    """What is said of pods."""
    problem = pod_problem(pods)
    return problem.message if problem else ""


@pytest.mark.parametrize(
    "reason", ["CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError", "InvalidImageName"]
)
def test_a_container_that_waits_in_vain(reason: str) -> None:
    """The kubelet's reason and words; also of a container that comes before the engine's."""
    waiting = {"waiting": {"reason": reason, "message": "words"}}
    assert f"Pod p: {reason}: words" in said(pod(containerStatuses=[container(state=waiting)]))
    assert f"Pod p: {reason}: words" in said(pod(initContainerStatuses=[{"name": "init", "state": waiting}]))


def test_a_lack_of_memory_is_named() -> None:
    """While it waits to be started anew, while it loads again, and where it is not started anew."""
    killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    waits = container(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=killed)
    again = container(state={"running": {}}, lastState=killed, restartCount=3, ready=False)
    for state in (waits, again, container(state=killed)):
        message = said(pod(containerStatuses=[state]))
        assert "OOMKilled" in message
        assert "resources.limits.memory" in message
        assert "kubectl logs p -c engine" in message
    served_again = container(state={"running": {}}, lastState=killed, ready=True)
    assert said(pod(containerStatuses=[served_again])) == ""


def test_an_init_container_that_ended_in_error() -> None:
    """Its exit code, and where to look."""
    state = {"terminated": {"exitCode": 2, "reason": "Error", "message": "no such bucket"}}
    message = said(pod(initContainerStatuses=[{"name": "fetch", "state": state}]))
    assert "exit code 2 (Error): no such bucket" in message
    assert "kubectl logs p -c fetch." in message
    done = {"name": "fetch", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    assert said(pod(initContainerStatuses=[done])) == ""


@pytest.mark.parametrize(
    "reason", ["Evicted", "UnexpectedAdmissionError", "OutOfnvidia.com/gpu", "NodeLost", "Shutdown"]
)
def test_a_pod_that_failed(reason: str) -> None:
    """The kubelet's word and its explanation."""
    failed = pod(phase="Failed", reason=reason, message="words")
    assert said(failed) == f"Pod p: {reason}: words."
    assert said(failed, pod("next", "2026-01-01T00:01:00Z", phase="Pending")) == f"Pod p: {reason}: words."


def test_a_pod_that_failed_long_ago_is_history() -> None:
    """Kubernetes keeps them; the end counts, not the beginning."""
    failed = pod(phase="Failed", reason="Evicted", message="words")
    assert said(failed, pod("next", "2026-01-02T00:00:00Z", phase="Pending")) == ""
    ended = [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "2026-01-01T23:59:00Z"}]
    failed["status"]["conditions"] = ended
    assert "Evicted" in said(failed, pod("next", "2026-01-02T00:00:00Z", phase="Pending"))


def test_a_pod_that_is_taken_from_its_node() -> None:
    """Preempted, or its node is lost; one that merely ends is no problem."""
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "words"}
    leaving = pod(conditions=[condition])
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    assert said(leaving) == "Pod p is taken from its node: DeletionByTaintManager: words."
    leaving["status"] = {"containerStatuses": [container(state={"terminated": {"exitCode": 143}})]}
    assert said(leaving) == ""


def test_the_newest_pod_speaks_first() -> None:
    """In a roll-out it is the new replica whose problem matters."""
    old = pod("old", containerStatuses=[container(state={"waiting": {"reason": "CrashLoopBackOff"}})])
    scheduled = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}
    assert said(old, pod("new", "2026-01-02T00:00:00Z", conditions=[scheduled])).startswith("Pod new finds no node")


def test_which_pod_only_events_can_explain() -> None:
    """One with a node and without containers; one that ran and is not ready any more."""
    scheduled = {"type": "PodScheduled", "status": "True"}
    creating = pod(phase="Pending", conditions=[scheduled])
    assert puzzling([creating]) is creating
    ready = {"type": "Ready", "status": "True"}
    assert puzzling([pod(phase="Running", conditions=[scheduled, ready])]) is None
    started = {"type": "PodReadyToStartContainers", "status": "True"}
    assert puzzling([pod(phase="Pending", conditions=[scheduled, started])]) is None
    assert puzzling([pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False"}])]) is None


def test_a_mount_that_fails_is_known_from_events_alone() -> None:
    """The newest warning counts; probes that fail while a model loads are none."""
    scheduled = {"type": "PodScheduled", "status": "True"}
    creating = pod(phase="Pending", conditions=[scheduled])
    older = {"type": "Warning", "reason": "NetworkNotReady", "lastTimestamp": "2026-01-01T00:00:01Z"}
    mount = {
        "type": "Warning",
        "reason": "FailedMount",
        "message": 'secret "corp-ca" not found',
        "eventTime": "2026-01-01T00:00:02.000000Z",
        "series": {"count": 3, "lastObservedTime": "2026-01-01T00:01:00.000000Z"},
    }
    normal = {"type": "Normal", "reason": "Scheduled", "lastTimestamp": "2026-01-01T00:09:00Z"}
    problem = event_problem(creating, [older, mount, normal])
    assert problem is not None
    assert problem.message == 'Pod p: FailedMount: secret "corp-ca" not found.'
    probe = {"type": "Warning", "reason": "Unhealthy", "message": "startup probe failed"}
    assert event_problem(pod(phase="Running"), [probe, mount]) is None
    silent = {"type": "Warning", "reason": "NodeNotReady", "message": "Node is not ready"}
    assert event_problem(pod(phase="Running"), [probe, silent]) is not None


def test_an_event_that_says_little_is_told_as_far_as_it_goes() -> None:
    """Whoever may write Events leaves fields out, and writes times that no clock here knows."""
    creating = pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "True"}])
    bare = {"type": "Warning", "lastTimestamp": "0000-01-01T00:00:00Z"}
    problem = event_problem(creating, [bare])
    assert problem is not None
    assert problem.message == "Pod p: Warning."
    mount = {"type": "Warning", "reason": "FailedMount", "lastTimestamp": "2026-01-01T00:00:01Z"}
    newest = event_problem(creating, [bare, mount])
    assert newest is not None
    assert newest.message == "Pod p: FailedMount."

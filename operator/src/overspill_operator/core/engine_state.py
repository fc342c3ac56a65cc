"""What can be said of an engine from its Deployment and, where it does not start, from its pods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overspill_operator.core.conditions import parse_timestamp

Json = Mapping[str, Any]

_FAILING_WAITS = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Reasons for which a container waits that do not mend themselves by waiting."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """The replicas of a route as Kubernetes reports them."""

    exists: bool = False
    """Whether there is a Deployment."""
    replicas: int = 0
    """Replicas that exist."""
    ready: int = 0
    """Replicas that are ready."""
    ready_since_unix: float | None = None
    """Since when the Deployment has been available; None: it is not, or none is ready."""
    refused: str = ""
    """Why Kubernetes makes no pods (a quota, a policy); empty: it does."""


@dataclass(frozen=True, slots=True)
class PodProblem:
    """Why a replica does not start."""

    reason: str
    """Condition reason: PodFailed or Unschedulable."""
    message: str
    """In Kubernetes' words, with what to look at."""


def engine_state(deployment: Json | None) -> EngineState:
    """State from a Deployment; None: there is none."""
    if deployment is None:
        return EngineState()
    status = deployment.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    ready = status.get("readyReplicas", 0)
    available = conditions.get("Available", {})
    since = available.get("lastTransitionTime") if available.get("status") == "True" and ready else None
    failure = conditions.get("ReplicaFailure", {})
    return EngineState(
        exists=True,
        replicas=status.get("replicas", 0),
        ready=ready,
        ready_since_unix=parse_timestamp(since) if since else None,
        refused=failure.get("message", "") if failure.get("status") == "True" else "",
    )


def is_settled(deployment: Json) -> bool:
    """Whether the controllers have taken up the Deployment's last change: its pods have been made."""
    status, spec = deployment.get("status") or {}, deployment.get("spec") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return False
    wanted = spec.get("replicas", 1)
    refused = any(c["type"] == "ReplicaFailure" and c["status"] == "True" for c in status.get("conditions") or ())
    return refused or wanted == 0 or status.get("updatedReplicas", 0) > 0


def pod_problem(pods: Sequence[Json]) -> PodProblem | None:
    """The first thing that keeps a pod from starting; None: nothing but time."""
    for pod in sorted(pods, key=lambda item: item["metadata"].get("creationTimestamp") or "", reverse=True):
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            problem = _container_problem(name, container)
            if problem:
                return problem
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return PodProblem("Unschedulable", f"Pod {name} finds no node: {condition.get('message', '')}")
    return None


def _container_problem(pod: str, container: Json) -> PodProblem | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    if waiting.get("reason") not in _FAILING_WAITS:
        return None
    last = (container.get("lastState") or {}).get("terminated") or {}
    ended = f" It last ended with exit code {last.get('exitCode')} ({last.get('reason')})." if last else ""
    logs = f" See kubectl logs {pod} -c {container['name']} --previous." if last else ""
    return PodProblem("PodFailed", f"Pod {pod}: {waiting['reason']}: {waiting.get('message', '')}{ended}{logs}")

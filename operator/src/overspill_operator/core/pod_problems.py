"""Why a replica does not start or has gone, from its pod and, where the pod says nothing, from Events about it.

In the words of the kubelet or the scheduler, with the name that they give it. What a roll-out makes of a lack of room
is ``rollout``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from overspill_operator.core.conditions import parse_timestamp
from overspill_operator.core.json_object import Json

_FAILING_WAITS: Final = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PostStartHookError",
    }
)
"""Reasons for which a container waits that do not mend themselves by waiting."""

_NO_NEWS: Final = frozenset({"Unhealthy", "ProbeWarning", "BackOff", "FailedScheduling", "FailedPreStopHook"})
"""Warnings that come with loading, or that the pod itself says better."""

HISTORY_SECONDS: Final = 600.0
"""A pod that failed this long before a newer one was made is history: Kubernetes keeps failed pods for days."""


@dataclass(frozen=True, slots=True)
class PodProblem:
    """Why a replica does not start."""

    reason: str
    """Condition reason: PodFailed or Unschedulable."""
    message: str
    """In Kubernetes' words, with what to look at."""


def pod_problem(pods: Sequence[Json]) -> PodProblem | None:
    """The first thing that keeps a pod from starting, the newest pod's first; None: nothing but time."""
    newest_first = sorted(pods, key=lambda item: item["metadata"].get("creationTimestamp") or "", reverse=True)
    for pod in newest_first:
        problem = _of_living(pod)
        if problem:
            return problem
    living = [pod for pod in newest_first if _phase(pod) != "Failed"]
    for pod in newest_first:
        if _phase(pod) == "Failed" and not (living and _is_history(pod, living[0])):
            return _of_failed(pod)
    return None


def unschedulable(pods: Sequence[Json]) -> int:
    """Replicas that no node has room for: the scheduler has looked, and they wait."""
    waiting = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"] and _phase(pod) == "Pending"]
    placed = [_conditions(pod).get("PodScheduled", {}) for pod in waiting]
    return sum(1 for said in placed if said.get("status") == "False" and said.get("reason") == "Unschedulable")


def puzzling(pods: Sequence[Json]) -> Json | None:
    """The pod of which only Events can say why it does not start; None: there is none.

    One with a node and without a container that was ever made, or one that ran and whose node is silent.
    """
    for pod in sorted(pods, key=lambda item: item["metadata"].get("creationTimestamp") or "", reverse=True):
        if "deletionTimestamp" in pod["metadata"] or _phase(pod) not in ("Pending", "Running"):
            continue
        conditions = _conditions(pod)
        if conditions.get("PodScheduled", {}).get("status") == "False" or _is_true(conditions, "Ready"):
            continue
        if _phase(pod) == "Running" or not _is_true(conditions, "PodReadyToStartContainers"):
            return pod
    return None


def event_problem(pod: Json, events: Sequence[Json]) -> PodProblem | None:
    """The newest warning about a pod that is more than a probe's."""
    running = _phase(pod) == "Running"
    warnings = [
        event
        for event in events
        if event.get("type") == "Warning"
        and event.get("reason") not in _NO_NEWS
        and (not running or event.get("reason") == "NodeNotReady")
    ]
    if not warnings:
        return None
    newest = max(warnings, key=_event_time)
    words = f"{newest.get('reason') or 'Warning'}: {newest.get('message') or ''}"
    return PodProblem("PodFailed", _sentence(f"Pod {pod['metadata']['name']}: {words}"))


def _of_living(pod: Json) -> PodProblem | None:
    if _phase(pod) in ("Failed", "Succeeded"):
        return None
    name, status, conditions = pod["metadata"]["name"], pod.get("status") or {}, _conditions(pod)
    disrupted = conditions.get("DisruptionTarget", {})
    if disrupted.get("status") == "True":
        said = f"{disrupted.get('reason')}: {disrupted.get('message', '')}"
        return PodProblem("PodFailed", _sentence(f"Pod {name} is taken from its node: {said}"))
    if "deletionTimestamp" in pod["metadata"]:
        return None
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        problem = _container_problem(name, container)
        if problem:
            return problem
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        said = _sentence(f"Pod {name} finds no node: {scheduled.get('message', '')}")
        return PodProblem("Unschedulable", said)
    return None


def _of_failed(pod: Json) -> PodProblem:
    """Evicted, UnexpectedAdmissionError, OutOfcpu, NodeLost, Shutdown ...; or a container that ended for good."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    ended = [_ended(container, "state") for container in status.get("containerStatuses") or ()]
    said = f"{status.get('reason') or 'Failed'}: {status.get('message') or ''}"
    return PodProblem("PodFailed", _sentence(f"Pod {name}: {said}") + "".join(ended))


def _container_problem(pod: str, container: Json) -> PodProblem | None:
    state = container.get("state") or {}
    waiting, terminated = state.get("waiting") or {}, state.get("terminated") or {}
    last = (container.get("lastState") or {}).get("terminated") or {}
    logs = f" See kubectl logs {pod} -c {container['name']} --previous." if last else ""
    if waiting.get("reason") in _FAILING_WAITS:
        said = _sentence(f"Pod {pod}: {waiting['reason']}: {waiting.get('message', '')}")
        return PodProblem("PodFailed", f"{said}{_ended(container, 'lastState')}{logs}")
    if terminated.get("exitCode"):
        logs = f" See kubectl logs {pod} -c {container['name']}."
        return PodProblem("PodFailed", f"Pod {pod}: container {container['name']}:{_ended(container, 'state')}{logs}")
    if last.get("exitCode") and not container.get("ready"):
        again = f"container {container['name']} was started anew {container.get('restartCount', 1)} times."
        return PodProblem("PodFailed", f"Pod {pod}: {again}{_ended(container, 'lastState')}{logs}")
    return None


def _ended(container: Json, field: str) -> str:
    last = (container.get(field) or {}).get("terminated") or {}
    if not last:
        return ""
    more = f": {last['message']}" if last.get("message") else ""
    memory = ""
    if last.get("reason") == "OOMKilled":
        memory = " It used more memory than its limit: raise the profile's resources.limits.memory, or use less."
    return f" It last ended with exit code {last.get('exitCode')} ({last.get('reason')}){more}.{memory}"


def _sentence(text: str) -> str:
    """Kubernetes' words end with a full stop, or not."""
    return f"{text.rstrip(' .:')}."


def _is_history(failed: Json, living: Json) -> bool:
    """Whether a failed pod has long been replaced."""
    made = living["metadata"].get("creationTimestamp")
    status = failed.get("status") or {}
    ends = [
        ((container.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for container in status.get("containerStatuses") or ()
    ]
    ends += [condition.get("lastTransitionTime") for condition in status.get("conditions") or ()]
    known = [parse_timestamp(end) for end in (*ends, failed["metadata"].get("creationTimestamp")) if end]
    return bool(made and known and parse_timestamp(made) - max(known) > HISTORY_SECONDS)


def _event_time(event: Json) -> float:
    series = event.get("series") or {}
    texts = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return max((_unix(text) for text in texts if text), default=0.0)


def _unix(text: str) -> float:
    """Whoever may write Events may write any time there, the year 0 too, which no clock here knows."""
    try:
        return parse_timestamp(text)
    except ValueError:
        return 0.0


def _phase(pod: Json) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def _conditions(pod: Json) -> dict[str, Json]:
    return {condition["type"]: condition for condition in (pod.get("status") or {}).get("conditions") or ()}


def _is_true(conditions: Mapping[str, Json], kind: str) -> bool:
    return bool(conditions.get(kind, {}).get("status") == "True")

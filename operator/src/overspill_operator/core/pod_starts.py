"""When a replica's pod was made, placed, set up, started and ready: its start, from what its status says.

What is seen from outside: the API server writes when a pod was made and placed, the kubelet the rest. An engine loads
its weights and starts behind a port that is closed until both are done, so that these two are one phase; where an image
volume has the weights, they come with the image. Logs are not read: what an engine prints has no form that holds.

A node's clock may differ from the API server's. What a node wrote is moved by as little as makes it possible: nothing
happens there before the pod was placed, and nothing after the API server had the kubelet's last word. Where that cannot
be, it is no start.
"""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from overspill_api.names import ENGINE_CONTAINER, engine_name
from overspill_operator.core.conditions import parse_timestamp
from overspill_operator.core.json_object import Json
from overspill_operator.core.scaling.load_times import (
    ENGINE_START,
    FAILED_STARTS,
    IMAGE,
    INIT_CONTAINERS,
    LOAD_SECONDS_MAX,
    ROUNDING_SECONDS,
    SCHEDULED,
    VOLUMES,
    WEIGHTS,
    PhaseEnd,
    Start,
    measured,
)

PROBE_SLACK_SECONDS: Final = 60.0
"""Beyond what the startup probe allows: the readiness probe's turn, and a kubelet that is busy."""


def starts(route_name: str, pods: Sequence[Json]) -> Iterator[tuple[str, Start]]:
    """Uid and start of each pod of a route's engine that is ready, as far as it can be told."""
    for pod in pods:
        if not _is_ours(route_name, pod) or "deletionTimestamp" in pod["metadata"]:
            continue
        start = pod_start(pod)
        if start is not None:
            yield pod["metadata"]["uid"], start


def pod_start(pod: Json) -> Start | None:
    """How a pod that is ready has started; None: it is not ready, or its times cannot be."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    container = _named(status.get("containerStatuses"), ENGINE_CONTAINER)
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    begun, ready = _unix(meta.get("creationTimestamp")), _since(conditions, "Ready")
    running = ((container.get("state") or {}).get("running") or {}).get("startedAt")
    started, scheduled = _unix(running), _since(conditions, "PodScheduled")
    if begun is None or ready is None or started is None:
        return None
    if ready - started > _startup_seconds(_named(spec.get("containers"), ENGINE_CONTAINER)):
        return None  # it became ready again, long after its start
    volumes, initialized = _since(conditions, "PodReadyToStartContainers"), _since(conditions, "Initialized")
    has_init = bool(status.get("initContainerStatuses"))
    on_node = [time for time in (volumes, initialized, started) if time is not None]
    moved = _clock_difference(scheduled if scheduled is not None else begun, min(on_node), ready, _last_word(meta))
    if moved is None:
        return None
    pulled = (IMAGE, FAILED_STARTS) if container.get("restartCount") else (IMAGE,)
    in_image = any("image" in volume for volume in spec.get("volumes") or ())
    ends = [
        PhaseEnd((SCHEDULED,), scheduled),
        PhaseEnd((VOLUMES,), _moved(volumes, moved)),
        *([PhaseEnd((INIT_CONTAINERS,), _moved(initialized, moved))] if has_init else []),
        PhaseEnd((*pulled, WEIGHTS) if in_image else pulled, started + moved),
        PhaseEnd((ENGINE_START,) if in_image else (WEIGHTS, ENGINE_START), ready + moved),
    ]
    return measured(meta["name"], begun, ends)


def _is_ours(route_name: str, pod: Json) -> bool:
    """Whether the route's Deployment has made it: people may give their own pods the same labels."""
    owners = pod["metadata"].get("ownerReferences") or ()
    prefix = f"{engine_name(route_name)}-"
    return any(
        owner.get("kind") == "ReplicaSet" and owner.get("controller") and owner.get("name", "").startswith(prefix)
        for owner in owners
    )


def _clock_difference(placed: float, first_on_node: float, ready: float, last_word: float | None) -> float | None:
    """Seconds to add to a node's times: as few as will do, none in most cases; None: no number will.

    Placed at 100, the node's first word of 70: its clock is 30 s behind, or more. Ready at 190 by the node, and heard
    of by the API server at 130: it is 60 s ahead.
    """
    least = placed - first_on_node
    most = inf if last_word is None else last_word - ready
    if least > most + 2 * ROUNDING_SECONDS:
        return None
    if least > ROUNDING_SECONDS:
        return least
    return most if most < -ROUNDING_SECONDS else 0.0


def _last_word(meta: Json) -> float | None:
    """When the API server last had word of the pod's status, by its own clock; None: it does not say."""
    entries = meta.get("managedFields") or ()
    told = [_unix(entry.get("time")) for entry in entries if entry.get("subresource") == "status"]
    return max((time for time in told if time is not None), default=None)


def _startup_seconds(container: Json) -> float:
    """The longest from the container's start to readiness, by its own startup probe."""
    probe = container.get("startupProbe")
    if not probe:
        return LOAD_SECONDS_MAX
    period, attempts = probe.get("periodSeconds") or 10, probe.get("failureThreshold") or 3
    allowed = (probe.get("initialDelaySeconds") or 0) + period * attempts + PROBE_SLACK_SECONDS
    return float(min(allowed, LOAD_SECONDS_MAX))


def _named(entries: Sequence[Json] | None, name: str) -> Json:
    return next((entry for entry in entries or () if entry.get("name") == name), {})


def _since(conditions: dict[str, Json], kind: str) -> float | None:
    """Since when a condition is True; None: it is not."""
    condition = conditions.get(kind, {})
    return _unix(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def _moved(unix: float | None, seconds: float) -> float | None:
    return None if unix is None else unix + seconds


def _unix(text: str | None) -> float | None:
    """A time as somebody has written it: the year 0 as well, which no clock here knows."""
    try:
        return parse_timestamp(text) if text else None
    except (ValueError, OverflowError):
        return None

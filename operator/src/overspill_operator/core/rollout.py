"""How a new template takes the place of the old one: a replica more for a while, or one goes before the other comes.

The first loses no capacity and needs room for one replica more. Where no node has that room it would wait for ever, so
by default the roll-out goes over to the second, once it is known that the room of an old replica is what is missing. A
new replica that would find no room even then (another node selector, more GPUs) never costs an old one.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from overspill_api.modelroute import Rollout, RolloutStrategy
from overspill_operator.core.conditions import parse_timestamp
from overspill_operator.core.drift import amount
from overspill_operator.core.engine_state import engine_state
from overspill_operator.core.json_object import Json
from overspill_operator.core.manifests import REPLACE, SURGE

TEMPLATE_HASH: Final = "pod-template-hash"
"""Label by which Kubernetes tells the pods of one template from those of another."""

_TAKEN: Final = re.compile(
    r"insufficient|too many pods|free ports|anti-affinity|topology spread|volume node affinity|readwriteoncepod"
    r"|max volume count",
    re.IGNORECASE,
)
"""What the scheduler says where something is taken that an old replica may have."""

_PLACEMENT: Final = ("nodeSelector", "affinity", "schedulerName", "runtimeClassName")
_DEVICES_TAKEN: Final = re.compile(r"^(UnexpectedAdmissionError|OutOf.+)$")


def strategy(rollout: Rollout, live: Json | None, no_room_since_unix: float | None, now_unix: float) -> dict[str, Any]:
    """The Deployment's strategy.

    ``live``: the Deployment as it is, which itself says how far its roll-out is; None where there is none, or where the
    template changes with this write: what was found of its pods says nothing of the new ones.
    """
    if rollout.strategy is RolloutStrategy.REPLACE:
        return REPLACE
    if rollout.strategy is RolloutStrategy.SURGE or live is None:
        return SURGE
    engine = engine_state(live)
    if not engine.rolls or not engine.replicas:
        return SURGE
    if engine.replaces:
        return REPLACE  # begun; until the last replica is a new one
    if no_room_since_unix is None:
        return SURGE
    return REPLACE if seconds_of_patience(rollout, no_room_since_unix, now_unix) <= 0 else SURGE


def seconds_of_patience(rollout: Rollout, no_room_since_unix: float, now_unix: float) -> float:
    """How long room is still waited for."""
    return no_room_since_unix + rollout.surge_timeout.seconds - now_unix


def no_room_since(template: Json, pods: Sequence[Json], refused: str) -> float | None:
    """Since when the room of an old replica is what a new one lacks; 0: for good; None: that is not so.

    ``template``: of the Deployment; ``refused``: why Kubernetes makes no pods.
    """
    old = [pod for pod in pods if _holds_room(pod)]
    if not old:
        return None
    if "exceeded quota" in refused and any(_fits(template.get("spec") or {}, pod) for pod in old):
        return 0.0
    for pod in pods:
        since = _lacks_room(pod)
        rivals = [other for other in old if _hash(other) != _hash(pod)]
        if since is not None and any(_fits(pod.get("spec") or {}, other) for other in rivals):
            return since
    return None


def volume_is_held(event_message: str) -> bool:
    """Whether Kubernetes says that a volume which one node may hold is held by another node."""
    return "Multi-Attach" in event_message


def _lacks_room(pod: Json) -> float | None:
    status = pod.get("status") or {}
    if status.get("phase") == "Failed" and _DEVICES_TAKEN.match(status.get("reason") or ""):
        return 0.0
    for condition in status.get("conditions") or ():
        if condition["type"] != "PodScheduled" or condition["status"] != "False":
            continue
        if condition.get("reason") == "Unschedulable" and _TAKEN.search(condition.get("message") or ""):
            since = condition.get("lastTransitionTime")
            return parse_timestamp(since) if since else 0.0
    return None


def _holds_room(pod: Json) -> bool:
    """Whether a pod is on a node and not on its way out."""
    is_over = (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
    return bool((pod.get("spec") or {}).get("nodeName")) and "deletionTimestamp" not in pod["metadata"] and not is_over


def _fits(new: Json, old: Json) -> bool:
    """Whether a pod could run where an old one does, once that is gone: no other place, and no more of anything."""
    spec = old.get("spec") or {}
    if any((new.get(field) or None) != (spec.get(field) or None) for field in _PLACEMENT):
        return False
    if _tolerations(new) != _tolerations(spec):
        return False
    has = _requests(spec)
    return all(needed <= has.get(resource, Decimal(0)) for resource, needed in _requests(new).items())


def _tolerations(spec: Json) -> list[Json]:
    """Without those that Kubernetes adds to every pod."""
    given = [t for t in spec.get("tolerations") or () if not (t.get("key") or "").startswith("node.kubernetes.io/")]
    return sorted(given, key=str)


def _requests(spec: Json) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for container in spec.get("containers") or ():
        resources = container.get("resources") or {}
        for resource, value in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            sums[resource] = sums.get(resource, Decimal(0)) + (amount(value) or Decimal(0))
    return sums


def _hash(pod: Json) -> object:
    return (pod["metadata"].get("labels") or {}).get(TEMPLATE_HASH)

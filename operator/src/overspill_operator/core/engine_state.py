"""What can be said of an engine from its Deployment. What its pods say is in ``pod_problems``."""

from dataclasses import dataclass

from overspill_operator.core.conditions import parse_timestamp
from overspill_operator.core.json_object import Json


@dataclass(frozen=True, slots=True)
class EngineState:
    """The replicas of a route as Kubernetes reports them."""

    exists: bool = False
    """Whether there is a Deployment."""
    replicas: int = 0
    """Replicas that exist."""
    ready: int = 0
    """Replicas that are ready."""
    updated: int = 0
    """Replicas that have the Deployment's current template, ready or not."""
    is_observed: bool = True
    """Whether the counts speak of the Deployment's current template and not of the one before."""
    is_current: bool = True
    """Whether the Deployment is the one that the spec in force makes."""
    replaces: bool = False
    """Whether a roll-out takes a replica away before its successor comes."""
    ready_since_unix: float | None = None
    """Since when the Deployment has been available; None: it is not, or none is ready."""
    refused: str = ""
    """Why Kubernetes makes no pods (a quota, a policy); empty: it does."""

    @property
    def rolls(self) -> bool:
        """Whether replicas of an earlier template are still there, or none of the current one is yet."""
        return not self.is_observed or self.updated < self.replicas or self.updated == 0


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
        updated=status.get("updatedReplicas", 0),
        is_observed=status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0),
        replaces=replaces(deployment),
        ready_since_unix=parse_timestamp(since) if since else None,
        refused=failure.get("message", "") if failure.get("status") == "True" else "",
    )


def replaces(deployment: Json) -> bool:
    """Whether a roll-out of the Deployment makes no replica beyond those that there are."""
    rolling = ((deployment.get("spec") or {}).get("strategy") or {}).get("rollingUpdate") or {}
    return rolling.get("maxSurge") == 0


def is_settled(deployment: Json) -> bool:
    """Whether the controllers have taken up the Deployment's last change: its pods have been made."""
    status, spec = deployment.get("status") or {}, deployment.get("spec") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return False
    wanted = spec.get("replicas", 1)
    refused = any(c["type"] == "ReplicaFailure" and c["status"] == "True" for c in status.get("conditions") or ())
    return refused or wanted == 0 or status.get("updatedReplicas", 0) > 0

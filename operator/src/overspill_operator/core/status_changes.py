"""Whether a status is worth writing now, and what is worth an event. Writes are few: many routes share the API."""

from collections.abc import Mapping
from typing import Any

URGENT_FIELDS = ("observedGeneration", "desiredReplicas", "selector", "url", "decisions")
"""Fields whose change is written at once, as are a condition's status and reason; the rest may wait and gather."""


def urgent_part(status: Mapping[str, Any]) -> object:
    """What is written at once when it differs."""
    conditions = [(c.get("type"), c.get("status"), c.get("reason")) for c in status.get("conditions") or ()]
    return [*(_absent_as_none(status.get(field)) for field in URGENT_FIELDS), conditions]


def same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a write would change nothing."""
    return all(_absent_as_none(before.get(field)) == _absent_as_none(value) for field, value in after.items())


def transitions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], bool]]:
    """Conditions that have newly become worth an event, and whether each is a warning.

    A warning: a condition that turned False, or False for another reason, for something a person must mend.
    Its mending is worth one too. What comes and goes in normal life (loading, zero) is not.
    """
    old = {c.get("type"): c for c in before.get("conditions") or ()}
    changes: list[tuple[Mapping[str, Any], bool]] = []
    for condition in after.get("conditions") or ():
        previous = old.get(condition["type"], {})
        if (previous.get("status"), previous.get("reason")) == (condition["status"], condition["reason"]):
            continue
        if condition["status"] == "False" and condition["reason"] not in NORMAL_LIFE:
            changes.append((condition, True))
        elif (
            condition["status"] == "True"
            and previous.get("status") == "False"
            and (previous.get("reason") not in NORMAL_LIFE)
        ):
            changes.append((condition, False))
    return _without_echoes(changes)


def _absent_as_none(value: object) -> object:
    """An empty list is as good as none; zero is a number."""
    return None if value == [] else value


NORMAL_LIFE = frozenset(
    {
        "ScaledToZero",
        "Loading",
        "RollingOut",
        "FixedReplicas",
        "Paused",
        "ExternalAutoscaler",
        "WindowHoldsAtZero",
        "FieldsNotEnforced",
        "NoGateways",
        "GatewaySilent",
        "GatewaysSilent",
        "PrometheusUnavailable",
        "EngineMetricsMissing",
        "FiguresNotBelieved",
    }
)
"""Reasons for False that are no fault of the object."""


def _without_echoes(changes: list[tuple[Mapping[str, Any], bool]]) -> list[tuple[Mapping[str, Any], bool]]:
    """Ready repeats another condition's reason, and so may RolledOut; the other one says it better.

    Where a fault of both is mended, one event says so.
    """
    kept: list[tuple[Mapping[str, Any], bool]] = []
    for condition, is_warning in changes:
        others = [other for other, _ in changes if _RANK.get(other["type"], 0) < _RANK.get(condition["type"], 0)]
        same_reason = any(other["reason"] == condition["reason"] for other in others)
        mended = not is_warning and condition["type"] == "RolledOut"
        if not same_reason and not (mended and len(changes) > 1):
            kept.append((condition, is_warning))
    return kept


_RANK = {"RolledOut": 1, "Ready": 2}
"""A condition gives way to those of a lower rank."""

"""Conditions: what is wanted to be said, and the list that keeps the time at which each last changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from overspill_api.status import ConditionStatus, ConditionType

MESSAGE_LENGTH_MAX = 4000
"""Long enough for every fault of a spec, short enough to be read."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a condition is to say."""

    type: ConditionType
    """What it speaks of."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: str
    """For programs."""
    message: str
    """For people."""


def true(kind: ConditionType, reason: str, message: str = "") -> Statement:
    """A statement that it is so."""
    return Statement(kind, ConditionStatus.TRUE, reason, message)


def false(kind: ConditionType, reason: str, message: str) -> Statement:
    """A statement that it is not so."""
    return Statement(kind, ConditionStatus.FALSE, reason, message)


def unknown(kind: ConditionType, reason: str, message: str) -> Statement:
    """A statement that nobody knows."""
    return Statement(kind, ConditionStatus.UNKNOWN, reason, message)


def condition_list(
    statements: Sequence[Statement], previous: Sequence[Mapping[str, Any]], generation: int, now_unix: float
) -> list[dict[str, Any]]:
    """The list for status. ``lastTransitionTime`` is kept where the status is what it was."""
    before = {condition.get("type"): condition for condition in previous}
    conditions = []
    for statement in statements:
        old = before.get(statement.type.value, {})
        same = old.get("status") == statement.status.value and old.get("lastTransitionTime")
        conditions.append(
            {
                "type": statement.type.value,
                "status": statement.status.value,
                "reason": statement.reason,
                "message": statement.message[:MESSAGE_LENGTH_MAX],
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if same else timestamp(now_unix),
            }
        )
    return conditions


def timestamp(unix: float) -> str:
    """A time as Kubernetes writes it, to the second."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> float:
    """Unix time of a time as Kubernetes writes it."""
    return datetime.fromisoformat(text).timestamp()

"""How many requests wait inside the engines of a route, from what each of its replicas said."""

from collections.abc import Sequence
from dataclasses import dataclass

from overspill_api.engine_metrics import EngineFigures

WAITING_MAX = 1_000_000
"""More requests than any engine can hold: a number that cannot be is none."""


@dataclass(frozen=True, slots=True)
class QueueReading:
    """What the replicas of a route said in one round."""

    asked: int
    """Replicas that were asked."""
    answered: int
    """Replicas that gave a number of waiting requests."""
    waiting: int
    """Their sum."""


def queue_reading(figures: Sequence[EngineFigures | None]) -> QueueReading:
    """The sum over replicas; None stands for one that did not answer."""
    waiting = [f.waiting for f in figures if f is not None and f.waiting is not None and f.waiting <= WAITING_MAX]
    return QueueReading(asked=len(figures), answered=len(waiting), waiting=round(sum(waiting)))

"""A request that went to a hosted API, and its place in the line of the replica that would have begun it first.

What the replica then does with those before it in the line says when its turn would have come.
"""

from enum import Enum
from typing import Final

from overspill_gateway.core.prediction.prediction import LoadSnapshot

FOREGONE_MAX: Final = 64
"""Of one replica, that wait to be judged: those beyond are not. Engines begin many more in the time of any target."""


class Verdict(Enum):
    """What came of sending a request to a hosted API; the value of a metric's label."""

    NEEDED = "needed"
    """A replica would have begun later than the target."""
    REGRETTED = "regretted"
    """A replica would have begun in time."""
    UNKNOWN = "unknown"
    """Nothing that the replica did shows it."""


class Foregone:
    """One of them. Times are seconds of the monotonic clock."""

    __slots__ = (
        "due_at", "ended_before", "nano_usd", "prompt_tokens", "snapshot", "spilled_at", "verdict",
    )  # fmt: skip

    def __init__(self, snapshot: LoadSnapshot, prompt_tokens: int, spilled_at: float, due_at: float) -> None:
        self.snapshot = snapshot
        """What was expected of it there."""
        self.prompt_tokens = prompt_tokens
        self.spilled_at = spilled_at
        self.due_at = due_at
        """When its first token would be late."""
        self.ended_before = 0
        """Requests that have to have ended there before it gets a place in the engine's batch, of all that ever did."""
        self.verdict: Verdict | None = None
        """None: not known yet."""
        self.nano_usd = 0
        """What was charged for it so far."""

    def first_token_at(self, now: float, step_seconds: float, token_seconds: float) -> float:
        """When its first token would have come, whose turn has come with a step that has just ended."""
        steps = self.snapshot.own.steps
        seconds = token_seconds * self.prompt_tokens
        if (
            self.spilled_at > steps.began_before
        ):  # it would be read in the step that begins, with all that came after it
            seconds += step_seconds + token_seconds * steps.unread
        return now + seconds

    def charged(self, nano_usd: int) -> bool:
        """It has cost so much more; whether that is regretted, as far as is known by now."""
        self.nano_usd += nano_usd
        return self.verdict is Verdict.REGRETTED

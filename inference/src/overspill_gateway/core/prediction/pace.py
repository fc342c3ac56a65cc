"""By what factor one replica takes longer than the others of its route: the part of the service rates that is its own.

Replicas of one route run one model: how time grows with work is learned from all of them (``prediction``), and
a replica differs by a factor of its own: one until the first token, and one for the tokens after it.
A new replica is taken to be like the rest; each thing that is seen of it counts for less, the more was seen before.
"""

from math import exp, log
from typing import Final

from overspill_gateway.core.prediction.steps import EngineSteps
from overspill_gateway.core.prediction.tuning import TUNING, Tuning

PACE_MAX: Final = 100.0
"""No replica of one model is further from the rest than this."""


class Pace:
    """How many times longer than the rest one replica takes for one kind of work."""

    __slots__ = ("_tuning", "count", "factor", "heard_at")

    def __init__(self, tuning: Tuning = TUNING) -> None:
        self._tuning = tuning
        self.factor = 1.0
        """Times the seconds of the rest."""
        self.count = 0.0
        """Observations that it rests on, at most ``PACE_MEMORY``."""
        self.heard_at = float("-inf")
        """When the last came."""

    def observe(self, error: float, now: float, sure: float = 1.0) -> None:
        """The replica took ``error`` times as long as was expected of it; ``sure``: how much that counts, 0 to 1."""
        tuning = self._tuning
        self.heard_at = now
        if error > tuning.pace_outlier or error < 1.0 / tuning.pace_outlier:
            error = tuning.pace_outlier if error > 1.0 else 1.0 / tuning.pace_outlier
            if sure == 1.0:
                self.count *= 0.5
        gain = sure / (tuning.pace_prior + self.count + sure)
        self.factor = min(max(self.factor * exp(gain * log(error)), 1.0 / PACE_MAX), PACE_MAX)
        self.count = min(self.count + sure, tuning.pace_memory)


class ReplicaRates:
    """What one replica has of its own."""

    __slots__ = (
        "_tuning", "brighter_at", "ended", "reading", "slots", "slowness", "steps", "tried_at",
        "try_seconds", "writing",
    )  # fmt: skip

    def __init__(self, tuning: Tuning = TUNING) -> None:
        self._tuning = tuning
        self.reading = Pace(tuning)
        """Until the first token."""
        self.writing = Pace(tuning)
        """From one token to the next."""
        self.steps = EngineSteps()
        """What it reads now and next."""
        self.ended = 0
        """Requests that have ended there."""
        self.slots = 0.0
        """Requests that it runs at a time; 0: not known, none ever waited for a place."""
        self.slowness = 1.0
        """Times as long as the route's usual replica takes for the same work, as far as choosing goes: 1 for all that
        are about alike, and while little is known."""
        self.brighter_at = float("-inf")
        """When a first token last came much earlier than predicted."""
        self.tried_at = float("-inf")
        self.try_seconds = tuning.try_seconds_min

    def tries(self, now: float) -> bool:
        """Whether a request is sent there now against what is expected of it, to see whether that is still true."""
        tuning = self._tuning
        if self.brighter_at > self.tried_at:  # the last try was worth it
            self.try_seconds = tuning.try_seconds_min
        if now < self.tried_at + self.try_seconds:
            return False
        if self.tried_at > self.brighter_at:
            self.try_seconds = min(2.0 * self.try_seconds, tuning.try_seconds_max)
        self.tried_at = now
        return True

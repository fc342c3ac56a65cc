"""By what factor one replica takes longer than the others of its route: the part of the service rates that is its own.

Replicas of one route run one model: how time grows with work is learned from all of them (``core.prediction``), and
a replica differs by a factor of its own: one until the first token, and one for the tokens after it.
A new replica is taken to be like the rest; each thing that is seen of it counts for less, the more was seen before.
"""

from math import exp, log
from typing import Final

PACE_PRIOR: Final = 1.5
"""Observations that being like the rest counts for: replicas mostly are, and one that is not is found out by three."""
PACE_MEMORY: Final = 20.0
"""Observations that are remembered: single first tokens scatter by half, the mean of so many by a tenth."""
PACE_OUTLIER: Final = 3.0
"""An observation further off than this counts as if it were this far off, and halves what came before: a replica that
has become slower is known for it after some five requests, and a single outlier moves little."""
PACE_MAX: Final = 100.0
"""No replica of one model is further from the rest than this."""
QUIET_SECONDS: Final = 300.0
"""What was seen of a replica that long ago says nothing: it is taken to be like the rest again."""
TRY_SECONDS_MIN: Final = 1.0
"""Between two requests that try a replica with none of ours against the prediction ..."""
TRY_SECONDS_MAX: Final = 60.0
"""... doubling up to this while none of them changes it: prompts may be too long for the target even alone."""


class Pace:
    """How many times longer than the rest one replica takes for one kind of work."""

    __slots__ = ("count", "factor", "heard_at")

    def __init__(self) -> None:
        self.factor = 1.0
        """Times the seconds of the rest."""
        self.count = 0.0
        """Observations that it rests on, at most ``PACE_MEMORY``."""
        self.heard_at = float("-inf")
        """When the last came."""

    def observe(self, error: float, now: float, sure: float = 1.0) -> None:
        """The replica took ``error`` times as long as was expected of it; ``sure``: how much that counts, 0 to 1."""
        self.heard_at = now
        if error > PACE_OUTLIER or error < 1.0 / PACE_OUTLIER:
            error = PACE_OUTLIER if error > 1.0 else 1.0 / PACE_OUTLIER
            if sure == 1.0:
                self.count *= 0.5
        gain = sure / (PACE_PRIOR + self.count + sure)
        self.factor = min(max(self.factor * exp(gain * log(error)), 1.0 / PACE_MAX), PACE_MAX)
        self.count = min(self.count + sure, PACE_MEMORY)


class ReplicaRates:
    """What one replica has of its own."""

    __slots__ = ("brighter_at", "reading", "slots", "slowness", "tried_at", "try_seconds", "writing")

    def __init__(self) -> None:
        self.reading = Pace()
        """Until the first token."""
        self.writing = Pace()
        """From one token to the next."""
        self.slots = 0.0
        """Requests that it runs at a time; 0: not known, none ever waited for a place."""
        self.slowness = 1.0
        """Times as long as the route's usual replica takes for the same work, as far as choosing goes: 1 for all that
        are about alike, and while little is known."""
        self.brighter_at = float("-inf")
        """When a first token last came much earlier than predicted."""
        self.tried_at = float("-inf")
        self.try_seconds = TRY_SECONDS_MIN

    def tries(self, now: float) -> bool:
        """Whether a request is sent there now against what is expected of it, to see whether that is still true."""
        if self.brighter_at > self.tried_at:  # the last try was worth it
            self.try_seconds = TRY_SECONDS_MIN
        if now < self.tried_at + self.try_seconds:
            return False
        if self.tried_at > self.brighter_at:
            self.try_seconds = min(2.0 * self.try_seconds, TRY_SECONDS_MAX)
        self.tried_at = now
        return True

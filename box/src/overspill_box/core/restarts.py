"""When an engine that ended by itself is started again. Pure; how it ended is ``endings``."""

from dataclasses import dataclass
from typing import Final

FIRST_SECONDS: Final = 1.0
"""Wait after the first ending."""
LONGEST_SECONDS: Final = 60.0
"""Longest wait: somebody may have mended what was wrong."""
SERVED_SECONDS: Final = 120.0
"""After serving for so long an ending counts as the first again."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often the replicas of one route have ended by themselves, one after the other."""

    endings: int = 0
    """How often in a row, without having served for a while between."""
    may_start_unix: float = 0.0
    """Not before this time."""

    def ended(self, now_unix: float, ready_since_unix: float | None) -> "Restarts":
        """One has ended that nobody had told to; ``ready_since_unix`` None: it never was ready."""
        has_served = ready_since_unix is not None and now_unix - ready_since_unix >= SERVED_SECONDS
        endings = 1 if has_served else self.endings + 1
        wait = min(FIRST_SECONDS * 2.0 ** min(endings - 1, 30), LONGEST_SECONDS)
        return Restarts(endings, now_unix + wait)

    def changed(self) -> "Restarts":
        """The engine is made from something else now: what was wrong may be mended."""
        return Restarts()

    def seconds_left(self, now_unix: float) -> float:
        """How long until one may be started; 0: at once."""
        return max(0.0, self.may_start_unix - now_unix)

    def sentence(self, now_unix: float) -> str:
        """When it is tried again, for people; empty: nothing has ended."""
        if not self.endings:
            return ""
        often = "" if self.endings == 1 else f", after it ended {self.endings} times in a row"
        left = self.seconds_left(now_unix)
        return f"It is started again in {left:.0f} s{often}." if left >= 0.5 else f"It is started again now{often}."

"""How much of demand status says is known: better news at once, worse news only when it lasts."""

from dataclasses import dataclass, replace
from typing import Final

from overspill_operator.core.demand.traffic import Coverage

WORSE_AFTER_SECONDS: Final = 30.0
"""A gateway that is replaced is silent for a moment."""


@dataclass(frozen=True, slots=True)
class SteadyCoverage:
    """What is told, and since when it has been worse than that."""

    told: Coverage = Coverage.NONE
    """What status says."""
    worse_since: float | None = None
    """Since when less is known; None: it is as it is told."""

    def seen(self, actual: Coverage, now: float, *, starting: bool) -> "SteadyCoverage":
        """After a look; ``starting``: this process has only just begun, and what it sees is told at once."""
        if actual is self.told:
            return replace(self, worse_since=None)
        if actual is not Coverage.COMPLETE and not starting:
            since = now if self.worse_since is None else self.worse_since
            if now - since < WORSE_AFTER_SECONDS and self.told is Coverage.COMPLETE:
                return replace(self, worse_since=since)
        return SteadyCoverage(actual)

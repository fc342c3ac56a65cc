"""How a run went over time: at regular moments, what had happened by then. What came of it all is in ``outcome``."""

from typing import Final, NamedTuple

SAMPLES: Final = 240
"""Moments of a run at which it is looked at: a line across a page has no more to show."""


class Sample(NamedTuple):
    """What had happened by one moment; all but the numbers of replicas only grow."""

    seconds: float
    """Since the trace began."""
    wanted: int
    """Replicas that were asked for."""
    ready: int
    """Those that could serve."""
    local: int
    """Requests that replicas had served."""
    hosted: int
    """Requests that hosted APIs had served."""
    refused: int
    """Requests that nobody had served."""
    replica_usd: float
    """US dollars paid for replicas, those that load included."""
    hosted_usd: float
    """US dollars paid to hosted APIs."""

    @property
    def usd(self) -> float:
        """All that was paid."""
        return self.replica_usd + self.hosted_usd

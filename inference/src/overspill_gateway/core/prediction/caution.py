"""How sure one has to be that a replica is in time before it gets a request, learned from how decisions turned out.

A first token that was late, though a hosted API would have been in time, asks for more; a spill that a replica would
have begun in time, for less. Being late is worse: see ``Tuning``.
"""

from overspill_gateway.core.prediction.tuning import TUNING, Tuning


class Caution:
    """That of one route."""

    __slots__ = ("_tuning", "late_share", "times")

    def __init__(self, tuning: Tuning = TUNING) -> None:
        self._tuning = tuning
        self.times = 1.0
        """How many times the tail's part of what is predicted counts."""
        self.late_share = 0.0
        """Of first tokens of late: those that were late though a hosted API would have been in time."""

    def served(self, *, late: bool) -> None:
        """A replica's first token has come, too late or not."""
        tuning = self._tuning
        self.late_share += ((1.0 if late else 0.0) - self.late_share) / tuning.late_memory
        if late:
            self.times = min(self.times + tuning.caution_late, 1.0)

    def regretted(self) -> None:
        """A replica would have been in time for a request that was sent to a hosted API."""
        tuning = self._tuning
        if self.late_share <= tuning.late_share_max:
            self.times = max(self.times - tuning.caution_regretted, tuning.caution_min)

"""A period in which a cap holds. Which one a moment is in is worked out by ``money.periods``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Period:
    """One period: from its start, inclusive, to its end, exclusive."""

    start: int
    """Unix seconds."""
    end: int
    """Unix seconds."""

    def holds(self, unix_now: float) -> bool:
        """Whether a moment is in it."""
        return self.start <= unix_now < self.end

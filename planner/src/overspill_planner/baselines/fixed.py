"""A number of replicas that never changes; none of them leaves all to hosted APIs."""

from dataclasses import dataclass

from overspill_planner.baselines.policy import Policy, Sight


@dataclass(frozen=True, slots=True)
class Static(Policy[None]):
    """So many, always."""

    replicas: int
    """How many."""

    @property
    def period_seconds(self) -> float:
        """There is nothing to see."""
        return 3600.0

    def begin(self) -> tuple[int, None]:
        """All of them from the beginning, which their loading is paid for."""
        return self.replicas, None

    def decide(self, seen: Sight, state: None, now: float) -> tuple[int, None]:  # noqa: ARG002 - whatever is seen
        """The same."""
        return self.replicas, state

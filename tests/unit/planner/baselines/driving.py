"""Drives a policy over time with one demand after the other, as a simulator does."""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from overspill_planner.baselines.policy import Gauge, Policy, Sight

S = TypeVar("S")


class Driver(Generic[S]):
    """A policy, what it remembers, and replicas that are ready as soon as they are wanted unless told otherwise."""

    def __init__(self, policy: Policy[S], replicas: int | None = None) -> None:
        self.policy: Policy[S] = policy
        begun, self.state = policy.begin()
        self.replicas = begun if replicas is None else replicas
        self.now = 0.0

    def look(self, offered: float, ready: int | None = None, gauges: Mapping[str, Gauge] | None = None) -> int:
        """One look, then a period passes."""
        seen = Sight(self.replicas, self.replicas if ready is None else ready, offered, offered, gauges or {})
        self.replicas, self.state = self.policy.decide(seen, self.state, self.now)
        self.now += self.policy.period_seconds
        return self.replicas

    def looks(self, offered: Iterable[float]) -> list[int]:
        """Several."""
        return [self.look(value) for value in offered]

    def until(self, replicas: int, offered: float, looks_max: int = 1000) -> float:
        """Seconds until so many are wanted."""
        began = self.now
        for _ in range(looks_max):
            at = self.now
            if self.look(offered) == replicas:
                return at - began
        raise AssertionError(f"it never wanted {replicas}")

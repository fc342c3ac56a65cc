"""What every policy of scaling is: what it sees and remembers, and the time, to a number of replicas.

A policy is a value; what it remembers is another, which it gets and gives back. Nothing is read or written, so that a
decision can be repeated and looked at. Numbers are bounded by the route's least and most replicas, as each of these
products is configured with both.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S")


class Gauge(NamedTuple):
    """What one replica says of itself: the highest value since a policy looked last."""

    kv_cache_usage: float
    """Share of its KV cache in use, 0 to 1."""
    waiting: int
    """Requests that wait inside it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a policy sees of a route. Requests at hosted APIs in a replica's place count: else they hide demand."""

    replicas: int
    """How many were wanted last; those that load are among them."""
    ready: int
    """Those that can serve."""
    offered: float
    """Requests in flight now: at replicas, at hosted APIs, and those that wait."""
    mean_offered: float
    """The same, averaged over the time since the policy looked last."""
    gauges: Mapping[str, Gauge] = field(default_factory=dict)
    """Of ready replicas, by name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The least and the most replicas."""

    minimum: int = 0
    """At least so many."""
    maximum: int = 1
    """At most so many."""

    def bound(self, replicas: int) -> int:
        """The nearest number that is allowed."""
        return min(max(replicas, self.minimum), self.maximum)


class Policy(ABC, Generic[S]):
    """A policy. ``S`` is what it remembers."""

    @property
    @abstractmethod
    def period_seconds(self) -> float:
        """Between two looks."""

    @property
    def wakes_at_once(self) -> bool:
        """Whether a request that finds no replica has one started right away, without waiting for the next look."""
        return False

    @abstractmethod
    def begin(self) -> tuple[int, S]:
        """Replicas that there are at first, and what it remembers then."""

    @abstractmethod
    def decide(self, seen: Sight, state: S, now: float) -> tuple[int, S]:
        """How many replicas there shall be, and what is remembered. ``now``: seconds that never go back."""

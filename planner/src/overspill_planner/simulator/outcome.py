"""What came of a simulation, counted request by request: latencies, who served, what it cost."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from overspill_planner.optimum.fluid import Prices
from overspill_planner.simulator.gateway import Request

SHARES = (0.5, 0.95, 0.99)
"""Percentiles that are reported, as shares."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of seconds; None where there is no value."""

    p50: float | None
    p95: float | None
    p99: float | None


def percentiles(values: Sequence[float]) -> Percentiles:
    """By nearest rank."""
    ordered = sorted(values)
    ranks = [max(-int(-share * len(ordered) // 1) - 1, 0) for share in SHARES]
    return Percentiles(*(ordered[rank] if ordered else None for rank in ranks))


def _seconds() -> "array[float]":
    return array("d")


@dataclass(slots=True)
class Tally:
    """Counts requests as they are over."""

    hosted: Mapping[str, Prices]
    """What hosted APIs charge, by name; only their tokens are charged."""
    first_token_target: float
    """Seconds within which a first token is in time."""
    local_first_tokens: "array[float]" = field(default_factory=_seconds)
    """Seconds from arrival to first token, of those that replicas served."""
    hosted_first_tokens: "array[float]" = field(default_factory=_seconds)
    """The same, of those that hosted APIs served."""
    inter_tokens: "array[float]" = field(default_factory=_seconds)
    """Seconds between two tokens, the mean of each answer."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """``local``, ``hosted``, ``refused``."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why hosted APIs served, or nobody."""
    in_time: int = 0
    """Requests with a first token in time."""
    tokens: int = 0
    """Prompt and output tokens of all that were served."""
    hosted_usd: float = 0.0
    """What hosted APIs charged."""
    digest: Any = field(default_factory=sha256)
    """Of every request's way: two runs that decide alike have the same."""

    def settled(self, request: Request) -> None:
        """One is over."""
        self.outcomes[request.outcome] += 1
        if not request.local:
            self.reasons[str(request.reason)] += 1
        self.digest.update(f"{request.outcome}{request.reason}{request.began}{request.ended}".encode())
        if request.outcome == "refused" or request.began is None or request.ended is None:
            return
        seconds = request.began - request.arrived
        (self.local_first_tokens if request.local else self.hosted_first_tokens).append(seconds)
        self.in_time += seconds <= self.first_token_target
        if request.output_tokens > 1:
            self.inter_tokens.append((request.ended - request.began) / (request.output_tokens - 1))
        self.tokens += request.prompt_tokens + request.output_tokens
        self.hosted_usd += self.usd(request.served_by, request)

    def usd(self, served_by: str, request: Request) -> float:
        """What a backend charges for a request; replicas nothing."""
        prices = self.hosted.get(served_by)
        return prices.hosted(request.prompt_tokens, request.output_tokens) if prices else 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one policy on one trace."""

    requests: int
    """All of them."""
    outcomes: Mapping[str, int]
    """``local``, ``hosted``, ``refused``."""
    reasons: Mapping[str, int]
    """Why hosted APIs served, or nobody."""
    first_token: Percentiles
    """Seconds since the request came."""
    inter_token: Percentiles
    """Seconds, the mean of each answer."""
    slo_share: float
    """Share of all requests whose first token came in time; one that is refused did not."""
    tokens: int
    """Prompt and output tokens that were served."""
    replica_usd: float
    """For replicas, those that load included."""
    hosted_usd: float
    """For hosted APIs."""
    replica_hours: float
    """Replica-hours that were paid for."""
    idle_share: float
    """Share of them in which no engine worked, loading included."""
    starts: int
    """Replicas that were started."""
    most: int
    """The most that were wanted at a time."""
    preemptions: int
    """Requests that an engine has put back for want of KV cache."""
    reused_tokens: int
    """Prompt tokens that an engine had read before and still had in its cache."""
    wrong_spill_share: float | None
    """Of what was spilled since a replica would have been late: the share that a replica would have begun in time, by
    trying it on a copy of its engine. None: the route spills nothing for lateness."""
    late_hold_share: float | None
    """Of what replicas served: the share that began later than the route's target for spilling, though a hosted API
    would have been in time. None: likewise."""
    regret_usd: float | None
    """What the wrong spills cost. None: likewise."""
    digest: str
    """Of every decision."""

    @property
    def usd(self) -> float:
        """All of it."""
        return self.replica_usd + self.hosted_usd

    @property
    def spilled_share(self) -> float:
        """Share of requests that hosted APIs served."""
        return self.outcomes.get("hosted", 0) / self.requests if self.requests else 0.0

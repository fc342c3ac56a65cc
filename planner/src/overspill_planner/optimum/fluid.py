"""A trace as a fluid: by slot of time, what hosted APIs would be paid for what the first, second ... replica could do.

A request is work of ``in / P + out / D`` replica-seconds, spread evenly over the time that an engine without load takes
for it; P and D are the most tokens a second that a replica reads or writes in its fullest batch, so that no engine does
it in less. A replica in a slot takes the work that is dearest elsewhere for the time it takes, parts of requests too
(the fractional knapsack). What is left goes to hosted APIs at their price.

That makes what a clairvoyant pays for the fluid a bound for real policies but for one thing: a request may wait for a
while where the fluid may not, so that a policy can smooth peaks of seconds; against slots of some seconds that is
little.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from overspill_planner.traces.arrival import BLOCK_TOKENS, Arrival

SLOT_SECONDS: Final = 5.0
HOUR_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Prices:
    """What work costs in US dollars."""

    replica_hour: float
    """One replica for an hour, from when it is asked for: while it loads as well."""
    input_million: float
    """A million prompt tokens at the hosted API."""
    output_million: float
    """A million output tokens there."""

    @property
    def replica_second(self) -> float:
        """One replica for a second."""
        return self.replica_hour / HOUR_SECONDS

    def hosted(self, prompt_tokens: int, output_tokens: int) -> float:
        """What the hosted API charges for a request."""
        return (prompt_tokens * self.input_million + output_tokens * self.output_million) / 1e6


@dataclass(frozen=True, slots=True)
class ReplicaRates:
    """The most that one replica does, and the least time that a request takes."""

    prompt_per_second: float
    """P: prompt tokens that it reads a second while it writes nothing."""
    output_per_second: float
    """D: output tokens that it writes a second in its fullest batch."""
    output_seconds: float
    """Between two tokens of the only request in it."""

    def work(self, arrival: Arrival, reused_tokens: int = 0) -> float:
        """Replica-seconds of a request; ``reused_tokens``: of its prompt, which need not be read."""
        unread = arrival.prompt_tokens - reused_tokens
        return unread / self.prompt_per_second + arrival.output_tokens / self.output_per_second

    def service_seconds(self, arrival: Arrival) -> float:
        """How long a request takes in an engine that has nothing else to do."""
        return arrival.prompt_tokens / self.prompt_per_second + arrival.output_tokens * self.output_seconds


@dataclass(frozen=True, slots=True)
class Fluid:
    """What replicas would save, slot by slot."""

    slot_seconds: float
    """Length of a slot."""
    gains: Sequence[tuple[float, ...]]
    """By slot: US dollars that the first, second ... replica would save at the hosted API, never rising. What stands
    for no replica is zero."""
    hosted_usd: float
    """What the hosted API would be paid for all of it."""
    work_seconds: float
    """Replica-seconds of all of it."""

    @property
    def mean_replicas(self) -> float:
        """Replicas that all of it would keep busy, on average."""
        return self.work_seconds / (len(self.gains) * self.slot_seconds)

    def rho(self, prices: Prices) -> float:
        """Price of the hosted API for what a busy replica does in a second, over the price of the replica's second."""
        return self.hosted_usd / self.work_seconds / prices.replica_second


def fluid_of(
    arrivals: Iterable[Arrival], rates: ReplicaRates, prices: Prices, slot_seconds: float = SLOT_SECONDS
) -> Fluid:
    """The fluid of requests in time order; blocks of prompts that were there before cost no replica anything."""
    seen: set[int] = set()
    slots: list[list[tuple[float, float]]] = []
    hosted_usd = work_seconds = 0.0
    for arrival in arrivals:
        work = rates.work(arrival, _reused(arrival, seen))
        usd = prices.hosted(arrival.prompt_tokens, arrival.output_tokens)
        hosted_usd += usd
        work_seconds += work
        begins = arrival.seconds
        ends = begins + rates.service_seconds(arrival)
        first, last = int(begins / slot_seconds), int(ends / slot_seconds)
        while len(slots) <= last:
            slots.append([])
        if first == last:
            slots[first].append((usd / work, work))
            continue
        for slot in range(first, last + 1):
            part = min(ends, (slot + 1) * slot_seconds) - max(begins, slot * slot_seconds)
            slots[slot].append((usd / work, work * part / (ends - begins)))
    return Fluid(slot_seconds, [_gains(slot, slot_seconds) for slot in slots], hosted_usd, work_seconds)


def _reused(arrival: Arrival, seen: set[int]) -> int:
    """Prompt tokens that one replica would have read before, were its cache without end; ``seen``: blocks so far."""
    if not arrival.blocks:
        return 0
    most = (arrival.prompt_tokens - 1) // BLOCK_TOKENS
    found = next((place for place, block in enumerate(arrival.blocks) if block not in seen), len(arrival.blocks))
    seen.update(arrival.blocks)
    return min(found, most) * BLOCK_TOKENS


def _gains(pieces: list[tuple[float, float]], slot_seconds: float) -> tuple[float, ...]:
    """What each replica saves: the first one takes what is dearest for its work."""
    gains: list[float] = []
    room = 0.0
    for density, work in sorted(pieces, reverse=True):
        left = work
        while left > 0.0:
            if room <= 0.0:
                gains.append(0.0)
                room = slot_seconds
            taken = min(left, room)
            gains[-1] += density * taken
            left -= taken
            room -= taken
    return tuple(gains)

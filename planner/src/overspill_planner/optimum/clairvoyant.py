"""What somebody would pay who knew all requests beforehand: the least cost of a fluid, and the replicas that have it.

The problem ("right-sizing data centres", Lin et al., INFOCOM 2011, with a hosted API for what is left)::

    min over x of  sum_t [c x_t + A_t(x_t)]  +  S sum_t (x_t - x_{t-1})^+

with ``c`` the price of a replica for a slot, ``A_t(x)`` what the hosted API is paid in slot t beside x replicas, and
``S`` what a start costs: the seconds of loading, in which a replica is paid for and does nothing. Who knows the future
starts a replica so much earlier, so that loading costs money and no time.

``A_t`` is convex, and so the problem falls apart by level: whether the k-th replica runs depends on what it alone
saves, ``A_t(k-1) - A_t(k)``, which never rises with k; the best answers for all k fit into each other. Each level is a
dynamic program of two states, on and off, so that the whole is linear in slots times replicas: a week of five-second
slots takes about a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from overspill_planner.optimum.fluid import Fluid, Prices


@dataclass(frozen=True, slots=True)
class Plan:
    """How many replicas run when, and what that costs in US dollars."""

    replicas: Sequence[int]
    """By slot; those that load are not among them."""
    replica_usd: float
    """For replicas that run."""
    loading_usd: float
    """For replicas that load."""
    hosted_usd: float
    """For the hosted API."""
    starts: int
    """How often a replica starts."""

    @property
    def usd(self) -> float:
        """All of it."""
        return self.replica_usd + self.loading_usd + self.hosted_usd


def clairvoyant(fluid: Fluid, prices: Prices, load_seconds: float, *, replicas_max: int, replicas_min: int = 0) -> Plan:
    """The plan of least cost. Nothing runs before the first slot, and what runs at the end is free to go."""
    slot_usd = prices.replica_second * fluid.slot_seconds
    start_usd = prices.replica_second * load_seconds
    levels = min(replicas_max, max(map(len, fluid.gains), default=0))
    replicas = [min(replicas_min, replicas_max)] * len(fluid.gains)
    for level in range(replicas_min, levels):
        gains = [slot[level] if level < len(slot) else 0.0 for slot in fluid.gains]
        is_on = _when_on(gains, slot_usd, start_usd)
        if 1 not in is_on:
            break  # the levels above save less
        replicas = [below + on for below, on in zip(replicas, is_on, strict=True)]
    return cost_of(replicas, fluid, prices, load_seconds)


def cost_of(replicas: Sequence[int], fluid: Fluid, prices: Prices, load_seconds: float) -> Plan:
    """What a given number of replicas in each slot costs."""
    starts = sum(max(after - before, 0) for before, after in pairwise([0, *replicas]))
    saved = sum(sum(gains[:count]) for gains, count in zip(fluid.gains, replicas, strict=True))
    return Plan(
        replicas,
        sum(replicas) * prices.replica_second * fluid.slot_seconds,
        starts * prices.replica_second * load_seconds,
        max(fluid.hosted_usd - saved, 0.0),
        starts,
    )


def best_static(fluid: Fluid, prices: Prices, load_seconds: float, *, replicas_max: int) -> Plan:
    """The fixed number of replicas that costs least, chosen in hindsight; none of them is API-only."""
    slots = len(fluid.gains)
    plans = (cost_of([count] * slots, fluid, prices, load_seconds) for count in range(replicas_max + 1))
    return min(plans, key=lambda plan: plan.usd)


def _when_on(gains: Sequence[float], slot_usd: float, start_usd: float) -> bytes:
    """By slot whether a replica runs that saves ``gains``; where both cost the same it does not."""
    on, off = float("inf"), 0.0
    was_on_if_on, was_on_if_off = bytearray(len(gains)), bytearray(len(gains))
    for slot, gain in enumerate(gains):
        was_on_if_on[slot] = on < off + start_usd
        was_on_if_off[slot] = on < off
        on, off = min(on, off + start_usd) + slot_usd, min(on, off) + gain
    states = bytearray(len(gains))
    is_on = on < off
    for slot in range(len(gains) - 1, -1, -1):
        states[slot] = is_on
        is_on = bool(was_on_if_on[slot] if is_on else was_on_if_off[slot])
    return bytes(states)

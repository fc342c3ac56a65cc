"""A few replicas in virtual time, for tests of choosing: engines that serve one request after the other at their speed.

Simpler than an engine and the same in what matters here: work that waits, prefixes that are in a cache or not.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence

from overspill_gateway.core.admission.balance import choose_replica
from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.prediction.load import work_of
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.requests.ask import Ask

PREFIXES_CACHED = 40
"""Conversations whose prefix one engine keeps."""


class Replica:
    """One replica and its engine."""

    def __init__(self, name: str, speed: float = 1000.0) -> None:
        self.state = ReplicaState(f"local/{name}", ServiceRates())
        self.load, self.outlier, self.served_by = self.state.load, self.state.outlier, self.state.served_by
        self.speed = speed
        """Work a second."""
        self.free_at = 0.0
        self.served = 0
        self.hits = 0
        self.fails: Callable[[float], bool] = lambda now: False  # noqa: ARG005
        self._cache: OrderedDict[int, None] = OrderedDict()

    def takes(self, ask: Ask, now: float) -> float:
        """Begin a request as soon as all before it are done; when it will be done."""
        work = work_of(ask)
        if ask.prefix and ask.prefix in self._cache:
            self.hits += 1
            work -= ask.prompt_tokens
        self._cache[ask.prefix] = None
        self._cache.move_to_end(ask.prefix)
        if len(self._cache) > PREFIXES_CACHED:
            self._cache.popitem(last=False)
        self.free_at = max(self.free_at, now) + work / self.speed
        return self.free_at


def fleet(*speeds: float) -> list[Replica]:
    """Replicas of these speeds."""
    return [Replica(f"pod-{number}", speed) for number, speed in enumerate(speeds)]


def choose(
    replicas: Sequence[Replica], ask: Ask, now: float, turn: int, avoid: Sequence[Replica] = ()
) -> Replica | None:
    """Which of these ``choose_replica`` takes."""
    states = [replica.state for replica in replicas]
    chosen = choose_replica(states, ask, now, turn, [replica.state for replica in avoid])
    return replicas[states.index(chosen)] if chosen is not None else None


Choice = Callable[[Sequence[Replica], Ask, float, int], Replica | None]


def run(replicas: list[Replica], arrivals: list[tuple[float, Ask]], choose: Choice) -> list[float]:
    """Let requests come at their times; the seconds that each took, in their order."""
    seconds: list[float] = []
    ends: list[tuple[float, int, Replica, Ask]] = []
    order = itertools.count()

    def end_until(now: float) -> None:
        while ends and ends[0][0] <= now:
            when, _, replica, ask = heapq.heappop(ends)
            replica.load.done(ask, first_token_came=False)
            if replica.fails(when):
                replica.outlier.failed(when, FailureKind.STATUS, None, status=500)
            else:
                replica.outlier.succeeded(when)

    for turn, (now, ask) in enumerate(arrivals):
        end_until(now)
        replica = choose(replicas, ask, now, turn)
        assert replica is not None
        replica.load.sent(ask)
        replica.served += 1
        done = replica.takes(ask, now)
        heapq.heappush(ends, (done, next(order), replica, ask))
        seconds.append(done - now)
    end_until(float("inf"))
    return seconds


def percentile(values: list[float], percent: float) -> float:
    """The value that this percentage of values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]

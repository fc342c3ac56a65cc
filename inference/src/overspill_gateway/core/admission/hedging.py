"""How often a second backend may be asked for an answer that is slow to begin, and what that may cost.

Two limits: a percentage of the route's requests, which holds over any stretch of them but for a small burst, and
money per hour for hedges at hosted APIs, which holds in any 60 minutes. When to hedge is the route's to say; whether
the process can afford one more attempt is the retry budget's.
"""

from typing import Final

from overspill_api.compiled import HedgingRules

BURST: Final = 10
"""Hedges that may be saved up while none were needed."""
MINUTES: Final = 61
"""Whole minutes that any 60 minutes touch."""


class HedgeLedger:
    """The hedges of one route."""

    __slots__ = ("_minute", "_requests", "_spent", "_spent_by_minute", "denied_total")

    def __init__(self) -> None:
        self.denied_total = 0
        """Hedges that a limit forbade, for metrics."""
        self._requests = 0
        """Requests that no hedge has been counted against yet."""
        self._minute = 0
        self._spent = 0
        self._spent_by_minute: dict[int, int] = {}

    def request_seen(self, now: float) -> None:  # noqa: ARG002 - all of the ledger's entries are dated
        """A request that might be hedged was sent."""
        self._requests += 1

    def may_hedge(self, now: float, rules: HedgingRules, *, hosted_cost_nano_usd: int) -> bool:
        """Whether a hedge may begin now; if so it is counted: ask last, and only when it will begin.

        ``hosted_cost_nano_usd`` is the most that it may cost at a hosted API; 0: a replica of our own is asked.
        """
        limit = rules.hosted_nano_usd_per_hour
        if self._may(now, rules.max_percent, limit, hosted_cost_nano_usd):
            return True
        self.denied_total += 1
        return False

    def settled(self, began_at: float, *, held_nano_usd: int, actual_nano_usd: int | None) -> None:
        """A hedge at a hosted API has ended and cost this much; None: nobody knows, so it is taken for all of it.

        ``began_at`` is the ``now`` of its ``may_hedge``: its cost counts from there.
        """
        minute = int(began_at // 60)
        if actual_nano_usd is not None and minute in self._spent_by_minute:
            self._spent_by_minute[minute] += actual_nano_usd - held_nano_usd
            self._spent += actual_nano_usd - held_nano_usd

    def spent_nano_usd(self, now: float) -> int:
        """What hedges at hosted APIs have cost in the last hour, those that run included at their most."""
        self._forget(int(now // 60))
        return self._spent

    def _may(self, now: float, percent: int, limit_nano_usd: int, cost_nano_usd: int) -> bool:
        if percent <= 0:
            return False
        self._requests = min(self._requests, BURST * 100 // percent)
        if self._requests * percent < 100:
            return False
        if cost_nano_usd:
            if self.spent_nano_usd(now) + cost_nano_usd > limit_nano_usd:
                return False
            self._spent_by_minute[self._minute] = self._spent_by_minute.get(self._minute, 0) + cost_nano_usd
            self._spent += cost_nano_usd
        self._requests -= -(-100 // percent)
        return True

    def _forget(self, minute: int) -> None:
        if minute <= self._minute:
            return
        self._minute = minute
        for old in [spent_minute for spent_minute in self._spent_by_minute if spent_minute <= minute - MINUTES]:
            self._spent -= self._spent_by_minute.pop(old)

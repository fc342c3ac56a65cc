"""How good each decision to spill was, by what would truly have happened, as only a simulator can know it.

A wrong spill: a replica would have begun its answer within the target, everything else as it was. A late hold: a
replica began its answer later than the target, and a hosted API would have been in time. Spills for want of any replica
are not judged. A copy of each engine is asked for every spill at first, later for each eighth, which then counts for
eight: most of the time of a simulation would go into it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.admission.request_state import RequestState
from overspill_gateway.core.flow.flow_observer import FlowObserver
from overspill_planner.simulator.counterfactual import first_in_time
from overspill_planner.simulator.gateway import Attempt, Gateway, Request

ALL_JUDGED: Final = 256
"""Spills that are all judged."""
JUDGED_EVERY: Final = 8
"""One of so many after that."""


@dataclass(slots=True)
class Judged:
    """What was found out of the decisions of one route."""

    spills: int = 0
    """Requests that went to a hosted API since a replica would have been late, as it was predicted."""
    wrong_spills: int = 0
    """Those of them that a replica would have begun in time, as far as they were judged, each by its weight."""
    wrong_usd: float = 0.0
    """What was paid for those."""
    served: int = 0
    """Requests that replicas served."""
    late_holds: int = 0
    """Those of them that began late, though a hosted API would have been in time."""

    @property
    def wrong_spill_share(self) -> float:
        """Of the spills, 0 to 1."""
        return min(self.wrong_spills / self.spills, 1.0) if self.spills else 0.0

    @property
    def late_hold_share(self) -> float:
        """Of what replicas served, 0 to 1."""
        return self.late_holds / self.served if self.served else 0.0


class Judging(FlowObserver[Attempt]):
    """Judges the decisions of one gateway, from a time on."""

    def __init__(
        self,
        target_seconds: float,
        usd: Callable[[str, Request], float] = lambda _name, _request: 0.0,
        *,
        begins: float = float("-inf"),
        all_judged: int = ALL_JUDGED,
    ) -> None:
        """``usd``: what a hosted API charges for a request; ``begins``: those that came before are not counted."""
        self.judged = Judged()
        self.gateway: Gateway | None = None
        """To be set before time begins."""
        self._target = target_seconds
        self._usd = usd
        self._begins = begins
        self._all_judged = all_judged

    def began(self, request: RequestState, attempt: Attempt, now: float) -> None:
        """It goes to a backend; what others would have done is asked now."""
        gateway, one = self.gateway, request.waiter
        if gateway is None or not isinstance(one, Request) or one.arrived < self._begins:
            return
        left = self._target - (now - one.arrived)
        if attempt.backend.is_local:
            one.hosted_in_time = gateway.hosted_seconds(one.ask) <= left
        elif attempt.reason is ServedReason.LATENCY and gateway.pool.replicas:
            self.judged.spills += 1
            weight = 1
            if self.judged.spills > self._all_judged:
                if self.judged.spills % JUDGED_EVERY:
                    return
                weight = JUDGED_EVERY
            engines = (gateway.engine_of(replica) for replica in gateway.pool.replicas)
            if first_in_time(engines, now, one.prompt_tokens, one.output_tokens, left):
                self.judged.wrong_spills += weight
                self.judged.wrong_usd += weight * self._usd(attempt.served_by, one)

    def ended(self, request: RequestState, now: float) -> None:  # noqa: ARG002 - as it was noted
        """It is over."""
        one = request.waiter
        if not isinstance(one, Request) or not one.local or one.began is None or one.arrived < self._begins:
            return
        self.judged.served += 1
        self.judged.late_holds += one.hosted_in_time and one.began - one.arrived > self._target

"""How good each decision to spill was, by what would truly have happened, as only a simulator can know it.

A wrong spill: a replica would have begun its answer within the target and would have made nobody late by then,
everything else as it was, what came later included. A late hold: a replica began its answer later than the target, and
a hosted API would have been in time. Spills for want of any replica are not judged. Each spill is tried on a copy of
each engine at first, later one of many, which then counts for all: most of the time of a simulation would go into it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.admission.request_state import RequestState
from overspill_gateway.core.flow.flow_observer import FlowObserver, Forwarding
from overspill_planner.simulator.counterfactual import Trial
from overspill_planner.simulator.gateway import Attempt, Gateway, Request

ALL_JUDGED: Final = 256
"""Spills that are all judged."""
JUDGED_EVERY: Final = 32
"""One of so many after that."""


@dataclass(slots=True)
class Judged:
    """What was found out of the decisions of one route."""

    spills: int = 0
    """Requests that went to a hosted API since a replica would have been late, as it was predicted."""
    in_time: int = 0
    """Those of them that a replica would have begun in time, as far as they were judged, each by its weight."""
    wrong_spills: int = 0
    """Those of these that would have made nobody late."""
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


@dataclass(frozen=True, slots=True)
class _Spill:
    """One that is judged."""

    request: Request
    due: float
    """When its first token would be late."""
    weight: int
    usd: float
    trials: Sequence[Trial]


class Judging:
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
        self.gateway: Gateway | None = None
        """To be set before time begins."""
        self.observer: FlowObserver[Attempt] = Forwarding(self.began, self.ended)
        """Hears of the gateway's requests for it."""
        self._judged = Judged()
        self._target = target_seconds
        self._usd = usd
        self._begins = begins
        self._all_judged = all_judged
        self._trials: dict[str, list[Trial]] = {}
        """By the replica of whose engine they have a copy."""
        self._spills: list[_Spill] = []
        """Those that are not decided yet."""

    def began(self, request: RequestState, attempt: Attempt, now: float) -> None:
        """It goes to a backend; what others would have done is asked now."""
        one = request.waiter
        if not isinstance(one, Request):
            return
        if attempt.backend.is_local:
            self._sent(one, attempt, now)
        elif attempt.reason is ServedReason.LATENCY and one.arrived >= self._begins:
            self._spilled(one, attempt, now)

    def _sent(self, one: Request, attempt: Attempt, now: float) -> None:
        if self.gateway is not None:
            one.hosted_in_time = self.gateway.hosted_seconds(one.ask) <= self._target - (now - one.arrived)
        trials = self._trials.get(attempt.served_by)
        if trials:
            for trial in trials:
                trial.gets(now, one, one.prompt_tokens, one.output_tokens, one.blocks)
            trials[:] = [trial for trial in trials if not trial.over]

    def _spilled(self, one: Request, attempt: Attempt, now: float) -> None:
        gateway, judged = self.gateway, self._judged
        if gateway is None or not gateway.pool.replicas:
            return
        judged.spills += 1
        weight = 1
        if judged.spills > self._all_judged:
            if judged.spills % JUDGED_EVERY:
                return
            weight = JUDGED_EVERY
        due = one.arrived + self._target
        trials = []
        for replica in gateway.pool.replicas:
            engine = gateway.engine_of(replica)
            trial = Trial(engine, now, one.prompt_tokens, one.output_tokens, due, one.blocks)
            trials.append(trial)
            self._trials.setdefault(replica.served_by, []).append(trial)
        self._spills.append(_Spill(one, due, weight, weight * self._usd(attempt.served_by, one), trials))
        if len(self._spills) >= 2 * self._all_judged:
            self._decide(now - 2.0 * self._target)

    def ended(self, request: RequestState, now: float) -> None:  # noqa: ARG002 - as it was noted
        """It is over."""
        one = request.waiter
        if not isinstance(one, Request) or not one.local or one.began is None or one.arrived < self._begins:
            return
        self._judged.served += 1
        self._judged.late_holds += one.hosted_in_time and one.began - one.arrived > self._target

    def found(self) -> Judged:
        """What was found out, once all is over."""
        self._decide(float("inf"))
        return self._judged

    def _decide(self, before: float) -> None:
        """Decide on those that were due before a time: by then whoever was in time has begun."""
        undecided, judged = [], self._judged
        for spill in self._spills:
            if spill.due >= before:
                undecided.append(spill)
                continue
            for trial in spill.trials:
                trial.run(spill.due)
            in_time = [trial for trial in spill.trials if trial.first_token is not None]
            if in_time:
                judged.in_time += spill.weight
            if any(not self._makes_late(trial) for trial in in_time):
                judged.wrong_spills += spill.weight
                judged.wrong_usd += spill.usd
        self._spills = undecided

    def _makes_late(self, trial: Trial) -> bool:
        """Whether somebody who was in time would not have been."""
        for owner, when in trial.others.items():
            if isinstance(owner, Request) and owner.began is not None:
                due = owner.arrived + self._target
                if owner.began <= due and (due <= trial.ends if when is None else due < when):
                    return True
        return False

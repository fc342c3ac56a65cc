"""How good decisions to spill were, from what the replicas then did; caution learns from it.

Of a request that went to a hosted API since a replica would have been late, the place in that replica's line is kept:
the prompts that had to be read before its own, and the requests that had to end. When they are, its turn would have
come. While nothing is in such a line the cost is that of a comparison for each first token. Nothing that a tenant says
counts, beyond the length of what was sent. Not here: the line itself (``core.prediction.steps``), and what was charged.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from typing import Final

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.admission.request_state import RequestState
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.counters import RouteCounters
from overspill_gateway.core.flow.attempt_state import AttemptState
from overspill_gateway.core.prediction.foregone import FOREGONE_MAX, Foregone, Verdict
from overspill_gateway.core.prediction.pace import ReplicaRates
from overspill_gateway.core.prediction.prediction import LoadSnapshot, ServiceRates
from overspill_gateway.core.prediction.target import FirstTokenTarget

AnyAttempt = AttemptState[BackendState]

JUDGED_SECONDS_MAX: Final = 60.0
"""Turns that come later are not waited for."""
HOSTED_GAIN: Final = 0.1
"""Of one first token in how long hosted APIs take."""


class Judging:
    """Judges the decisions of one route."""

    def __init__(
        self,
        target: FirstTokenTarget,
        rates: ServiceRates,
        hosted: Callable[[], Sequence[HostedState]],
        tally: RouteCounters,
    ) -> None:
        """``hosted``: the route's hosted APIs as they are now."""
        self._target = target
        self._rates = rates
        self._hosted = hosted
        self._tally = tally
        self._hosted_seconds = 0.0
        """How long hosted APIs take to a first token; 0: none was seen."""
        self._lines: dict[ReplicaRates, deque[Foregone]] = {}
        """Those that are not judged yet, by replica, in the order in which they went."""

    def spilled(self, request: RequestState, attempt: AnyAttempt, now: float) -> None:
        """A request goes to a hosted API."""
        snapshot, target = request.foregone, self._target.seconds
        if snapshot is None or target is None or attempt.reason is not ServedReason.LATENCY or not attempt.spills:
            return
        request.foregone = None
        due_at = request.started_at + target
        foregone = attempt.foregone = Foregone(snapshot, request.ask.prompt_tokens, now, due_at)
        own = snapshot.own
        if snapshot.places_short > 0.0:
            foregone.ended_before = own.ended + ceil(snapshot.places_short)
        self._forget(now)
        if not request.streams or (not own.steps.unread and not foregone.ended_before):
            self._judge(foregone, Verdict.UNKNOWN)  # nobody is before it: its own length alone makes it late
        else:
            line = self._lines.setdefault(own, deque())
            if len(line) >= FOREGONE_MAX:
                self._judge(line.popleft(), Verdict.UNKNOWN)
            line.append(foregone)

    def hosted_first_token(self, seconds: float) -> None:
        """A hosted API's stream has begun, so long after it was asked for."""
        known = self._hosted_seconds
        self._hosted_seconds = known + HOSTED_GAIN * (seconds - known) if known else seconds

    def first_token(self, request: RequestState, snapshot: LoadSnapshot, now: float) -> None:
        """A replica's stream begins."""
        target = self._target.seconds
        if target is None or not self._hosted():
            return
        late = now - request.started_at > target and self._hosted_in_time(request, target, now)
        self._rates.caution.served(late=late)
        if late:
            self._tally.late_holds += 1
        if self._lines:
            self._turns(snapshot.own, snapshot.line_at, now)

    def ended(self, own: ReplicaRates, now: float) -> None:
        """A request has ended at a replica where some are judged."""
        if self._lines:
            self._turns(own, -1, now)

    def _hosted_in_time(self, request: RequestState, target: float, now: float) -> bool:
        if request.ask.local_only or self._hosted_seconds > target:
            return False
        return any(hosted.may_take(request.ask, now) for hosted in self._hosted())

    def _forget(self, now: float) -> None:
        """Do not wait any longer for what does not come: of a replica that is gone as well."""
        for own in list(self._lines):  # as many as there are replicas, or little more
            line = self._lines[own]
            while line and now - line[0].spilled_at > JUDGED_SECONDS_MAX:
                self._judge(line.popleft(), Verdict.UNKNOWN)
            if not line:
                del self._lines[own]

    def _turns(self, own: ReplicaRates, begun_at: int, now: float) -> None:
        """Judge those whose turn would have come; ``begun_at``: the place in the line of who has begun now, or -1."""
        line = self._lines.get(own)
        if line is None:
            return
        rates, steps = self._rates, own.steps
        read_to = steps.sent - steps.unread
        while line and line[0].snapshot.line_at <= read_to:
            if line[0].ended_before > own.ended and line[0].snapshot.line_at > begun_at:
                break  # nothing shows that there was a place for it
            foregone = line.popleft()
            first_token_at = foregone.first_token_at(now, *rates.step_and_token_seconds(own))
            in_time = first_token_at <= foregone.due_at
            self._judge(foregone, Verdict.REGRETTED if in_time else Verdict.NEEDED)
        if not line:
            del self._lines[own]

    def _judge(self, foregone: Foregone, verdict: Verdict) -> None:
        foregone.verdict = verdict
        tally = self._tally
        if verdict is Verdict.REGRETTED:
            tally.spills_regretted += 1
            tally.regret_nano_usd += foregone.nano_usd
            self._rates.caution.regretted()
        elif verdict is Verdict.NEEDED:
            tally.spills_needed += 1
        else:
            tally.spills_unknown += 1

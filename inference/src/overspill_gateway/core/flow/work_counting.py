"""What the operator is told of a route's requests beyond who runs where: how long they take, by kind of backend.

It hears of a route's requests as whoever learns from them does, and reads no clock. Tokens are counted where they
become known, which may be later (``proxy.settling``); what is said of them is put together in ``demand_line``.
"""

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.admission.request_state import RequestState
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.counters import RouteCounters
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending
from overspill_gateway.core.flow.flow_observer import FlowObserver

AnyAttempt = AttemptState[BackendState]


class WorkCounting(FlowObserver[AnyAttempt]):
    """Counts the work of one route's backends."""

    def __init__(self, tally: RouteCounters) -> None:
        self._tally = tally

    def first_token(self, request: RequestState, attempt: AnyAttempt, now: float) -> None:
        """Of a plain answer, a refusal, or a stream's continuation it is no first token."""
        if request.streams and attempt.status < 300 and attempt.reason is not ServedReason.CONTINUED:
            counters = self._tally.local if attempt.backend.is_local else self._tally.hosted
            counters.first_token.observe(now - request.started_at)
            counters.first_token_since_sent.observe(now - attempt.sent_at)

    def settled(
        self,
        request: RequestState,
        attempt: AnyAttempt,
        ending: Ending,
        kind: FailureKind | None,  # noqa: ARG002 - what broke off has worked as well
        now: float,
    ) -> None:
        """What was answered: how long it took, and how far apart its tokens came."""
        if not attempt.has_begun:
            return
        tally, backend = self._tally, attempt.backend
        counters = tally.local if backend.is_local else tally.hosted
        seconds = now - attempt.sent_at
        counters.request_seconds += seconds
        if attempt.spills:
            tally.spilled_requests += 1
            tally.spilled_seconds += seconds
        usage = attempt.usage
        if ending is Ending.WHOLE and request.streams and usage is not None and not attempt.was_paused:
            tokens = usage.output_tokens // request.ask.answers
            if tokens > 1:
                counters.inter_token.observe((now - attempt.first_token_at) / (tokens - 1))

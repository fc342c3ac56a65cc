"""What is learned of replicas from the requests that they serve: how long first tokens and answers take.

It hears of a route's requests as whoever counts them does. Not here: the estimates themselves (``prediction``).
"""

from overspill_gateway.core.admission.request_state import RequestState
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending
from overspill_gateway.core.flow.flow_observer import FlowObserver
from overspill_gateway.core.flow.judging import Judging
from overspill_gateway.core.prediction.prediction import LoadSnapshot, ServiceRates

AnyAttempt = AttemptState[BackendState]


class Learning(FlowObserver[AnyAttempt]):
    """Learns the service rates of one route's replicas."""

    def __init__(self, rates: ServiceRates, judging: Judging | None = None) -> None:
        """``judging``: hears what becomes of decisions; None: nobody does."""
        self._rates = rates
        self._judging = judging

    def began(self, request: RequestState, attempt: AnyAttempt, now: float) -> None:
        """It goes to a backend: what a replica reads next, or what it might have read."""
        snapshot = attempt.snapshot
        if request.foregone is not None and self._judging is not None and not attempt.backend.is_local:
            self._judging.spilled(request, attempt, now)
        if snapshot is not None and request.streams:
            snapshot.own.steps.request_sent(request.ask.prompt_tokens)

    def first_token(self, request: RequestState, attempt: AnyAttempt, now: float) -> None:
        """Of a plain answer it is the last as well, and says little: see ``settled``."""
        snapshot, first_tokens = attempt.snapshot, self._rates.first_tokens
        if not request.streams:
            return
        judging = self._judging
        if snapshot is None:
            if judging is not None and not attempt.backend.is_local and attempt.status < 300:
                judging.hosted_first_token(now - attempt.sent_at)
            return
        learns = first_tokens.takes(now)
        self._rates.began(snapshot, request.ask.prompt_tokens, now, learns=learns)
        if judging is not None:
            judging.first_token(request, snapshot, now)
        if learns:
            first_tokens.passed = 0
            self._rates.observed_first_token(request.ask.prompt_tokens, snapshot, now - attempt.sent_at, now)

    def settled(
        self, request: RequestState, attempt: AnyAttempt, ending: Ending, kind: FailureKind | None, now: float
    ) -> None:
        """What came of a whole answer, or in how long a time nothing came."""
        snapshot = attempt.snapshot
        if not attempt.backend.is_local:
            return
        if snapshot is not None:
            snapshot.own.ended += 1
            if request.streams and not attempt.has_begun:
                snapshot.own.steps.request_gone(request.ask.prompt_tokens)
            if self._judging is not None:
                self._judging.ended(snapshot.own, now)
        if ending is Ending.WHOLE:
            if attempt.usage is not None and attempt.status < 300:
                self._learn(request, attempt, snapshot, now)
            return
        given_up = ending is Ending.ABANDONED or kind is FailureKind.TIMEOUT
        if given_up and snapshot is not None and request.streams and attempt.was_sent and not attempt.has_begun:
            # It would have taken longer still.
            self._rates.observed_no_token(request.ask.prompt_tokens, snapshot, now - attempt.sent_at, now)

    def _learn(self, request: RequestState, attempt: AnyAttempt, snapshot: LoadSnapshot | None, now: float) -> None:
        rates, usage = self._rates, attempt.usage
        answers = rates.answers
        if usage is None or not answers.takes(now):
            return
        ended, answers.passed = answers.passed, 0
        if snapshot is None:
            return
        rates.finished(ended - 1, now)  # the one that is learned from is counted with it
        running = attempt.backend.requests + 1
        if request.streams:
            rates.observed_output(snapshot.own, usage.output_tokens, now - attempt.first_token_at, running, now)
        else:
            prompt, seconds = request.ask.prompt_tokens, now - attempt.sent_at
            rates.observed_plain(prompt, snapshot, seconds, usage.output_tokens, running, now)

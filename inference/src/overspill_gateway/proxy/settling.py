"""What follows from an attempt's end for everybody who counts: money, limits, load, service rates, metrics.

Each attempt is settled exactly once. Money is settled by the usage that the backend reported; an answer that is whole
but says nothing of usage has its tokens counted beside the path of requests; a stream that its client left is
charged what can have been written by then (``early_end``); of anything else that was sent to a hosted API nobody
knows what it cost, so that it is charged in full.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.backends.tokenizer import TEXT_BYTES_MAX
from overspill_gateway.core.admission.plan import HoldIt, Refuse, ServedReason
from overspill_gateway.core.admission.request_state import RequestState
from overspill_gateway.core.answers.usage import NOTHING_KNOWN, Report, Usage
from overspill_gateway.core.backends.outcome import Failure, FailureKind, failure_kind_of_status
from overspill_gateway.core.flow.attempt_state import Ending
from overspill_gateway.core.flow.flow_observer import FlowObserver
from overspill_gateway.core.money.early_end import MARGIN_TOKENS, bound_of_cut
from overspill_gateway.money.metering import Left, Metering
from overspill_gateway.money.recording import Recording
from overspill_gateway.proxy.attempt import Attempt, AttemptOwner
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.request_context import RequestContext

if TYPE_CHECKING:
    from overspill_gateway.backends.tokenizer import Tokenizer

logger = logging.getLogger(__name__)


_COST_NOTHING = frozenset(
    {FailureKind.CONNECT, FailureKind.CREDENTIALS, FailureKind.FULL, FailureKind.REDIRECT, FailureKind.STATUS}
)


class Settling(FlowObserver[Attempt]):
    """Counts and charges the requests of every route of a gateway."""

    def __init__(self, metering: Metering, tokenizer: "Tokenizer") -> None:
        self.metering = metering
        self.tokenizer = tokenizer

    def passed_over(self, request: RequestState, step: HoldIt | Refuse) -> None:  # noqa: ARG002 - the money is asked
        """A request goes to no hosted API now: once, it is counted if that is for lack of money."""
        call = call_of(request)
        if not call.is_passed_over:
            call.is_passed_over = call.route.meter.count_passed_over(call.ask)

    def began(self, request: RequestState, attempt: Attempt, now: float) -> None:  # noqa: ARG002 - counted, not timed
        """It is known where it runs, so that it hears when its backend vanishes."""
        attempt.backend.attempts.add(attempt)
        tally = attempt.exchange.call.route.tally
        if attempt.is_hedge:
            tally.hedges += 1
        else:
            tally.retries += request.invalid_outputs > 0 or bool(request.history.failures)

    def failed(self, request: RequestState, attempt: Attempt, failure: Failure, now: float) -> None:  # noqa: ARG002
        """Whoever runs the gateway hears what is wrong with a backend."""
        # The first may be no problem of the backend's (see refused.tell_problem), the second is none.
        if failure.kind is not FailureKind.UNABLE and failure.kind is not FailureKind.FULL:
            fault = attempt.connect_fault
            attempt.backend.problems.failed(failure.kind, failure.detail, status=failure.status, fault=fault)

    def first_token(self, request: RequestState, attempt: Attempt, now: float) -> None:
        """Count the time to the first token."""
        backend, tally = attempt.backend, attempt.exchange.call.route.tally
        since_arrival = now - request.started_at
        backend.counters.first_byte.observe(since_arrival)
        if backend.problems.fails and attempt.relay is not None and attempt.relay.status < 300:
            backend.problems.answered()
        snapshot = attempt.snapshot
        if request.streams and snapshot is not None and snapshot.predicted_seconds is not None:
            tally.first_token(snapshot.predicted_seconds, now - attempt.sent_at)
        if attempt.is_hedge:
            tally.hedges_won += 1

    def went_on(self, request: RequestState, attempt: Attempt, now: float) -> None:  # noqa: ARG002 - counted
        """An answer goes on elsewhere."""
        attempt.exchange.call.route.tally.continuations += 1

    def settled(
        self, request: RequestState, attempt: Attempt, ending: Ending, kind: FailureKind | None, now: float
    ) -> None:
        """The attempt is over."""
        attempt.backend.attempts.discard(attempt)
        _settle(attempt.exchange.call, self, attempt, ending, kind, now, now - request.started_at)

    def ended(self, request: RequestState, now: float) -> None:
        """No answer of it said how many tokens it took."""
        call = call_of(request)
        if not call.is_settled:
            if self.metering.recording is not None and not call.is_served:
                _record_unserved(call, self.metering.recording)
            close_admission(call, self.metering, now)


def call_of(request: RequestState) -> RequestContext:
    """The client's request that is carried out."""
    return cast("AttemptOwner", request.waiter).call


def _settle(
    call: RequestContext,
    settling: Settling,
    attempt: Attempt,
    ending: Ending,
    kind: FailureKind | None,
    now: float,
    since_arrival: float,
) -> None:
    backend, relay = attempt.backend, attempt.relay
    begun = attempt.has_begun
    answered = relay is not None and (ending is Ending.WHOLE or begun)
    usage = (
        relay.usage(call.ask.answers) if relay is not None and _is_counted(call, relay, ending, begun=begun) else None
    )
    if usage is not None:
        backend.reports_usage = True
        if backend.is_local and not call.facts.attachments and attempt.reason is not ServedReason.CONTINUED:
            call.route.meter.ratio.observed(call.facts.prompt_bytes, usage.prompt_tokens)
    attempt.usage = usage
    call.is_served = call.is_served or begun
    _count(attempt, ending, kind, since_arrival, answered=answered)
    if ending is Ending.WHOLE and relay is not None:
        if relay.status >= 400:
            _note_problem(backend, relay)
        elif relay.status < 300:
            if usage is None and call.endpoint.generates and _begin_count(call, settling, attempt, relay):
                return
            _learn_output(backend, relay)
    if usage is None and begun and relay is not None and ending is not Ending.WHOLE and call.endpoint.generates:
        # It was cut off before it could report: for an engine an event is about a token. Money is another matter.
        usage = _bound_of_cut(call, attempt, relay) if ending is Ending.ABANDONED else None
        if usage is None:
            _used(call, attempt, Usage(call.ask.prompt_tokens, 0, relay.content_events, reported=False))
            if ending is Ending.ABANDONED and backend.is_local:
                call.left = Left(relay.content_events, relay.content_bytes + MARGIN_TOKENS * call.ask.answers)
    may_have_cost = _may_have_cost(attempt, ending, kind)
    charge(call, settling.metering, attempt, usage, now, may_have_cost=may_have_cost, served=begun)


def _note_problem(backend: Replica | Hosted, relay: Relay) -> None:
    """Whoever runs the gateway hears of a status that the client gets, where it is about the backend."""
    if failure_kind_of_status(relay.status) is None:
        backend.problems.refused(relay.status, relay.body())
    else:
        backend.problems.said(relay.status, relay.body())


def _is_counted(call: RequestContext, relay: Relay, ending: Ending, *, begun: bool) -> bool:
    """Whether what was reported is all that was generated: nothing came behind it, and nothing was to come."""
    if relay.unreported_bytes > 0:
        return False
    return ending is Ending.WHOLE or (begun and relay.finished and (call.ask.answers == 1 or relay.ended))


def _begin_count(call: RequestContext, settling: Settling, attempt: Attempt, relay: Relay) -> bool:
    """Count the tokens of a whole answer beside the path of requests; False: they can't be, it is charged in full."""
    report, text = relay.report(), relay.output_text()
    if attempt.backend.meter is not None:
        if report.is_doubtful(call.ask.answers):
            _tell_doubts(call, attempt.backend)
            return False
        if not text or report.unfinished:
            return False
    elif report.is_doubtful(call.ask.answers):
        report = NOTHING_KNOWN
    _Counted(call, settling, attempt, relay, report, text or "", relay.plain.text_bytes_more).begin()
    return True


def _learn_output(backend: Replica | Hosted, relay: Relay) -> None:
    if backend.meter is not None and relay.streams:
        backend.meter.learn_output(relay.report(), relay.content_bytes)


def _bound_of_cut(call: RequestContext, attempt: Attempt, relay: Relay) -> Usage | None:
    """The most that a hosted stream was worth that its client left; None: nobody knows."""
    meter = attempt.backend.meter
    if meter is None or attempt.reason is ServedReason.CONTINUED:
        return None  # the prompt of the latter holds an answer's beginning
    return bound_of_cut(
        relay.report(), relay.unreported_bytes, relay.content_bytes, call.ask.prompt_tokens_max,
        answers=call.ask.answers, shows_all=meter.shows_output and not meter.hides_output and not call.ask.reasons,
    )  # fmt: skip


def _tell_doubts(call: RequestContext, hosted: Replica | Hosted) -> None:
    """Once for each hosted API of a route: a line a request would drown all others."""
    counters = hosted.counters
    counters.reports_doubted += 1
    if counters.reports_doubted == 1:
        logger.warning(
            "%s of %s reports more tokens than any call can have: such answers are charged what was held for them. "
            "Look at overspill_reports_doubted_total, and ask its provider.", hosted.served_by, call.route.key,
        )  # fmt: skip


def free(call: RequestContext, metering: Metering, attempt: Attempt, now: float) -> None:
    """A fault of ours has ended the attempt somewhere: money that may be owed is charged, what else it held is free."""
    attempt.backend.attempts.discard(attempt)
    if attempt.hold is not None and not attempt.hold.settled:
        charge(call, metering, attempt, None, now, may_have_cost=attempt.was_sent, served=attempt.has_begun)


def charge(
    call: RequestContext,
    metering: Metering,
    attempt: Attempt,
    usage: Usage | None,
    now: float,
    *,
    may_have_cost: bool,
    served: bool,
) -> None:
    """Settle an attempt's money, and its tokens with the limits of whoever sent the request."""
    backend, hold, admission = attempt.backend, attempt.hold, call.admission
    if usage is not None:
        _used(call, attempt, usage)
    cost = 0
    if hold is not None and backend.meter is not None:
        cost = backend.meter.settle(hold, now, usage, may_have_cost=may_have_cost)
        call.uncounted_nano_usd += cost
        if attempt.spills:
            call.route.tally.spilled_nano_usd += cost
            if attempt.foregone is not None and attempt.foregone.charged(cost):
                call.route.tally.regret_nano_usd += cost
        if attempt.is_hedge:
            call.route.pool.hedges.settled(attempt.launched_at, held_nano_usd=hold.nano_usd, actual_nano_usd=cost)
    if metering.recording is not None and (served or cost):
        _record(call, metering.recording, attempt, usage, now, nano_usd=cost, served=served)
    if admission is None:
        return
    if usage is not None or not call.endpoint.generates:
        metering.settle(admission, usage, now, served=served, nano_usd=call.uncounted_nano_usd)
        call.is_settled = True
    else:
        admission.counters.cost_nano_usd += call.uncounted_nano_usd
    call.uncounted_nano_usd = 0


def _record(
    call: RequestContext, recording: Recording, attempt: Attempt, usage: Usage | None, now: float, *,
    nano_usd: int, served: bool,
) -> None:  # fmt: skip
    """For the planner: what came of it. What nobody has counted is as long as was estimated, and as its events."""
    relay = attempt.relay
    if relay is not None and relay.status >= 400:
        if failure_kind_of_status(relay.status) is not None:
            _record_unserved(call, recording)
        return  # else it was the client's mistake, and is no demand
    recording.served(
        call.route.key, attempt.served_by, attempt.reason.value,
        arrived_at=call.arrived_at, first_token_at=attempt.first_token_at, ended_at=now,
        prompt_tokens=usage.prompt_tokens if usage is not None else call.ask.prompt_tokens,
        output_tokens=usage.output_tokens if usage is not None else relay.content_events if relay is not None else 0,
        nano_usd=nano_usd, whole=served and attempt.reason is not ServedReason.CONTINUED,
    )  # fmt: skip


def _record_unserved(call: RequestContext, recording: Recording) -> None:
    tokens = {"prompt_tokens": call.ask.prompt_tokens, "output_tokens": call.ask.output_tokens}
    recording.unserved(call.route.key, arrived_at=call.arrived_at, **tokens)


def _used(call: RequestContext, attempt: Attempt, usage: Usage) -> None:
    attempt.backend.counters.used(usage)
    if attempt.spills:
        call.route.tally.spilled(usage)


def close_admission(call: RequestContext, metering: Metering, now: float) -> None:
    """The request is over, and no answer of it said how many tokens it took."""
    if call.admission is None:
        return
    if not call.is_settled:
        metering.settle(call.admission, None, now, served=call.is_served, left=call.left)
        call.is_settled = True
    call.admission.counters.cost_nano_usd += call.uncounted_nano_usd
    call.uncounted_nano_usd = 0


def _may_have_cost(attempt: Attempt, ending: Ending, kind: FailureKind | None) -> bool:
    if not attempt.was_sent or ending is Ending.REFUSED or kind in _COST_NOTHING:
        return False
    relay = attempt.relay
    return not (ending is Ending.WHOLE and relay is not None and relay.status >= 400)


def _count(
    attempt: Attempt,
    ending: Ending,
    kind: FailureKind | None,
    since_arrival: float,
    *,
    answered: bool,
) -> None:
    counters = attempt.backend.counters
    if kind is not None:
        count_failure(attempt.backend, kind)
    outcome = "answered" if ending is Ending.WHOLE else "abandoned" if ending is Ending.ABANDONED else "failed"
    counters.ended(kind.value if kind is not None and outcome == "failed" else outcome)
    if answered and attempt.relay is not None:
        status = attempt.relay.status
        counters.served += 1
        counters.statuses[status] = counters.statuses.get(status, 0) + 1
        counters.duration.observe(since_arrival)


def note_total_passed(attempt: Attempt, total_seconds: float, now: float) -> None:
    """The request's whole time has passed while the backend worked: its fault, unless most of it was waiting before."""
    if now - attempt.launched_at >= total_seconds / 2:
        attempt.backend.problems.failed(FailureKind.TIMEOUT, f"no whole answer within {total_seconds:g} s")


def count_failure(backend: Replica | Hosted, kind: FailureKind) -> None:
    """Count an attempt that failed, whether or not its answer is passed on for want of a better one."""
    backend.counters.errors += 1
    backend.counters.failures[kind.value] = backend.counters.failures.get(kind.value, 0) + 1


@dataclass(slots=True)
class _Counted:
    """A whole answer without usage, while its tokens are counted."""

    call: RequestContext
    settling: Settling
    attempt: Attempt
    relay: Relay
    report: Report
    text: str
    bytes_more: int
    """Of the text, that are not in it."""
    prompt_tokens: int = 0

    def begin(self) -> None:
        """Count the prompt first, unless it was reported."""
        self.call.is_settled = True  # in a moment
        try:
            known = self.report.prompt_tokens
            if known is None:
                count = self._prompt_counted
                body = self.call.short_body(TEXT_BYTES_MAX)
                self.settling.tokenizer.count_prompt(self.call.route, body, self.call.facts, count)
            else:
                self._prompt_counted(known)
        except Exception:
            self.call.is_settled = False
            raise

    def _prompt_counted(self, count: int | None) -> None:
        try:
            self.prompt_tokens = self.call.ask.prompt_tokens if count is None else count
            if self.text and not self.bytes_more:
                self.settling.tokenizer.count_text(self.call.route, self.text, self._text_counted)
            elif self.text:
                self._text_counted(None)
            else:
                self._settle(self.relay.content_events)
        except Exception as fault:
            self._failed(fault)

    def _text_counted(self, count: int | None) -> None:
        try:
            length = len(self.text.encode("utf-8", "replace")) + self.bytes_more
            self._settle(self.call.route.meter.ratio.tokens_of_bytes(length) if count is None else count)
        except Exception as fault:
            self._failed(fault)

    def _settle(self, output: int) -> None:
        output = max(output, self.report.output_tokens or 0, self.relay.content_events)
        usage = Usage(self.prompt_tokens, self.report.cached_tokens, output, reported=False)
        charge(
            self.call,
            self.settling.metering,
            self.attempt,
            usage,
            self.call.route.clock.monotonic(),
            may_have_cost=True,
            served=True,
        )
        self.call.route.demand_changed()

    def _failed(self, fault: Exception) -> None:
        """A fault of ours: what can't be counted is charged in full."""
        where = {"route": self.call.route.key}
        logger.error("the tokens of an answer could not be counted", exc_info=fault, extra=where)
        self.call.is_settled = False
        free(self.call, self.settling.metering, self.attempt, self.call.route.clock.monotonic())
        close_admission(self.call, self.settling.metering, self.call.route.clock.monotonic())

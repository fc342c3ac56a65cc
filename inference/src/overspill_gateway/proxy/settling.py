"""What follows from an attempt's end for everybody who counts: money, limits, load, service rates, metrics.

Each attempt is settled exactly once. Money is settled by the usage that the backend reported; an answer that is whole
but says nothing of usage has its tokens counted beside the path of requests; a stream that its client left is
charged what can have been written by then (``core.early_end``); of anything else that was sent to a hosted API nobody
knows what it cost, so that it is charged in full.
"""

import logging
from dataclasses import dataclass
from enum import Enum, auto
from time import monotonic
from typing import TYPE_CHECKING

from overspill_gateway.core.early_end import MARGIN_TOKENS, bound_of_cut
from overspill_gateway.core.outcome import Failure, FailureKind, failure_kind_of_status
from overspill_gateway.core.plan import History, ServedReason
from overspill_gateway.core.usage import NOTHING_KNOWN, Report, Usage
from overspill_gateway.proxy.backend import Hosted, Replica
from overspill_gateway.proxy.call import Call, Shared
from overspill_gateway.proxy.metering import Left
from overspill_gateway.proxy.tokenizing import TEXT_BYTES_MAX

if TYPE_CHECKING:
    from overspill_gateway.proxy.attempt import Attempt
    from overspill_gateway.proxy.relay import Relay

logger = logging.getLogger(__name__)


class Ending(Enum):
    """How an attempt ended."""

    WHOLE = auto()
    """With a whole answer, of whatever status."""
    REFUSED = auto()
    """With a status that says that nothing was done."""
    FAILED = auto()
    """Before its first token."""
    BROKEN = auto()
    """After its first token."""
    ABANDONED = auto()
    """Nobody wanted it any more."""


_COST_NOTHING = frozenset({FailureKind.CONNECT, FailureKind.CREDENTIALS, FailureKind.REDIRECT, FailureKind.STATUS})


def first_token_seen(call: Call, attempt: "Attempt", now: float, since_arrival: float) -> None:
    """Learn from the time to the first token."""
    route, backend = call.route, attempt.backend
    backend.counters.first_byte.observe(since_arrival)
    if backend.problems.fails and attempt.relay is not None and attempt.relay.status < 300:
        backend.problems.answered()
    if isinstance(backend, Replica):
        backend.first_token(call.ask)
        snapshot = attempt.snapshot
        if call.facts.stream and snapshot is not None:
            if snapshot.predicted_seconds is not None:
                route.tally.first_token(snapshot.predicted_seconds, now - attempt.sent_at)
            if route.rates.first_tokens.takes(now):
                route.rates.first_tokens.passed = 0
                route.rates.observed_first_token(call.ask.prompt_tokens, snapshot, now - attempt.sent_at, now)
        route.release()


def settle(
    call: Call, shared: Shared, attempt: "Attempt", ending: Ending, kind: FailureKind | None, since_arrival: float
) -> None:
    """The attempt is over."""
    now = monotonic()
    backend, relay = attempt.backend, attempt.relay
    begun = attempt.first_token_at > 0.0
    answered = relay is not None and (ending is Ending.WHOLE or begun)
    usage = (
        relay.usage(call.ask.answers) if relay is not None and _is_counted(call, relay, ending, begun=begun) else None
    )
    if usage is not None:
        backend.reports_usage = True
    call.is_served = call.is_served or begun
    _count(attempt, ending, kind, since_arrival, answered=answered)
    vacate(call, shared, attempt)
    _learn_from(call, attempt, ending, kind, usage, now)
    call.route.release()  # one that waits for a late replica may go to a hosted API that is free again, too
    if ending is Ending.WHOLE and relay is not None:
        if failure_kind_of_status(relay.status) is None:  # a refusal of a bad request is an answer as good as any
            backend.outlier.succeeded(now)
            if relay.status >= 400:
                backend.problems.refused(relay.status, relay.body())
        else:
            backend.problems.said(relay.status, relay.body())
        if relay.status < 300:
            if usage is None and call.endpoint.generates and _begin_count(call, shared, attempt, relay):
                return
            _learn_output(backend, relay)
    if usage is None and begun and relay is not None and ending is not Ending.WHOLE and call.endpoint.generates:
        # It was cut off before it could report: for an engine an event is about a token. Money is another matter.
        usage = _bound_of_cut(call, attempt, relay) if ending is Ending.ABANDONED else None
        if usage is None:
            backend.counters.used(Usage(call.ask.prompt_tokens, 0, relay.content_events, reported=False))
            if ending is Ending.ABANDONED and isinstance(backend, Replica):
                call.left = Left(relay.content_events, relay.content_bytes + MARGIN_TOKENS * call.ask.answers)
    charge(call, shared, attempt, usage, now, may_have_cost=_may_have_cost(attempt, ending, kind), served=begun)


def _learn_from(
    call: Call, attempt: "Attempt", ending: Ending, kind: FailureKind | None, usage: Usage | None, now: float
) -> None:
    """How fast a replica was."""
    backend, relay = attempt.backend, attempt.relay
    if isinstance(backend, Replica):
        if ending is Ending.WHOLE and relay is not None and relay.status < 300:
            _learn(call, attempt, backend, usage, now)
        elif ending is Ending.ABANDONED or kind is FailureKind.TIMEOUT:
            _learn_in_vain(call, attempt, now)


def _is_counted(call: Call, relay: "Relay", ending: Ending, *, begun: bool) -> bool:
    """Whether what was reported is all that was generated: nothing came behind it, and nothing was to come."""
    if relay.unreported_bytes > 0:
        return False
    return ending is Ending.WHOLE or (begun and relay.finished and (call.ask.answers == 1 or relay.ended))


def _begin_count(call: Call, shared: Shared, attempt: "Attempt", relay: "Relay") -> bool:
    """Count the tokens of a whole answer beside the path of requests; False: they can't be, it is charged in full."""
    report, text = relay.report(), relay.output_text()
    if isinstance(attempt.backend, Hosted):
        if report.is_doubtful(call.ask.answers):
            _tell_doubts(call, attempt.backend)
            return False
        if not text or report.unfinished:
            return False
    elif report.is_doubtful(call.ask.answers):
        report = NOTHING_KNOWN
    _Counted(call, shared, attempt, relay, report, text or "").begin()
    return True


def _learn_output(backend: Replica | Hosted, relay: "Relay") -> None:
    if isinstance(backend, Hosted) and relay.streams:
        backend.meter.learn_output(relay.report(), relay.content_bytes)


def _bound_of_cut(call: Call, attempt: "Attempt", relay: "Relay") -> Usage | None:
    """The most that a hosted stream was worth that its client left; None: nobody knows."""
    if not isinstance(attempt.backend, Hosted) or attempt.reason is ServedReason.CONTINUED:
        return None  # the prompt of the latter holds an answer's beginning
    meter = attempt.backend.meter
    return bound_of_cut(
        relay.report(), relay.unreported_bytes, relay.content_bytes, call.ask.prompt_tokens_max,
        answers=call.ask.answers, shows_all=meter.shows_output and not meter.hides_output and not call.ask.reasons,
    )  # fmt: skip


def _tell_doubts(call: Call, hosted: Hosted) -> None:
    """Once for each hosted API of a route: a line a request would drown all others."""
    counters = hosted.counters
    counters.reports_doubted += 1
    if counters.reports_doubted == 1:
        logger.warning(
            "%s of %s reports more tokens than any call can have: such answers are charged what was held for them. "
            "Look at overspill_reports_doubted_total, and ask its provider.", hosted.served_by, call.route.key,
        )  # fmt: skip


def vacate(call: Call, shared: Shared, attempt: "Attempt") -> None:
    """The attempt's places are free: at its backend, and among further attempts. Done twice, it is done once."""
    backend = attempt.backend
    backend.attempts.discard(attempt)
    if attempt.counts_as_retry:
        shared.retries.ended()
        attempt.counts_as_retry = False
    if not attempt.has_place:
        return
    if isinstance(backend, Replica):
        backend.done(call.ask, first_token_came=attempt.first_token_at > 0.0)
    else:
        call.route.in_flight_spilled -= 1
    attempt.has_place = False


def free(call: Call, shared: Shared, attempt: "Attempt") -> None:
    """A fault of ours has ended the attempt somewhere: what it still holds is free, money that may be owed charged."""
    now = monotonic()
    vacate(call, shared, attempt)
    if attempt.hold is not None and not attempt.hold.settled:
        charge(call, shared, attempt, None, now, may_have_cost=attempt.was_sent, served=attempt.first_token_at > 0.0)


def charge(
    call: Call,
    shared: Shared,
    attempt: "Attempt",
    usage: Usage | None,
    now: float,
    *,
    may_have_cost: bool,
    served: bool,
) -> None:
    """Settle an attempt's money, and its tokens with the limits of whoever sent the request."""
    backend, hold, admission = attempt.backend, attempt.hold, call.admission
    if usage is not None:
        backend.counters.used(usage)
    cost = 0
    if hold is not None and isinstance(backend, Hosted):
        cost = shared.metering.settle_hold(hold, backend, usage, now, may_have_cost=may_have_cost)
        call.uncounted_nano_usd += cost
        if attempt.is_hedge:
            call.route.hedges.settled(attempt.launched_at, held_nano_usd=hold.nano_usd, actual_nano_usd=cost)
    if admission is None:
        return
    if usage is not None or not call.endpoint.generates:
        shared.metering.settle(admission, usage, now, served=served, nano_usd=call.uncounted_nano_usd)
        call.is_settled = True
    else:
        admission.counters.cost_nano_usd += call.uncounted_nano_usd
    call.uncounted_nano_usd = 0


def close_admission(call: Call, shared: Shared) -> None:
    """The request is over, and no answer of it said how many tokens it took."""
    if call.admission is None:
        return
    if not call.is_settled:
        shared.metering.settle(call.admission, None, monotonic(), served=call.is_served, left=call.left)
        call.is_settled = True
    call.admission.counters.cost_nano_usd += call.uncounted_nano_usd
    call.uncounted_nano_usd = 0


def _may_have_cost(attempt: "Attempt", ending: Ending, kind: FailureKind | None) -> bool:
    if not attempt.was_sent or ending is Ending.REFUSED or kind in _COST_NOTHING:
        return False
    relay = attempt.relay
    return not (ending is Ending.WHOLE and relay is not None and relay.status >= 400)


def _count(
    attempt: "Attempt",
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


def note_failure(history: History[Replica], attempt: "Attempt", failure: Failure, now: float) -> None:
    """Remember that a backend failed this request, so that others are asked first."""
    history.failures.append(failure)
    if failure.kind is not FailureKind.UNABLE:  # which may be no problem of the backend's: see refused.tell_problem
        fault = attempt.connect_fault
        attempt.backend.problems.failed(failure.kind, failure.detail, status=failure.status, fault=fault)
    attempt.backend.outlier.failed(now, failure.kind, failure.retry_after_seconds, status=failure.status)
    if isinstance(attempt.backend, Replica):
        history.failed_replicas.append(attempt.backend)
    else:
        history.failed_hosted.add(attempt.served_by)


def note_total_passed(attempt: "Attempt", total_seconds: float, now: float) -> None:
    """The request's whole time has passed while the backend worked: its fault, unless most of it was waiting before."""
    if now - attempt.launched_at >= total_seconds / 2:
        attempt.backend.outlier.failed(now, FailureKind.TIMEOUT, None)
        attempt.backend.problems.failed(FailureKind.TIMEOUT, f"no whole answer within {total_seconds:g} s")


def count_failure(backend: Replica | Hosted, kind: FailureKind) -> None:
    """Count an attempt that failed, whether or not its answer is passed on for want of a better one."""
    backend.counters.errors += 1
    backend.counters.failures[kind.value] = backend.counters.failures.get(kind.value, 0) + 1


def _learn(call: Call, attempt: "Attempt", replica: Replica, usage: Usage | None, now: float) -> None:
    """How fast the replica was."""
    if usage is None:
        return
    route, ask, snapshot = call.route, call.ask, attempt.snapshot
    answers = route.rates.answers
    if not answers.takes(now):
        return
    ended, answers.passed = answers.passed, 0
    if not call.facts.attachments:
        route.meter.ratio.observed(call.facts.prompt_bytes, usage.prompt_tokens)
    if snapshot is None:
        return
    route.rates.finished(ended - 1, now)  # the one that is learned from is counted with it
    running = replica.load.in_flight + 1
    if call.facts.stream:
        route.rates.observed_output(replica.rates, usage.output_tokens, now - attempt.first_token_at, running, now)
    else:
        seconds = now - attempt.sent_at
        route.rates.observed_plain(ask.prompt_tokens, snapshot, seconds, usage.output_tokens, running, now)


def _learn_in_vain(call: Call, attempt: "Attempt", now: float) -> None:
    """A replica was given up before its first token: it would have taken longer still."""
    snapshot = attempt.snapshot
    if call.facts.stream and snapshot is not None and attempt.was_sent and not attempt.first_token_at:
        call.route.rates.observed_no_token(call.ask.prompt_tokens, snapshot, now - attempt.sent_at, now)


@dataclass(slots=True)
class _Counted:
    """A whole answer without usage, while its tokens are counted."""

    call: Call
    shared: Shared
    attempt: "Attempt"
    relay: "Relay"
    report: Report
    text: str
    prompt_tokens: int = 0

    def begin(self) -> None:
        """Count the prompt first, unless it was reported."""
        self.call.is_settled = True  # in a moment
        try:
            known = self.report.prompt_tokens
            if known is None:
                count = self._prompt_counted
                body = self.call.short_body(TEXT_BYTES_MAX)
                self.shared.tokenizer.count_prompt(self.call.route, body, self.call.facts, count)
            else:
                self._prompt_counted(known)
        except Exception:
            self.call.is_settled = False
            raise

    def _prompt_counted(self, count: int | None) -> None:
        try:
            self.prompt_tokens = self.call.ask.prompt_tokens if count is None else count
            if self.text:
                self.shared.tokenizer.count_text(self.call.route, self.text, self._text_counted)
            else:
                self._settle(self.relay.content_events)
        except Exception as fault:
            self._failed(fault)

    def _text_counted(self, count: int | None) -> None:
        try:
            length = len(self.text.encode("utf-8", "replace"))
            self._settle(self.call.route.meter.ratio.tokens_of_bytes(length) if count is None else count)
        except Exception as fault:
            self._failed(fault)

    def _settle(self, output: int) -> None:
        output = max(output, self.report.output_tokens or 0, self.relay.content_events)
        usage = Usage(self.prompt_tokens, self.report.cached_tokens, output, reported=False)
        charge(self.call, self.shared, self.attempt, usage, monotonic(), may_have_cost=True, served=True)
        self.call.route.demand_changed()

    def _failed(self, fault: Exception) -> None:
        """A fault of ours: what can't be counted is charged in full."""
        where = {"route": self.call.route.key}
        logger.error("the tokens of an answer could not be counted", exc_info=fault, extra=where)
        self.call.is_settled = False
        free(self.call, self.shared, self.attempt)
        close_admission(self.call, self.shared)

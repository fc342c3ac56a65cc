"""One request of a client: carries out what its flow decides, and tells the flow what happens.

Not here: what is decided (``core.flow.request_flow``); how an attempt goes, what of its answer is written and what is
charged are the subjects of ``attempt``, ``relay`` and ``settling``.
"""

import functools
import math

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.core.admission.plan import Refuse, ServedReason
from overspill_gateway.core.answers.continuation import Partial
from overspill_gateway.core.backends.outcome import Failure, FailureKind
from overspill_gateway.core.dialects.request_form import RequestForm
from overspill_gateway.core.flow.attempt_state import Ending
from overspill_gateway.core.flow.flow_actions import (
    AWAIT_MONEY,
    BREAK_OFF,
    CONTINUE,
    HOLD,
    PASS_ON,
    PAUSE,
    Action,
    NotSent,
    Send,
)
from overspill_gateway.core.flow.phase import Phase
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.money.money_wait import MoneyWait
from overspill_gateway.proxy import settling
from overspill_gateway.proxy.attempt import Attempt
from overspill_gateway.proxy.checked import Checked
from overspill_gateway.proxy.containment import clean_up, tried
from overspill_gateway.proxy.dispatch import dispatch
from overspill_gateway.proxy.long_requests import word_going_on
from overspill_gateway.proxy.refusals import refusal_of
from overspill_gateway.proxy.refused import forms_to_ask_again, refusal_told_by_words
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.relay_setup import go_on_with, keeps_text, relay_of
from overspill_gateway.proxy.request_context import RequestContext
from overspill_gateway.proxy.rewriting import answer_lines
from overspill_gateway.proxy.shared import Shared
from overspill_gateway.proxy.waiting_client import Wait, tell_refusal


class Exchange(Checked):
    """A request and its answer."""

    __slots__ = ("_broken", "_forms", "_money", "_wait", "deadline")

    def __init__(self, call: RequestContext, shared: Shared) -> None:
        super().__init__(call, shared)
        self.deadline = math.inf
        self._wait: Wait | None = None
        """Once it has had to wait."""
        self._broken: tuple[Relay, Partial] | None = None
        """An answer that broke off, and what another backend may go on with."""
        self._forms: tuple[RequestForm, ...] = ()
        """In which a hosted API is asked again; the last one anew."""
        self._money = MoneyWait()

    def _start(self) -> None:
        call, route, flow = self.call, self.call.route, self.flow
        if self._refuses_schema():
            flow.abort()
            return
        now = flow.started_at
        admission = self._shared.metering.admit(call.grant, route, call.ask, now)
        if isinstance(admission, ApiError):
            self.client.refuse(admission, answer_lines("none", ServedReason.NOT_SERVED, call.request_id))
            flow.abort()
            return
        call.admission, call.arrived_at = admission, now
        self.client.answerer = self
        self._shared.sweeper.add(self)
        route.arrived()
        self._do(flow.arrived(now), now)

    # -- what the flow asks for --------------------------------------------------------------------------------

    def _do(self, action: Action[Replica | Hosted], now: float) -> None:
        while isinstance(action, Send):
            following = self._send(action, now)
            if following is None:
                return
            action = following
        if isinstance(action, Refuse):
            error, reason = refusal_of(action, self.call, self.flow.history, self.flow.rules)
            self._refuse(error, action.why.value, reason)
        elif action is HOLD or action is PAUSE or action is AWAIT_MONEY:
            self._wait = self._wait or Wait(self.call, now)
            self.deadline_changed()
        elif action is CONTINUE and self._broken is not None:
            failed = self.flow.history.failed_replicas
            self._shared.settling.tokenizer.count_partial(
                self.call.route, self._broken[1], self.partial_counted, avoid=failed
            )
        elif action is BREAK_OFF and self._broken is not None:
            self._end_broken(self._broken[0])

    def _send(self, send: Send[Replica | Hosted], now: float) -> Action[Replica | Hosted] | None:
        """Begin an attempt; else what is to be done now."""
        flow = self.flow
        again, self._forms = self._forms, ()
        partial = self._broken[1] if self._broken is not None else None
        attempt = dispatch(self, send, now, partial=partial, again=again)
        if isinstance(attempt, NotSent):
            if attempt is NotSent.WAIT and not self._money.begins(self, self.call.route.meter.budget):
                attempt = NotSent.NO
            action = flow.not_sent(send.backend, attempt, now)
            if action is AWAIT_MONEY:
                self._forms = again
            else:
                self._money.end(self)
            return action
        try:
            flow.sent(attempt, now)
        except Exception:
            self._free(attempt, now)
            raise
        self.deadline_changed()
        attempt.start(now)
        return None

    def _free(self, attempt: Attempt, now: float) -> None:
        """A fault of ours came before the flow knew of it."""
        settling.free(self.call, self._shared.metering, attempt, now)
        self.flow.vacate(attempt)

    def _give_up(self, step: Refuse, now: float) -> None:
        self._do(self.flow.displaced(step), now)

    def _release(self, now: float) -> bool:
        action = self.flow.released(now)
        if action is HOLD:
            return False
        self._do(action, now)
        return True

    def _money_came(self) -> None:
        now = self.clock.monotonic()
        self._do(self.flow.money_came(now), now)

    def _take_partial(self, partial: Partial) -> None:
        if self._broken is not None and self.flow.phase is not Phase.DONE:
            self._broken = self._broken[0], partial
            if self.call.parts:
                self._word_anew(partial)
            else:
                self._go_on()

    def _word_anew(self, partial: Partial) -> None:
        """A long request is put into the words of whoever would go on now, in another process."""
        local = self.flow.next_is_local(self.clock.monotonic())
        word_going_on(self.call, self._shared.readers, partial, self.worded_anew, local=local)

    def _go_on(self) -> None:
        if self._broken is not None and self.flow.phase is not Phase.DONE:
            now = self.clock.monotonic()
            self._do(self.flow.go_on(now), now)

    # -- how an attempt goes -----------------------------------------------------------------------------------

    def relay_for(self, attempt: Attempt, status: int, head: AnswerHead) -> Relay:
        """Where the attempt's answer goes."""
        if self._broken is not None:
            return go_on_with(*self._broken, attempt, status, head)
        opening = self._wait.opening if self._wait is not None else None
        return relay_of(self.call, attempt, status, head, opening, checked=self._check is not None)

    def answer_refused(self, attempt: Attempt, relay: Relay) -> bool:
        """Whether a refusal is kept from the client: it is asked again in another form, or somebody else who can is."""
        now = self.clock.monotonic()
        forms = forms_to_ask_again(self.call, attempt, relay)
        if forms and self.flow.rival is None:
            self._forms = forms
            attempt.abandon()
            self._do(self.flow.ask_again(attempt, attempt.backend, now), now)
            return True
        failure = refusal_told_by_words(attempt, relay, self.flow.history, now, self.call.ask.hosted_path)
        return failure is not None and self.goes_elsewhere(attempt, failure)

    def goes_elsewhere(self, attempt: Attempt, failure: Failure) -> bool:
        """The same of a status that says enough."""
        now = self.clock.monotonic()
        action = self.flow.refused(attempt, failure, now)
        if action is PASS_ON:
            settling.count_failure(attempt.backend, failure.kind)
            return False
        attempt.abandon()
        self._do(action, now)
        return True

    def first_token(self, attempt: Attempt, now: float) -> None:
        """The answer has begun: this attempt serves it, whoever else was asked."""
        for other in (self.flow.attempt, self.flow.rival):
            if other is not None and other is not attempt:
                other.abandon()
        self.flow.first_token(attempt, now)
        attempt.body, attempt.parts = b"", []
        if self.streams and not keeps_text(self.call, attempt):
            self.call.drop_body()
        self.deadline_changed()

    def attempt_failed(self, attempt: Attempt, failure: Failure) -> None:
        """It failed before its first token."""
        now = self.clock.monotonic()
        attempt.abandon()
        self._do(self.flow.failed(attempt, failure, now), now)

    def attempt_broke(self, attempt: Attempt, failure: Failure) -> None:
        """It broke off after its first token."""
        now = self.clock.monotonic()
        relay = attempt.relay
        if relay is None:
            return
        attempt.abandon()
        partial = relay.partial() if self.flow.rules.continues else None
        action = self.flow.broke(attempt, failure, now, can_go_on=partial is not None)
        if partial is not None and action is CONTINUE:
            self._broken = relay, partial
            self._do(action, now)
        else:
            self._end_broken(relay)

    def _end_broken(self, relay: Relay) -> None:
        last = self.flow.history.failures[-1]
        self._finish(Ending.ABANDONED)
        relay.break_off(errors.stream_broken(last.backend, last.detail))

    def _hedge(self, now: float) -> None:
        """The first token is late: ask a second backend as well, where that is allowed and not too dear."""
        flow = self.flow
        send = flow.hedge(now)
        if send is None:
            return
        sent = dispatch(self, send, now)
        rival = sent if isinstance(sent, Attempt) else None
        held = rival.hold.nano_usd if rival is not None and rival.hold is not None else 0
        try:
            flow.hedged(send, rival, now, held_nano_usd=held)
        except Exception:
            if rival is not None:
                self._free(rival, now)
            raise
        if rival is not None:
            self.deadline_changed()
            rival.start(now)

    # -- time and ending ---------------------------------------------------------------------------------------

    def deadline_changed(self) -> None:
        """Work out when to be called next."""
        flow, wait = self.flow, self._wait
        due = flow.total_at
        if wait is not None and self.winner is None:
            due = min(due, wait.heartbeat_at)
            if flow.waits:
                self.deadline = min(due, flow.wait_until)
                return
        due = min(due, flow.hedge_at)
        if flow.attempt is not None and flow.attempt.deadline < due:
            due = flow.attempt.deadline
        self.deadline = due if flow.rival is None else min(due, flow.rival.deadline)

    def _expire(self, now: float) -> None:
        flow, wait = self.flow, self._wait
        if flow.phase is Phase.DONE:
            self.deadline = math.inf
            return
        if now >= flow.total_at:
            self._total_passed(now)
            return
        waits = flow.waits
        if wait is not None and self.winner is None and now >= wait.heartbeat_at:
            wait.heartbeat(now, waits=waits)
        if waits:
            if now >= flow.wait_until:
                if flow.phase is Phase.AWAITING_MONEY:
                    self._money.is_in_vain(self)
                self._do(flow.wait_is_over(now), now)
        else:
            for attempt in (flow.attempt, flow.rival):
                if attempt is not None and now >= attempt.deadline:
                    attempt.expire(now)
            if now >= flow.hedge_at:
                self._hedge(now)
        self.deadline_changed()

    def _total_passed(self, now: float) -> None:
        flow, winner = self.flow, self.winner
        if winner is not None and winner.relay is not None and winner.relay.begun:
            self.attempt_broke(winner, Failure(FailureKind.TIMEOUT, winner.served_by, "it took too long"))
            return
        attempt, rival = flow.attempt, flow.rival
        if attempt is not None:
            settling.note_total_passed(attempt, flow.rules.total_seconds, now)
            attempt.abandon()
        if rival is not None:
            rival.abandon()
        self._do(flow.total_passed(now), now)

    def _shut_down(self) -> None:
        relay = self.winner.relay if self.winner is not None else self._broken[0] if self._broken else None
        if relay is not None and relay.begun:
            self._finish(Ending.BROKEN)
            relay.break_off(errors.SHUTTING_DOWN)
        elif self.flow.phase is not Phase.DONE:
            self._refuse(errors.SHUTTING_DOWN, "ShuttingDown")

    def _refuse(self, error: ApiError, why: str, reason: ServedReason = ServedReason.NOT_SERVED) -> None:
        self.call.route.tally.refuse(why)
        self._finish(Ending.ABANDONED)
        lines = answer_lines("none", reason, self.call.request_id)
        if self._broken is not None:
            self._broken[0].break_off(error)
        else:
            tell_refusal(self.client, self._wait, error, lines)

    def _finish(self, ending: Ending) -> None:
        flow = self.flow
        for attempt in (flow.attempt, flow.rival):
            if attempt is not None:
                attempt.abandon()
        if not flow.finish(ending, self.clock.monotonic()):
            return
        self._money.end(self)
        self._shared.sweeper.discard(self)
        self._checking = None
        self.client.answerer = None
        self.call.drop_body()

    def _clean_up(self) -> None:
        flow = self.flow
        attempts = [attempt for attempt in (flow.attempt, flow.rival) if attempt is not None]
        self._checking = None
        tried(flow.abort)
        tried(functools.partial(self._money.end, self))
        tried(functools.partial(self._shared.sweeper.discard, self))
        clean_up(self.call, self._shared, flow, attempts, self.clock.monotonic())

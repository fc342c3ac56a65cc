"""One request of a client, from its arrival to the end of its answer, over as many attempts as it takes.

The exchange asks ``core.plan`` who is next, makes an attempt there, and decides what follows from how it went: a
failure before the first token goes on to the next backend, after it the answer goes on elsewhere where the route says
so, else the client is told. The attempt itself, the writing of the answer and the settling of what was used are the
subjects of ``attempt``, ``relay`` and ``settling``.
"""

import functools
import math
from time import monotonic

from overspill_gateway.core import errors
from overspill_gateway.core.continuation import Partial
from overspill_gateway.core.errors import ApiError
from overspill_gateway.core.head import Header
from overspill_gateway.core.outcome import BACKEND_GONE, Failure, FailureKind
from overspill_gateway.core.plan import History, HoldIt, Refusal, Refuse, ServedReason, Step, UseHosted, UseReplica
from overspill_gateway.core.prediction import LoadSnapshot
from overspill_gateway.core.request_form import RequestForm
from overspill_gateway.proxy import settling
from overspill_gateway.proxy.answering import go_on_with, keeps_text, relay_of
from overspill_gateway.proxy.attempt import Attempt
from overspill_gateway.proxy.backend import Hosted, Replica
from overspill_gateway.proxy.call import Call, Shared
from overspill_gateway.proxy.checked import Checked
from overspill_gateway.proxy.containment import clean_up, tried
from overspill_gateway.proxy.hosted_meter import NoHold
from overspill_gateway.proxy.launching import hedge_for, is_retry, launch
from overspill_gateway.proxy.long_requests import word_going_on
from overspill_gateway.proxy.money_wait import MoneyWait, note_passed_over
from overspill_gateway.proxy.refusals import budget_refusal, refusal_of
from overspill_gateway.proxy.refused import forms_to_ask_again, refusal_of_unable
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.rewriting import answer_lines
from overspill_gateway.proxy.settling import Ending
from overspill_gateway.proxy.waiting_client import Phase, Wait, pause_before_retry, tell_refusal


class Exchange(Checked):
    """A request and its answer."""

    __slots__ = (
        "_attempt", "_going_on", "_hedge_at", "_history", "_money",
        "_rival", "_started", "_total_at", "_wait", "deadline", "streams", "timeouts",
    )  # fmt: skip

    def __init__(self, call: Call, shared: Shared) -> None:
        super().__init__(call, shared)
        self.timeouts = call.route.compiled.timeouts
        self.streams = call.facts.stream
        self.deadline = math.inf
        self._started = monotonic()
        self._total_at = self._started + self.timeouts.total_seconds
        self._history: History[Replica] = History()
        self._attempt: Attempt | None = None
        self._rival: Attempt | None = None
        """A second attempt that runs beside the first."""
        self._wait: Wait | None = None
        """Once it has had to wait."""
        self._going_on: tuple[Relay, Partial] | None = None
        """An answer that broke off and that another backend goes on with."""
        self._hedge_at = math.inf
        self._money = MoneyWait()

    def _start(self) -> None:
        call, route = self.call, self.call.route
        if self._refuses_schema():
            return
        admission = self._shared.metering.admit(call.grant, route, call.ask, self._started)
        if isinstance(admission, ApiError):
            self.client.refuse(admission, answer_lines("none", ServedReason.NOT_SERVED, call.request_id))
            return
        call.admission = admission
        if route.compiled.hedging is not None:
            route.hedges.request_seen(self._started)
        self.client.answerer = self
        self._shared.sweeper.add(self)
        route.arrived()
        self._take(self._next(self._started), self._started)

    # -- choosing and holding ----------------------------------------------------------------------------------

    def _next(self, now: float) -> "Step[Replica, Hosted]":
        return self.call.route.next_step(self._history, self.call.ask, now)

    def _take(self, step: "Step[Replica, Hosted]", now: float) -> None:
        route = self.call.route
        if isinstance(step, UseReplica):
            self._use(step.replica, step.reason, now, step.snapshot)
            return
        if not isinstance(step, UseHosted):
            note_passed_over(self.call)
        if isinstance(step, HoldIt):
            if route.meter.rejects(self.call.ask):
                self._refuse(budget_refusal(route, self.call.facts.model))
            else:
                self._hold(step, now)
            return
        route.lacks_replica(now)
        if isinstance(step, UseHosted):
            self._use(step.hosted, step.reason, now)
        elif step.why is Refusal.QUEUE_FULL and not self._history.was_held and route.makes_room(self.call.ask, step):
            self._hold(HoldIt(late=bool(route.pool.replicas)), now)
        elif not self._backs_off(step, now):
            self._give_up(step)

    def _use(
        self, backend: Replica | Hosted, reason: ServedReason, now: float, snapshot: LoadSnapshot | None = None,
        again: tuple[RequestForm, ...] = (),
    ) -> None:  # fmt: skip
        asked_anew = self._check is not None and self._check.invalid > 0
        counts = is_retry(self._history, backend, asked_anew=asked_anew)
        if counts and not self._shared.retries.may_retry(now, len(self._shared.sweeper)):
            self._give_up(Refuse(Refusal.FAILED))  # further attempts would only add to the load
            return
        partial = self._going_on[1] if self._going_on is not None else None
        attempt = launch(
            self, backend, reason, self._shared, now, is_retry=counts, snapshot=snapshot, partial=partial, again=again
        )
        if isinstance(attempt, NoHold):
            self._not_launched(attempt, backend, now)
            return
        self.call.route.retries += asked_anew or bool(self._history.failures)
        self._attempt = attempt
        self._phase = Phase.SERVING
        hedging = self.call.route.compiled.hedging
        if hedging is not None and partial is None and not asked_anew:
            self._hedge_at = now + hedging.after_seconds
        self.deadline_changed()
        attempt.start()

    def _not_launched(self, why: NoHold, backend: Replica | Hosted, now: float) -> None:
        """It can't be told there, money or a limit went to somebody else since it was chosen, or money is to come."""
        if why is NoHold.WAIT and self._money.begins(self, self.call.route.meter.budget, now):
            self._pause(Phase.AWAITING_MONEY, self._money.until - now, now)
        elif self._going_on is not None:
            self._give_up(Refuse(Refusal.FAILED))
        else:
            self._history.failed_hosted.add(backend.served_by)
            self._take(self._next(now), now)

    def _money_came(self) -> None:
        if self._phase is Phase.AWAITING_MONEY:
            self._resume(monotonic())

    def _pause(self, phase: Phase, seconds: float, now: float) -> None:
        self._phase = phase
        self._wait = self._wait or Wait()
        self._wait.for_pause(self.call, seconds, now)
        self.deadline_changed()

    def _resume(self, now: float) -> None:
        self._phase = Phase.SERVING
        if self._going_on is not None:
            self._go_on(now)
        else:
            self._take(self._next(now), now)

    def _backs_off(self, step: Refuse, now: float) -> bool:
        """Whether nobody is left but those that failed in passing, and asking one of them again makes sense."""
        if step.why is not Refusal.FAILED or self._going_on is not None:
            return False
        pool = self.call.route.pool
        pause = pause_before_retry(self._history, pool.hosted, pool.attempts_max, self._shared.random(), now)
        if pause is None or now + pause >= self._total_at:
            return False
        self._pause(Phase.BACKING_OFF, pause, now)
        return True

    def _give_up(self, step: Refuse) -> None:
        if self._going_on is not None:
            self._end_broken(self._going_on[0])
            return
        self._refuse(*refusal_of(step, self.call.route, self.call.facts.model, self._history, self.call.ask))

    def _hold(self, step: HoldIt, now: float) -> None:
        route = self.call.route
        self._phase = Phase.HELD
        self._history.was_held = True
        self._history.held_late = step.late
        self._wait = self._wait or Wait()
        self._wait.for_replica(self.call, now)
        route.hold(self, self.call.ask)
        self.deadline_changed()
        route.lacks_replica(now)

    def _release(self) -> bool:
        now = monotonic()
        route = self.call.route
        self._history.failed_replicas.clear()
        step = self._next(now)
        if isinstance(step, HoldIt):
            return False
        route.held.discard(self)
        route.demand_changed()
        self._take(step, now)
        return True

    # -- how an attempt goes -----------------------------------------------------------------------------------

    def relay_for(self, attempt: Attempt, status: int, headers: list[Header]) -> Relay:
        """Where the attempt's answer goes."""
        if self._going_on is not None:
            return go_on_with(*self._going_on, attempt, status, headers)
        opening = self._wait.opening if self._wait is not None else None
        return relay_of(self.call, attempt, status, headers, opening, checked=self._check is not None)

    def answer_refused(self, attempt: Attempt, relay: Relay) -> bool:
        """Whether a refusal is kept from the client: it is asked again in another form, or somebody else who can is."""
        now = monotonic()
        again = forms_to_ask_again(self.call, attempt, relay)
        if again and self._rival is None:
            self._leave(attempt, Ending.REFUSED)
            self._use(attempt.backend, attempt.reason, now, again=again)
            return True
        failure = refusal_of_unable(attempt, relay, self._history, now, self.call.ask.hosted_path)
        return failure is not None and self.goes_elsewhere(attempt, failure)

    def goes_elsewhere(self, attempt: Attempt, failure: Failure) -> bool:
        """The same of a status that says enough."""
        now, kind = monotonic(), failure.kind
        settling.note_failure(self._history, attempt, failure, now)
        if self._rival is not None or self._going_on is not None:
            self._leave(attempt, Ending.REFUSED, kind)
            self._go_on(now)
            return True
        step = self._next(now)
        ours = kind in {FailureKind.REDIRECT, FailureKind.CREDENTIALS}
        if isinstance(step, Refuse) and not ours and not self._backs_off(step, now):
            settling.count_failure(attempt.backend, kind)
            return False  # nobody else is left: the client gets what this one said
        self._leave(attempt, Ending.REFUSED, kind)
        if self._phase is not Phase.BACKING_OFF:
            self._take(step, now)
        return True

    def first_token(self, attempt: Attempt, now: float) -> None:
        """The answer has begun: this attempt serves it, whoever else was asked."""
        self.winner = attempt
        self._hedge_at = math.inf
        other = self._rival if attempt is self._attempt else self._attempt
        if other is not None:
            self._leave(other, Ending.ABANDONED)
        self._attempt, self._rival = attempt, None
        settling.first_token_seen(self.call, attempt, now, now - self._started)
        attempt.body, attempt.parts = b"", []
        if self.streams and not keeps_text(self.call, attempt):
            self.call.drop_body()
        if attempt.is_hedge:
            self.call.route.tally.hedges_won += 1
        self.deadline_changed()

    def attempt_failed(self, attempt: Attempt, failure: Failure) -> None:
        """It failed before its first token."""
        now = monotonic()
        self._lose(attempt, Ending.FAILED, failure, now)
        if self._attempt is None:  # else the other one goes on
            self._resume(now)

    def attempt_broke(self, attempt: Attempt, failure: Failure) -> None:
        """It broke off after its first token."""
        now = monotonic()
        relay = attempt.relay
        if relay is None:
            return
        self._lose(attempt, Ending.BROKEN, failure, now)
        partial = relay.partial() if self.call.route.compiled.on_stream_failure == "Continue" else None
        if partial is not None and now < self._total_at:
            self.winner = None
            self._going_on = relay, partial
            self.call.route.tally.continuations += 1
            failed = self._history.failed_replicas
            self._shared.tokenizer.count_partial(self.call.route, partial, self.partial_counted, avoid=failed)
        else:
            self._end_broken(relay)

    def _take_partial(self, partial: Partial) -> None:
        if self._going_on is not None and self._phase is not Phase.DONE:
            self._going_on = self._going_on[0], partial
            if self.call.parts:
                self._word_anew(partial)
            else:
                self._go_on(monotonic())

    def _word_anew(self, partial: Partial) -> None:
        """A long request is put into the words of whoever would go on now, in another process."""
        local = isinstance(self._next(monotonic()), UseReplica)
        word_going_on(self.call, self._shared.readers, partial, self.worded_anew, local=local)

    def _go_on_worded(self) -> None:
        if self._going_on is not None and self._phase is not Phase.DONE:
            self._go_on(monotonic())

    def _go_on(self, now: float) -> None:
        """Let somebody else go on with the answer, if there is anybody now: a client in the middle of it can't wait."""
        if self._going_on is None:
            return
        step = self._next(now)
        if isinstance(step, UseReplica):
            self._use(step.replica, ServedReason.CONTINUED, now, step.snapshot)
        elif isinstance(step, UseHosted):
            self._use(step.hosted, ServedReason.CONTINUED, now)
        else:
            self._end_broken(self._going_on[0])

    def _end_broken(self, relay: Relay) -> None:
        last = self._history.failures[-1]
        self._finish()
        relay.break_off(errors.stream_broken(last.backend, last.detail))

    def _lose(self, attempt: Attempt, ending: Ending, failure: Failure, now: float) -> None:
        settling.note_failure(self._history, attempt, failure, now)
        self._leave(attempt, ending, failure.kind)
        if isinstance(attempt.backend, Replica) and failure.kind in BACKEND_GONE:
            self.call.route.replica_broke(attempt.backend)

    def _leave(self, attempt: Attempt, ending: Ending, kind: FailureKind | None = None) -> None:
        """The attempt is over: what it used is settled, its place is free."""
        attempt.abandon()
        settling.settle(self.call, self._shared, attempt, ending, kind, monotonic() - self._started)
        if attempt is self._attempt:
            self._attempt, self._rival = self._rival, None
        elif attempt is self._rival:
            self._rival = None

    def _hedge(self, now: float) -> None:
        """The first token is late: ask a second backend as well, where that is allowed and not too dear."""
        self._hedge_at = math.inf
        first = self._attempt
        if first is None or self._rival is not None or self.winner is not None:
            return
        rival = hedge_for(self, first, self._history, self._shared, now)
        if rival is not None:
            self._rival = rival
            self.deadline_changed()
            rival.start()

    # -- time and ending ---------------------------------------------------------------------------------------

    def deadline_changed(self) -> None:
        """Work out when to be called next."""
        due = min(self._total_at, self._hedge_at)
        wait = self._wait
        if wait is not None and self.winner is None:
            due = min(due, wait.heartbeat_at)
            if self._waits:
                self.deadline = min(due, wait.until)
                return
        if self._attempt is not None and self._attempt.deadline < due:
            due = self._attempt.deadline
        self.deadline = due if self._rival is None else min(due, self._rival.deadline)

    def _expire(self, now: float) -> None:
        if self._phase is Phase.DONE:
            self.deadline = math.inf
            return
        if now >= self._total_at:
            self._total_passed()
            return
        wait = self._wait
        waits = self._waits
        if wait is not None and self.winner is None and now >= wait.heartbeat_at:
            wait.heartbeat(now, waits=waits)
        if waits:
            if wait is not None and now >= wait.until:
                self._wait_is_over(now)
        else:
            for attempt in (self._attempt, self._rival):
                if attempt is not None and now >= attempt.deadline:
                    attempt.expire(now)
            if now >= self._hedge_at:
                self._hedge(now)
        self.deadline_changed()

    @property
    def _waits(self) -> bool:
        """Whether it waits for something that has a time of its own."""
        return self._phase is not Phase.SERVING and self._phase is not Phase.CHECKING

    def _wait_is_over(self, now: float) -> None:
        if self._phase is Phase.HELD:
            self.call.route.held.discard(self)
            self._history.hold_expired = True
            self.call.route.demand_changed()
        elif self._phase is Phase.AWAITING_MONEY:
            self._money.is_in_vain(self)
        else:
            self._history.forgive_what_may_pass()
        self._resume(now)

    def _total_passed(self) -> None:
        attempt, winner = self._attempt, self.winner
        if winner is not None and winner.relay is not None and winner.relay.begun:
            winner.abandon()
            self.attempt_broke(winner, Failure(FailureKind.TIMEOUT, winner.served_by, "it took too long"))
            return
        if attempt is not None:
            settling.note_total_passed(attempt, self.timeouts.total_seconds, monotonic())
            self._leave(attempt, Ending.FAILED, FailureKind.TIMEOUT)
        self._refuse(errors.total_timeout(self.call.facts.model, self.timeouts.total_seconds))

    def _shut_down(self) -> None:
        relay = self.winner.relay if self.winner is not None else self._going_on[0] if self._going_on else None
        if relay is not None and relay.begun:
            self._finish(Ending.BROKEN)
            relay.break_off(errors.SHUTTING_DOWN)
        elif self._phase is not Phase.DONE:
            self._refuse(errors.SHUTTING_DOWN)

    def _refuse(self, error: ApiError, reason: ServedReason = ServedReason.NOT_SERVED) -> None:
        self.call.route.refused += 1
        self._finish(Ending.ABANDONED)
        lines = answer_lines("none", reason, self.call.request_id)
        if self._going_on is not None:
            self._going_on[0].break_off(error)
        else:
            tell_refusal(self.client, self._wait, error, lines)

    def _finish(self, ending: Ending = Ending.WHOLE) -> None:
        if self._phase is Phase.DONE:
            return
        self._phase = Phase.DONE
        route = self.call.route
        for attempt in (self._attempt, self._rival):
            if attempt is not None:
                self._leave(attempt, ending)
        if self._history.was_held:
            route.held.discard(self)
        self._money.end(self)
        if not self.call.is_settled:
            settling.close_admission(self.call, self._shared)
        self._shared.sweeper.discard(self)
        self._checking = None
        self.client.answerer = None
        self.call.drop_body()
        self.winner = None  # they know each other: left so, each request would be garbage for the collector
        route.demand_changed()

    def _clean_up(self) -> None:
        self._phase = Phase.DONE
        attempts = [attempt for attempt in (self._attempt, self._rival) if attempt is not None]
        self._attempt = self._rival = self.winner = self._checking = None
        tried(functools.partial(self.call.route.held.discard, self))
        tried(functools.partial(self._money.end, self))
        tried(functools.partial(self._shared.sweeper.discard, self))
        clean_up(self.call, self._shared, attempts)

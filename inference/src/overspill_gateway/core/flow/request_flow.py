"""The way of one request, from its arrival to the end of its answer, over as many attempts as it takes.

Events in, actions out (``flow_actions``): a failure before the first token goes on to the next backend, after it
the answer goes on elsewhere where the route says so, else the client is told. Time is an argument, chance is drawn from
a function that was handed in, and whoever carries the actions out has the sockets, the bodies and the timers: the same
flow runs in a gateway and in virtual time. Not here: who is next (``core.admission.plan``), and what is learned of it.
"""

import math
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from overspill_gateway.core.admission.plan import HoldIt, Refusal, Refuse, ServedReason, Step, UseHosted, UseReplica
from overspill_gateway.core.admission.request_state import NOBODY, RequestState, Waiter
from overspill_gateway.core.admission.retry_budget import RetryBudget, adds_load, pause_before_retry
from overspill_gateway.core.admission.route_pool import RoutePool
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.outcome import (
    BACKEND_GONE,
    Failure,
    FailureKind,
    failure_kind_of_status,
)
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending
from overspill_gateway.core.flow.flow_actions import (
    AWAIT_MONEY,
    BREAK_OFF,
    CONTINUE,
    HOLD,
    NOTHING,
    PASS_ON,
    PAUSE,
    Action,
    NotSent,
    Send,
)
from overspill_gateway.core.flow.flow_observer import FlowObserver
from overspill_gateway.core.flow.phase import Phase
from overspill_gateway.core.prediction.prediction import LoadSnapshot
from overspill_gateway.core.requests.ask import Ask

R = TypeVar("R", bound=ReplicaState)
H = TypeVar("H", bound=HostedState)
A = TypeVar("A", bound=AttemptState[BackendState])

MONEY_WAIT_SECONDS: Final = 1.0
"""For the ledger, in all: most disks write a block in one to fifty milliseconds; else others are better."""


class RequestFlow(RequestState, Generic[R, H, A]):
    """The way of one request."""

    def __init__(
        self,
        waiter: Waiter,
        pool: RoutePool[R, H],
        ask: Ask,
        retries: RetryBudget,
        random: Callable[[], float],
        observers: list[FlowObserver[A]],
        now: float,
        *,
        streams: bool,
    ) -> None:
        """``random``: uniform in [0, 1)."""
        super().__init__(waiter, ask, now, streams=streams)
        self.pool = pool
        self.rules = pool.rules
        self.phase = Phase.DONE  # until it has arrived
        self.attempt: A | None = None
        """The attempt that runs."""
        self.rival: A | None = None
        """A second one that runs beside it."""
        self.winner: A | None = None
        """The one whose answer the client gets."""
        self.goes_on = False
        """Whether its answer broke off and another backend is to go on with it."""
        self.total_at = now + self.rules.total_seconds
        self.hedge_at = math.inf
        """When a second backend is asked beside one that is slow to begin."""
        self.wait_until = math.inf
        """The end of holding, of backing off or of waiting for money."""
        self._hold_until = math.inf
        self._money_until = 0.0
        self._insists: Send[R | H] | None = None
        """Until it is sent: somebody is to be asked once more, and nobody else, also after waiting for money."""
        self._retries = retries
        self._random = random
        self._observers = observers

    @property
    def waits(self) -> bool:
        """Whether it waits for something that has a time of its own."""
        phase = self.phase
        return phase is Phase.HELD or phase is Phase.BACKING_OFF or phase is Phase.AWAITING_MONEY

    # -- choosing and holding ----------------------------------------------------------------------------------

    def arrived(self, now: float) -> Action[R | H]:
        """It was let in."""
        pool = self.pool
        self.phase = Phase.SERVING
        self._retries.requests_in_flight += 1
        if self.rules.hedging is not None:
            pool.hedges.request_seen(now)
        pool.arrived()
        return self._follow(self._next(now), now)

    def sent(self, attempt: A, now: float) -> None:
        """An attempt begins, of a ``Send`` that was no hedge."""
        asked_anew = self.invalid_outputs > 0
        self._insists = None
        self.attempt = attempt
        self.phase = Phase.SERVING
        if self.rules.hedging is not None and not self.goes_on and not asked_anew:
            self.hedge_at = now + self.rules.hedging.after_seconds
        self._occupy(attempt, now)

    def not_sent(self, backend: R | H, why: NotSent, now: float) -> Action[R | H]:
        """It can't be told there, money or a limit went to somebody else since it was chosen, or money is to come."""
        if why is NotSent.WAIT:
            self._money_until = self._money_until or now + MONEY_WAIT_SECONDS
            if now < self._money_until:
                return self._pause(Phase.AWAITING_MONEY, self._money_until)
        self._insists = None
        if self.goes_on:
            return self._give_up(Refuse(Refusal.FAILED))
        self.history.failed_hosted += (backend.served_by,)
        return self._follow(self._next(now), now)

    def money_came(self, now: float) -> Action[R | H]:
        """The ledger has answered."""
        return self._resume(now) if self.phase is Phase.AWAITING_MONEY else NOTHING

    def wait_is_over(self, now: float) -> Action[R | H]:
        """``wait_until`` has come."""
        if self.phase is Phase.HELD:
            self._leave_queue()
            self.history.hold_expired = True
        elif self.phase is Phase.BACKING_OFF:
            self.history.forgive_what_may_pass()
        return self._resume(now)

    def released(self, now: float) -> Action[R | H]:
        """Somebody may take one that is held, or the rules have changed; HOLD: it goes on waiting."""
        self.history.failed_replicas = self.history.full_replicas = ()
        step = self._next(now)
        if isinstance(step, HoldIt):
            return HOLD
        self._leave_queue()
        return self._follow(step, now)

    def displaced(self, step: Refuse) -> Action[R | H]:
        """Another has its place in the queue."""
        return self._give_up(step)

    def _next(self, now: float) -> Step[R, H]:
        return self.pool.next_step(self.history, self.ask, now)

    def _follow(self, step: Step[R, H], now: float) -> Action[R | H]:
        pool = self.pool
        if isinstance(step, UseReplica):
            return self._send(step.replica, step.reason, step.snapshot)
        if not isinstance(step, UseHosted):
            for observer in self._observers:
                observer.passed_over(self, step)
        if isinstance(step, HoldIt):
            if pool.money.rejects(self.ask):
                return Refuse(Refusal.BUDGET_SPENT)
            return self._hold(step, now)
        pool.lacks_replica(now)
        if isinstance(step, UseHosted):
            self.foregone = step.foregone
            return self._send(step.hosted, step.reason, None)
        if step.why is Refusal.QUEUE_FULL and not self.history.was_held and pool.makes_room(self.ask, step, now):
            return self._hold(HoldIt(late=bool(pool.replicas)), now)
        return PAUSE if self._backs_off(step, now) else self._give_up(step)

    def _send(self, backend: R | H, reason: ServedReason, snapshot: LoadSnapshot | None) -> Action[R | H]:
        counts = self._is_retry(backend)
        if counts and not self._retries.may_retry():
            return self._give_up(Refuse(Refusal.FAILED))  # further attempts would only add to the load
        return Send(backend, reason, snapshot, counts)

    def _is_retry(self, backend: BackendState) -> bool:
        """Whether an attempt counts against the retry budget."""
        history = self.history
        if self.invalid_outputs or not history.failures:
            return self.invalid_outputs > 0
        return adds_load(history.failures[-1].kind, spills=not backend.is_local and not history.failed_hosted)

    def _resume(self, now: float) -> Action[R | H]:
        self.phase = Phase.SERVING
        if self._insists is not None:
            return self._insists
        return self.go_on(now) if self.goes_on else self._follow(self._next(now), now)

    def _insist(self, backend: R | H, reason: ServedReason) -> Action[R | H]:
        action = self._send(backend, reason, None)
        self._insists = action if isinstance(action, Send) else None
        return action

    def _pause(self, phase: Phase, until: float) -> Action[R | H]:
        self.phase = phase
        self.wait_until = until
        return AWAIT_MONEY if phase is Phase.AWAITING_MONEY else PAUSE

    def _backs_off(self, step: Refuse, now: float) -> bool:
        """Whether nobody is left but those that failed in passing, and asking one of them again makes sense."""
        if step.why is not Refusal.FAILED or self.goes_on:
            return False
        failures = [failure for failure in self.history.failures if failure.kind is not FailureKind.UNABLE]
        rest = min((hosted.outlier.returns_at for hosted in self.pool.hosted), default=now) - now
        pause = pause_before_retry(failures, self.pool.attempts_max, rest, self._random)
        if pause is None or now + pause >= self.total_at:
            return False
        self._pause(Phase.BACKING_OFF, now + pause)
        return True

    def _give_up(self, step: Refuse) -> Action[R | H]:
        return BREAK_OFF if self.goes_on else step

    def _hold(self, step: HoldIt, now: float) -> Action[R | H]:
        pool = self.pool
        self.phase = Phase.HELD
        self.history.was_held = True
        self.history.held_late = step.late
        if self._hold_until == math.inf:  # however often it waits, no longer than the route says in all
            self._hold_until = now + self.rules.hold_timeout_seconds
        self.wait_until = self._hold_until
        pool.hold(self.waiter, self.ask, now)
        pool.lacks_replica(now)
        return HOLD

    def _leave_queue(self) -> None:
        self.pool.queue.discard(self.waiter)
        self.pool.listener.demand_changed()

    # -- how an attempt goes -----------------------------------------------------------------------------------

    def ask_again(self, attempt: A, backend: R | H, now: float) -> Action[R | H]:
        """An attempt's backend refused the form of the request: it is asked again in another."""
        self.leave(attempt, Ending.REFUSED, None, now)
        return self._insist(backend, attempt.reason)

    def refused(self, attempt: A, failure: Failure, now: float) -> Action[R | H]:
        """A backend's status says that it can't serve this; PASS_ON: nobody else can, so the client gets it."""
        if failure.kind is FailureKind.FULL:
            return self._has_no_room(attempt, failure, now)
        self._note_failure(attempt, failure, now)
        if self.rival is not None or self.goes_on:
            self.leave(attempt, Ending.REFUSED, failure.kind, now)
            return self.go_on(now)
        step = self._next(now)
        ours = failure.kind is FailureKind.REDIRECT or failure.kind is FailureKind.CREDENTIALS
        if isinstance(step, Refuse) and not ours and not self._backs_off(step, now):
            return PASS_ON
        self.leave(attempt, Ending.REFUSED, failure.kind, now)
        return PAUSE if self.phase is Phase.BACKING_OFF else self._follow(step, now)

    def _has_no_room(self, attempt: A, failure: Failure, now: float) -> Action[R | H]:
        """A replica is full: that uses up none of the request's tries, and it may be asked again once it has waited."""
        for observer in self._observers:
            observer.failed(self, attempt, failure, now)
        self.vacate(attempt)
        attempt.backend.is_full(now)
        self.history.full_replicas += (attempt.backend,)
        self.leave(attempt, Ending.REFUSED, failure.kind, now)
        return NOTHING if self.attempt is not None else self._resume(now)

    def first_token(self, attempt: A, now: float) -> None:
        """The answer has begun: this attempt serves it, and the other one that was asked, if any, is over."""
        self.winner = attempt
        self.hedge_at = math.inf
        other = self.rival if attempt is self.attempt else self.attempt
        if other is not None:
            self.leave(other, Ending.ABANDONED, None, now)
        self.attempt, self.rival = attempt, None
        attempt.first_token_at = now
        attempt.backend.first_token(self.ask)
        for observer in self._observers:
            observer.first_token(self, attempt, now)
        self.pool.release(now)

    def failed(self, attempt: A, failure: Failure, now: float) -> Action[R | H]:
        """An attempt failed before its first token."""
        self._lose(attempt, Ending.FAILED, failure, now)
        return NOTHING if self.attempt is not None else self._resume(now)

    def broke(self, attempt: A, failure: Failure, now: float, *, can_go_on: bool) -> Action[R | H]:
        """An attempt broke off after its first token; ``can_go_on``: what came can be put before another backend."""
        self._lose(attempt, Ending.BROKEN, failure, now)
        if not can_go_on or not self.rules.continues or now >= self.total_at:
            return BREAK_OFF
        self.winner = None
        self.goes_on = True
        for observer in self._observers:
            observer.went_on(self, attempt, now)
        return CONTINUE

    def go_on(self, now: float) -> Action[R | H]:
        """Let somebody else go on with the answer, if there is anybody now: a client in the middle of it can't wait."""
        if not self.goes_on:
            return NOTHING
        step = self._next(now)
        if isinstance(step, UseReplica):
            return self._send(step.replica, ServedReason.CONTINUED, step.snapshot)
        if isinstance(step, UseHosted):
            return self._send(step.hosted, ServedReason.CONTINUED, None)
        return BREAK_OFF

    def next_is_local(self, now: float) -> bool:
        """Whether a replica would be next, as things are now."""
        return isinstance(self._next(now), UseReplica)

    def checks(self, attempt: A, now: float) -> None:
        """Its answer is whole, and is checked before it is passed on."""
        self.leave(attempt, Ending.WHOLE, None, now)
        self.phase = Phase.CHECKING
        self.winner = None

    def checked(self) -> None:
        """The check is over."""
        self.phase = Phase.SERVING

    def output_broke(self, backend: R | H, now: float) -> Action[R | H]:
        """Its answer broke its schema: the same backend is asked once more, then the fallback, then it is an error."""
        self.invalid_outputs += 1
        other = self.pool.backend_for_output(backend, self.ask, self.invalid_outputs, now)
        if other is None:
            return Refuse(Refusal.INVALID_OUTPUT)
        return self._insist(other, ServedReason.INVALID_OUTPUT)

    # -- a second backend beside a slow one --------------------------------------------------------------------

    def hedge(self, now: float) -> Send[R | H] | None:
        """``hedge_at`` has come: the first token is late. Whom to ask as well; then say ``hedged``."""
        self.hedge_at = math.inf
        first, rules = self.attempt, self.rules.hedging
        if first is None or self.rival is not None or self.winner is not None or rules is None:
            return None
        if not self._retries.may_retry():
            return None
        pool = self.pool
        backend = pool.second_backend(first.backend, self.history, self.ask, now)
        if backend is None:
            return None
        cost = backend.worst_case(self.ask)
        if not pool.hedges.may_hedge(now, rules, hosted_cost_nano_usd=cost):
            return None
        return Send(backend, ServedReason.HEDGED, None, is_retry=True, worst_nano_usd=cost)

    def hedged(self, send: Send[R | H], rival: A | None, now: float, *, held_nano_usd: int) -> None:
        """The second attempt begins; None: it was not to be after all. ``held_nano_usd``: what was set aside for it."""
        if send.worst_nano_usd:  # the hold may be lower, where the budget lowers the answer's length
            self.pool.hedges.settled(now, held_nano_usd=send.worst_nano_usd, actual_nano_usd=held_nano_usd)
        if rival is not None:
            rival.is_hedge = True
            self.rival = rival
            self._occupy(rival, now)

    def leave(self, attempt: A, ending: Ending, kind: FailureKind | None, now: float) -> None:
        """An attempt is over: its place is free, and whoever counts hears of it."""
        self.vacate(attempt)
        if ending is Ending.WHOLE and failure_kind_of_status(attempt.status) is None:
            attempt.backend.outlier.succeeded(now)  # a refusal of a bad request is an answer as good as any
        for observer in self._observers:
            observer.settled(self, attempt, ending, kind, now)
        if attempt is self.attempt:
            self.attempt, self.rival = self.rival, None
        elif attempt is self.rival:
            self.rival = None
        self.pool.release(now)  # one that waits for a late replica may go to a hosted API that is free again, too

    def vacate(self, attempt: A) -> None:
        """The attempt's places are free: at its backend, and among further attempts. Done twice, it is done once."""
        if attempt.counts_as_retry:
            self._retries.ended()
            attempt.counts_as_retry = False
        if attempt.has_place:
            attempt.backend.done(self.ask, first_token_came=attempt.has_begun)
            if not attempt.backend.is_local:
                self.pool.in_flight_spilled -= 1
            attempt.has_place = False

    def _occupy(self, attempt: A, now: float) -> None:
        if attempt.is_retry:
            self._retries.began()
            attempt.counts_as_retry = True
        attempt.backend.sent(self.ask, now)
        if attempt.backend.is_local:
            attempt.has_place = True
        else:
            self.pool.in_flight_spilled += 1
            attempt.has_place = True
            attempt.spills = self.pool.has_local and not self.history.replicas_unable
            self.pool.spilled += self.pool.has_local
            self.pool.listener.demand_changed()
        for observer in self._observers:
            observer.began(self, attempt, now)

    def _lose(self, attempt: A, ending: Ending, failure: Failure, now: float) -> None:
        self._note_failure(attempt, failure, now)
        self.leave(attempt, ending, failure.kind, now)
        if failure.kind in BACKEND_GONE:
            self.pool.lost(attempt.backend)

    def _note_failure(self, attempt: A, failure: Failure, now: float) -> None:
        """Remember that a backend failed this request, so that others are asked first."""
        backend, history = attempt.backend, self.history
        history.failures += (failure,)
        backend.outlier.failed(now, failure.kind, failure.retry_after_seconds, status=failure.status)
        if backend.is_local:
            history.failed_replicas += (backend,)
        else:
            history.failed_hosted += (backend.served_by,)
        for observer in self._observers:
            observer.failed(self, attempt, failure, now)

    # -- time and ending ---------------------------------------------------------------------------------------

    def total_passed(self, now: float) -> Action[R | H]:
        """``total_at`` has come, and its answer has not begun."""
        attempt = self.attempt
        if attempt is not None:
            if now - attempt.launched_at >= self.rules.total_seconds / 2:  # else most of the time it waited
                attempt.backend.outlier.failed(now, FailureKind.TIMEOUT, None)
            self.leave(attempt, Ending.FAILED, FailureKind.TIMEOUT, now)
        return Refuse(Refusal.TOTAL_TIMEOUT)

    def abort(self) -> None:
        """It was not let in, or a fault of ours has ended it somewhere: nothing of it stays counted, nobody is told."""
        self.attempt = self.rival = self.winner = None
        self.pool.queue.discard(self.waiter)
        self.waiter = NOBODY
        if self.phase is not Phase.DONE:
            self._done()

    def finish(self, ending: Ending, now: float) -> bool:
        """It is over, and so are the attempts that run; False: it was over before."""
        if self.phase is Phase.DONE:
            return False
        self._done()
        for attempt in (self.attempt, self.rival):
            if attempt is not None:
                self.leave(attempt, ending, None, now)
        self.winner = None
        if self.history.was_held:
            self.pool.queue.discard(self.waiter)
        for observer in self._observers:
            observer.ended(self, now)
        self.waiter = NOBODY
        self.pool.listener.demand_changed()
        return True

    def _done(self) -> None:
        self.phase = Phase.DONE
        self._retries.requests_in_flight -= 1

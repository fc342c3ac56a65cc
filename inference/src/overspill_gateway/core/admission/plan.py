"""Who serves a request next: a replica, a hosted API, the waiting queue, or nobody, and for which reason.

Decided by what the route looks like now, by what the request has been through, and by the time, nothing else. Only what
the pool's target and rates have to remember of it is changed. It is asked again after every failure, so that a plan
never outlives the world it was made for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import Final, Generic, TypeVar

from overspill_gateway.core.admission.balance import choose_replica
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.outcome import REPEATABLE, Failure, FailureKind
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.prediction.prediction import LoadSnapshot, ServiceRates
from overspill_gateway.core.prediction.target import FirstTokenTarget
from overspill_gateway.core.requests.ask import Ask


class ServedReason(StrEnum):
    """Why this backend served; the value of ``x-overspill-reason``."""

    PREFERRED = "Preferred"
    """It is the first choice: a replica where the route has a pool, else the first hosted API."""
    HELD = "Held"
    """A replica, after the request had waited for one."""
    COLD_START = "ColdStart"
    """No replica answers and the route sends such requests to its hosted list."""
    SCALED_OFF = "ScaledOff"
    """A window keeps the pool at zero."""
    LATENCY = "PredictedLatency"
    """A replica would have been later with the first token than the route wants."""
    REPLICA_EJECTED = "ReplicaEjected"
    """Every replica has failed too often lately and rests."""
    REPLICA_FAILED = "ReplicaFailed"
    """The last backend that failed before the first token was a replica."""
    HOSTED_FAILED = "HostedFailed"
    """The last backend that failed before the first token was a hosted API."""
    HEDGED = "Hedged"
    """Another backend was slow to begin, and this one was faster."""
    INVALID_OUTPUT = "InvalidOutput"
    """An answer before this one did not hold to the request's schema."""
    CONTINUED = "Continued"
    """Another backend broke off in the middle of the answer."""
    QUEUE_FULL = "QueueFull"
    """As many requests as may wait for a replica are waiting."""
    HOLD_TIMEOUT = "HoldTimeout"
    """No replica came in the time that a request may wait."""
    NOT_SERVED = "NotServed"
    """Nobody served: the answer is the gateway's own."""


R = TypeVar("R", bound=ReplicaState)
H = TypeVar("H", bound=HostedState)

RETRY_AFTER_SECONDS_MIN: Final = 1
RETRY_AFTER_SECONDS_MAX: Final = 120
RETRY_AFTER_SECONDS_UNKNOWN: Final = 10
"""With a pool at zero, or rates that nobody knows yet."""


@dataclass(slots=True)
class History:
    """What one request has been through. Of most that is nothing, which takes no memory of its own."""

    failures: tuple[Failure, ...] = ()
    """Failed attempts, oldest first."""
    failed_replicas: tuple[BackendState, ...] = ()
    """Replicas that failed; not asked again before others. Not their names: engines outside a cluster may share one."""
    full_replicas: tuple[BackendState, ...] = ()
    """Replicas that have refused it for want of room since it last waited: each is asked once. Those that take long to
    say so would else send it round and round, for another has room again by then."""
    failed_hosted: tuple[str, ...] = ()
    """Hosted APIs that failed; not asked again."""
    unable_hosted: tuple[str, ...] = ()
    """Those of them that can't serve it at all."""
    replicas_unable: bool = False
    """Its prompt is too long for a replica: so it is for another one, which runs the same."""
    unable: int = 0
    """Failed attempts at backends that can't serve it: they use up none of a request's tries."""
    was_held: bool = False
    """It has waited for a replica."""
    held_late: bool = False
    """It waited since replicas were too slow: a hosted API may have it as soon as one can."""
    hold_expired: bool = False
    """It has waited as long as it may."""

    def forgive_what_may_pass(self) -> None:
        """After a pause those are asked again that failed in passing."""
        self.failed_replicas = self.full_replicas = ()
        refused = {failure.backend for failure in self.failures if failure.kind not in REPEATABLE}
        self.failed_hosted = tuple(name for name in self.failed_hosted if name in refused)


@dataclass(slots=True)
class Pool(Generic[R, H]):
    """A route as it is now; its owner writes it, deciding reads it."""

    has_local: bool
    """The route has an engine of its own."""
    may_wake: bool
    """The engine may run now."""
    replicas: Sequence[R]
    """Replicas that can serve."""
    hosted: Sequence[H]
    """Hosted APIs in order of preference."""
    cold_start_hosted: bool
    """While no replica can serve: hosted rather than hold."""
    held: int
    """Requests that wait now."""
    held_max: int
    """The most that may."""
    attempts_max: int
    """Attempts a request has, the first included."""
    rates: ServiceRates = field(default_factory=ServiceRates)
    """How fast its replicas are."""
    target: FirstTokenTarget = field(default_factory=FirstTokenTarget)
    """The time to first token above which a request goes elsewhere."""


@dataclass(frozen=True, slots=True)
class UseReplica(Generic[R]):
    """Send it to a replica."""

    replica: R
    reason: ServedReason
    snapshot: LoadSnapshot | None = None
    """What is expected of it; None where no rates are learned."""


@dataclass(frozen=True, slots=True)
class UseHosted(Generic[H]):
    """Send it to a hosted API."""

    hosted: H
    reason: ServedReason
    foregone: LoadSnapshot | None = None
    """What was expected of the best replica, where that would be late."""


@dataclass(frozen=True, slots=True)
class HoldIt:
    """Let it wait for a replica; one that waits already keeps its place."""

    late: bool = False
    """It waits since replicas are too slow, not since there are none: kept in ``History.held_late``."""


class Refusal(StrEnum):
    """Why nobody serves it."""

    FAILED = "Failed"
    """The attempts are used up, or nobody is left."""
    QUEUE_FULL = "QueueFull"
    HOLD_TIMEOUT = "HoldTimeout"
    NOT_AVAILABLE = "NotAvailable"
    """The pool may not run and there is no hosted API."""
    BUDGET_SPENT = "BudgetSpent"
    """Its money is spent, and the route says that nobody waits for a replica then."""
    TOTAL_TIMEOUT = "TotalTimeout"
    """The time that a request has in all has passed."""
    INVALID_OUTPUT = "InvalidOutput"
    """Its answers broke its schema."""
    HOSTED_UNABLE = "HostedUnable"
    """The pool may not run, and the hosted APIs may not take it now: limits, budget, health, or what it needs."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody serves it."""

    why: Refusal
    retry_after_seconds: int | None = None
    """When a place is expected, 1 to 120 s; None: nobody can tell."""


Step = UseReplica[R] | UseHosted[H] | HoldIt | Refuse


def next_step(pool: Pool[R, H], history: History, turn: int, ask: Ask, now: float) -> Step[R, H]:
    """What to do with a request now; ``turn`` counts the questions."""
    if len(history.failures) - history.unable >= pool.attempts_max:
        return Refuse(Refusal.FAILED)
    if history.replicas_unable:
        return _without_replica(pool, history, ask, now)
    replica = choose_replica(pool.replicas, ask, now, turn, history.failed_replicas, pool.rates.tuning)
    if replica is None:
        return _without_replica(pool, history, ask, now)
    if _is_full(replica, history, now):
        others = [other for other in pool.replicas if not _is_full(other, history, now)]
        replica = choose_replica(others, ask, now, turn, history.failed_replicas, pool.rates.tuning)
    if replica is not None and now < replica.outlier.returns_at:
        hosted = _first_hosted(pool, history, ask, now)
        if hosted is not None:
            return UseHosted(hosted, ServedReason.REPLICA_EJECTED)
    if replica is not None and history.was_held and not replica.window.room(now):
        roomy = [
            candidate
            for candidate in pool.replicas
            if candidate.window.room(now) and candidate not in history.full_replicas
        ]
        replica = choose_replica(roomy, ask, now, turn, history.failed_replicas, pool.rates.tuning)
    if replica is None or (pool.held and not history.was_held and not history.failures):
        return _in_no_time(pool, history, ask, now)  # there is no room, or those who wait go first
    return _if_in_time(pool, history, replica, ask, now)


def _is_full(replica: ReplicaState, history: History, now: float) -> bool:
    """Whether a replica has said that it has no room: to anybody a moment ago, or to this request."""
    return now < replica.window.full_until or replica in history.full_replicas


def _if_in_time(pool: Pool[R, H], history: History, replica: R, ask: Ask, now: float) -> Step[R, H]:
    """A replica if it keeps the target, or if there is nothing to be gained by going elsewhere."""
    if pool.rates.slow_replicas:
        slow = _slow_to_try(pool, history, ask, now)
        if slow is not None:
            return UseReplica(slow, ServedReason.PREFERRED, _told(pool.rates, slow, ask, now))
    prediction = _told(pool.rates, replica, ask, now)
    target = pool.target
    if target.is_kept(prediction, replica.load, now):
        return UseReplica(replica, _local_reason(history), prediction)
    chosen, chosen_told = replica, prediction
    kept = False
    if len(pool.replicas) > 1:
        replica, prediction = _fastest(pool, history, (replica, prediction), ask, now)
        kept = target.is_kept(prediction, replica.load, now)
    if not kept and not history.failures and not history.was_held:
        kept = target.is_tried(prediction, replica.load, now)
        if not kept and chosen is not replica and target.is_tried(chosen_told, chosen.load, now):
            replica, prediction, kept = chosen, chosen_told, True
    if not kept:
        target.missed(prediction, now)
        step = _in_no_time(pool, history, ask, now)
        if isinstance(step, UseHosted):
            return UseHosted(step.hosted, step.reason, prediction)
        if not target.waits_in_vain(prediction, replica.load):
            return step
    return UseReplica(replica, _local_reason(history), prediction)


def _told(rates: ServiceRates, replica: ReplicaState, ask: Ask, now: float) -> LoadSnapshot:
    """What is expected of a request at a replica."""
    window = replica.window
    return rates.snapshot(replica.rates, replica.load, ask, now, window.unbegun, window.begun_unseen)


def _slow_to_try(pool: Pool[R, H], history: History, ask: Ask, now: float) -> R | None:
    """A replica that is slower than the rest and has nothing to do, now and then: it may have recovered.

    With a prompt of usual length at most: who waits for what may be slow is not to wait long.
    """
    if history.was_held or history.failures or ask.prompt_tokens > pool.rates.prompt_tokens:
        return None
    for replica in pool.replicas:
        own = replica.rates
        if own.slowness > 1.0 and not replica.load.in_flight and now >= replica.outlier.returns_at and own.tries(now):
            return replica
    return None


def _fastest(
    pool: Pool[R, H], history: History, best: tuple[R, LoadSnapshot], ask: Ask, now: float
) -> tuple[R, LoadSnapshot]:
    """The replica with the earliest first token; the conversation's own is late. Only those about to leave pay."""
    for other in pool.replicas:
        if now < other.outlier.returns_at or other is best[0] or other in history.failed_replicas:
            continue
        if _is_full(other, history, now):
            continue
        if history.was_held and not other.window.room(now):
            continue
        there = _told(pool.rates, other, ask, now)
        if there.tail_seconds < best[1].tail_seconds:
            best = other, there
    return best


def _in_no_time(pool: Pool[R, H], history: History, ask: Ask, now: float) -> Step[R, H]:
    """Replicas are there, and none can begin in time: hosted, hold or refuse."""
    hosted = _first_hosted(pool, history, ask, now)
    if history.hold_expired:
        if hosted is not None:
            return UseHosted(hosted, ServedReason.HOLD_TIMEOUT)
        return Refuse(Refusal.HOLD_TIMEOUT, _retry_after_seconds(pool, now))
    waited_for_pool = history.was_held and not history.held_late
    if hosted is not None and pool.target.seconds is not None and not waited_for_pool:
        return UseHosted(hosted, _late_reason(history))
    if history.was_held or pool.held < pool.held_max:
        return HoldIt(late=not waited_for_pool)
    if hosted is not None:
        return UseHosted(hosted, ServedReason.QUEUE_FULL)
    return Refuse(Refusal.QUEUE_FULL, _retry_after_seconds(pool, now))


def _without_replica(pool: Pool[R, H], history: History, ask: Ask, now: float) -> Step[R, H]:
    """No replica is left to try: hosted, hold or refuse, by the route's rules."""
    hosted = _first_hosted(pool, history, ask, now)
    if history.failed_hosted:
        return UseHosted(hosted, _failed_reason(history)) if hosted is not None else _without_able(pool, history)
    if history.replicas_unable and hosted is None:
        return Refuse(Refusal.FAILED)
    reason = _spill_reason(pool, history, hosted)
    if reason is None:
        return HoldIt()
    if hosted is not None:
        return UseHosted(hosted, reason)
    return _refuse(pool, history, reason, ask, now)


def _without_able(pool: Pool[R, H], history: History) -> HoldIt | Refuse:
    """The hosted APIs have failed: a replica may still come that can do what they can't."""
    if set(history.failed_hosted) != set(history.unable_hosted) or history.replicas_unable or history.failed_replicas:
        return Refuse(Refusal.FAILED)
    if not pool.has_local or not pool.may_wake or pool.replicas:
        return Refuse(Refusal.FAILED)
    if history.hold_expired:
        return Refuse(Refusal.HOLD_TIMEOUT)
    return HoldIt() if history.was_held or pool.held < pool.held_max else Refuse(Refusal.FAILED)


def _first_hosted(pool: Pool[R, H], history: History, ask: Ask, now: float) -> H | None:
    """The first hosted API that has not failed this request and may take it.

    One that has said that it lacks the path or the model comes last, and only where no replica may come instead: it is
    the one whose words the client gets.
    """
    if ask.local_only:
        return None
    lacking: H | None = None
    for hosted in pool.hosted:
        if hosted.served_by not in history.failed_hosted and hosted.may_take(ask, now):
            if not hosted.lacks(ask, now):
                return hosted
            lacking = lacking or hosted
    can_wait = pool.has_local and pool.may_wake and not history.replicas_unable and not history.hold_expired
    return None if can_wait else lacking


def _spill_reason(pool: Pool[R, H], history: History, hosted: H | None) -> ServedReason | None:
    """Why a request that no replica takes leaves the pool; None: it waits for a replica instead."""
    if not pool.has_local:
        return ServedReason.PREFERRED
    # Replicas that are there and have each failed this request with a status would do so again: no use in waiting.
    if history.failures and (hosted is not None or pool.replicas):
        return _failed_reason(history)
    reasons = (
        (not pool.may_wake, ServedReason.SCALED_OFF),
        (history.hold_expired, ServedReason.HOLD_TIMEOUT),
        (hosted is not None and pool.cold_start_hosted, ServedReason.COLD_START),
        (pool.held >= pool.held_max and not history.was_held, ServedReason.QUEUE_FULL),
    )
    return next((reason for holds, reason in reasons if holds), None)


def _refuse(pool: Pool[R, H], history: History, reason: ServedReason, ask: Ask, now: float) -> Refuse:
    if history.failures and reason is not ServedReason.HOLD_TIMEOUT:
        return Refuse(Refusal.FAILED)
    if reason is ServedReason.QUEUE_FULL:
        return Refuse(Refusal.QUEUE_FULL, _retry_after_seconds(pool, now))
    if reason is ServedReason.HOLD_TIMEOUT:
        return Refuse(Refusal.HOLD_TIMEOUT)
    return Refuse(Refusal.HOSTED_UNABLE if pool.hosted and not ask.local_only else Refusal.NOT_AVAILABLE)


def _retry_after_seconds(pool: Pool[R, H], now: float) -> int:
    """When a client that is refused finds a place: told to each in turn, so that they do not all come at once."""
    if not pool.replicas:
        return RETRY_AFTER_SECONDS_UNKNOWN
    seconds = pool.rates.promise_place(pool.held, len(pool.replicas), now)
    if seconds is None:
        return RETRY_AFTER_SECONDS_UNKNOWN
    return min(max(ceil(seconds), RETRY_AFTER_SECONDS_MIN), RETRY_AFTER_SECONDS_MAX)


def _late_reason(history: History) -> ServedReason:
    return _failed_reason(history) if history.failures else ServedReason.LATENCY


def _failed_reason(history: History) -> ServedReason:
    """Who failed last, and was forgiven perhaps."""
    failures = history.failures
    by_hosted = failures[-1].backend.startswith("hosted/") if failures else bool(history.failed_hosted)
    return ServedReason.HOSTED_FAILED if by_hosted else ServedReason.REPLICA_FAILED


def _local_reason(history: History) -> ServedReason:
    if history.failures:
        return _failed_reason(history)
    return ServedReason.HELD if history.was_held else ServedReason.PREFERRED


def only_credentials_refused(history: History) -> bool:
    """Whether every hosted API that was asked refused our credentials, and nothing else went wrong last."""
    return bool(history.failures) and history.failures[-1].kind is FailureKind.CREDENTIALS

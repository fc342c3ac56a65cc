"""Who serves a request next: a replica, a hosted API, the waiting queue, or nobody, and for which reason.

A pure function of what the route looks like now and of what the request has been through. It is asked again after
every failure, so that a plan never outlives the world it was made for.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from overspill_gateway.core.outcome import Failure, FailureKind


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
    REPLICA_FAILED = "ReplicaFailed"
    """Another replica failed before the first token."""
    HOSTED_FAILED = "HostedFailed"
    """A hosted API that comes first in the list failed before the first token."""
    QUEUE_FULL = "QueueFull"
    """As many requests as may wait for a replica are waiting."""
    HOLD_TIMEOUT = "HoldTimeout"
    """No replica came in the time that a request may wait."""
    NOT_SERVED = "NotServed"
    """Nobody served: the answer is the gateway's own."""


class Loaded(Protocol):
    """A replica, as far as choosing one goes."""

    @property
    def in_flight(self) -> int:
        """Requests at it now, from this gateway."""
        ...


class Named(Protocol):
    """A hosted API, as far as choosing one goes."""

    @property
    def served_by(self) -> str:
        """``hosted/<name>``."""
        ...


R = TypeVar("R", bound=Loaded)
H = TypeVar("H", bound=Named)


@dataclass(slots=True)
class History(Generic[R]):
    """What one request has been through."""

    failures: list[Failure] = field(default_factory=list)
    """Failed attempts, oldest first."""
    failed_replicas: list[R] = field(default_factory=list)
    """Replicas that failed; not asked again before others."""
    failed_hosted: set[str] = field(default_factory=set)
    """Hosted APIs that failed; not asked again."""
    was_held: bool = False
    """It has waited for a replica."""
    hold_expired: bool = False
    """It has waited as long as it may."""


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


@dataclass(frozen=True, slots=True)
class UseReplica(Generic[R]):
    """Send it to a replica."""

    replica: R
    reason: ServedReason


@dataclass(frozen=True, slots=True)
class UseHosted(Generic[H]):
    """Send it to a hosted API."""

    hosted: H
    reason: ServedReason


@dataclass(frozen=True, slots=True)
class HoldIt:
    """Let it wait for a replica."""


class Refusal(StrEnum):
    """Why nobody serves it."""

    FAILED = "Failed"
    """The attempts are used up, or nobody is left."""
    QUEUE_FULL = "QueueFull"
    HOLD_TIMEOUT = "HoldTimeout"
    NOT_AVAILABLE = "NotAvailable"
    """The pool may not run and there is no hosted API."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody serves it."""

    why: Refusal


Step = UseReplica[R] | UseHosted[H] | HoldIt | Refuse


def least_loaded(replicas: Sequence[R], turn: int, avoid: Collection[R] = ()) -> R | None:
    """The replica with the fewest requests; among equals each in its turn. ``avoid`` is not considered."""
    best: R | None = None
    count = len(replicas)
    for offset in range(count):
        replica = replicas[(turn + offset) % count]
        if avoid and replica in avoid:
            continue
        if best is None or replica.in_flight < best.in_flight:
            best = replica
            if best.in_flight == 0:
                break
    return best


def next_step(pool: Pool[R, H], history: History[R], turn: int) -> Step[R, H]:
    """What to do with a request now."""
    if len(history.failures) >= pool.attempts_max:
        return Refuse(Refusal.FAILED)
    replica = least_loaded(pool.replicas, turn, history.failed_replicas)
    if replica is not None:
        return UseReplica(replica, _local_reason(history))
    hosted = next((one for one in pool.hosted if one.served_by not in history.failed_hosted), None)
    return _without_replica(pool, history, hosted)


def _without_replica(pool: Pool[R, H], history: History[R], hosted: H | None) -> Step[R, H]:
    """No replica is left to try: hosted, hold or refuse, by the route's rules."""
    if history.failed_hosted:
        return UseHosted(hosted, ServedReason.HOSTED_FAILED) if hosted is not None else Refuse(Refusal.FAILED)
    reason = _spill_reason(pool, history)
    if reason is None:
        return HoldIt()
    if hosted is not None:
        return UseHosted(hosted, reason)
    return _refuse(history, reason)


def _spill_reason(pool: Pool[R, H], history: History[R]) -> ServedReason | None:
    """Why a request that no replica takes leaves the pool; None: it waits for a replica instead."""
    if not pool.has_local:
        return ServedReason.PREFERRED
    # Replicas that are there and have each failed this request with a status would do so again: no use in waiting.
    if history.failures and (pool.hosted or pool.replicas):
        return ServedReason.REPLICA_FAILED
    reasons = (
        (not pool.may_wake, ServedReason.SCALED_OFF),
        (history.hold_expired, ServedReason.HOLD_TIMEOUT),
        (bool(pool.hosted) and pool.cold_start_hosted, ServedReason.COLD_START),
        (pool.held >= pool.held_max, ServedReason.QUEUE_FULL),
    )
    return next((reason for holds, reason in reasons if holds), None)


def _refuse(history: History[R], reason: ServedReason) -> Refuse:
    if history.failures and reason is not ServedReason.HOLD_TIMEOUT:
        return Refuse(Refusal.FAILED)
    if reason is ServedReason.QUEUE_FULL:
        return Refuse(Refusal.QUEUE_FULL)
    if reason is ServedReason.HOLD_TIMEOUT:
        return Refuse(Refusal.HOLD_TIMEOUT)
    return Refuse(Refusal.NOT_AVAILABLE)


def _local_reason(history: History[R]) -> ServedReason:
    if history.failures:
        return ServedReason.REPLICA_FAILED
    return ServedReason.HELD if history.was_held else ServedReason.PREFERRED


def only_credentials_refused(history: History[R]) -> bool:
    """Whether every hosted API that was asked refused our credentials, and nothing else went wrong last."""
    return bool(history.failures) and history.failures[-1].kind is FailureKind.CREDENTIALS


def release_count(held: int, replicas: int) -> int:
    """How many held requests go to the replicas now. All of them: a rate per replica finds its place here."""
    return held if replicas else 0

"""Who serves a request next: a table of worlds and histories, and the step that follows from each."""

from dataclasses import dataclass, field

import pytest

from overspill_gateway.core.outcome import Failure, FailureKind
from overspill_gateway.core.plan import (
    History,
    HoldIt,
    Pool,
    Refusal,
    Refuse,
    ServedReason,
    UseHosted,
    UseReplica,
    least_loaded,
    next_step,
    release_count,
)


@dataclass
class FakeReplica:
    """A replica with a load."""

    in_flight: int = 0


@dataclass
class FakeHosted:
    """A hosted API with a name."""

    served_by: str


@dataclass
class World:
    """A pool, by what differs from: a pool at zero that may wake, nothing hosted, Hold, room in the queue."""

    replicas: list[FakeReplica] = field(default_factory=list)
    hosted: list[str] = field(default_factory=list)
    has_local: bool = True
    may_wake: bool = True
    cold_start_hosted: bool = False
    held: int = 0
    held_max: int = 10
    attempts_max: int = 3

    def pool(self) -> Pool[FakeReplica, FakeHosted]:
        """As the plan sees it."""
        hosted = [FakeHosted(name) for name in self.hosted]
        return Pool(
            self.has_local, self.may_wake, self.replicas, hosted, self.cold_start_hosted, self.held, self.held_max,
            self.attempts_max,
        )  # fmt: skip


def past(
    *failures: FailureKind, hosted: tuple[str, ...] = (), held: bool = False, expired: bool = False
) -> History[FakeReplica]:
    """A history with these failures."""
    return History(
        failures=[Failure(kind, "x", "y") for kind in failures],
        failed_hosted=set(hosted),
        was_held=held,
        hold_expired=expired,
    )


A, B = "hosted/a", "hosted/b"
RESET, STATUS = FailureKind.RESET, FailureKind.STATUS


@pytest.mark.parametrize(
    ("world", "history", "expected"),
    [
        (World(has_local=False, hosted=[A, B]), past(), (A, ServedReason.PREFERRED)),
        (World(has_local=False, hosted=[A, B]), past(STATUS, hosted=(A,)), (B, ServedReason.HOSTED_FAILED)),
        (World(hosted=[A], cold_start_hosted=True), past(), (A, ServedReason.COLD_START)),
        (World(hosted=[A]), past(RESET), (A, ServedReason.REPLICA_FAILED)),
        (World(hosted=[A], may_wake=False), past(), (A, ServedReason.SCALED_OFF)),
        (World(hosted=[A], held=10), past(), (A, ServedReason.QUEUE_FULL)),
        (World(hosted=[A]), past(expired=True), (A, ServedReason.HOLD_TIMEOUT)),
        (World(hosted=[A, B]), past(RESET, STATUS, hosted=(A,)), (B, ServedReason.HOSTED_FAILED)),
    ],
)
def test_spilling(world: World, history: History[FakeReplica], expected: tuple[str, ServedReason]) -> None:
    """A request leaves the pool for the first hosted API that has not failed it, for a stated reason."""
    step = next_step(world.pool(), history, 0)

    assert isinstance(step, UseHosted)
    assert (step.hosted.served_by, step.reason) == expected


@pytest.mark.parametrize(
    ("world", "history", "why"),
    [
        (World(held=10), past(), Refusal.QUEUE_FULL),
        (World(), past(expired=True), Refusal.HOLD_TIMEOUT),
        (World(), past(RESET, expired=True), Refusal.HOLD_TIMEOUT),
        (World(may_wake=False), past(), Refusal.NOT_AVAILABLE),
        (World(has_local=False), past(), Refusal.NOT_AVAILABLE),
        (World(has_local=False, hosted=[A]), past(STATUS, hosted=(A,)), Refusal.FAILED),
        (World(hosted=[A, B], attempts_max=1), past(RESET), Refusal.FAILED),
        (World(hosted=[A]), past(RESET, STATUS, hosted=(A,)), Refusal.FAILED),
    ],
)
def test_refusing(world: World, history: History[FakeReplica], why: Refusal) -> None:
    """Nobody serves where nobody may, and the reason is the one that the client can act on."""
    assert next_step(world.pool(), history, 0) == Refuse(why)


@pytest.mark.parametrize("history", [past(), past(RESET), past(held=True)])
def test_holding(history: History[FakeReplica]) -> None:
    """A request waits for a replica where the route says so, also after a replica has died under it."""
    assert next_step(World().pool(), history, 0) == HoldIt()


def test_replicas_come_first() -> None:
    """A replica that can serve is used before any hosted API."""
    replica = FakeReplica()

    step = next_step(World([replica], [A], cold_start_hosted=True).pool(), past(), 0)

    assert step == UseReplica(replica, ServedReason.PREFERRED)


def test_a_replica_after_waiting_or_failing_says_so() -> None:
    """The reason tells what the request has been through."""
    pool = World([FakeReplica()]).pool()

    assert next_step(pool, past(held=True), 0) == UseReplica(pool.replicas[0], ServedReason.HELD)
    assert next_step(pool, past(RESET, held=True), 0) == UseReplica(pool.replicas[0], ServedReason.REPLICA_FAILED)


def test_replicas_that_all_answer_with_a_fault_are_not_waited_for() -> None:
    """Each replica is there and has failed this request with a status: holding it would change nothing."""
    replica = FakeReplica()
    history = past(STATUS)
    history.failed_replicas.append(replica)

    assert next_step(World([replica]).pool(), history, 0) == Refuse(Refusal.FAILED)


def test_least_loaded_takes_turns_among_equals() -> None:
    """The fewest requests win; equals get one each in their turn; those to avoid get none."""
    replicas = [FakeReplica(1), FakeReplica(0), FakeReplica(0)]

    assert least_loaded(replicas, 0) is replicas[1]
    assert least_loaded(replicas, 2) is replicas[2]
    assert least_loaded(replicas, 2, [replicas[1], replicas[2]]) is replicas[0]
    assert least_loaded(replicas, 0, replicas) is None
    assert least_loaded([], 0) is None


def test_all_held_requests_are_released_to_a_replica() -> None:
    """Without a replica none, with one all."""
    assert release_count(5, 0) == 0
    assert release_count(5, 1) == 5

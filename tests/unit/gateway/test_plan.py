"""Who serves a request next: a table of worlds and histories, and the step that follows from each."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.admission.plan import (
    History,
    HoldIt,
    Pool,
    Refusal,
    Refuse,
    ServedReason,
    Step,
    UseHosted,
    UseReplica,
    next_step,
)
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.outcome import Failure, FailureKind
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.prediction.load import ReplicaLoad
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.prediction.target import FirstTokenTarget
from overspill_gateway.core.prediction.tuning import TUNING
from overspill_gateway.core.requests.ask import Ask

NOW = 1000.0
RATES = ServiceRates()


def replica_with(*, prompt_tokens: int = 0, requests: int = 0, rates: ServiceRates | None = None) -> ReplicaState:
    """A replica with a load."""
    replica = ReplicaState(f"local/{requests}", rates or ServiceRates())
    for _ in range(requests):
        replica.sent(Ask(prompt_tokens=prompt_tokens), NOW)
    return replica


def hosted_named(name: str, *, may: bool = True, lacking: bool = False) -> HostedState:
    """A hosted API that may take a request, or rests; and that has said that it lacks what is called, or not."""
    hosted = HostedState(name)
    if not may:
        hosted.outlier.returns_at = float("inf")
    if lacking:
        hosted.has_said_that_it_lacks(Ask().hosted_path, NOW)
    return hosted


@dataclass
class World:
    """A pool, by what differs from: a pool at zero that may wake, nothing hosted, Hold, room in the queue."""

    replicas: list[ReplicaState] = field(default_factory=list)
    hosted: list[str] = field(default_factory=list)
    has_local: bool = True
    may_wake: bool = True
    cold_start_hosted: bool = False
    held: int = 0
    held_max: int = 10
    attempts_max: int = 3
    unable: tuple[str, ...] = ()
    target: float | None = None
    rates: ServiceRates = field(default_factory=ServiceRates)

    def pool(self) -> Pool[ReplicaState, HostedState]:
        """As the plan sees it."""
        hosted = [hosted_named(name, may=name not in self.unable) for name in self.hosted]
        return Pool(
            self.has_local, self.may_wake, self.replicas, hosted, self.cold_start_hosted, self.held, self.held_max,
            self.attempts_max, self.rates, FirstTokenTarget(self.target),
        )  # fmt: skip


def past(
    *failures: FailureKind, hosted: tuple[str, ...] = (), held: bool = False, late: bool = False, expired: bool = False
) -> History:
    """A history with these failures, the last of them by these hosted APIs."""
    backends = [*["local/x"] * (len(failures) - len(hosted)), *hosted]
    return History(
        failures=tuple(Failure(kind, backend, "y") for kind, backend in zip(failures, backends, strict=False)),
        failed_hosted=tuple(hosted),
        was_held=held,
        held_late=late,
        hold_expired=expired,
    )


def step_of(world: World, history: History | None = None, ask: Ask | None = None) -> Step[ReplicaState, HostedState]:
    """What is to be done with a request of a hundred tokens."""
    return next_step(world.pool(), history or past(), 0, ask or Ask(prompt_tokens=100), NOW)


def learned(seconds_per_token: float = 0.001) -> ServiceRates:
    """Rates of an engine that reads a thousand tokens a second."""
    rates = ServiceRates()
    load, own = ReplicaLoad(), rates.of_new_replica()
    for number in range(300):
        tokens = 20 + 37 * number % 4000
        now = NOW - 30.0 + 0.1 * number
        snapshot = rates.snapshot(own, load, Ask(prompt_tokens=tokens), now)
        rates.observed_first_token(tokens, snapshot, 0.02 + seconds_per_token * tokens, now)
        rates.observed_output(own, 100, 2.0, 8, now)
    rates.gone(own)
    return rates


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
def test_spilling(world: World, history: History, expected: tuple[str, ServedReason]) -> None:
    """A request leaves the pool for the first hosted API that has not failed it, for a stated reason."""
    step = step_of(world, history)

    assert isinstance(step, UseHosted)
    assert (step.hosted.served_by, step.reason) == expected


@pytest.mark.parametrize("backend", [A, "local/x"])
@pytest.mark.parametrize("world", [World(), World(hosted=[A]), World(hosted=[A], target=0.001, rates=learned())])
@pytest.mark.parametrize("replicas", [0, 1])
def test_the_reason_names_who_failed_last(backend: str, world: World, replicas: int) -> None:
    """Also where it was forgiven since: a hosted API's failure is never told as a replica's."""
    history = past(RESET, STATUS, held=True, late=True)
    history.failures = (*history.failures[:-1], Failure(STATUS, backend, "y"))
    history.forgive_what_may_pass()
    step = step_of(replace(world, replicas=[replica_with(requests=1) for _ in range(replicas)]), history)

    if not replicas and not world.hosted:
        assert isinstance(step, HoldIt)
        return
    assert isinstance(step, UseReplica | UseHosted)
    assert step.reason is (ServedReason.HOSTED_FAILED if backend == A else ServedReason.REPLICA_FAILED)


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
def test_refusing(world: World, history: History, why: Refusal) -> None:
    """Nobody serves where nobody may, and the reason is the one that the client can act on."""
    step = step_of(world, history)

    assert isinstance(step, Refuse)
    assert step.why is why


@pytest.mark.parametrize("history", [past(), past(RESET), past(held=True)])
def test_holding(history: History) -> None:
    """A request waits for a replica where the route says so, also after a replica has died under it."""
    assert step_of(World(), history) == HoldIt()


def test_replicas_come_first() -> None:
    """A replica that can serve is used before any hosted API."""
    replica = replica_with()

    step = step_of(World([replica], [A], cold_start_hosted=True))

    assert isinstance(step, UseReplica)
    assert (step.replica, step.reason) == (replica, ServedReason.PREFERRED)


def test_a_replica_after_waiting_or_failing_says_so() -> None:
    """The reason tells what the request has been through."""
    world = World([replica_with()])
    held, failed = step_of(world, past(held=True)), step_of(world, past(RESET, held=True))

    assert isinstance(held, UseReplica)
    assert held.reason is ServedReason.HELD
    assert isinstance(failed, UseReplica)
    assert failed.reason is ServedReason.REPLICA_FAILED


def test_replicas_that_all_answer_with_a_fault_are_not_waited_for() -> None:
    """Each replica is there and has failed this request with a status: holding it would change nothing."""
    replica = replica_with()
    history = past(STATUS)
    history.failed_replicas += (replica,)

    assert step_of(World([replica]), history) == Refuse(Refusal.FAILED)


# -- hosted APIs that may not take it ------------------------------------------------------------------------------


def test_the_first_hosted_api_that_may_take_it_takes_it() -> None:
    """Limits, budget and abilities are asked in the order of preference."""
    step = step_of(World(hosted=[A, B], cold_start_hosted=True, unable=(A,)))

    assert isinstance(step, UseHosted)
    assert step.hosted.served_by == B


@pytest.mark.parametrize(
    ("world", "ask", "why"),
    [
        (World(hosted=[A], cold_start_hosted=True, unable=(A,)), Ask(), None),
        (World(hosted=[A], cold_start_hosted=True), Ask(local_only=True), None),
        (World(hosted=[A], held=10, unable=(A,)), Ask(), Refusal.QUEUE_FULL),
        (World(hosted=[A], may_wake=False, unable=(A,)), Ask(), Refusal.HOSTED_UNABLE),
        (World(hosted=[A], may_wake=False), Ask(local_only=True), Refusal.NOT_AVAILABLE),
        (World(hosted=[A], has_local=False, unable=(A,)), Ask(), Refusal.HOSTED_UNABLE),
        (World(hosted=[A], has_local=False), Ask(local_only=True), Refusal.NOT_AVAILABLE),
    ],
)
def test_none_may_take_it(world: World, ask: Ask, why: Refusal | None) -> None:
    """It waits for a replica where one may come and there is room, and is refused for the right reason elsewhere."""
    step = step_of(world, ask=ask)

    assert isinstance(step, HoldIt) if why is None else isinstance(step, Refuse) and step.why is why


# -- the target ----------------------------------------------------------------------------------------------------


def busy(requests: int = 30) -> ReplicaState:
    """A replica with 100 tokens to read for each request: a tenth of a second each."""
    return replica_with(prompt_tokens=100, requests=requests)


def test_late_requests_go_to_a_hosted_api() -> None:
    """Three seconds of prompts are before it and the target is two: it spills, and says why."""
    step = step_of(World([busy()], [A], target=2.0, rates=learned()))

    assert isinstance(step, UseHosted)
    assert step.reason is ServedReason.LATENCY


def test_a_request_in_time_stays_and_tells_when() -> None:
    """A second of prompts is before it: it stays, and what is expected of it is told."""
    step = step_of(World([busy(10)], [A], target=2.0, rates=learned()))

    assert isinstance(step, UseReplica)
    assert step.snapshot is not None
    assert step.snapshot.predicted_seconds == pytest.approx(1.12, rel=0.2)


def test_without_a_target_nothing_is_late() -> None:
    """A route that says nothing of latency keeps its requests."""
    assert isinstance(step_of(World([busy(500)], [A], rates=learned())), UseReplica)


def test_while_nothing_is_learned_requests_stay_up_to_a_number() -> None:
    """The first requests teach; a flood before the first answer goes elsewhere, where there is an elsewhere."""
    assert isinstance(step_of(World([busy(31)], [A], target=2.0)), UseReplica)
    assert isinstance(step_of(World([busy(32)], [A], target=2.0)), UseHosted)
    assert isinstance(step_of(World([busy(32)], target=2.0)), UseReplica)


def test_another_replica_that_is_in_time_is_found() -> None:
    """A conversation's own replica is late and the other is not: the request does not leave the pool."""
    replicas = [busy(26), busy(12)]
    for prefix in range(1, 9):
        step = step_of(
            World(replicas, [A], target=2.0, rates=learned()), ask=Ask(prompt_tokens=100, prefix=prefix << 40)
        )

        assert isinstance(step, UseReplica)
        assert step.replica is replicas[1]


def test_late_and_nobody_else_may_take_it_waits_then_is_told_to_come_back() -> None:
    """None may: hold; full: refuse, with a time that the rates give."""
    late = World([busy()], [A], target=2.0, rates=learned(), unable=(A,))
    full = World([busy()], [A], target=2.0, rates=learned(), unable=(A,), held=10)
    refused = step_of(full)

    assert step_of(late) == HoldIt(late=True)
    assert isinstance(refused, Refuse)
    assert refused.why is Refusal.QUEUE_FULL
    assert refused.retry_after_seconds is not None
    assert 1 <= refused.retry_after_seconds <= 10


def test_endpoints_of_engines_alone_wait_although_a_hosted_api_is_idle() -> None:
    """What only an engine has is never sent elsewhere."""
    ask = Ask(prompt_tokens=100, local_only=True)

    assert step_of(World([busy()], [A], target=2.0, rates=learned()), ask=ask) == HoldIt(late=True)


def test_a_prompt_that_is_late_even_alone_is_not_held() -> None:
    """Ten seconds of its own and nobody else takes it: waiting for an idle replica gains little."""
    world = World([busy(3)], target=2.0, rates=learned())

    assert isinstance(step_of(world, ask=Ask(prompt_tokens=10_000)), UseReplica)


def test_those_who_wait_go_before_newcomers() -> None:
    """A newcomer joins the queue although a replica has room; one that has failed elsewhere has waited already."""
    world = World([replica_with()], held=3)

    assert step_of(world) == HoldIt(late=True)
    assert isinstance(step_of(world, past(held=True)), UseReplica)
    assert isinstance(step_of(world, past(RESET)), UseReplica)


def test_one_that_waits_keeps_its_place_however_full_the_queue() -> None:
    """It is one of those that fill it."""
    world = World([busy()], target=2.0, rates=learned(), held=10)

    assert step_of(world, past(held=True, late=True)) == HoldIt(late=True)


def test_one_that_waited_for_a_late_replica_goes_to_a_hosted_api_as_soon_as_one_may() -> None:
    """But one that the route held because the pool was at zero waits on: the route said Hold."""
    world = World([busy()], [A], target=2.0, rates=learned(), held=3)

    assert isinstance(step_of(world, past(held=True, late=True)), UseHosted)
    assert step_of(world, past(held=True)) == HoldIt()


def test_a_new_replica_gets_those_who_wait_a_few_at_a_time() -> None:
    """Its window is full: the rest waits on, and goes to another replica that has room."""
    full, empty = busy(TUNING.room_min), replica_with()

    assert step_of(World([full], held=3), past(held=True)) == HoldIt()
    step = step_of(World([full, empty], held=3), past(held=True))
    assert isinstance(step, UseReplica)
    assert step.replica is empty


def test_held_too_long_is_told_so() -> None:
    """At the deadline a hosted API that may takes it, else it is refused, also where late replicas are there."""
    late = past(held=True, late=True, expired=True)
    spilled = step_of(World([busy()], [A], target=2.0, rates=learned()), late)
    refused = step_of(World([busy()], target=2.0, rates=learned()), late)

    assert isinstance(spilled, UseHosted)
    assert spilled.reason is ServedReason.HOLD_TIMEOUT
    assert isinstance(refused, Refuse)
    assert refused.why is Refusal.HOLD_TIMEOUT


def test_a_replica_that_rests_is_a_last_resort() -> None:
    """Every replica fails: a hosted API takes over while one may; without one a replica is asked all the same."""
    replica = replica_with()
    for _ in range(20):
        replica.outlier.failed(NOW, FailureKind.STATUS, None)
    assert replica.outlier.ejected(NOW)
    spilled = step_of(World([replica], [A]))

    assert isinstance(spilled, UseHosted)
    assert spilled.reason is ServedReason.REPLICA_EJECTED
    assert isinstance(step_of(World([replica], [A], unable=(A,))), UseReplica)


# -- whatever the world --------------------------------------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any world."""
    some = st.booleans()
    replicas = [busy(draw(st.integers(0, 60))) for _ in range(draw(st.integers(0, 3)))]
    return World(
        replicas,
        draw(st.sampled_from([[], [A], [A, B]])),
        has_local=bool(replicas) or draw(some),
        may_wake=bool(replicas) or draw(some),
        cold_start_hosted=draw(some),
        held=draw(st.integers(0, 12)),
        unable=draw(st.sampled_from([(), (A,), (A, B)])),
        target=draw(st.sampled_from([None, 0.01, 2.0])),
        rates=draw(st.sampled_from([RATES, LEARNED])),
    )


LEARNED = learned()

histories = st.builds(
    lambda kinds, failed, held, late, expired: past(
        *kinds, hosted=failed, held=held or expired, late=late, expired=expired
    ),
    st.lists(st.sampled_from([RESET, STATUS]), max_size=4),
    st.sampled_from([(), (A,), (A, B)]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@given(worlds(), histories, st.booleans())
def test_every_step_is_one_that_may_be_taken(world: World, history: History, local_only: bool) -> None:  # noqa: FBT001
    """No hosted API that failed, may not, or is none of its business; no holding past the deadline or a full queue."""
    ask = Ask(prompt_tokens=100, local_only=local_only)
    step = step_of(world, history, ask)

    if isinstance(step, UseHosted):
        assert not local_only
        assert step.hosted.may_take(Ask(), NOW)
        assert step.hosted.served_by not in history.failed_hosted
    elif isinstance(step, UseReplica):
        assert step.replica in world.replicas
        assert step.snapshot is not None
    elif isinstance(step, HoldIt):
        assert not history.hold_expired
        assert world.may_wake
        assert world.has_local
        assert history.was_held or history.failures or world.held < world.held_max
    else:
        assert step.retry_after_seconds is None or 1 <= step.retry_after_seconds <= 120
    if len(history.failures) >= world.attempts_max:
        assert step == Refuse(Refusal.FAILED)


@given(worlds(), histories)
def test_an_idle_replica_is_never_waited_for(world: World, history: History) -> None:
    """Whatever was learned, a request never waits beside a replica that does nothing, unless others wait before it."""
    world.replicas.append(replica_with())
    step = step_of(world, history)

    assert not isinstance(step, HoldIt) or (world.held > 0 and not history.was_held)


@pytest.mark.parametrize("target", [None, 2.0])
def test_a_slow_replica_with_nothing_to_do_is_tried_now_and_then(target: float | None) -> None:
    """It may have recovered, which nobody would see otherwise; not with a long prompt, nor what failed or waits."""
    rates = learned()
    fast, slow = replica_with(rates=rates), replica_with(rates=rates)
    slow.rates.slowness, rates.slow_replicas = 10.0, 1
    world = World([fast, slow], target=target, rates=rates)

    def replica_of(history: History, tokens: int) -> ReplicaState:
        step = step_of(world, history, Ask(prompt_tokens=tokens))
        assert isinstance(step, UseReplica)
        return step.replica

    assert replica_of(past(), 4000) is fast
    assert replica_of(past(STATUS), 100) is fast
    assert replica_of(past(held=True), 100) is fast
    assert replica_of(past(), 100) is slow
    assert replica_of(past(), 100) is fast, "a moment ago it was tried"


def test_the_replica_that_keeps_the_target_is_taken_by_what_each_is_expected_to_take() -> None:
    """The least work is at one of which more is expected than the target: the other serves."""
    rates = learned()
    quick, dull = replica_with(prompt_tokens=100, requests=3, rates=rates), replica_with(rates=rates)
    dull.rates.reading.factor = 20.0
    dull.rates.tried_at = NOW
    step = step_of(World([quick, dull], [A], target=2.0, rates=rates), ask=Ask(prompt_tokens=500))

    assert isinstance(step, UseReplica)
    assert step.replica is quick

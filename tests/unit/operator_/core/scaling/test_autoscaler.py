"""Scaling, as a specification: a pool is driven through time by its demand, second by second, without a clock."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_operator.core.demand.traffic import Coverage, Demand
from overspill_operator.core.scaling.autoscaler import (
    DOWN_STABILIZATION_SECONDS,
    Decision,
    Memory,
    Need,
    Pool,
    QueueDepth,
    Reason,
    Rules,
    Signal,
    decide,
)
from overspill_operator.core.scaling.windows import Bounds

BEGIN = 1_700_000_000.0


def rules(minimum: int = 0, maximum: int = 4, **changes: Any) -> Rules:
    """Rules with small round numbers."""
    usual = Rules(
        fixed=None,
        external=False,
        bounds=Bounds(minimum, maximum, (), None),
        concurrency=10,
        queue_depth=4,
        idle_after_seconds=600.0,
        startup_timeout_seconds=1800.0,
    )
    return replace(usual, **changes)


@dataclass
class Simulation:
    """A pool whose replicas are ready ``load_seconds`` after they were asked for, decided upon every second."""

    rules: Rules
    desired: int = 0
    load_seconds: float = 60.0
    coverage: Coverage = Coverage.COMPLETE
    now: float = BEGIN
    ready: int = 0
    last_arrival: float | None = None
    heard_since: float = BEGIN
    memory: Memory = field(default_factory=lambda: Memory(BEGIN))
    changes: list[tuple[float, int, Reason]] = field(default_factory=list)
    ready_since: float | None = None
    asked: list[float] = field(default_factory=list)
    given: tuple[Need, ...] = ()
    unschedulable: int = 0

    def still_wants(self) -> Decision:
        """One second without a request, while a gateway still has the wish of a former one."""
        return self.step(wants=True, arrives=False)

    def step(
        self, concurrency: int = 0, *, wants: bool = False, waiting: int | None = None, arrives: bool = True
    ) -> Decision:
        """One second with so many requests at once."""
        self.now += 1
        if arrives and (concurrency or wants):
            self.last_arrival = self.now
        self.asked = self.asked[: self.desired]
        ready = sum(1 for asked in self.asked if self.now - asked >= self.load_seconds)
        if ready and not self.ready:
            self.ready_since = self.now
        self.ready = ready
        demand = Demand(
            self.coverage,
            held=concurrency,
            wants_replica=wants,
            quiet_since_unix=self.last_arrival or self.heard_since,
            last_arrival_unix=self.last_arrival,
        )
        if self.coverage is Coverage.NONE:
            demand = Demand(Coverage.NONE)
        queue = None if waiting is None else QueueDepth(waiting)
        pool = Pool(self.desired, self.ready, self.ready_since if self.ready else None, self.unschedulable)
        decision = decide(self.rules, pool, demand, queue, self.memory, self.now, self.given)
        self.memory = decision.memory
        if decision.replicas != self.desired:
            self.changes.append((self.now - BEGIN, decision.replicas, decision.reason))
            self.asked += [self.now] * (decision.replicas - self.desired)
            self.desired = decision.replicas
        return decision

    def run(self, seconds: int, concurrency: int = 0) -> None:
        """So many seconds alike."""
        for _ in range(seconds):
            self.step(concurrency)

    def with_ready(self, replicas: int) -> "Simulation":
        """A pool that has been serving for long."""
        self.desired = self.ready = replicas
        self.asked = [BEGIN - 10_000] * replicas
        self.ready_since = BEGIN - 9_000
        return self


def test_a_first_request_wakes_at_once() -> None:
    """From zero: one replica in the very call that hears of the request."""
    pool = Simulation(rules())
    decision = pool.step(1, wants=True)
    assert (decision.replicas, decision.reason) == (1, Reason.FIRST_REQUEST)


def test_a_wish_alone_wakes() -> None:
    """A gateway that asks for a replica gets one, even when its client has gone again."""
    assert Simulation(rules()).step(0, wants=True).replicas == 1


def test_a_burst_at_zero_wakes_what_it_needs() -> None:
    """25 requests at 10 a replica: three, not one and then one more."""
    assert Simulation(rules()).step(25, wants=True).replicas == 3


def test_spilled_requests_count_as_demand() -> None:
    """A spill hides load from the replicas, not from scaling."""
    demand = Demand(Coverage.COMPLETE, in_flight=10, spilled=15, quiet_since_unix=BEGIN)
    assert decide(rules(), Pool(1, 1, BEGIN), demand, None, Memory(BEGIN), BEGIN + 1).replicas == 3


def test_replicas_that_load_are_not_asked_for_again() -> None:
    """The same demand, seen again while they load, changes nothing."""
    pool = Simulation(rules())
    pool.run(50, 25)
    assert [(number, reason) for _, number, reason in pool.changes] == [(3, Reason.FIRST_REQUEST)]


def test_one_request_now_and_then_keeps_one_replica() -> None:
    """Idle time counts from the last arrival."""
    pool = Simulation(rules())
    for _ in range(20):
        pool.step(1, wants=not pool.ready)
        pool.run(599)
    assert pool.desired == 1


def test_idle_goes_to_zero_after_its_time() -> None:
    """idleAfter without a request, and not a second sooner."""
    pool = Simulation(rules()).with_ready(1)
    pool.step(1)
    pool.run(599)
    assert pool.desired == 1
    pool.run(2)
    assert pool.changes[-1][1:] == (0, Reason.IDLE)


def test_a_replica_that_took_long_to_load_gets_its_idle_time() -> None:
    """Loading longer than idleAfter must not end in zero before anything was served."""
    pool = Simulation(rules(), load_seconds=900.0)
    pool.step(1, wants=True)
    pool.run(900)
    assert (pool.desired, pool.ready) == (1, 1)
    pool.run(590)
    assert pool.desired == 1
    pool.run(20)
    assert pool.desired == 0


def test_a_load_that_never_ends_is_given_up() -> None:
    """After the profile's start-up time a replica no longer counts as loading."""
    pool = Simulation(rules(), load_seconds=1e9)
    pool.step(1, wants=True)
    pool.run(1799)
    assert pool.desired == 1
    pool.run(700)
    assert pool.desired == 0


def test_a_second_replica_without_a_node_does_not_keep_the_first() -> None:
    """What is pending for ever does not hold a GPU that idles."""
    pool = Simulation(rules(), desired=0)
    pool.asked = [BEGIN - 10_000, BEGIN + 1e9]
    pool.desired, pool.ready, pool.ready_since = 2, 1, BEGIN - 9_000
    pool.memory = Memory(BEGIN, raised_unix=BEGIN)
    pool.run(610)
    assert pool.desired == 0


def test_less_demand_goes_down_after_a_minute_and_not_below_one() -> None:
    """The highest number that the last minute called for holds."""
    pool = Simulation(rules()).with_ready(3)
    pool.run(120, 25)
    pool.run(int(DOWN_STABILIZATION_SECONDS) - 2, 5)
    assert pool.desired == 3
    pool.run(5, 5)
    assert pool.changes[-1][1:] == (1, Reason.LOW_DEMAND)
    pool.run(300, 0)
    assert pool.desired == 1


def test_a_short_dip_changes_nothing() -> None:
    """Demand that returns within the minute finds its replicas."""
    pool = Simulation(rules()).with_ready(3)
    pool.run(120, 25)
    for _ in range(10):
        pool.run(50, 3)
        pool.run(5, 25)
    assert pool.changes == []


def test_a_restart_starts_safe() -> None:
    """A new process sees low demand, and still waits for a whole minute before it believes it."""
    pool = Simulation(rules()).with_ready(4)
    pool.run(int(DOWN_STABILIZATION_SECONDS) - 2, 1)
    assert pool.desired == 4
    pool.run(5, 1)
    assert pool.desired == 1


def test_a_restart_believes_the_gateways_about_idleness() -> None:
    """The last arrival is the gateways' to know: long ago is long ago, whoever asks."""
    pool = Simulation(rules()).with_ready(1)
    pool.last_arrival = BEGIN - 3600
    assert pool.step().replicas == 0


def test_gateways_that_know_nothing_count_from_now() -> None:
    """A gateway that has just started has seen no arrival: that is not an hour of silence."""
    pool = Simulation(rules()).with_ready(1)
    pool.run(595)
    assert pool.desired == 1
    pool.run(10)
    assert pool.desired == 0


@pytest.mark.parametrize("coverage", [Coverage.NONE, Coverage.PARTIAL])
def test_demand_that_is_not_known_scales_nothing_down(coverage: Coverage) -> None:
    """No gateway heard, or not all: the number stays, for however long."""
    pool = Simulation(rules(), coverage=coverage).with_ready(3)
    pool.run(5000)
    assert pool.changes == []


def test_partial_demand_scales_up() -> None:
    """What is known is a lower bound."""
    assert Simulation(rules(), coverage=Coverage.PARTIAL).with_ready(1).step(25).replicas == 3


def test_bounds_hold_without_any_metrics() -> None:
    """A declared bound is no guess."""
    blind = Simulation(rules(minimum=2), coverage=Coverage.NONE)
    assert blind.step().reason is Reason.MIN_REPLICAS
    assert blind.desired == 2
    blind.rules = rules(maximum=1)
    assert blind.step().reason is Reason.MAX_REPLICAS
    assert blind.desired == 1


def test_a_window_holds_at_zero() -> None:
    """maxReplicas 0: no request wakes the engine."""
    closed = rules(bounds=Bounds(0, 0, ("night",), BEGIN + 3600))
    pool = Simulation(closed).with_ready(2)
    decision = pool.step(50, wants=True)
    assert (decision.replicas, decision.reason) == (0, Reason.WINDOW)
    assert "night" in decision.message
    assert decision.check_unix == BEGIN + 3600


def test_a_window_raises_the_least() -> None:
    """minReplicas of a window holds without a request."""
    decision = Simulation(rules(bounds=Bounds(1, 4, ("office",), None))).step()
    assert (decision.replicas, decision.reason) == (1, Reason.WINDOW)


def test_a_fixed_number_wins() -> None:
    """spec.scaling.replicas switches scaling off."""
    assert Simulation(rules(maximum=1, fixed=3)).step(0).replicas == 3
    assert Simulation(rules(fixed=0)).step(50, wants=True).replicas == 0


def test_queues_inside_the_replicas_add_some() -> None:
    """More waiting than queueDepth a replica, though the concurrency fits."""
    pool = Simulation(rules()).with_ready(1)
    decision = pool.step(9, waiting=9)
    assert (decision.replicas, decision.reason) == (2, Reason.QUEUE_DEPTH)


def test_queues_at_most_double() -> None:
    """A long queue is one backlog, not the need for as many replicas at the same time."""
    assert Simulation(rules(maximum=100)).with_ready(2).step(20, waiting=1000).replicas == 4


def test_each_signal_says_what_it_needs() -> None:
    """The largest first, with its figures, also where nothing changes; a fixed number needs nothing."""
    pool = Simulation(rules(maximum=1)).with_ready(1)
    assert pool.step(15, waiting=9).needs == (
        Need(Signal.CONCURRENCY, 2, "0 in flight, 0 spilled, 15 held; one replica serves 10 at a time."),
        Need(Signal.QUEUE_DEPTH, 2, "9 requests wait inside 1 replicas; 4 each may."),
    )
    assert not Simulation(rules(fixed=1)).step(15).needs


def late(replicas: int, keeps: int | None = None) -> Need:
    """What an objective of latency needs."""
    return Need(Signal.TIME_TO_FIRST_TOKEN, replicas, "p95 TTFT is predicted at 3 s.", keeps)


def test_objectives_take_the_place_of_concurrency() -> None:
    """Requests that are many and not late need nothing more."""
    pool = Simulation(rules(), given=(late(1),)).with_ready(1)
    assert pool.step(40).replicas == 1
    pool.given = (late(3),)
    decision = pool.step(40)
    assert (decision.replicas, decision.reason) == (3, Reason.TIME_TO_FIRST_TOKEN)
    assert decision.message == "p95 TTFT is predicted at 3 s."


def test_replicas_stay_while_one_fewer_would_not_be_well_enough() -> None:
    """What called for two is over, and one would do, but hardly."""
    pool = Simulation(rules(), given=(late(1, keeps=2),)).with_ready(2)
    pool.run(600, 5)
    assert pool.changes == []
    pool.given = (late(1),)
    pool.run(62, 5)
    assert pool.changes[-1][1:] == (1, Reason.LOW_DEMAND)


def test_a_replica_is_kept_for_as_long_as_it_would_take_to_load_again() -> None:
    """A gap that is shorter than a load is no reason to give one away."""
    pool = Simulation(rules(down_seconds=300.0)).with_ready(2)
    for _ in range(5):
        pool.run(280, 5)
        pool.run(5, 15)
    assert pool.changes == []
    pool.run(310, 5)
    assert pool.desired == 1


def test_a_rate_that_fades_wakes_nothing() -> None:
    """At zero only a request does."""
    assert Simulation(rules(), given=(late(1),)).step(0).replicas == 0
    assert Simulation(rules(), given=(late(2),)).step(1).replicas == 2


def test_no_more_are_asked_for_than_nodes_have_room_for() -> None:
    """One is pending for want of a node: the rest spills or waits, and the decision says so."""
    pool = Simulation(rules(), unschedulable=1).with_ready(1)
    pool.desired = 2
    decision = pool.step(40)
    assert decision.replicas == 2
    assert "No node has room for 1 replica of the 2 that are wanted" in decision.message
    pool.unschedulable = 0
    assert pool.step(40).replicas == 4


def test_money_alone_lets_the_last_replica_go_while_requests_come() -> None:
    """Hosted APIs answer them; and the first request of a route at zero wakes nothing that is not worth it."""
    not_worth = Need(Signal.COST, 0, "A replica would be used 3 %; it pays from 33 % on.")
    pool = Simulation(rules(by_money=True, down_seconds=0.0), given=(not_worth,)).with_ready(1)
    pool.run(70, 1)
    assert pool.changes == [(60.0, 0, Reason.COST)]
    decision = pool.step(5, wants=True)
    assert (decision.replicas, decision.message) == (0, "A replica would be used 3 %; it pays from 33 % on.")


def test_money_undoes_no_wake_before_it_could_serve() -> None:
    """What is paid for is waited for."""
    worth = Need(Signal.COST, 1, "It pays.")
    pool = Simulation(rules(by_money=True, down_seconds=0.0), given=(worth,), load_seconds=100.0)
    pool.run(80, 5)
    assert pool.changes == [(1.0, 1, Reason.COST)]
    pool.given = (replace(worth, replicas=0),)
    pool.run(15, 5)
    assert pool.desired == 1
    pool.run(15, 5)
    assert pool.desired == 0


def test_beside_objectives_a_queue_has_to_last() -> None:
    """Prompts that are read queue for a moment, which the prediction knows; what stays was not foreseen."""
    pool = Simulation(rules(), given=(late(1),)).with_ready(1)
    for _ in range(8):
        assert pool.step(9, waiting=9).replicas == 1
    pool.step(9, waiting=0)
    for _ in range(10):
        assert pool.step(9, waiting=9).replicas == 1
    decision = pool.step(9, waiting=9)
    assert (decision.replicas, decision.reason) == (2, Reason.QUEUE_DEPTH)


def test_queues_wait_for_replicas_that_load() -> None:
    """The queue that called for a replica is still there while it loads; it calls for no other."""
    pool = Simulation(rules(maximum=100)).with_ready(1)
    for _ in range(50):
        pool.step(9, waiting=9)
    assert [number for _, number, _ in pool.changes] == [2]


def test_the_next_look_is_when_something_can_happen() -> None:
    """Nothing polls: an idle pool is looked at again when its idle time ends."""
    pool = Simulation(rules()).with_ready(1)
    pool.step(1)
    last = pool.now
    decision = pool.step(0)
    assert decision.check_unix is not None
    assert decision.check_unix <= last + 600
    while pool.desired:
        assert decision.check_unix is not None
        assert decision.check_unix > pool.now
        pool.now = decision.check_unix - 1
        decision = pool.step(0)
    assert pool.now <= last + 602
    assert decision.check_unix is None


demands = st.builds(
    Demand,
    coverage=st.sampled_from(Coverage),
    in_flight=st.integers(0, 500),
    spilled=st.integers(0, 500),
    held=st.integers(0, 500),
    wants_replica=st.booleans(),
    quiet_since_unix=st.one_of(st.none(), st.floats(BEGIN - 10_000, BEGIN + 10_000)),
)
pools = st.builds(
    Pool,
    desired=st.integers(0, 20),
    ready=st.integers(0, 20),
    ready_since_unix=st.one_of(st.none(), st.floats(BEGIN - 10_000, BEGIN)),
)
memories = st.builds(
    Memory,
    watching_since_unix=st.floats(BEGIN - 10_000, BEGIN),
    raised_unix=st.one_of(st.none(), st.floats(BEGIN - 10_000, BEGIN)),
)
queues = st.one_of(st.none(), st.builds(QueueDepth, waiting=st.integers(0, 10_000)))


@given(low=st.integers(0, 10), high=st.integers(0, 10), pool=pools, demand=demands, queue=queues, memory=memories)
def test_bounds_always_hold(
    low: int, high: int, pool: Pool, demand: Demand, queue: QueueDepth | None, memory: Memory
) -> None:
    """Whatever is seen, the number lies within the bounds, and the next look is in the future."""
    bounded = rules(min(low, high), high)
    decision = decide(bounded, pool, demand, queue, memory, BEGIN)
    assert min(low, high) <= decision.replicas <= high
    assert decision.check_unix is None or decision.check_unix > BEGIN


@given(pool=pools, demand=demands, queue=queues, memory=memories)
def test_what_is_not_known_never_takes_away(
    pool: Pool, demand: Demand, queue: QueueDepth | None, memory: Memory
) -> None:
    """Without all gateways heard, only a bound lowers the number."""
    if demand.coverage is not Coverage.COMPLETE:
        decision = decide(rules(maximum=20), pool, demand, queue, memory, BEGIN)
        assert decision.replicas >= pool.desired


@given(pool=pools, demand=demands, queue=queues, memory=memories)
def test_more_demand_never_means_fewer(pool: Pool, demand: Demand, queue: QueueDepth | None, memory: Memory) -> None:
    """One more held request does not lower the number."""
    more = replace(demand, held=demand.held + 1)
    wide = rules(maximum=200)
    now = decide(wide, pool, demand, queue, memory, BEGIN).replicas
    assert decide(wide, pool, more, queue, memory, BEGIN).replicas >= now


@given(pool=pools, demand=demands, queue=queues, memory=memories)
def test_deciding_twice_decides_the_same(pool: Pool, demand: Demand, queue: QueueDepth | None, memory: Memory) -> None:
    """A decision that was carried out and is made again from the same sights changes nothing."""
    wide = rules(maximum=200)
    first = decide(wide, pool, demand, queue, memory, BEGIN)
    again = decide(wide, replace(pool, desired=first.replicas), demand, queue, first.memory, BEGIN)
    if first.replicas >= pool.desired and not (queue and queue.waiting):
        assert again.replicas == first.replicas


NEVER = 1e9
"""A load that does not end: a pod that finds no node, an image that is not there."""


def impatient(**changes: Any) -> Rules:
    """Rules whose times are short."""
    return rules(idle_after_seconds=3.0, startup_timeout_seconds=20.0, **changes)


def test_a_wish_does_not_keep_an_engine_that_cannot_start() -> None:
    """The gateway keeps its wish while no replica serves; the request that made it was served elsewhere long ago."""
    pool = Simulation(impatient(), load_seconds=NEVER)
    pool.step(wants=True)
    for _ in range(60):
        pool.still_wants()
    assert [(number, reason) for _, number, reason in pool.changes] == [
        (1, Reason.FIRST_REQUEST),
        (0, Reason.START_TIMEOUT),
    ]
    assert pool.changes[-1][0] <= 25


def test_the_next_request_wakes_again_after_a_pause_that_grows() -> None:
    """Each try gets its whole start-up time; pauses double, and a start that succeeds forgets them."""
    pool = Simulation(impatient(), load_seconds=NEVER)
    for _ in range(400):
        pool.step(wants=True)
        for _ in range(5):
            pool.still_wants()
    given_up = [at for at, number, _ in pool.changes if number == 0]
    woken = [at for at, number, _ in pool.changes if number == 1]
    pauses = [wake - end for end, wake in zip(given_up, woken[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert 15 <= pauses[0] <= 22
    assert max(pauses) <= 300 + 6
    pool.load_seconds = 1.0
    while not pool.ready:
        pool.step(wants=True)
    assert (pool.memory.failed_starts, pool.memory.next_wake_unix) == (0, None)


def test_requests_that_wait_keep_an_engine_that_is_late() -> None:
    """Somebody who is held, or served elsewhere now, wants it however long it takes."""
    pool = Simulation(impatient(), load_seconds=NEVER)
    pool.run(200, 1)
    assert [number for _, number, _ in pool.changes] == [1]


def test_a_pause_ends_by_itself() -> None:
    """Who waits meanwhile need not ask again: the next look is when the pause ends."""
    pool = Simulation(impatient(), load_seconds=NEVER)
    pool.step(wants=True)
    while pool.desired or not pool.changes:
        pool.still_wants()
    decision = pool.step(1, wants=True)
    assert (decision.replicas, decision.check_unix) == (0, pool.memory.next_wake_unix)
    pool.now = pool.memory.next_wake_unix or 0.0
    assert pool.step(1, wants=True).replicas == 1


def test_a_window_at_zero_that_ends_brings_nothing_back() -> None:
    """Neither the replicas of before nor a wish from before; a request after it wakes."""
    pool = Simulation(rules(maximum=4)).with_ready(3)
    pool.step(1, wants=True)
    pool.rules = rules(bounds=Bounds(0, 0, ("night",), None))
    pool.still_wants()
    assert pool.desired == 0
    pool.rules = rules(maximum=4)
    for _ in range(5):
        pool.still_wants()
    assert pool.desired == 0
    assert pool.step(wants=True).replicas == 1

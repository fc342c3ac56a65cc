"""Engines taking turns on one machine in virtual time: nobody waits for ever, nothing is more than there is."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_box.core.local_engine import Claim
from overspill_box.core.placement import place
from overspill_box.core.room import EngineFact, RouteNeed, Stage
from unit.box.core.placement_simulation import GIB, Job, Machine, Model, Trouble
from unit.tiers import exhaustively

MACHINE_GIB = 24

claims = st.builds(
    Claim,
    memory_bytes=st.sampled_from([None, *(size * GIB for size in (2, 8, 12, 20, 24))]),
    asleep_bytes=st.sampled_from([0, GIB, 3 * GIB]),
    group=st.sampled_from([None, None, "together"]),
    can_sleep=st.booleans(),
)


@st.composite
def model_lists(draw: st.DrawFn) -> list[Model]:
    """Up to five routes."""
    return [
        Model(
            f"ns/{name}",
            draw(claims),
            replicas=draw(st.sampled_from([1, 1, 1, 2])),
            least=draw(st.sampled_from([0, 0, 0, 1])),
            load_seconds=draw(st.sampled_from([1.0, 20.0, 90.0])),
            idle_after_seconds=draw(st.sampled_from([30.0, 600.0])),
        )
        for name in "abcde"[: draw(st.integers(1, 5))]
    ]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Model], list[Job], int | None]:
    """Routes, their requests, and the machine's memory."""
    models = draw(model_lists())
    jobs = [
        Job(draw(st.sampled_from(models)).key, draw(st.floats(0, 600)), draw(st.sampled_from([0.5, 5.0, 40.0])))
        for _ in range(draw(st.integers(0, 60)))
    ]
    return models, jobs, draw(st.sampled_from([None, MACHINE_GIB * GIB, MACHINE_GIB * GIB]))


troubles = st.lists(
    st.builds(
        Trouble, route=st.sampled_from([f"ns/{name}" for name in "abcde"]), at=st.floats(0, 700), is_crash=st.booleans()
    ),
    max_size=4,
)


def longest_wait(models: list[Model]) -> float:
    """A bound: before a request each other route may load, have its turn, finish requests and end, and once more."""
    return sum(2 * (model.load_seconds + 30 + 60 + model.end_seconds + model.wake_seconds) for model in models)


@given(case=cases())
def test_everybody_is_served_within_a_bound(case: tuple[list[Model], list[Job], int | None]) -> None:
    """Whatever comes: never more than the machine has (checked at each step), and every request is served in time."""
    models, jobs, memory = case
    machine = Machine(models, memory)
    machine.run(jobs, 600 + longest_wait(models) + 60)
    assert not machine.waiting, "\n".join(machine.story)
    waits = [job.began - job.arrives for job in machine.done if job.began is not None]
    assert max(waits, default=0.0) <= longest_wait(models), "\n".join(machine.story)


@given(case=cases(), struck=troubles)
def test_crashes_and_changes_leave_nobody_waiting(
    case: tuple[list[Model], list[Job], int | None], struck: list[Trouble]
) -> None:
    """Engines that vanish or are to be others: still never more than there is, and every request is served."""
    models, jobs, memory = case
    machine = Machine(models, memory)
    machine.run(jobs, 700 + (1 + len(struck)) * longest_wait(models) + 60, struck)
    assert not machine.waiting, "\n".join(machine.story)
    assert len(machine.done) == len(jobs)
    assert all(engine.is_current for engine in machine.engines.values()), "\n".join(machine.story)


@given(case=cases())
def test_each_start_is_for_somebody(case: tuple[list[Model], list[Job], int | None]) -> None:
    """No thrash: engines are started or woken at most twice a request (for it, and for the route it took room from)."""
    models, jobs, memory = case
    single = [replace(model, replicas=1, least=0) for model in models]
    machine = Machine(single, memory)
    machine.run(jobs, 600 + longest_wait(models) + 60)
    assert machine.starts <= 2 * len(jobs), "\n".join(machine.story)


@given(arrivals=st.lists(st.tuples(st.floats(0, 3000), st.sampled_from([0.5, 40.0])), min_size=1, max_size=30))
def test_an_engine_that_is_alone_is_never_stopped(arrivals: list[tuple[float, float]]) -> None:
    """Nobody else wants anything: it is started once, and stays as long as scaling wants it."""
    machine = Machine([Model("ns/a", Claim(), idle_after_seconds=10_000.0)], None)
    machine.run([Job("ns/a", at, seconds) for at, seconds in arrivals], 4000)
    assert len(machine.story) == 1, machine.story


@pytest.mark.parametrize("others", [3, *exhaustively(1)])
def test_routes_that_are_always_asked_swap_once_a_turn(others: int) -> None:
    """An hour of requests without a pause to models that fit one at a time: turns of 30 s beside the loading."""
    models = [Model(f"ns/{number}", Claim()) for number in range(1 + others)]
    machine = Machine(models, None)
    machine.run([Job(model.key, second, 12.0) for model in models for second in range(0, 3600, 10)], 3600)
    assert 3600 / 90 <= machine.starts <= 3600 / 50
    served = [sum(job.route == model.key for job in machine.done) for model in models]
    assert max(served) <= 1.3 * min(served)


def test_who_asks_now_and_then_does_not_wait_for_the_end_of_a_long_load() -> None:
    """A large model that is always asked, and a small one that is asked once: it comes after one turn."""
    machine = Machine(
        [Model("ns/large", Claim(), load_seconds=120.0), Model("ns/small", Claim(), load_seconds=5.0)], None
    )
    asked = Job("ns/small", 300.0, 1.0)
    machine.run([*(Job("ns/large", second, 3.0) for second in range(0, 900, 2)), asked], 900)
    assert asked.began is not None
    assert asked.began - asked.arrives <= 3.0 + 3.0 + 5.0 + 0.1


needs = st.builds(
    RouteNeed,
    key=st.sampled_from([f"ns/{name}" for name in "abcd"]),
    claim=claims,
    wanted=st.integers(0, 2),
    least=st.integers(0, 1),
    waiting_since_unix=st.sampled_from([None, None, 900.0, 950.0, 999.0]),
    may_start_unix=st.sampled_from([0.0, 0.0, 1005.0]),
)
facts = st.builds(
    EngineFact,
    name=st.sampled_from([f"ns/{name}#{number}" for name in "abcd" for number in range(3)]),
    route=st.just(""),
    stage=st.sampled_from(Stage),
    since_unix=st.sampled_from([500.0, 980.0, 999.5]),
    claim=claims,
    in_flight=st.integers(0, 2),
    last_used_unix=st.sampled_from([None, 600.0, 999.9]),
    is_current=st.booleans(),
    was_asleep=st.booleans(),
)
ALLOWED: dict[str, set[Stage | None]] = {
    "Start": {None},
    "Wake": {Stage.ASLEEP},
    "Drain": {Stage.READY},
    "Resume": {Stage.DRAINING},
    "Sleep": {Stage.DRAINING},
    "Stop": {Stage.STARTING, Stage.WAKING, Stage.DRAINING, Stage.ASLEEP},
}


@given(
    routes=st.lists(needs, unique_by=lambda need: need.key),
    engines=st.lists(facts, unique_by=lambda fact: fact.name, max_size=8),
    memory=st.sampled_from([None, 24 * GIB]),
    seed=st.integers(0, 9),
)
def test_whatever_the_facts_actions_suit_them(
    routes: list[RouteNeed], engines: list[EngineFact], memory: int | None, seed: int
) -> None:
    """One action an engine, each one possible in its stage; the order of the facts does not matter; time goes on."""
    engines = [replace(engine, route=engine.name.partition("#")[0]) for engine in engines]
    placement = place(routes, engines, memory, 1000.0)
    stages = {engine.name: engine.stage for engine in engines}
    names = [action.name for action in placement.actions]
    assert len(names) == len(set(names))
    for action in placement.actions:
        assert stages.get(action.name) in ALLOWED[action.act]
        assert action.why
    assert placement.again_unix is None or placement.again_unix > 1000.0
    shuffled = random.Random(seed)
    shuffled.shuffle(routes)
    shuffled.shuffle(engines)
    assert place(routes, engines, memory, 1000.0) == placement

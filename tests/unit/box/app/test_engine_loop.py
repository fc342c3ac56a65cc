"""Engines are brought to what is wanted, and requests never meet one that is not there: in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from overspill_box.app.engine_loop import FAILURES_MAX
from overspill_box.core.command_line import CommandLine
from overspill_box.core.process import Listener
from unit.box.app.doubles import FIRST, ROUTE, World, engine
from unit.operator_.virtual_clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """The clock of what is tested."""
    return VirtualClock()


@pytest.fixture
async def world(clock: VirtualClock) -> AsyncIterator[World]:
    """A loop that runs."""
    made = World(clock)
    task = asyncio.create_task(made.loop.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.loop.close()


async def ready(world: World, name: str = FIRST) -> None:
    """Wait until a replica can serve."""
    world.http.healthy = True
    await world.clock.until(lambda: world.stage(name) == "Ready")


async def test_an_engine_is_an_endpoint_as_soon_as_it_listens(world: World) -> None:
    """The gateway looks by itself whether it answers; it is ready once its health check says so."""
    world.http.who = Listener.NOBODY
    world.want(1, engine())
    began = world.clock.unix()
    await world.clock.until(lambda: world.processes.started and world.clock.unix() > began + 1.0)
    assert world.endpoints() == ()

    [spec] = world.processes.started
    assert spec.command == ("serve", str(spec.port))
    world.http.who = Listener.OURS
    await world.clock.until(world.endpoints)
    assert [(fact.port, fact.ready, fact.pod) for fact in world.endpoints()] == [(spec.port, False, "a-0")]

    await ready(world)
    assert [fact.ready for fact in world.endpoints()] == [True]


async def test_one_whose_port_a_stranger_has_taken_is_never_an_endpoint(world: World) -> None:
    """Prompts and the engine's key would go to another user's program; the next one has another port."""
    world.http.who, world.http.healthy = Listener.STRANGER, True
    known = world.want(1, engine())

    await world.clock.until(lambda: len(world.processes.started) == 2)
    assert FIRST in world.processes.stopped
    assert known.problem.startswith("A program of another user listens on its port")
    assert not any(facts for _, facts in world.published)

    world.http.who = Listener.OURS
    await world.clock.until(lambda: world.stage() == "Ready")
    assert world.processes.started[0].port != world.processes.started[-1].port


async def test_one_whose_port_a_stranger_takes_later_is_ended(world: World) -> None:
    """It may have closed its port and gone on."""
    world.want(1, engine())
    await ready(world)

    world.http.who = Listener.STRANGER
    await world.clock.until(lambda: world.processes.stopped)

    assert world.endpoints() == ()


async def test_a_stranger_on_a_sleepers_port_is_told_no_key(world: World) -> None:
    """Neither to sleep nor to wake up: the engine is ended instead."""
    first = world.want(1, engine(can_sleep=True))
    await ready(world)
    first.wanted, world.http.who = 0, Listener.STRANGER
    world.loop.poke()

    await world.clock.until(lambda: world.processes.stopped)

    assert world.http.calls == []


async def test_one_that_the_gateway_has_found_to_answer_is_ready(world: World) -> None:
    """Requests are at it already: nothing is to be decided as if it still loaded."""
    world.want(1, engine())
    await world.clock.until(lambda: world.stage() == "Starting")

    world.traffic.found.add(ROUTE)
    world.loop.poke()

    await world.clock.until(lambda: world.stage() == "Ready")


async def test_it_leaves_the_endpoints_before_it_is_ended(world: World) -> None:
    """What it has begun is finished first; nothing new comes meanwhile."""
    known = world.want(1, engine())
    await ready(world)
    world.traffic.busy[ROUTE] = 1
    known.wanted = 0
    world.loop.poke()

    await world.clock.until(lambda: world.stage() == "Draining")
    assert [(fact.ready, fact.terminating) for fact in world.endpoints()] == [(False, True)]
    assert world.processes.stopped == []

    world.traffic.busy[ROUTE] = 0
    await world.clock.until(lambda: not world.stage())
    assert world.processes.stopped == [FIRST]
    assert world.endpoints() == ()


async def test_one_whose_requests_do_not_end_is_ended_after_its_time(world: World) -> None:
    """``drain_seconds`` are all that it has."""
    known = world.want(1, engine())
    await ready(world)
    world.traffic.busy[ROUTE] = 1
    known.wanted, began = 0, world.clock.unix()
    world.loop.poke()

    await world.clock.until(lambda: world.processes.stopped)

    assert 5.0 <= world.clock.unix() - began < 7.0


async def test_one_that_ends_by_itself_is_told_once_and_started_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """With the last thing that it has printed, and after pauses that grow."""
    known = world.want(1, engine())
    endings = 0

    def has_started() -> bool:
        runs = FIRST in world.loop.replicas and not world.loop.replicas[FIRST].is_being_started
        return runs and len(world.processes.started) > endings

    while endings < 3:
        await world.clock.until(has_started)
        ended = world.clock.unix()
        world.processes.end(FIRST, words=("no such file",))
        endings += 1
    await world.clock.until(lambda: known.restarts.endings == 3)

    await world.clock.until(lambda: len(world.processes.started) == 4)
    assert world.clock.unix() - ended >= 4.0
    told = [record for record in caplog.records if record.message.startswith("engine failed")]
    assert len(told) == 1
    assert "no such file" in known.problem


async def test_what_failed_is_forgotten_once_it_serves(world: World) -> None:
    """Status speaks of what is so."""
    known = world.want(1, engine())
    await world.clock.until(lambda: FIRST in world.loop.replicas and not world.loop.replicas[FIRST].is_being_started)
    world.processes.end(FIRST)
    await world.clock.until(lambda: known.problem)

    await ready(world)

    assert known.problem == ""


async def test_one_that_is_not_ready_in_time_is_ended(world: World) -> None:
    """``startupTimeout`` is told as what it did not keep, and it is tried again."""
    known = world.want(1, engine())
    await world.clock.until(lambda: world.processes.stopped)

    assert "not ready within 60 s (startupTimeout)" in known.problem
    assert known.restarts.endings == 1
    await world.clock.until(lambda: len(world.processes.started) == 2)


async def test_one_that_answers_no_health_check_any_more_is_ended(world: World) -> None:
    """One that fails now and then is not."""
    known = world.want(1, engine())
    await ready(world)
    world.http.healthy = False
    await world.clock.until(lambda: world.loop.replicas[FIRST].failures == FAILURES_MAX - 1)
    world.http.healthy = True
    await world.clock.until(lambda: world.loop.replicas[FIRST].failures == 0)
    assert world.processes.stopped == []

    world.http.healthy = False
    await world.clock.until(lambda: world.processes.stopped)

    assert "answers no health check" in known.problem


async def test_two_take_turns_in_the_room_of_one(world: World) -> None:
    """The idle one is gone before the other one is started."""
    world.want(1, engine())
    await ready(world)
    world.traffic.answered = 1
    world.loop.poke()

    world.traffic.waiting.add("default/b")
    world.want(1, engine("two"), "default/b")

    await world.clock.until(lambda: world.stage("default/b#0") == "Ready")
    assert world.processes.stopped == [FIRST]
    assert world.endpoints() == ()
    assert world.engines[ROUTE].rests


async def test_one_asleep_is_no_endpoint_and_wakes_up_without_a_start(world: World) -> None:
    """Its health check answers while it sleeps: it is among the endpoints only once it is awake."""
    world.want(1, engine(can_sleep=True))
    await ready(world)
    world.traffic.answered = 1
    world.loop.poke()
    world.traffic.waiting = {"default/b"}
    world.want(1, engine("two", can_sleep=True), "default/b")
    await world.clock.until(lambda: world.stage() == "Asleep")
    assert world.endpoints() == ()
    await world.clock.until(lambda: world.stage("default/b#0") == "Ready")

    world.traffic.answered, world.traffic.waiting = 2, {ROUTE}
    world.loop.poke()

    await world.clock.until(lambda: world.stage() == "Ready")
    assert world.http.calls == ["sleep", "sleep", "wake"]
    assert len(world.processes.started) == 2
    assert [fact.ready for fact in world.endpoints()] == [True]


async def test_one_that_is_watched_anew_is_watched_once(world: World) -> None:
    """After each sleep it is watched anew: whoever has watched it before ends, however soon it was awake again."""
    world.want(1, engine())
    await ready(world)
    [before] = world.loop.replicas[FIRST].tasks

    anew = asyncio.create_task(world.loop.watch(world.loop.replicas[FIRST]))

    await world.clock.until(before.done)
    assert not anew.done()
    anew.cancel()


async def test_one_that_does_not_go_to_sleep_is_ended(world: World) -> None:
    """Others wait for its room."""
    world.want(1, engine(can_sleep=True))
    await ready(world)
    world.traffic.answered, world.http.problem = 1, "it answers 404 to /sleep"
    world.loop.poke()
    world.traffic.waiting = {"default/b"}
    world.want(1, engine("two"), "default/b")

    await world.clock.until(lambda: world.stage("default/b#0") == "Ready")

    assert world.processes.stopped == [FIRST]


async def test_one_that_was_left_running_is_taken_over(clock: VirtualClock) -> None:
    """As it is: nothing is started anew, and one that sleeps is not an endpoint."""
    world = World(clock)
    world.processes.leave(FIRST, 7001, "one")
    world.processes.leave("default/b#0", 7002, "two")
    world.http.asleep.add(7002)
    world.want(1, engine(can_sleep=True))
    world.want(0, engine("two", memory=4, can_sleep=True), "default/b")
    world.http.healthy = True

    await world.loop.find(lambda _route: "key")
    running = asyncio.create_task(world.loop.run())
    await world.clock.until(lambda: world.stage() == "Ready" and world.stage("default/b#0") == "Asleep")

    assert [fact.port for fact in world.endpoints()] == [7001]
    assert world.endpoints("default/b") == ()
    assert world.processes.started == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await world.loop.close()


async def test_keys_of_one_that_was_left_running_are_not_repeated(clock: VirtualClock) -> None:
    """This process has not started it, and knows as what it was started all the same."""
    world = World(clock)
    world.processes.leave(FIRST, 7001, "one")
    secret = CommandLine(("serve", "\0"), {"VLLM_API_KEY": "of-the-engine"})
    known = world.want(1, replace(engine(), command_line=secret))
    await world.loop.find(lambda _route: "key")

    world.processes.end(FIRST, words=("ValueError: of-the-engine",))
    world.loop.see_processes()

    assert known.problem == "It ended with exit code 1: ValueError: [hidden]"
    await world.loop.close()


async def test_one_whose_spec_has_changed_serves_until_the_new_one_does(world: World) -> None:
    """Where there is room for both."""
    world.want(1, engine(memory=4))
    await ready(world)
    world.http.healthy = False
    world.want(1, engine("two", memory=4))

    await world.clock.until(lambda: len(world.processes.started) == 2)
    assert any(fact.ready for fact in world.endpoints())
    world.http.healthy = True
    await world.clock.until(lambda: not world.stage())

    assert [fact.ready for fact in world.endpoints()] == [True]


async def test_the_engine_of_a_route_that_is_gone_ends(world: World) -> None:
    """Nobody wants it any more."""
    world.want(1, engine())
    await ready(world)

    del world.engines[ROUTE]
    world.loop.poke()

    await world.clock.until(lambda: world.processes.stopped == [FIRST] and not world.stage())


async def test_without_a_free_port_other_engines_are_looked_after(world: World) -> None:
    """Another user may hold all of them; what is not wanted is ended all the same, and it is tried again."""
    other = world.want(1, engine("two", memory=4), "default/b")
    await ready(world, "default/b#0")

    world.no_port = True
    known = world.want(1, engine())
    await world.clock.until(lambda: known.problem)
    assert known.problem == "No port is free."
    other.wanted = 0
    world.loop.poke()
    await world.clock.until(lambda: not world.stage("default/b#0"))

    world.no_port = False
    await world.clock.until(lambda: world.stage() == "Ready")


async def test_a_fault_of_this_program_ends_no_looking(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and tried again."""
    broken = iter([True])
    whole = world.traffic.waits
    world.traffic.waits = lambda route: 1 / 0 if next(broken, False) else whole(route)  # type: ignore[assignment, method-assign, return-value]

    world.want(1, engine())

    await world.clock.until(lambda: world.processes.started)
    assert "engines not looked after" in caplog.text


async def test_one_that_is_hindered_waits_and_says_why(world: World) -> None:
    """Such as by an environment that is being made."""
    world.hindrance = "the environment is being made"
    world.traffic.waiting.add(ROUTE)
    known = world.want(1, engine())
    await world.clock.until(lambda: known.wait == "the environment is being made")
    assert world.processes.started == []

    world.hindrance = ""
    world.loop.poke()

    await world.clock.until(lambda: world.processes.started)
    assert known.wait == ""


async def test_a_start_is_told_with_its_times(world: World) -> None:
    """When it was asked for, when its process was there, and when it could serve: once, not after each sleep."""
    began = world.clock.unix()
    world.want(1, engine(can_sleep=True))
    await world.clock.until(lambda: world.clock.unix() > began + 3.0)
    await ready(world)

    [(replica, asked, now)] = world.started
    assert (replica.name, asked) == (FIRST, began)
    assert replica.process_unix is not None
    assert began <= replica.process_unix < began + 1.0
    assert now > began + 3.0


async def test_one_that_an_earlier_process_has_started_is_no_start(world: World) -> None:
    """Nobody here knows since when it has been loading."""
    world.processes.leave(FIRST, 8100, engine().made_from)
    world.want(1, engine())
    await ready(world)

    assert world.started == []


async def test_what_a_start_has_waited_for_is_part_of_it(world: World) -> None:
    """Room, an environment: from when it was wanted."""
    world.hindrance = "its environment is being made"
    world.traffic.waiting.add(ROUTE)
    began = world.clock.unix()
    known = world.want(1, engine())
    await world.clock.until(lambda: known.wait)
    world.clock.advance(5.0)
    world.hindrance = ""
    world.loop.poke()
    await ready(world)

    [(replica, asked, _)] = world.started
    assert asked < began + 1.0
    assert replica.started_unix >= began + 5.0

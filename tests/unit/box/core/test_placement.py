"""Which engines run now: one step of deciding at a time."""

from dataclasses import replace

from overspill_box.core.local_engine import Claim
from overspill_box.core.placement import Placement, place
from overspill_box.core.room import EngineFact, RouteNeed, Stage

GIB = 2**30
MACHINE = 24 * GIB
NOW = 1000.0
LONG_AGO = NOW - 500.0


def claim(memory: int | None = 20, *, rest: int | None = None, group: str | None = None) -> Claim:
    """So many GiB; ``rest``: those of its sleep, which it then has."""
    memory_bytes = None if memory is None else memory * GIB
    return Claim(memory_bytes, (rest or 0) * GIB, group, can_sleep=rest is not None)


def need(
    route: str = "a", of: Claim | None = None, *, wanted: int = 1, least: int = 0, waiting: float | None = None,
    may_start: float = 0.0,
) -> RouteNeed:  # fmt: skip
    """A route's need; ``waiting``: for how many seconds requests have waited."""
    since = None if waiting is None else NOW - waiting
    return RouteNeed(f"ns/{route}", of or claim(), wanted, least, since, may_start)


def engine(
    route: str = "a", stage: Stage = Stage.READY, of: Claim | None = None, *, ordinal: int = 0,
    since: float = LONG_AGO, in_flight: int = 0, used: float | None = LONG_AGO, is_current: bool = True,
) -> EngineFact:  # fmt: skip
    """An engine as it is: idle for long unless something else is said."""
    return EngineFact(
        f"ns/{route}#{ordinal}", f"ns/{route}", stage, since, of or claim(), in_flight, used, is_current=is_current
    )


def acts(placement: Placement) -> list[str]:
    """What is done, as ``Act name``."""
    return [f"{action.act} {action.name.removeprefix('ns/')}" for action in placement.actions]


def test_a_replica_that_is_wanted_is_started_where_there_is_room() -> None:
    """And it is said why."""
    placement = place([need(waiting=3.0)], [], MACHINE, NOW)
    assert acts(placement) == ["Start a#0"]
    assert placement.actions[0].why == "requests have waited for 3.0 s"
    assert not placement.waits
    assert acts(place([need(wanted=0)], [], MACHINE, NOW)) == []


def test_one_that_sleeps_is_woken_before_another_is_started() -> None:
    """The second replica is a new one, of the lowest number that is free."""
    sleeper = engine(stage=Stage.ASLEEP, of=claim(8, rest=1), ordinal=1)
    placement = place([need(of=claim(8, rest=1), wanted=2, waiting=1.0)], [sleeper], MACHINE, NOW)
    assert acts(placement) == ["Wake a#1", "Start a#0"]


def test_a_number_is_taken_until_its_process_has_ended() -> None:
    """One process runs at a time under a name."""
    ending = engine(stage=Stage.STOPPING, of=claim(2))
    assert acts(place([need(of=claim(2), waiting=1.0)], [ending], MACHINE, NOW)) == ["Start a#1"]


def test_who_is_not_wanted_any_more_leaves_the_endpoints_first_and_ends_when_idle() -> None:
    """Drained, then stopped; a request that came meanwhile is finished."""
    nobody = [need(wanted=0)]
    assert acts(place(nobody, [engine()], MACHINE, NOW)) == ["Drain a#0"]
    draining = engine(stage=Stage.DRAINING, since=NOW, in_flight=1)
    waiting = place(nobody, [draining], MACHINE, NOW)
    assert (acts(waiting), waiting.again_unix) == ([], NOW + draining.drain_seconds)
    assert acts(place(nobody, [replace(draining, in_flight=0)], MACHINE, NOW)) == ["Stop a#0"]
    late = place(nobody, [draining], MACHINE, NOW + draining.drain_seconds)
    assert acts(late) == ["Stop a#0"]
    assert "did not end in time" in late.actions[0].why


def test_who_can_sleeps_at_zero_and_is_left_asleep() -> None:
    """Nobody needs the room."""
    can_sleep = claim(20, rest=2)
    drained = engine(stage=Stage.DRAINING, of=can_sleep)
    assert acts(place([need(of=can_sleep, wanted=0)], [drained], MACHINE, NOW)) == ["Sleep a#0"]
    assert acts(place([need(of=can_sleep, wanted=0)], [replace(drained, stage=Stage.ASLEEP)], MACHINE, NOW)) == []


def test_the_engines_of_a_route_that_is_gone_end_asleep_or_not() -> None:
    """Nothing of it is kept."""
    of = claim(8, rest=1)
    engines = [
        engine(of=of),
        engine(stage=Stage.ASLEEP, of=of, ordinal=1),
        engine(stage=Stage.STARTING, of=of, ordinal=2),
    ]
    assert acts(place([], engines, MACHINE, NOW)) == ["Drain a#0", "Stop a#1", "Stop a#2"]
    assert acts(place([], [engine(stage=Stage.DRAINING, of=of)], MACHINE, NOW)) == ["Stop a#0"]


def test_replicas_that_are_too_many_go_the_idle_and_the_loading_first() -> None:
    """The busy one stays."""
    of = claim(2)
    busy, loading = engine(of=of, in_flight=3), engine(of=of, stage=Stage.STARTING, ordinal=1)
    idle = engine(of=of, ordinal=2)
    assert acts(place([need(of=of, wanted=2)], [busy, loading, idle], MACHINE, NOW)) == ["Stop a#1"]
    assert acts(place([need(of=of, wanted=1)], [busy, loading, idle], MACHINE, NOW)) == ["Stop a#1", "Drain a#2"]


def test_an_idle_engine_yields_to_requests_that_wait() -> None:
    """It is drained; the other starts only when the room is free."""
    needs = [need("a"), need("b", waiting=2.0)]
    first = place(needs, [engine("a")], MACHINE, NOW)
    assert acts(first) == ["Drain a#0"]
    assert first.actions[0].why == "ns/b has requests waiting"
    assert [(wait.route, wait.why) for wait in first.waits] == [("ns/b", "it waits until ns/a#0 is gone")]
    assert acts(place(needs, [engine("a", Stage.DRAINING)], MACHINE, NOW)) == ["Stop a#0"]
    ending = place(needs, [engine("a", Stage.STOPPING)], MACHINE, NOW)
    assert acts(ending) == []
    assert [wait.why for wait in ending.waits if wait.route == "ns/b"] == ["it waits until ns/a#0 has ended"]
    last = place(needs, [], MACHINE, NOW)
    assert acts(last) == ["Start b#0"]
    assert [wait.route for wait in last.waits] == ["ns/a"]


def test_it_sleeps_instead_where_what_it_keeps_leaves_room() -> None:
    """Else it ends."""
    drained = engine("a", Stage.DRAINING, claim(20, rest=2))
    needs = [need("a", claim(20, rest=2)), need("b", claim(22), waiting=2.0)]
    assert acts(place(needs, [drained], MACHINE, NOW)) == ["Sleep a#0"]
    needs = [need("a", claim(20, rest=2)), need("b", claim(23), waiting=2.0)]
    assert acts(place(needs, [drained], MACHINE, NOW)) == ["Stop a#0"]


def test_a_sleeper_ends_where_its_rest_is_in_the_way() -> None:
    """The least recently used one, and no more than needed."""
    of = claim(10, rest=3)
    sleepers = [
        engine("a", Stage.ASLEEP, of, used=NOW - 100), engine("b", Stage.ASLEEP, of, used=NOW - 200),
    ]  # fmt: skip
    needs = [need("a", of, wanted=0), need("b", of, wanted=0), need("c", claim(20), waiting=1.0)]
    assert acts(place(needs, sleepers, MACHINE, NOW)) == ["Stop b#0"]


def test_the_least_recently_used_yields_first() -> None:
    """And only as many as are needed."""
    of = claim(8)
    idle = [engine("a", of=of, used=NOW - 50), engine("b", of=of, used=NOW - 90), engine("c", of=of, used=NOW - 70)]
    needs = [need(route, of) for route in "abc"]
    assert acts(place([*needs, need("d", of, waiting=1.0)], idle, MACHINE, NOW)) == ["Drain b#0"]
    two = place([*needs, need("d", claim(16), waiting=1.0)], idle, MACHINE, NOW)
    assert acts(two) == ["Drain b#0", "Drain c#0"]


def test_who_is_not_needed_to_yield_does_not() -> None:
    """A small one that was used longest ago stays where a larger one must go anyway."""
    engines = [engine("a", of=claim(2), used=NOW - 90), engine("b", of=claim(20), used=NOW - 50)]
    needs = [need("a", claim(2)), need("b", claim(20)), need("c", claim(20), waiting=1.0)]
    assert acts(place(needs, engines, MACHINE, NOW)) == ["Drain b#0"]


def test_a_busy_engine_keeps_its_turn_and_then_yields() -> None:
    """Thirty seconds from being ready on; who waits is told for how long."""
    needs = [need("a", waiting=0.0), need("b", waiting=5.0)]
    busy = engine("a", since=NOW - 18.0, in_flight=4, used=NOW)
    first = place(needs, [busy], MACHINE, NOW)
    assert (acts(first), first.again_unix) == ([], NOW + 12.0)
    assert [wait.why for wait in first.waits] == ["it waits for its turn: ns/a#0 has its own for 12 s more"]
    assert acts(place(needs, [busy], MACHINE, NOW + 12.0)) == ["Drain a#0"]


def test_who_asks_one_thing_after_another_keeps_the_turn() -> None:
    """A moment without requests is no idleness; a longer one is."""
    needs = [need("a"), need("b", waiting=5.0)]
    pausing = engine("a", since=NOW - 10.0, used=NOW - 0.5)
    first = place(needs, [pausing], MACHINE, NOW)
    assert (acts(first), first.again_unix) == ([], NOW + 0.5)
    assert acts(place(needs, [pausing], MACHINE, NOW + 0.5)) == ["Drain a#0"]


def test_one_that_has_just_become_ready_is_left_until_it_has_served() -> None:
    """Whoever woke it is about to ask; after ten seconds nobody is."""
    needs = [need("a"), need("b", waiting=5.0)]
    fresh = engine("a", since=NOW - 2.0, used=None)
    first = place(needs, [fresh], MACHINE, NOW)
    assert (acts(first), first.again_unix) == ([], NOW + 8.0)
    assert acts(place(needs, [fresh], MACHINE, NOW + 8.0)) == ["Drain a#0"]


def test_one_that_loads_for_requests_is_not_stopped_and_one_that_nobody_waits_for_is() -> None:
    """The first has its turn still to come."""
    loading = engine("a", Stage.STARTING, since=NOW - 60.0, used=None)
    waits = place([need("a", waiting=61.0), need("b", waiting=70.0)], [loading], MACHINE, NOW)
    assert acts(waits) == []
    assert [wait.why for wait in waits.waits] == ["it waits for its turn after ns/a#0, which is not ready yet"]
    assert acts(place([need("a"), need("b", waiting=5.0)], [loading], MACHINE, NOW)) == ["Stop a#0"]


def test_min_replicas_are_kept_until_the_requests_of_another_wait() -> None:
    """Nobody's wish to have a replica without requests takes one away."""
    kept = engine("a", of=claim(20))
    assert acts(place([need("a", least=1), need("b", least=1)], [kept], MACHINE, NOW)) == []
    assert acts(place([need("a", least=1), need("b", waiting=1.0)], [kept], MACHINE, NOW)) == ["Drain a#0"]


def test_of_two_idle_engines_the_one_that_min_replicas_keeps_yields_last() -> None:
    """Though it was used longer ago."""
    of = claim(12)
    idle = [engine("a", of=of, used=NOW - 90), engine("b", of=of, used=NOW - 50)]
    needs = [need("a", of, least=1), need("b", of), need("c", of, waiting=1.0)]
    assert acts(place(needs, idle, MACHINE, NOW)) == ["Drain b#0"]


def test_who_has_waited_longest_comes_first() -> None:
    """Whatever the names."""
    needs = [need("a", waiting=1.0), need("b", waiting=9.0), need("c", waiting=5.0)]
    assert acts(place(needs, [], MACHINE, NOW)) == ["Start b#0"]


def test_small_ones_do_not_pass_a_large_one_that_waits() -> None:
    """What it needs is kept for it, though there is room for a small one now; one that fits beside it may start."""
    busy = engine("a", of=claim(12), since=NOW - 10.0, in_flight=1, used=NOW)
    needs = [need("a", claim(12)), need("large", claim(20), waiting=9.0), need("small", claim(8), waiting=1.0)]
    kept = place(needs, [busy], MACHINE, NOW)
    assert acts(kept) == []
    assert {wait.route for wait in kept.waits} == {"ns/large", "ns/small"}
    needs[2] = need("small", claim(4), waiting=1.0)
    assert acts(place(needs, [busy], MACHINE, NOW)) == ["Start small#0"]


def test_one_that_drains_is_taken_back_when_nobody_needs_its_room() -> None:
    """Who waited has given up."""
    draining = engine("a", Stage.DRAINING, since=NOW - 1.0, in_flight=2)
    assert acts(place([need("a"), need("b", wanted=0)], [draining], MACHINE, NOW)) == ["Resume a#0"]


def test_a_second_replica_takes_no_busy_engine_away() -> None:
    """Only idle ones yield to a route that has a replica already."""
    of = claim(12)
    mine, other = engine("a", of=of, in_flight=8, used=NOW), engine("b", of=of, in_flight=1, used=NOW)
    needs = [need("a", of, wanted=2, waiting=60.0), need("b", of)]
    busy = place(needs, [mine, other], MACHINE, NOW)
    assert acts(busy) == []
    assert [wait.why for wait in busy.waits] == ["it waits for room, which ns/a#0, ns/b#0 have"]
    assert acts(place(needs, [mine, replace(other, in_flight=0, last_used_unix=LONG_AGO)], MACHINE, NOW)) == [
        "Drain b#0"
    ]


def test_of_busy_engines_one_of_several_replicas_yields_first() -> None:
    """A route that has two can spare one."""
    of = claim(8)
    engines = [engine("a", of=of, in_flight=1, since=NOW - 400)] + [
        engine("b", of=of, in_flight=1, ordinal=number, since=NOW - 100) for number in range(2)
    ]
    needs = [need("a", of), need("b", of, wanted=2), need("c", of, waiting=1.0)]
    assert acts(place(needs, engines, MACHINE, NOW)) == ["Drain b#0"]


def test_groups_run_together_and_others_take_turns_with_them() -> None:
    """Where the machine's memory is not known as well."""
    of = claim(20, group="g")
    needs = [need("a", of, waiting=3.0), need("b", of, waiting=2.0), need("c", waiting=1.0)]
    for memory in (MACHINE, None):
        placement = place(needs, [], memory, NOW)
        assert acts(placement) == ["Start a#0", "Start b#0"]
        assert [wait.route for wait in placement.waits] == ["ns/c"]
    both = [engine("a", of=of), engine("b", of=of)]
    assert acts(place([need("a", of), need("b", of), need("c", waiting=1.0)], both, None, NOW)) == [
        "Drain a#0",
        "Drain b#0",
    ]


def test_one_that_ended_by_itself_waits_before_it_is_started_again() -> None:
    """And keeps nobody else's room meanwhile."""
    needs = [need("a", waiting=9.0, may_start=NOW + 4.0), need("b", waiting=1.0)]
    placement = place(needs, [], MACHINE, NOW)
    assert acts(placement) == ["Start b#0"]
    assert [wait.why for wait in placement.waits] == ["it is started again in 4.0 s"]
    assert placement.again_unix == NOW + 4.0


def test_one_that_cannot_be_started_yet_waits_and_the_engine_before_it_serves_on() -> None:
    """What it needs is being made; its room is nobody's meanwhile, a sleeper can be woken all the same."""
    hindered = replace(need("a", waiting=9.0), hindrance="making the environment for vLLM")
    placement = place([hindered, need("b", waiting=1.0)], [], MACHINE, NOW)
    assert acts(placement) == ["Start b#0"]
    assert [(wait.route, wait.why) for wait in placement.waits] == [("ns/a", "making the environment for vLLM")]
    old = engine("a", is_current=False, in_flight=1)
    assert acts(place([hindered], [old], MACHINE, NOW)) == []
    assert acts(place([hindered], [engine("a", Stage.ASLEEP)], MACHINE, NOW)) == ["Wake a#0"]


def test_one_that_can_never_fit_says_so_and_is_in_nobodys_way() -> None:
    """With what there is."""
    placement = place([need("a", claim(30), waiting=9.0), need("b", waiting=1.0)], [], MACHINE, NOW)
    assert acts(placement) == ["Start b#0"]
    assert [wait.why for wait in placement.waits] == ["it needs 30.0 GiB, more than this machine has for engines"]


def test_a_changed_engine_comes_before_the_old_one_goes_where_there_is_room() -> None:
    """One replica after the other: the old one serves until the new one is ready."""
    of = claim(8)
    old, new = engine(of=of, is_current=False), engine(of=of, ordinal=1, stage=Stage.STARTING)
    assert acts(place([need(of=of)], [old], MACHINE, NOW)) == ["Start a#1"]
    assert acts(place([need(of=of)], [old, new], MACHINE, NOW)) == []
    assert acts(place([need(of=of)], [old, replace(new, stage=Stage.READY)], MACHINE, NOW)) == ["Drain a#0"]
    two = [replace(old, name=f"ns/a#{number}") for number in range(2)]
    assert acts(place([need(of=of, wanted=2)], two, MACHINE, NOW)) == ["Start a#2"]


def test_a_changed_engine_takes_the_old_ones_room_where_there_is_no_other() -> None:
    """The old one finishes what it has begun, and ends; it does not sleep."""
    of = claim(20, rest=1)
    old = engine(of=of, is_current=False, in_flight=2, since=NOW - 1)
    assert acts(place([need(of=of)], [old], MACHINE, NOW)) == ["Drain a#0"]
    drained = replace(old, stage=Stage.DRAINING, in_flight=0)
    assert acts(place([need(of=of)], [drained], MACHINE, NOW)) == ["Stop a#0"]
    assert acts(place([need(of=of)], [replace(old, stage=Stage.ASLEEP)], MACHINE, NOW)) == ["Stop a#0", "Start a#1"]
    assert acts(place([need(of=of)], [replace(old, stage=Stage.STARTING)], MACHINE, NOW)) == ["Stop a#0"]


def test_where_the_machine_has_less_than_it_had_some_go() -> None:
    """Idle ones first, though nobody waits."""
    of = claim(12)
    both = [engine("a", of=of, in_flight=1), engine("b", of=of)]
    assert acts(place([need("a", of), need("b", of)], both, 20 * GIB, NOW)) == ["Drain b#0"]


def test_scaling_wish_without_requests_ends_no_sleeper() -> None:
    """Only minReplicas does, where it cannot be kept otherwise."""
    of = claim(20, rest=5)
    sleeper = engine("a", Stage.ASLEEP, of)
    assert acts(place([need("a", of, wanted=0), need("b")], [sleeper], MACHINE, NOW)) == []
    assert acts(place([need("a", of, wanted=0), need("b", least=1)], [sleeper], MACHINE, NOW)) == ["Stop a#0"]


def test_a_sleeper_that_is_woken_for_one_is_ended_for_nobody() -> None:
    """What is decided for whoever is further in front stays so."""
    of = claim(12, rest=2)
    sleeper = engine("a", Stage.ASLEEP, of)
    needs = [need("a", of, waiting=9.0), need("b", claim(24), waiting=1.0)]
    placement = place(needs, [sleeper], MACHINE, NOW)
    assert acts(placement) == ["Wake a#0"]
    assert [wait.route for wait in placement.waits] == ["ns/b"]

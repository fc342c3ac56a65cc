"""Who serves: rules that hold for any replicas, and small fleets in virtual time."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.prediction.load import work_of
from overspill_gateway.core.prediction.tuning import TUNING
from overspill_gateway.core.requests.ask import Ask
from unit.gateway.replica_fleet import Replica, choose, fleet, percentile, run

NOW = 1000.0
SOURCE = random.Random(7)
PREFIXES = [SOURCE.getrandbits(64) for _ in range(2000)]


def eject(replica: Replica, now: float = NOW) -> None:
    """Make it rest."""
    for number in range(5):
        replica.outlier.failed(now - 4 + number, FailureKind.STATUS, None, status=500)
    assert replica.outlier.ejected(now)


def busy(replica: Replica, requests: int, **ask: int) -> None:
    """Give it so many requests."""
    for _ in range(requests):
        replica.load.sent(Ask(**({"prompt_tokens": 1000, "output_tokens": 200} | ask)))  # type: ignore[arg-type]


def found(*replicas: Replica | None) -> list[Replica]:
    """Those that there are."""
    return [replica for replica in replicas if replica is not None]


def homes(replicas: list[Replica]) -> dict[int, Replica]:
    """Where each conversation is served while nobody is busy."""
    found = {prefix: choose(replicas, Ask(prefix=prefix), NOW, 0) for prefix in PREFIXES}
    return {prefix: replica for prefix, replica in found.items() if replica is not None}


# -- the few and the simple ------------------------------------------------------------------------------------


def test_nobody_and_one() -> None:
    """None of none; a single replica serves however busy, new or failing it is: it never starves."""
    assert choose([], Ask(), NOW, 0) is None
    one = Replica("pod")
    eject(one)
    busy(one, 1000)
    one.load.usable_since = NOW
    assert choose([one], Ask(prefix=5), NOW, 0) is one
    assert choose([one], Ask(), NOW, 0, [one]) is None


def test_equals_take_turns() -> None:
    """Without a conversation each of the idle is asked as often."""
    replicas = fleet(1, 1, 1)
    served = Counter(replica.served_by for turn in range(30) if (replica := choose(replicas, Ask(), NOW, turn)))
    assert set(served.values()) == {10}


def test_the_least_busy_serves() -> None:
    """Counted in tokens: one long prompt is more than three short ones."""
    long, short = fleet(1, 1)
    busy(long, 1, prompt_tokens=30_000)
    busy(short, 3)
    for turn in range(4):
        assert choose([long, short], Ask(), NOW, turn) is short


def test_what_other_gateways_send_counts() -> None:
    """As long as the gauges that tell of it are fresh: afterwards own requests are all that is known."""
    ours, theirs = fleet(1, 1)
    busy(ours, 2)
    theirs.load.scraped(NOW, running=20, waiting=5, kv_cache_usage=0.5)
    ask = Ask(prompt_tokens=1000, output_tokens=200)
    assert choose([ours, theirs], ask, NOW, 0) is ours
    assert choose([ours, theirs], ask, NOW + 60.0, 0) is theirs


def test_who_failed_this_request_is_avoided() -> None:
    """As long as there is anybody else, conversation or not."""
    replicas = fleet(1, 1, 1)
    for prefix in (0, *PREFIXES[:50]):
        ask = Ask(prefix=prefix)
        first = choose(replicas, ask, NOW, 0)
        second = choose(replicas, ask, NOW, 0, found(first))
        third = choose(replicas, ask, NOW, 0, found(first, second))
        assert {first, second, third} == set(replicas)
        assert choose(replicas, ask, NOW, 0, found(*replicas)) is None


# -- conversations ---------------------------------------------------------------------------------------------


def test_conversations_are_spread_evenly() -> None:
    """Each of four replicas is home to a quarter, within what chance allows (3 sigma of 2,000 are 58)."""
    counts = Counter(replica.served_by for replica in homes(fleet(1, 1, 1, 1)).values())
    assert all(442 <= count <= 558 for count in counts.values()), counts


def test_a_replica_that_goes_moves_only_its_own_conversations() -> None:
    """All others stay, whatever the order in which replicas are listed; back again, it has its own again."""
    replicas = fleet(1, 1, 1, 1)
    before = homes(replicas)
    gone = replicas[1]
    after = homes([replicas[3], replicas[0], replicas[2]])
    assert all(after[prefix] is home for prefix, home in before.items() if home is not gone)
    moved = Counter(after[prefix].served_by for prefix, home in before.items() if home is gone)
    assert len(moved) == 3, "its conversations go to all that are left"
    assert min(moved.values()) > sum(moved.values()) / 5
    assert homes(list(reversed(replicas))) == before


def test_a_replica_that_comes_takes_only_its_share() -> None:
    """A fifth of all conversations moves, each of them to the new one."""
    replicas = fleet(1, 1, 1, 1, 1)
    before, after = homes(replicas[:4]), homes(replicas)
    moved = [prefix for prefix in PREFIXES if before[prefix] is not after[prefix]]
    assert {after[prefix] for prefix in moved} == {replicas[4]}
    assert 0.15 < len(moved) / len(PREFIXES) < 0.25


def test_every_gateway_agrees() -> None:
    """Homes depend on names alone: the same in each process, whatever Python's seed for hashing is."""
    replicas = fleet(1, 1, 1, 1)
    assert [homes(replicas)[prefix].served_by[-1] for prefix in PREFIXES[:16]] == list("1132333323313032")


@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=8),
    st.integers(1, 2**64 - 1),
    st.integers(0, 20_000),
    st.integers(0, 2_000),
)
def test_the_bound_holds(loads: list[int], prefix: int, prompt: int, output: int) -> None:
    """Who gets a conversation has at most 1.25 times the mean with it, or is busier than the idlest by little.

    By no more than what reading the prompt anew would cost, and what an engine does at the side.
    """
    replicas = fleet(*[1.0] * len(loads))
    for replica, requests in zip(replicas, loads, strict=True):
        busy(replica, requests)
    ask = Ask(prompt_tokens=prompt, output_tokens=output, prefix=prefix)
    works = [replica.load.expected_work(NOW) for replica in replicas]
    chosen = choose(replicas, ask, NOW, 0)
    assert chosen is not None
    work = works[replicas.index(chosen)]
    mean = (sum(works) + work_of(ask)) / len(works)
    assert (
        work + work_of(ask) <= TUNING.load_factor * mean * 1.000001 or work <= min(works) + prompt + TUNING.batch_work
    )


@given(st.lists(st.integers(0, 40), min_size=2, max_size=8), st.integers(0, 100))
def test_without_a_conversation_the_least_busy_serves(loads: list[int], turn: int) -> None:
    """Always."""
    replicas = fleet(*[1.0] * len(loads))
    for replica, requests in zip(replicas, loads, strict=True):
        busy(replica, requests)
    chosen = choose(replicas, Ask(prompt_tokens=10), NOW, turn)
    assert chosen is not None
    assert chosen.load.in_flight == min(loads)


def test_one_conversation_that_everybody_has_is_spread() -> None:
    """A prompt that all requests share does not make one replica do everything: it could do less than half of it."""
    replicas, source = fleet(1000, 1000, 1000, 1000), random.Random(3)
    ask = Ask(prompt_tokens=2000, output_tokens=100, prefix=PREFIXES[0])
    now, arrivals = 0.0, []
    for _ in range(2000):
        now += source.expovariate(5.5)
        arrivals.append((now, ask))
    seconds = run(replicas, arrivals, choose)
    assert max(replica.served for replica in replicas) < len(arrivals) * 0.6
    assert percentile(seconds, 99) < 4.0


# -- a fleet in virtual time -----------------------------------------------------------------------------------


def traffic(seed: int, per_second: float, *, conversations: int = 0, count: int = 4000) -> list[tuple[float, Ask]]:
    """Requests at random times, prompts and outputs of very different lengths."""
    source, now, arrivals = random.Random(seed), 0.0, []
    for _ in range(count):
        now += source.expovariate(per_second)
        prompt, output = int(source.lognormvariate(6.0, 1.0)), int(source.expovariate(1 / 100)) + 1
        prefix = PREFIXES[source.randrange(conversations)] if conversations else 0
        arrivals.append((now, Ask(prompt_tokens=prompt, output_tokens=output, prefix=prefix)))
    return arrivals


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_least_work_beats_taking_turns(seed: int) -> None:
    """Four replicas, one of half and one of double speed, at 70 % load: the slowest one of 100 is far quicker."""
    speeds, arrivals = (4000.0, 8000.0, 8000.0, 16000.0), traffic(seed, 24.0)
    by_work = run(fleet(*speeds), arrivals, choose)
    in_turn = run(fleet(*speeds), arrivals, lambda replicas, _ask, _now, turn: replicas[turn % len(replicas)])
    by_count = run(
        fleet(*speeds), arrivals, lambda replicas, *_: min(replicas, key=lambda replica: replica.load.in_flight)
    )
    assert percentile(by_work, 99) < percentile(in_turn, 99) / 3
    assert percentile(by_work, 99) < percentile(by_count, 99)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_conversations_find_their_prefix_cached(seed: int) -> None:
    """Of 120 conversations each engine keeps 40: with affinity most turns hit, and the slowest are quicker as well."""
    arrivals = traffic(seed, 18.0, conversations=120)
    alike, scattered = fleet(*[6000.0] * 4), fleet(*[6000.0] * 4)
    stuck = run(alike, arrivals, choose)
    spread = run(
        scattered, arrivals, lambda replicas, ask, now, turn: choose(
            replicas, Ask(ask.prompt_tokens, ask.output_tokens), now, turn
        )
    )  # fmt: skip
    hits, hits_spread = (sum(one.hits for one in replicas) / len(arrivals) for replicas in (alike, scattered))
    assert hits > 0.8
    assert hits > 2 * hits_spread
    assert percentile(stuck, 50) < percentile(spread, 50)
    assert percentile(stuck, 99) < percentile(spread, 99)


def test_a_new_replica_starts_slowly() -> None:
    """While the others are busy it gets a tenth of their work at first, and as much as they after ten seconds."""
    old, new = fleet(1, 1)
    busy(old, 100)
    new.load.usable_since = NOW
    taken = []
    for seconds in (0.0, TUNING.slow_start_seconds / 2, TUNING.slow_start_seconds):
        while choose([old, new], Ask(prompt_tokens=1000, output_tokens=200), NOW + seconds, 0) is new:
            busy(new, 1)
        taken.append(new.load.in_flight)
    assert 9 <= taken[0] <= 12
    assert 48 <= taken[1] <= 52
    assert 99 <= taken[2] <= 101


def test_all_new_start_at_once() -> None:
    """A pool that has just woken is not held back: shares are shares of each other."""
    replicas = fleet(1, 1)
    for replica in replicas:
        replica.load.usable_since = NOW
    for turn in range(20):
        chosen = choose(replicas, Ask(), NOW, turn)
        assert chosen is not None
        busy(chosen, 1)
    assert [replica.load.in_flight for replica in replicas] == [10, 10]


# -- replicas that fail ----------------------------------------------------------------------------------------


def test_who_rests_gets_nothing() -> None:
    """One of two, one of three: the rest carries on, conversations go to their next home and come back."""
    for count in (2, 3):
        replicas = fleet(*[1.0] * count)
        before = homes(replicas)
        eject(replicas[0])
        after = homes(replicas)
        assert replicas[0] not in after.values()
        assert all(after[prefix] is home for prefix, home in before.items() if home is not replicas[0])
        back = replicas[0].outlier.fully_back_at
        assert choose(replicas, Ask(prefix=next(iter(before))), back, 0) is before[next(iter(before))]


@pytest.mark.parametrize(("count", "ejected", "panics"), [
    (2, 1, False), (2, 2, True), (3, 1, False), (3, 2, True), (4, 2, False), (4, 3, True), (8, 4, False), (8, 5, True),
])  # fmt: skip
def test_panic(count: int, ejected: int, panics: bool) -> None:  # noqa: FBT001
    """Where all rest, or more than half of three or more, ejections are ignored."""
    replicas = fleet(*[1.0] * count)
    for replica in replicas[:ejected]:
        eject(replica)
    chosen = {choose(replicas, Ask(), NOW, turn) for turn in range(4 * count)}
    assert chosen == set(replicas if panics else replicas[ejected:])


def test_a_last_resort_is_asked_though_it_rests() -> None:
    """Where all others have failed this request already."""
    resting, failed = fleet(1, 1)
    eject(resting)
    assert choose([resting, failed], Ask(), NOW, 0, [failed]) is resting


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_flapping_replica_among_two_costs_few_requests_and_comes_back_slowly(seed: int) -> None:
    """It answers 500 for a minute: a handful of requests notice, and afterwards it carries its half again."""
    steady, flapping = replicas = fleet(20_000.0, 20_000.0)
    flapping.fails = lambda now: 100.0 <= now < 160.0
    arrivals = traffic(seed, 10.0)
    failed, late = 0, 0

    def choose_and_count(choices: object, ask: Ask, now: float, turn: int) -> Replica | None:
        nonlocal failed, late
        assert choices is replicas
        chosen = choose(replicas, ask, now, turn)
        failed += chosen is flapping and flapping.fails(now)
        late += chosen is flapping and now >= 300.0
        return chosen

    run(replicas, arrivals, choose_and_count)
    assert 5 <= failed <= 20, "of some 300 that would have met it"
    assert 3 <= flapping.outlier.ejections_total <= 6
    assert steady.outlier.ejections_total == 0
    after = sum(1 for now, _ in arrivals if now >= 300.0)
    assert 0.4 < late / after < 0.6


def test_when_all_fail_all_are_still_asked() -> None:
    """Panic: nothing is gained by asking nobody, and as soon as they are well they serve."""
    replicas = fleet(20_000.0, 20_000.0, 20_000.0)
    for replica in replicas:
        replica.fails = lambda now: 100.0 <= now < 160.0
    run(replicas, traffic(1, 10.0), choose)
    served = [replica.served for replica in replicas]
    assert min(served) > 0.8 * max(served)

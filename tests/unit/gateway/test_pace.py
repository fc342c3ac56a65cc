"""What one replica has of its own: how it is found to be slower than the rest, and when it is tried again."""

from itertools import pairwise
from random import Random

import pytest

from overspill_gateway.core.prediction.load import ReplicaLoad
from overspill_gateway.core.prediction.pace import PACE_MAX, Pace, ReplicaRates
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.prediction.tuning import TUNING
from overspill_gateway.core.requests.ask import Ask

IDLE = ReplicaLoad()
CHANCE = Random(11)


def teach(rates: ServiceRates, seconds_of: dict[ReplicaRates, float], since: float = 0.0, count: int = 100) -> None:
    """So many requests in turn at replicas that take so long for a thousand tokens, give or take 40 %."""
    for number in range(count):
        for own, seconds in seconds_of.items():
            now = since + 0.1 * number
            tokens = 200 + 37 * number % 1600
            snapshot = rates.snapshot(own, IDLE, Ask(prompt_tokens=tokens), now)
            took = seconds * (0.02 + tokens / 1000.0) * CHANCE.lognormvariate(0.0, 0.4)
            rates.observed_first_token(tokens, snapshot, took, now)


def told(rates: ServiceRates, own: ReplicaRates, now: float = 20.0) -> float:
    """What is expected of a thousand tokens there."""
    seconds = rates.snapshot(own, IDLE, Ask(prompt_tokens=1000), now).predicted_seconds
    assert seconds is not None
    return seconds


def test_each_replica_is_expected_to_take_what_it_takes() -> None:
    """What one takes is not told of another; the fast one is the usual one, work there is not divided otherwise."""
    rates = ServiceRates()
    fast, slow = rates.of_new_replica(), rates.of_new_replica()
    teach(rates, {fast: 0.3, slow: 3.0})

    assert told(rates, fast) == pytest.approx(0.3, rel=0.35)
    assert told(rates, slow) == pytest.approx(3.0, rel=0.35)
    assert fast.slowness == 1.0
    assert slow.slowness == pytest.approx(10.0, rel=0.35)
    assert rates.slow_replicas == 1


def test_a_new_replica_is_expected_to_be_like_most() -> None:
    """Among three of which one is slow: as the two others, from its first request on."""
    rates = ServiceRates()
    one, other, slow = (rates.of_new_replica() for _ in range(3))
    teach(rates, {one: 0.3, other: 0.3, slow: 3.0})
    new = rates.of_new_replica()

    assert told(rates, new) == pytest.approx(0.3, rel=0.35)
    assert new.slowness == 1.0


def test_what_was_learned_outlives_those_it_was_learned_from() -> None:
    """A pool that goes to zero wakes with the rates that it had; a slow one that is left alone is the usual one."""
    rates = ServiceRates()
    fast, slow = rates.of_new_replica(), rates.of_new_replica()
    teach(rates, {fast: 0.3, slow: 3.0})
    before = told(rates, slow)
    rates.gone(fast)
    assert told(rates, slow) == pytest.approx(before, rel=0.2)
    assert (slow.slowness, rates.slow_replicas) == (1.0, 0)

    rates.gone(slow)
    assert told(rates, rates.of_new_replica()) == pytest.approx(before, rel=0.2)


def test_a_replica_that_was_not_heard_of_for_long_is_taken_for_like_the_rest() -> None:
    """What it was says nothing of what it is now; those who were heard of stay what they are."""
    rates = ServiceRates()
    fast, slow = rates.of_new_replica(), rates.of_new_replica()
    teach(rates, {fast: 0.3, slow: 3.0})
    teach(rates, {fast: 0.3}, since=20.0 + TUNING.quiet_seconds, count=30)

    assert slow.slowness == 1.0
    assert told(rates, slow, 400.0) == pytest.approx(told(rates, fast, 400.0), rel=0.4)


def test_a_few_requests_show_a_replica_that_has_become_slow() -> None:
    """Ten are enough for most of the way to ten times as slow, and one outlier for next to nothing."""
    pace = Pace()
    for number in range(40):
        pace.observe(1.0, 0.1 * number)
    pace.observe(50.0, 5.0)
    assert pace.factor < 1.15
    for number in range(10):
        pace.observe(10.0 / pace.factor, 6.0 + number)
    assert pace.factor > 6.0


@pytest.mark.parametrize("seed", range(5))
def test_chance_makes_nobody_slow(seed: int) -> None:
    """First tokens that scatter by 40 % at five alike replicas, ever so long."""
    rates, random = ServiceRates(), Random(seed)
    replicas = [rates.of_new_replica() for _ in range(5)]
    for number in range(3000):
        own, now = random.choice(replicas), 0.05 * number
        snapshot = rates.snapshot(own, IDLE, Ask(prompt_tokens=500), now)
        rates.observed_first_token(500, snapshot, 0.3 * random.lognormvariate(0.0, 0.4), now)
        assert {one.slowness for one in replicas} == {1.0}


def test_whatever_is_seen_what_follows_is_bounded() -> None:
    """Nothing takes a replica out for good, and no number runs away."""
    rates, random = ServiceRates(), Random(3)
    replicas = [rates.of_new_replica() for _ in range(3)]
    for number in range(3000):
        own, now = random.choice(replicas), 0.5 * number
        snapshot = rates.snapshot(own, IDLE, Ask(prompt_tokens=random.randrange(5000)), now)
        rates.observed_first_token(500, snapshot, 10.0 ** random.uniform(-6.0, 6.0), now)
        rates.observed_output(own, 100, 10.0 ** random.uniform(-6.0, 6.0), random.randrange(50), now)
        assert all(1.0 / TUNING.slowness_max <= one.slowness <= TUNING.slowness_max for one in replicas)
        assert all(PACE_MAX**-2 <= one.reading.factor <= PACE_MAX**2 for one in replicas)


def test_tries_are_ever_rarer_until_one_is_worth_it() -> None:
    """After one second, two, four, up to a minute; one that came early brings the next after a second."""
    own = ReplicaRates()
    tried = [tenth / 10.0 for tenth in range(3000) if own.tries(tenth / 10.0)]
    gaps = [round(later - earlier) for earlier, later in pairwise(tried)]
    assert gaps[:6] == [1, 2, 4, 8, 16, 32]
    assert max(gaps) == TUNING.try_seconds_max

    own.brighter_at = tried[-1] + 0.1
    assert own.tries(tried[-1] + 1.0)

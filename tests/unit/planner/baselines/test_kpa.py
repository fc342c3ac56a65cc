"""Knative's autoscaler by the examples of its documentation and its own tests, and by its defaults."""

from overspill_planner.baselines.kpa import KPA
from overspill_planner.baselines.policy import Limits
from unit.planner.baselines.driving import Driver

MANY = Limits(0, 1000)


def test_a_pod_is_meant_for_seventy_of_a_hundred() -> None:
    """knative.dev, concurrency: "containerConcurrency 10 and target utilization 70 %": 100 requests need 15 pods."""
    assert Driver(KPA(MANY, concurrency=10.0), 15).look(100.0) == 15


def test_never_stuck_by_a_low_rate() -> None:
    """autoscaler_test.go: rate 1.1, 2 ready, 3 wanted: ceil(2.2) = 3, so that it grows by one at least."""
    policy = KPA(MANY, concurrency=1.0, utilization=1.0, up_rate=1.1)

    assert Driver(policy, 2).look(3.0) == 3


def test_down_by_half_of_what_is_ready() -> None:
    """max-scale-down-rate 2: from ten to five, though one would do."""
    assert Driver(KPA(MANY, concurrency=10.0, utilization=1.0), 10).look(1.0) == 5


def test_panic_scales_up_and_never_down() -> None:
    """knative.dev, panic mode: twice what is ready within 6 s; it lasts until 60 s have passed without."""
    driver = Driver(KPA(MANY, concurrency=10.0, utilization=1.0), 1)
    driver.looks([5.0] * 30)

    assert driver.looks([100.0] * 3) == [4, 7, 10], "by the mean of the last six seconds, of which so many are busy"
    assert set(driver.looks([5.0] * 28)) == {10}, "to a minute after the first look of the burst"
    assert driver.look(5.0) == 5


def test_a_fleet_that_loads_keeps_it_in_panic() -> None:
    """Ready pods alone count: while one of ten is ready, ten are more than twice as many."""
    driver = Driver(KPA(MANY, concurrency=10.0, utilization=1.0), 1)
    for _ in range(60):
        driver.look(100.0, ready=1)

    assert driver.look(100.0, ready=1) == 10
    assert driver.state.panic_at == driver.now - 2.0


def test_the_last_pod_stays_for_the_window_and_the_grace_period() -> None:
    """knative.dev, scale to zero: 60 s without traffic, then 30 s of grace."""
    driver = Driver(KPA(MANY, concurrency=10.0), 1)
    driver.look(5.0)

    assert driver.until(0, 0.0) == 88.0, "60 s after the sample at 0 s, which the next look is 2 s after, and 30 s more"


def test_at_zero_the_first_request_wakes_it() -> None:
    """The activator pushes what it has."""
    policy = KPA(MANY)

    assert policy.wakes_at_once
    assert Driver(policy).look(0.0) == 0
    assert Driver(policy).look(1.0) == 1

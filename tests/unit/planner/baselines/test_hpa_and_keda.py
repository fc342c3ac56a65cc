"""HPA and KEDA by the worked examples of their documentation, and by their defaults."""

import pytest

from overspill_planner.baselines.hpa import HPA
from overspill_planner.baselines.keda import KEDA
from overspill_planner.baselines.policy import Limits
from unit.planner.baselines.driving import Driver

MANY = Limits(1, 1000)


def test_a_metric_of_twice_its_target_doubles_the_replicas() -> None:
    """kubernetes.io, algorithm details: 200m of 100m doubles, 50m of 100m halves, within 10 % nothing is done."""
    assert Driver(HPA(MANY, target=100.0), 2).look(400.0) == 4
    assert Driver(HPA(MANY, target=100.0), 10).look(1_090.0) == 10, "a ratio of 1.09"
    assert Driver(HPA(MANY, target=100.0), 10).look(1_120.0) == 12
    halved = Driver(HPA(MANY, target=100.0, down_window_seconds=0.0), 4)
    assert halved.look(200.0) == 2


def test_fifty_replicas_at_90_of_75() -> None:
    """kubernetes.io/blog/2025/04/28/kubernetes-v1-33-hpa-configurable-tolerance: 50 * 90 / 75 = 60."""
    assert Driver(HPA(MANY, target=75.0), 50).look(50 * 90.0) == 60


def test_up_by_the_more_of_four_pods_and_all_that_there_are() -> None:
    """kubernetes.io, default behaviour: 100 % or 4 pods in 15 s, whichever is more."""
    assert Driver(HPA(MANY, target=1.0), 1).looks([100.0] * 5) == [5, 10, 20, 40, 80]


def test_down_to_the_highest_of_five_minutes() -> None:
    """kubernetes.io, default behaviour: the stabilization window of 300 s; then all may go at once."""
    driver = Driver(HPA(MANY, target=10.0), 10)
    driver.look(100.0)

    assert driver.until(1, 0.0) == 285.0, "the sync after that of 300 s before"


def test_a_dip_within_the_window_changes_nothing() -> None:
    """What was recommended within the last 300 s still counts."""
    driver = Driver(HPA(MANY, target=10.0), 10)

    assert set(driver.looks([100.0, 20.0, 20.0, 100.0, 20.0, 100.0])) == {10}


def test_a_window_of_the_way_up_waits_for_its_lowest() -> None:
    """With 60 s, a burst of 30 s is not followed."""
    driver = Driver(HPA(MANY, target=10.0, up_window_seconds=60.0), 1)

    assert driver.looks([10.0, 50.0, 50.0, 10.0]) == [1] * 4
    assert driver.looks([50.0] * 6) == [1, 1, 1, 5, 5, 5]


def test_hpa_rests_at_zero_and_never_goes_there() -> None:
    """minReplicas 0 needs a feature gate; a Deployment scaled to zero by hand is left alone."""
    assert Driver(HPA(Limits(0, 5), target=1.0)).replicas == 1
    assert Driver(HPA(Limits(0, 5), target=1.0, down_window_seconds=0.0), 3).look(0.0) == 1
    assert Driver(HPA(Limits(0, 5), target=1.0), 0).look(100.0) == 0


def test_the_most_holds() -> None:
    """maxReplicas."""
    assert Driver(HPA(Limits(1, 3), target=1.0), 1).look(100.0) == 3


def test_keda_wakes_at_a_poll_and_goes_after_the_cooldown() -> None:
    """keda.sh, ScaledObject: pollingInterval 30 s, cooldownPeriod 300 s after the last activity, only to zero."""
    driver = Driver(KEDA(Limits(0, 100), target=10.0))
    driver.look(0.0)  # a poll at 0 s

    assert driver.look(1.0) == 0, "15 s: the HPA's time, which rests at zero"
    assert driver.look(1.0) == 1, "30 s: a poll"
    assert driver.until(0, 0.0) == pytest.approx(315.0), (
        "polled last active at 30 s, so not before the poll after 330 s"
    )


def test_keda_in_between_is_an_hpa() -> None:
    """The same numbers, 15 s apart."""
    demand = [10.0, 55.0, 300.0, 300.0, 20.0, 20.0]

    keda, hpa = Driver(KEDA(Limits(1, 100), target=10.0)), Driver(HPA(Limits(1, 100), target=10.0))

    assert keda.looks(demand) == hpa.looks(demand)


def test_keda_is_active_above_its_activation_threshold_only() -> None:
    """keda.sh, activation: with activationThreshold 50 a value of 50 does not wake, one above does."""
    driver = Driver(KEDA(Limits(0, 100), target=10.0, activation=50.0, polling_seconds=15.0))

    assert driver.looks([50.0, 51.0]) == [0, 1]

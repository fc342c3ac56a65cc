"""KubeAI, AIBrix, llm-d's WVA and a fixed number, by the examples of their documentation and their code."""

from dataclasses import fields
from typing import Any

import pytest

from overspill_planner.baselines.aibrix import AIBrix
from overspill_planner.baselines.fixed import Static
from overspill_planner.baselines.hpa import HPA
from overspill_planner.baselines.kpa import KPA
from overspill_planner.baselines.kubeai import KubeAI
from overspill_planner.baselines.policy import Gauge, Limits, Policy
from overspill_planner.baselines.tuning import GRIDS, tuned, variants
from overspill_planner.baselines.wva import WVA
from unit.planner.baselines.driving import Driver

MANY = Limits(0, 1000)


def test_kubeai_follows_a_mean_of_ten_minutes() -> None:
    """autoscaler.go: 60 samples, zeros before the first. 300 in flight, 100 a replica: the third after some 400 s."""
    driver = Driver(KubeAI(MANY), 1)

    assert driver.until(2, 300.0) == 200.0, "the 21st sample: 21 * 300 / 60 = 105"
    assert driver.until(3, 300.0) == 190.0, "the 41st: 205"
    assert driver.until(3, 300.0) == 0.0


def test_kubeai_goes_down_after_the_fourth_lower_look() -> None:
    """scale.go: scaleDownDelaySeconds 30 are three looks that must have passed; one that is not lower begins anew."""
    driver = Driver(KubeAI(MANY, target=10.0, window_seconds=10.0), 5)

    assert driver.looks([20.0] * 3 + [50.0] + [20.0] * 4) == [5] * 7 + [2]


def test_kubeai_goes_to_zero_when_the_mean_is_nothing() -> None:
    """Ten minutes without a request, then 30 s."""
    driver = Driver(KubeAI(MANY), 1)
    driver.look(1.0)

    assert driver.until(0, 0.0) == 620.0
    assert driver.policy.wakes_at_once


def test_aibrix_at_most_doubles_and_at_least_halves() -> None:
    """apa.go: above 1.1 times the target min(ceil(n r), ceil(2 n)), below 0.9 max(ceil(n r), floor(n / 2))."""
    assert Driver(AIBrix(MANY, target=10.0), 3).look(100.0) == 6
    assert Driver(AIBrix(MANY, target=10.0), 3).look(34.0) == 4, "a ratio of 1.13"
    assert Driver(AIBrix(MANY, target=10.0), 3).look(32.0) == 3, "1.07 is within the tolerance"
    assert Driver(AIBrix(MANY, target=10.0, cooldown_seconds=0.0), 8).look(10.0) == 4
    assert Driver(AIBrix(MANY, target=10.0, cooldown_seconds=0.0), 8).look(60.0) == 6


def test_aibrix_waits_for_its_cooldown() -> None:
    """A window of 180 s of the mean, and 300 s in which the highest recommendation counts."""
    driver = Driver(AIBrix(MANY, target=10.0), 4)
    driver.looks([40.0] * 18)

    assert driver.until(3, 0.0) > 300.0
    assert Driver(AIBrix(MANY, target=10.0)).replicas == 1, "it does not come back from zero"


def gauges(*pairs: tuple[float, int]) -> list[Gauge]:
    """Gauges of some replicas."""
    return [Gauge(usage, waiting) for usage, waiting in pairs]


@pytest.mark.parametrize(
    ("of", "wanted"),
    [
        # docs/saturation-analyzer.md, "Multi-Variant Analysis": to spare on average 0.15 and 3.2; with one less 0.0.
        ([(0.70, 2), (0.75, 3), (0.60, 1), (0.65, 2), (0.55, 1)], 5),
        ([(0.75, 0), (0.72, 0)], 3),  # 0.065 of the cache to spare, and 0.1 is wanted
        ([(0.10, 3), (0.10, 3)], 3),  # two more may wait, and three are wanted
        ([(0.95, 9), (0.90, 0)], 3),  # both are saturated
        ([(0.20, 0), (0.20, 0), (0.20, 0)], 2),  # two with 0.3 each spare enough
        ([(0.20, 0)], 1),  # one is never taken away
        ([(0.90, 0), (0.10, 0)], 2),  # of one that is not saturated nothing is taken away
        ([(0.70, 0)], 1),  # exactly 0.1 to spare is enough
    ],
)
def test_wva_looks_at_what_is_to_spare(of: list[tuple[float, int]], wanted: int) -> None:
    """Triggers 0.1 of the cache and 3 requests, on average over replicas that are not saturated."""
    assert WVA(MANY).analyze(gauges(*of), len(of)) == wanted


def test_wva_goes_through_an_hpa_of_four_minutes() -> None:
    """The number that it publishes is followed when it has stood for 240 s; while replicas load it decides nothing."""
    driver = Driver(WVA(MANY))
    full = {"a": Gauge(0.79, 4)}
    published = []
    for _ in range(18):
        driver.look(0.0, ready=1, gauges=full)
        published.append(driver.state.desired)

    assert max(published) == 2, "one more, and no third before that is ready"
    assert driver.replicas == 2
    assert published.index(2) == 0


def test_wva_counts_the_peak_of_a_minute() -> None:
    """A queue that was long 45 s ago still counts."""
    driver = Driver(WVA(MANY))
    driver.look(0.0, gauges={"a": Gauge(0.1, 0)})
    driver.look(0.0, gauges={"a": Gauge(0.1, 9)})  # between two analyses

    driver.look(0.0, gauges={"a": Gauge(0.1, 0)})

    assert driver.state.desired == 2


def test_a_fixed_number_stays() -> None:
    """Whatever is asked."""
    assert Driver(Static(3)).looks([0.0, 1e6]) == [3, 3]


def test_hindsight_tries_the_grid_and_prefers_defaults() -> None:
    """Every setting that is named is tried, alone and with the others; of equals the defaults are taken."""
    policy = HPA(Limits(1, 5), target=32.0)
    tried = [variant for variant in variants(policy) if isinstance(variant, HPA)]

    assert tried[0] == policy
    assert len(tried) == len(set(tried)) == 12
    assert {variant.target for variant in tried} == {32.0 * factor for factor in (0.35, 0.5, 0.7, 1.0, 1.4, 2.0)}
    assert tuned(policy, lambda _: 1.0) == policy
    assert tried[8].target == pytest.approx(44.8)
    assert tuned(policy, lambda variant: abs(getattr(variant, "target", 0.0) - 45.0)) == tried[8]
    assert list(variants(Static(2))) == [Static(2)]


@pytest.mark.parametrize("kind", GRIDS)
def test_a_grid_names_settings_that_there_are(kind: Any) -> None:
    """Each is a field of its policy."""
    assert set(GRIDS[kind]) <= {field.name for field in fields(kind)}


def test_policies_bound_what_they_want() -> None:
    """The least and the most of the route hold for each."""
    limits = Limits(2, 3)
    policies: list[Policy[Any]] = [HPA(limits, 1.0), KPA(limits), KubeAI(limits, 1.0), AIBrix(limits, 1.0)]
    for policy in policies:
        driver = Driver(policy)
        assert driver.replicas == 2
        assert all(2 <= replicas <= 3 for replicas in driver.looks([0.0, 1e4, 1e4] + [0.0] * 200))

"""The bound: what a clairvoyant pays is the least there is, by trying all plans and by a linear program."""

import itertools
from random import Random

import numpy as np
import pytest
from scipy.optimize import linprog

from overspill_planner.optimum.clairvoyant import best_static, clairvoyant, cost_of
from overspill_planner.optimum.fluid import Fluid, Prices, ReplicaRates, fluid_of
from overspill_planner.traces.arrival import Arrival

PRICES = Prices(replica_hour=3600.0, input_million=1e6, output_million=1e6)
"""A dollar for a replica's second, and for a token."""


def a_fluid(seed: int, slots: int, levels: int) -> Fluid:
    """One by chance, with quiet slots in it."""
    random = Random(seed)
    gains = []
    for _ in range(slots):
        count = random.choice([0, 0, *range(1, levels + 1)])
        gains.append(tuple(sorted((random.uniform(0.0, 4.0) for _ in range(count)), reverse=True)))
    return Fluid(1.0, gains, sum(map(sum, gains)) + 1.0, 1.0)


@pytest.mark.parametrize("load_seconds", [0.0, 0.7, 3.0, 50.0])
@pytest.mark.parametrize("seed", range(8))
def test_no_plan_is_cheaper(seed: int, load_seconds: float) -> None:
    """Six slots and up to two replicas: all 729 plans."""
    fluid = a_fluid(seed, 6, 3)

    plan = clairvoyant(fluid, PRICES, load_seconds, replicas_max=2)

    every = (cost_of(plan, fluid, PRICES, load_seconds).usd for plan in itertools.product(range(3), repeat=6))
    assert plan.usd == pytest.approx(min(every))
    assert max(plan.replicas) <= 2


@pytest.mark.parametrize("seed", range(3))
def test_a_linear_program_finds_the_same(seed: int) -> None:
    """60 slots and five replicas, each of them between 0 and 1: its best answer is in whole replicas.

    Variables: z[k, t], whether replica k runs in slot t, and up[k, t] >= z[k, t] - z[k, t - 1].
    """
    slots, levels, load_seconds = 60, 5, 2.5
    fluid = a_fluid(seed, slots, levels)
    gains = np.zeros((levels, slots))
    for slot, row in enumerate(fluid.gains):
        gains[: len(row), slot] = row
    rise = np.eye(slots) - np.eye(slots, k=-1)
    inequalities = np.hstack([np.kron(np.eye(levels), rise), -np.eye(levels * slots)])
    cost = np.concatenate([1.0 - gains.ravel(), np.full(levels * slots, load_seconds)])

    answer = linprog(cost, A_ub=inequalities, b_ub=np.zeros(levels * slots), bounds=(0.0, 1.0))

    plan = clairvoyant(fluid, PRICES, load_seconds, replicas_max=levels)
    assert plan.usd == pytest.approx(answer.fun + fluid.hosted_usd)
    assert plan.starts > 0


def test_a_pause_shorter_than_a_load_is_waited_out() -> None:
    """A replica that saves 3 dollars a second at 1: over three quiet seconds it stays where a load takes four."""
    gains = [(3.0,)] * 4 + [()] * 3 + [(3.0,)] * 4
    fluid = Fluid(1.0, gains, 24.0, 8.0)

    assert clairvoyant(fluid, PRICES, 4.0, replicas_max=9).replicas == [1] * 11
    assert clairvoyant(fluid, PRICES, 2.0, replicas_max=9).replicas == [1] * 4 + [0] * 3 + [1] * 4
    assert clairvoyant(fluid, PRICES, 20.0, replicas_max=9).usd == fluid.hosted_usd, "nothing is worth such a load"


def test_the_least_number_always_runs() -> None:
    """With minReplicas 1 an idle replica is paid for as well."""
    fluid = Fluid(1.0, [()] * 10, 0.0, 0.0)

    plan = clairvoyant(fluid, PRICES, 5.0, replicas_max=4, replicas_min=1)

    assert (plan.usd, plan.starts) == (15.0, 1)


def test_the_best_static_number_is_between_none_and_enough() -> None:
    """Of three replicas the second still pays: it saves 1.5 dollars a second."""
    fluid = Fluid(1.0, [(3.0, 1.5, 0.9)] * 100, 540.0, 300.0)

    assert best_static(fluid, PRICES, 10.0, replicas_max=5).replicas == [2] * 100
    assert best_static(fluid, PRICES, 1_000.0, replicas_max=5).usd == 540.0


def test_work_is_spread_over_the_time_that_it_takes() -> None:
    """100 tokens read at 100 a second and 30 written every tenth of one: 4 s, 1.3 replica-seconds, 130 dollars."""
    rates = ReplicaRates(prompt_per_second=100.0, output_per_second=100.0, output_seconds=0.1)

    fluid = fluid_of([Arrival(3.0, 100, 30)], rates, PRICES, slot_seconds=5.0)

    assert fluid.gains == [(pytest.approx(65.0),), (pytest.approx(65.0),)]
    assert fluid.hosted_usd == pytest.approx(130.0)
    assert fluid.work_seconds == pytest.approx(1.3)
    assert fluid.rho(PRICES) == pytest.approx(100.0)


def test_the_first_replica_takes_what_is_dearest_elsewhere() -> None:
    """A second of work at 20 dollars a token and one at 1 a token: only half of both fits in a slot of 1 s."""
    prices = Prices(replica_hour=3600.0, input_million=1e6, output_million=20e6)
    rates = ReplicaRates(prompt_per_second=100.0, output_per_second=100.0, output_seconds=0.001)
    arrivals = [Arrival(0.0, 1, 99), Arrival(0.0, 99, 1)]

    fluid = fluid_of(arrivals, rates, prices, slot_seconds=1.0)

    assert fluid.gains[0] == (pytest.approx(1 + 99 * 20), pytest.approx(99 + 20))
    assert cost_of([1, 0], Fluid(1.0, [*fluid.gains, ()], fluid.hosted_usd, 2.0), prices, 2.0).usd == pytest.approx(
        1.0 + 2.0 + 99 + 20
    )


def test_the_fluid_of_nothing_costs_nothing() -> None:
    """An empty trace has no slot."""
    fluid = fluid_of([], ReplicaRates(1.0, 1.0, 1.0), PRICES)

    assert clairvoyant(fluid, PRICES, 60.0, replicas_max=3).usd == 0.0

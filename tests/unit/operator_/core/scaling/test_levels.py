"""How many replicas are worth their money, as demand comes."""

import dataclasses
import json
import math

import pytest

from overspill_operator.core.scaling.levels import LEVELS_MAX, RHO_MAX, Economy, Levels, Worth

ECONOMY = Economy(replica_usd_per_second=0.001, hosted_usd_per_replica_second=0.003, load_seconds=60.0)
"""rho 3: a replica pays from a third on."""


def heard(levels: Levels, offered: float, seconds: float, economy: Economy = ECONOMY, beat: float = 2.0) -> Levels:
    """The same demand for so long, heard of with each beat."""
    began = levels.heard_unix
    for number in range(round(seconds / beat)):
        levels = levels.heard(offered, economy, began + (number + 1) * beat)
    return levels


def worth(levels: Levels, current: int = 0, economy: Economy = ECONOMY, maximum: int = 8) -> Worth:
    """Of what was heard until now."""
    return levels.worth(economy, current, maximum, levels.heard_unix)


def test_full_replicas_run_and_one_that_would_be_half_idle_runs_where_it_pays() -> None:
    """2.5 replicas of work: the third is busy half of the time, above the third from which it pays."""
    levels = heard(Levels.begun(0.0), 2.5, 300.0)

    assert worth(levels).replicas == 3
    dear = Economy(0.001, 0.0015, 60.0)
    assert worth(heard(Levels.begun(0.0), 2.5, 300.0, dear), economy=dear).replicas == 2


def test_a_route_that_begins_under_load_has_its_replicas_within_seconds() -> None:
    """While little is known the mean of what was seen counts: waiting would cost the hosted API's price."""
    assert worth(heard(Levels.begun(0.0), 2.0, 12.0)).replicas == 2


@pytest.mark.parametrize("hosted", [0.0, 0.0005, 0.001, -1.0, math.nan])
def test_where_hosted_apis_are_cheaper_than_a_full_replica_none_runs(hosted: float) -> None:
    """At rho 1 and below, whatever comes; a price that is no number is no price."""
    economy = Economy(0.001, hosted, 60.0)

    assert worth(heard(Levels.begun(0.0), 5.0, 3600.0, economy, beat=60.0), economy=economy).replicas == 0


def test_replicas_that_cost_nothing_run_while_there_is_work() -> None:
    """A price of zero is a very good one, and no division by it."""
    economy = Economy(0.0, 0.003, 60.0)

    assert economy.rho == RHO_MAX
    assert worth(heard(Levels.begun(0.0), 1.2, 60.0, economy), economy=economy).replicas == 2


def test_demand_that_goes_takes_its_replicas_with_it() -> None:
    """Two loads without work are more than any rule waits that has not learned of short gaps."""
    levels = heard(heard(Levels.begun(0.0), 3.0, 3600.0), 0.0, 1800.0)

    assert worth(levels, current=3).replicas == 0


def test_an_idle_route_may_be_heard_of_hours_later() -> None:
    """One call after a long silence says what many calls in it would have said."""
    busy = heard(Levels.begun(0.0), 1.0, 600.0)

    at_once = busy.heard(0.0, ECONOMY, busy.heard_unix + 7200.0)

    assert worth(at_once).replicas == worth(heard(busy, 0.0, 7200.0)).replicas == 0


def test_beats_shorter_than_a_step_are_added_up() -> None:
    """Wakes and urgent lines may come any number of times in a second; the mean is what counts."""
    levels = Levels.begun(0.0)
    for number in range(1, 201):
        levels = levels.heard(2.0 if number % 2 else 0.0, ECONOMY, number * 0.1)

    assert len(levels.levels) == 1
    assert levels.levels[0].runs
    assert levels.heard(1.0, ECONOMY, levels.heard_unix) is levels


def test_after_a_restart_what_runs_is_kept_for_two_loads() -> None:
    """A process that has just begun has seen no demand yet, which is not to have seen none."""
    levels = heard(Levels.begun(0.0), 0.0, 100.0)

    kept = worth(levels, current=4)
    assert kept.replicas == 4
    assert "kept until its use is known" in kept.message
    assert worth(levels, current=4, maximum=2).replicas == 2
    assert worth(heard(levels, 0.0, 30.0), current=4).replicas == 0


def test_no_more_than_the_maximum_is_ever_worth_it() -> None:
    """Levels above it are watched all the same."""
    levels = heard(Levels.begun(0.0), 5.0, 600.0)

    assert worth(levels, maximum=3).replicas == 3
    assert len(worth(levels, maximum=3).levels) == 3


@pytest.mark.parametrize("offered", [math.nan, -5.0, math.inf, 1e300])
def test_demand_that_is_no_number_breaks_nothing(offered: float) -> None:
    """What gateways say is not trusted: none, or as many levels as there can be."""
    levels = Levels.begun(0.0).heard(offered, ECONOMY, 6.0)

    assert len(levels.levels) in (0, LEVELS_MAX)
    assert 0 <= worth(levels).replicas <= 8


def test_a_clock_that_goes_back_makes_no_time() -> None:
    """What was learned stays, and time goes on from the new clock."""
    levels = heard(Levels.begun(1000.0), 2.0, 60.0)

    back = levels.heard(2.0, ECONOMY, 500.0)

    assert back.levels == levels.levels
    assert worth(heard(back, 2.0, 10.0)).replicas == 2


def test_the_figures_behind_a_decision_are_told() -> None:
    """The last replica that runs and the first that does not: use, break-even, and why."""
    told = worth(heard(Levels.begun(0.0), 1.2, 3600.0))

    assert told.replicas == 1
    assert told.levels[0].use == pytest.approx(1.0, abs=0.01)
    assert told.levels[1].use == pytest.approx(0.2, abs=0.01)
    assert told.levels[1].break_even == pytest.approx(1.0 / 3.0)
    assert "replica 1 would be busy 100% of the time, and pays from 33% on" in told.message
    assert "replica 2 would be busy 20% of the time" in told.message
    cheap = Economy(0.001, 0.0005, 60.0)
    assert "cheaper even for a full one" in worth(heard(Levels.begun(0.0), 1.0, 60.0, cheap), economy=cheap).message
    assert worth(Levels.begun(0.0)).message == "there was no work"


def test_what_is_remembered_can_be_written_down() -> None:
    """Numbers and tuples of them: it is JSON as it is."""
    levels = heard(Levels.begun(0.0), 1.5, 600.0)

    assert json.loads(json.dumps(dataclasses.astuple(levels)))[1] == 600.0

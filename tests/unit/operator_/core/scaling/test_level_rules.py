"""One level of demand: what each rule would have cost, and which is followed."""

import pytest

from overspill_operator.core.scaling.level_rules import (
    ALWAYS,
    BANDS,
    COST,
    LEAD_LOADS_MAX,
    MEAN_RULE,
    NEVER,
    RUNS,
    Level,
    Stakes,
    advanced,
    mean_use_now,
    new_level,
)

STAKES = Stakes(rho=3.0, load_seconds=60.0)
"""A full replica's work costs three times its price elsewhere: it pays from a third on."""


def after(stretches: list[tuple[float, float]], stakes: Stakes = STAKES, step: float | None = None) -> Level:
    """A new level after stretches of (use, seconds), heard of in steps or each as a whole."""
    level, watched = new_level(0.0), 0.0
    for use, seconds in stretches:
        for _ in range(round(seconds / step) if step else 1):
            level = advanced(level, use, step or seconds, stakes, watched)
            watched += step or seconds
    return level


def fold(level: Level, stakes: Stakes = STAKES, watched: float = 2000.0) -> Level:
    """The level with nothing outstanding, by a step of other use that is too short to matter."""
    return advanced(level, 0.5, 1e-9, stakes, watched)


def test_a_new_level_goes_by_its_mean_use() -> None:
    """Before anything was tried the marginal rule decides: busy more than a quarter above the break-even, it runs."""
    assert after([(0.5, 60.0)]).runs
    assert not after([(0.4, 60.0)]).runs
    assert after([(0.5, 60.0)]).followed == MEAN_RULE


def test_what_was_idle_since_the_route_began_counts_in_the_mean() -> None:
    """A level that is reached after an hour for the first time has an hour without use behind it."""
    level = advanced(new_level(3600.0), 1.0, 10.0, STAKES, 3600.0)

    assert not level.runs
    assert level.mean_use == pytest.approx(1.0 - 2.71828 ** (-10.0 / 600.0), rel=1e-3)


def test_a_band_starts_when_a_replica_would_have_saved_its_width() -> None:
    """At full use a replica saves two seconds of its price a second: the band of 30 s starts after 15 s."""
    rule = BANDS.index(next(band for band in BANDS if band.start_seconds == 30.0))

    assert not fold(after([(1.0, 14.9)])).trials[rule][RUNS]
    assert fold(after([(1.0, 15.1)])).trials[rule][RUNS]


def test_a_band_stops_when_a_replica_has_lost_its_width() -> None:
    """A replica without work loses its price: half a load of 60 s is lost after 30 s."""
    rule = BANDS.index(next(band for band in BANDS if band.stop_loads == 0.5))

    assert fold(after([(1.0, 600.0), (0.0, 29.0)])).trials[rule][RUNS]
    assert not fold(after([(1.0, 600.0), (0.0, 31.0)])).trials[rule][RUNS]


def test_what_is_saved_begins_when_the_replica_is_loaded_and_the_load_is_charged_when_it_stops() -> None:
    """Always running: 60 s of load bring nothing, then each full second saves two; an empty one costs one."""
    level = fold(after([(1.0, 160.0)], Stakes(3.0, 60.0)))
    band = level.trials[0]  # starts after 15 / 2 s, and stops after 30 s without work

    assert band[COST] == pytest.approx(-2.0 * (160.0 - 7.5 - 60.0), abs=1e-6)
    stopped = fold(after([(1.0, 160.0), (0.0, 40.0)], Stakes(3.0, 60.0))).trials[0]
    assert stopped[COST] == pytest.approx(band[COST] + 30.0 + 60.0, abs=1e-6)


@pytest.mark.parametrize("uses", [[(1.0, 240.0), (0.0, 900.0), (1.0, 400.0)], [(0.4, 800.0), (0.21, 1200.0)]])
def test_a_long_step_comes_to_what_many_short_ones_come_to(uses: list[tuple[float, float]]) -> None:
    """While use is constant it does not matter how often it is told."""
    watched = sum(seconds for _, seconds in uses)
    long, short = fold(after(uses), watched=watched), fold(after(uses, step=2.0), watched=watched)

    assert long.followed == short.followed
    assert long.mean_use == pytest.approx(short.mean_use, abs=0.01)
    assert [trial[RUNS] for trial in long.trials] == [trial[RUNS] for trial in short.trials]
    for one, other in zip(long.trials, short.trials, strict=True):
        assert one[COST] == pytest.approx(other[COST], abs=8.0)  # a start or stop may fall into a step


def test_bursts_that_are_shorter_than_a_load_teach_it_never_to_start() -> None:
    """Thirty busy seconds every ten minutes, with five minutes of load: no start has ever paid."""
    stakes = Stakes(rho=8.0, load_seconds=300.0)

    level = after([(1.0, 30.0), (0.0, 570.0)] * 60, stakes)

    assert not level.runs
    assert level.trials[NEVER][COST] == min(trial[COST] for trial in level.trials)


def test_gaps_that_are_shorter_than_what_a_start_loses_teach_it_to_keep_the_replica() -> None:
    """Two minutes busy, two minutes not, at 24 times the price: never stopping is cheapest, and it runs in the gaps."""
    stakes = Stakes(rho=24.0, load_seconds=60.0)

    level = after([(1.0, 120.0), (0.0, 120.0)] * 60, stakes)

    assert level.runs
    assert level.trials[ALWAYS][COST] <= min(trial[COST] for trial in level.trials) + 60.0


def test_evidence_of_long_ago_can_be_overcome() -> None:
    """A level that was full for a month and then has bursts too short for any start gives up within a day."""
    stakes = Stakes(rho=8.0, load_seconds=300.0)

    level = after([(1.0, 30 * 86_400.0), *[(1.0, 30.0), (0.0, 570.0)] * 144], stakes)

    assert not level.runs
    costs = [trial[COST] for trial in fold(level, stakes).trials]
    assert max(costs) - min(costs) <= LEAD_LOADS_MAX * 300.0 + 1.0


def test_a_level_at_rest_is_not_worked_on() -> None:
    """Full and running, or empty and not: time is added up, and nothing else is made new."""
    busy = after([(1.0, 60.0)])
    busy = advanced(busy, 1.0, 2.0, STAKES, 60.0, expected_use=1.0)
    resting = advanced(busy, 1.0, 2.0, STAKES, 62.0, expected_use=1.0)

    assert busy.runs
    assert resting.trials is busy.trials
    assert resting.seconds == 4.0
    idle = after([(0.0, 60.0)])
    assert advanced(idle, 0.0, 3600.0, STAKES, 60.0).trials is idle.trials


def test_the_mean_use_is_told_up_to_now() -> None:
    """Seconds of rest count in what is told, though they are not in the trials yet."""
    level = advanced(after([(0.2, 600.0)]), 0.0, 600.0, STAKES, 600.0)

    assert level.seconds == 600.0
    assert level.mean_use == pytest.approx(0.2 * 600.0 / 610.0)
    assert mean_use_now(level, 1200.0) == pytest.approx(level.mean_use * 2.71828**-1, abs=1e-5)

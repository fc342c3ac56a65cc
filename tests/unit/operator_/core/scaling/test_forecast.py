"""What demand will be, by which forecaster, and how sure that is."""

import math
from collections.abc import Callable

import pytest

from overspill_operator.core.scaling.forecast import WAITING_MAX, Expected, Outlook

AHEAD = 300.0
"""What a load takes: five minutes."""


def watched(demand: Callable[[float], float], seconds: float, ahead: float = AHEAD, step: float = 10.0) -> Outlook:
    """An outlook on demand as a function of time."""
    outlook = Outlook()
    for number in range(1, round(seconds / step) + 1):
        outlook = outlook.heard(demand(number * step), step, ahead, number * step)
    return outlook


def test_demand_that_stays_is_expected_to_stay_and_surely() -> None:
    """Nothing has ever come otherwise."""
    expected = watched(lambda _: 3.0, 3600.0).expected(AHEAD, 3600.0)

    assert expected.mean == pytest.approx(3.0)
    assert expected.spread == pytest.approx(0.0, abs=1e-3)


def test_demand_that_grows_steadily_is_expected_to_go_on() -> None:
    """From 0 on, a replica every ten minutes: in five minutes it is half a replica more."""
    expected = watched(lambda now: now / 600.0, 7200.0).expected(AHEAD, 7200.0)

    assert expected.by == "trend"
    assert expected.mean == pytest.approx(12.5, abs=0.1)


def test_a_job_that_runs_each_hour_is_seen_to_come() -> None:
    """Ten minutes of each hour from its twentieth minute on: at 15 past the last hour's says what comes in five."""
    expected = watched(lambda now: 4.0 if 1200.0 <= now % 3600.0 < 1800.0 else 0.2, 8 * 3600.0 + 1000.0).expected(
        AHEAD, 8 * 3600.0 + 1000.0
    )

    assert expected.by == "hour"
    assert expected.mean == pytest.approx(4.0, abs=0.2)


def test_office_hours_are_seen_to_come_after_the_first_day() -> None:
    """At five to eight on the third day eight o'clock is expected, where the hour before says nothing of it."""
    outlook = watched(lambda now: 5.0 if 8.0 <= now % 86_400.0 / 3600.0 < 18.0 else 0.2, 2 * 86_400.0 + 28_560.0)

    expected = outlook.expected(AHEAD, 2 * 86_400.0 + 28_560.0)

    assert expected.by == "day"
    assert expected.mean == pytest.approx(5.0, abs=0.2)


def test_a_day_without_pattern_is_not_believed() -> None:
    """Each day at another time: what was yesterday misleads, and demand as it was lately is believed instead."""
    outlook = watched(
        lambda now: 5.0 if (now % 86_400.0 // 3600.0) == (now // 86_400.0 * 7) % 24 else 0.2, 4 * 86_400.0
    )

    assert outlook.expected(AHEAD, 4 * 86_400.0).by == "last"


def test_where_forecasts_were_wrong_the_next_one_is_as_unsure() -> None:
    """Demand of 1 and 3 in turns that fit no hour is missed by 2 half of the time."""
    expected = watched(lambda now: 1.0 if now // 700.0 % 2 else 3.0, 6 * 3600.0 - 1500.0).expected(AHEAD, 20_100.0)

    assert 0.3 < expected.spread < 2.0


def test_the_share_that_a_replica_would_be_busy_counts_the_chance_of_more() -> None:
    """A mean of 2.0 and a spread of 0.5: the third replica is busy 20 % of the time, though the mean needs two."""
    expected = Expected(2.0, 0.5)

    assert expected.use(2) == pytest.approx(0.5 / math.sqrt(2.0 * math.pi), abs=0.01)
    assert [expected.use(below) for below in range(3)] == sorted(map(expected.use, range(3)), reverse=True)
    assert Expected(2.5, 0.0).use(1) == 1.0
    assert Expected(2.5, 0.0).use(2) == pytest.approx(0.5)
    assert Expected(2.5, 0.0).use(3) == 0.0
    assert sum(map(expected.use, range(10))) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("ahead", [10.0, 300.0, 3600.0])
def test_what_is_remembered_is_bounded(ahead: float) -> None:
    """However far ahead it looks and however long it has watched."""
    assert len(watched(lambda _: 1.0, 7200.0, ahead).waiting) <= WAITING_MAX + 1


def test_a_forecast_whose_time_passed_unheard_is_not_measured_by_what_came_later() -> None:
    """After an hour of silence the mean of that hour says nothing of its fifth minute."""
    outlook = watched(lambda _: 3.0, 3600.0)

    later = outlook.heard(0.0, 7200.0, AHEAD, 3600.0 + 7200.0).heard(0.0, 10.0, AHEAD, 3600.0 + 7210.0)

    assert later.expected(AHEAD, 10_810.0).mean == pytest.approx(0.0, abs=0.01)
    assert later.slope == pytest.approx(0.0, abs=1e-6)


def test_what_is_expected_is_never_below_nothing() -> None:
    """A steep fall does not go on below zero."""
    outlook = watched(lambda now: max(10.0 - now / 120.0, 0.1), 1180.0)

    assert outlook.expected(AHEAD, 1180.0).mean >= 0.0

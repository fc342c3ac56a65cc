"""Calendar periods in a budget's own time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.money.periods import Kind, TimeZoneError, period_at

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo", "Asia/Beirut"]


def unix(text: str, zone: str = "UTC") -> float:
    """Unix seconds of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("kind", "zone", "moment", "start", "end"),
    [
        ("Day", "UTC", "2026-11-21T13:00", "2026-11-21", "2026-11-22"),
        ("Week", "UTC", "2026-11-22T23:59", "2026-11-16", "2026-11-23"),
        ("Week", "UTC", "2026-11-23T00:00", "2026-11-23", "2026-11-30"),
        ("Month", "UTC", "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
        ("Month", "UTC", "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
        ("Day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-25", "2026-10-26"),
        ("Month", "Asia/Kolkata", "2026-11-01T00:00", "2026-11-01", "2026-12-01"),
    ],
)
def test_days_weeks_and_months_begin_at_local_midnight(
    kind: Kind, zone: str, moment: str, start: str, end: str
) -> None:
    """The start is in the period, the end is not."""
    period = period_at(kind, zone, unix(moment, zone))

    assert (period.start, period.end) == (unix(start, zone), unix(end, zone))


def test_a_day_in_which_clocks_change_has_23_or_25_hours() -> None:
    """Money of a day lasts from midnight to midnight, however long that is."""
    autumn = period_at("Day", "Europe/Berlin", unix("2026-10-25T12:00", "Europe/Berlin"))
    spring = period_at("Day", "Europe/Berlin", unix("2026-03-29T12:00", "Europe/Berlin"))

    assert (autumn.end - autumn.start, spring.end - spring.start) == (25 * 3600, 23 * 3600)


@given(
    st.sampled_from(["Day", "Week", "Month"]),
    st.sampled_from(ZONES),
    st.integers(int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2035, 1, 1, tzinfo=UTC).timestamp())),
)
def test_periods_follow_each_other_without_gap_or_overlap(kind: Kind, zone: str, moment: int) -> None:
    """Every moment is in exactly one, clocks that are put forward over midnight or skip a day included."""
    period = period_at(kind, zone, moment)

    assert period.holds(moment)
    assert period_at(kind, zone, period.end).start == period.end
    assert period_at(kind, zone, period.start) == period
    assert period_at(kind, zone, period.start - 1).end == period.start


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "Europe"])
def test_an_unknown_time_zone_says_what_to_set(name: str) -> None:
    """A name that is no time zone is an error of the document, not a crash."""
    with pytest.raises(TimeZoneError, match="IANA name"):
        period_at("Day", name, 0.0)

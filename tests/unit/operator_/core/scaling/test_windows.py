"""Windows: days, midnight, overlaps, summer time."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_api.scaling import Scaling
from overspill_operator.core.scaling.windows import Bounds, bounds_at, unknown_time_zones

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = {
    "name": "office", "days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "from": "08:00", "to": "20:00",
    "timeZone": "Europe/Berlin", "minReplicas": 1,
}  # fmt: skip
NIGHT = {"name": "night", "from": "22:00", "to": "06:00", "timeZone": "Europe/Berlin", "maxReplicas": 0}


def bounds(moment: str, *windows: dict[str, object], **scaling: int) -> Bounds:
    """Bounds at a moment of Berlin."""
    spec = Scaling.model_validate({"maxReplicas": 4, **scaling, "windows": list(windows)})
    return bounds_at(spec, datetime.fromisoformat(moment).replace(tzinfo=BERLIN).timestamp())


def berlin(unix: float | None) -> str:
    """A moment as Berlin's clocks show it."""
    assert unix is not None
    return datetime.fromtimestamp(unix, BERLIN).strftime("%a %H:%M")


@pytest.mark.parametrize(
    ("moment", "minimum"),
    [
        ("2026-11-20T07:59:59", 0),  # a Friday
        ("2026-11-20T08:00:00", 1),
        ("2026-11-20T19:59:59", 1),
        ("2026-11-20T20:00:00", 0),
        ("2026-11-21T12:00:00", 0),  # a Saturday
    ],
)
def test_a_window_holds_from_its_start_until_before_its_end(moment: str, minimum: int) -> None:
    """Start inclusive, end exclusive, only on its days."""
    assert bounds(moment, OFFICE).minimum == minimum


@pytest.mark.parametrize(
    ("moment", "maximum"),
    [("2026-11-20T21:59:00", 4), ("2026-11-20T22:00:00", 0), ("2026-11-21T05:59:00", 0), ("2026-11-21T06:00:00", 4)],
)
def test_a_window_may_cross_midnight(moment: str, maximum: int) -> None:
    """An end before the start is the next day's."""
    assert bounds(moment, NIGHT).maximum == maximum


def test_days_are_those_of_the_start() -> None:
    """Friday night belongs to Friday, also on Saturday morning; Sunday night is not on the list."""
    friday = {**NIGHT, "days": ["Fri"]}
    assert bounds("2026-11-21T03:00", friday).windows == ("night",)
    assert bounds("2026-11-22T03:00", friday).windows == ()


def test_an_equal_start_and_end_is_a_whole_day() -> None:
    """24 hours from the start."""
    always = {"name": "always", "days": ["Fri"], "from": "12:00", "to": "12:00", "minReplicas": 2}
    assert bounds("2026-11-20T13:00", always).minimum == 2
    assert bounds("2026-11-21T12:30", always).minimum == 2  # 11:30 UTC: the window's zone is UTC
    assert bounds("2026-11-21T13:30", always).minimum == 0


def test_of_several_the_strictest_hold() -> None:
    """Highest minimum, lowest maximum, and the maximum wins."""
    more = {**OFFICE, "name": "more", "minReplicas": 3}
    fewer = {**OFFICE, "name": "fewer", "minReplicas": None, "maxReplicas": 2}
    found = bounds("2026-11-20T10:00", OFFICE, more, fewer)
    assert (found.minimum, found.maximum, found.windows) == (2, 2, ("office", "more", "fewer"))


def test_the_next_change_is_known() -> None:
    """Scaling is looked at again at an edge and not before."""
    assert berlin(bounds("2026-11-20T10:00", OFFICE, NIGHT).next_change_unix) == "Fri 20:00"
    assert berlin(bounds("2026-11-20T20:30", OFFICE, NIGHT).next_change_unix) == "Fri 22:00"
    assert berlin(bounds("2026-11-21T12:00", OFFICE).next_change_unix) == "Mon 08:00"
    assert bounds("2026-11-21T12:00").next_change_unix is None


def test_summer_time_is_followed() -> None:
    """Clocks change on 2026-03-29 and 2026-10-25; the window stays at eight of the wall clock."""
    for day in ("2026-03-28", "2026-03-30", "2026-10-24", "2026-10-26"):
        every = {**OFFICE, "days": ["Mon", "Sat"]}
        assert bounds(f"{day}T07:59", every).minimum == 0
        assert bounds(f"{day}T08:00", every).minimum == 1
    # The night in which an hour is missing lasts seven hours, from 22:00 to 06:00.
    assert bounds("2026-03-29T05:59", NIGHT).maximum == 0
    assert bounds("2026-03-29T06:00", NIGHT).maximum == 4


def test_an_unknown_zone_is_named_and_its_window_left_out() -> None:
    """A fault of its own; bounds are those of the rest."""
    odd = {**OFFICE, "name": "odd", "timeZone": "Europe/Atlantis"}
    assert unknown_time_zones(Scaling.model_validate({"windows": [odd, OFFICE]})) == ("Europe/Atlantis",)
    assert bounds("2026-11-20T10:00", odd).windows == ()


times = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59))


@given(start=times, end=times, unix=st.integers(1_700_000_000, 1_900_000_000))
def test_bounds_only_change_at_the_next_change(start: str, end: str, unix: int) -> None:
    """Between now and the next change the same windows hold."""
    window = {"name": "w", "from": start, "to": end, "timeZone": "America/New_York", "minReplicas": 1}
    scaling = Scaling.model_validate({"windows": [window]})
    now = bounds_at(scaling, unix)
    assert now.next_change_unix is not None
    assert unix < now.next_change_unix <= unix + 90_000
    for share in (0.25, 0.5, 0.99):
        later = bounds_at(scaling, unix + (now.next_change_unix - unix) * share)
        assert later.windows == now.windows

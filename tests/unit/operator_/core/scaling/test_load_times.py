"""How long starts take: from times that others have written, whatever these say, to an estimate that outlives us."""

import json
from math import inf, nan

import pytest

from overspill_api.status import LoadTime
from overspill_operator.core.scaling.load_times import (
    ENGINE_START,
    IMAGE,
    LOAD_SECONDS_MAX,
    SCHEDULED,
    STARTS_MAX,
    WEIGHTS,
    LoadTimes,
    Phase,
    PhaseEnd,
    Start,
    measured,
    read_status,
    seconds_text,
    status_of,
)

BEGUN = 1_790_000_000.0


def seen(scheduled: float | None, started: float | None, ready: float | None) -> Start | None:
    """A start whose phases ended so many seconds after it began."""
    ends = {(SCHEDULED,): scheduled, (IMAGE,): started, (WEIGHTS, ENGINE_START): ready}
    times = [PhaseEnd(parts, None if at is None else BEGUN + at) for parts, at in ends.items()]
    return measured("r-1", BEGUN, times)


def phases(start: Start | None) -> list[tuple[str, float]]:
    """Names and seconds."""
    assert start is not None
    return [(phase.name, phase.seconds) for phase in start.phases]


def took(*seconds: float) -> LoadTimes:
    """Starts of so many seconds, the oldest first."""
    times = LoadTimes("m")
    for number, value in enumerate(seconds):
        times = times.heard(Start("r", BEGUN + number, (Phase((IMAGE,), value),)))
    return times


def test_each_phase_is_what_lies_between_two_ends() -> None:
    """And the whole is their sum."""
    start = seen(1, 42, 74)
    assert phases(start) == [("scheduled", 1), ("image", 41), ("weights and engine start", 32)]
    assert start is not None
    assert (start.seconds, start.longest.name) == (74, "image")
    assert start.words == "scheduled 1 s, image 41 s, weights and engine start 32 s"


@pytest.mark.parametrize("scheduled", [None, -500.0, 500.0, inf, -inf, nan])
def test_a_phase_whose_end_cannot_be_is_told_with_the_next_one(scheduled: float | None) -> None:
    """Before its beginning, after all was over, or never written."""
    assert phases(seen(scheduled, 42, 74)) == [("scheduled and image", 42), ("weights and engine start", 32)]


def test_all_in_one_where_only_the_end_is_known() -> None:
    """Three parts are told with a comma."""
    assert phases(seen(None, None, 9)) == [("scheduled, image, weights and engine start", 9)]


def test_times_to_the_second_may_run_back_a_little() -> None:
    """A phase never takes less than nothing, and the whole stays what it is."""
    assert phases(seen(2, 1, 9)) == [("scheduled", 2), ("image", 0), ("weights and engine start", 7)]
    assert phases(seen(2, 10, 9)) == [("scheduled", 2), ("image", 7), ("weights and engine start", 0)]
    assert phases(seen(0, 0, -1)) == [("scheduled", 0), ("image", 0), ("weights and engine start", 0)]


@pytest.mark.parametrize("ready", [None, nan, inf, -inf, -10.0, LOAD_SECONDS_MAX + 1, 1e300])
def test_a_start_whose_end_cannot_be_is_none(ready: float | None) -> None:
    """Nothing is made of it: an estimate would be worse than none."""
    assert seen(1, 2, ready) is None
    assert measured("r", nan, [PhaseEnd((IMAGE,), BEGUN)]) is None


def test_the_estimate_is_what_most_starts_take() -> None:
    """One that waited for a node does not move it; a lasting change does, after half of what is remembered."""
    assert LoadTimes("m").expected_seconds is None
    assert took(40).expected_seconds == 40
    assert took(30, 400).expected_seconds == 400
    assert took(30, 400, 32).expected_seconds == 32
    assert took(*[30] * STARTS_MAX, 90, 90, 90, 90).expected_seconds == 30
    assert took(*[30] * STARTS_MAX, 90, 90, 90, 90, 90).expected_seconds == 90


def test_so_many_starts_are_remembered_and_no_more() -> None:
    """Newest first."""
    times = took(*range(100))
    assert times.recent_seconds == tuple(float(99 - number) for number in range(STARTS_MAX))
    assert times.last is not None
    assert times.last.at_unix == BEGUN + 99


def test_a_start_from_before_the_last_one_is_counted_and_not_shown() -> None:
    """It was heard of late."""
    times = took(30, 31).heard(Start("late", BEGUN - 5, (Phase((IMAGE,), 50.0),)))
    assert times.recent_seconds == (31, 30, 50)
    assert times.last is not None
    assert times.last.replica == "r"


def test_another_model_or_profile_begins_anew() -> None:
    """What a small model took says nothing of a large one."""
    times = took(30)
    assert times.of("m") is times
    assert times.of("other") == LoadTimes("other")


def test_status_brings_back_what_was_known() -> None:
    """Over a restart, through JSON; and it has the form that the API has."""
    times = took(30.04, 74)
    status = status_of(times, "Do this.")
    LoadTime.model_validate(status)
    back = read_status(json.loads(json.dumps(status)), BEGUN + 1000)
    assert back.recent_seconds == (74, 30)
    assert back.last == times.last
    assert back.expected_seconds == times.expected_seconds
    assert back.made_from == "m"
    assert status_of(LoadTimes("m"), "") is None
    assert (status_of(times, "") or {})["advice"] == "None: a start is short."


GOOD = status_of(took(30), "") or {}


@pytest.mark.parametrize(
    "change",
    [
        {"madeFrom": 7},
        {"recentSeconds": None},
        {"recentSeconds": ["x", -1, True, 1e9, nan, {}]},
        {"lastStart": None},
        {"lastStart": {**GOOD["lastStart"], "at": "0000-00-00T00:00:00Z"}},
        {"lastStart": {**GOOD["lastStart"], "at": "9999-12-31T23:59:59Z"}},
        {"lastStart": {**GOOD["lastStart"], "at": 12}},
        {"lastStart": {**GOOD["lastStart"], "phases": "none"}},
        {"lastStart": {**GOOD["lastStart"], "phases": [7]}},
        {"lastStart": {**GOOD["lastStart"], "phases": [{"name": "image", "seconds": "long"}]}},
        {"lastStart": {**GOOD["lastStart"], "phases": [{"name": "\n<b>", "seconds": 1}]}},
        {"lastStart": {**GOOD["lastStart"], "phases": []}},
    ],
)
def test_junk_in_status_is_nothing_known(change: dict[str, object]) -> None:
    """Whoever may write status may write anything: it neither ends the operator nor scales by it."""
    assert read_status({**GOOD, **change}, BEGUN + 1000).expected_seconds is None


@pytest.mark.parametrize("phases", [["image, " * 17 + SCHEDULED], [SCHEDULED] * 8])
def test_what_is_read_from_status_can_be_written_again(phases: list[str]) -> None:
    """As long a name or list as status takes, and no longer one after the first answer: else it is refused for ever."""
    told = [{"name": name, "seconds": 1.0} for name in phases]
    times = read_status({**GOOD, "lastStart": {**GOOD["lastStart"], "phases": told}}, BEGUN + 1000)
    times = times.answered(GOOD["lastStart"]["replica"], 2.0)
    LoadTime.model_validate(status_of(times, "") or status_of(read_status(GOOD, BEGUN + 1000), ""))


@pytest.mark.parametrize("status", [None, [], "x", {}, 3])
def test_no_status_is_nothing_known(status: object) -> None:
    """Likewise."""
    assert read_status(status, BEGUN) == LoadTimes()


def test_seconds_are_told_in_tenths_where_these_matter() -> None:
    """Nobody reads hundredths."""
    assert [seconds_text(value) for value in (0.0, 0.44, 3.0, 9.96, 74.4)] == ["0 s", "0.4 s", "3 s", "10 s", "74 s"]

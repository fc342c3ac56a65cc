"""When a backend wants to be asked again: every dialect, what goes before what, and that garbage says nothing."""

import calendar
import email.utils
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.http.head import Header
from overspill_gateway.core.http.retry_after import SECONDS_MAX, retry_after_seconds

NOW = float(calendar.timegm((2015, 10, 21, 7, 28, 0)))


def read(*lines: str) -> float | None:
    """What these header lines say."""
    headers: list[Header] = []
    for line in lines:
        name, _, value = line.partition(": ")
        headers.append((name.encode(), value.encode()))
    return retry_after_seconds(headers, NOW)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("retry-after: 7", 7.0),
        ("retry-after: 0", 0.0),
        ("retry-after: 1.5", 1.5),
        ("retry-after:  20 ", 20.0),
        ("retry-after: 2m", 120.0),
        ("retry-after: Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("retry-after: Wednesday, 21-Oct-15 07:28:30 GMT", 30.0),
        ("retry-after: Wed Oct 21 07:28:30 2015", 30.0),
        ("retry-after: Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("retry-after-ms: 2500", 2.5),
        ("x-ms-retry-after-ms: 40", 0.04),
        ("x-ratelimit-reset: 12", 12.0),
        ("x-ratelimit-reset: 1445412490", 10.0),
        ("x-ratelimit-reset: 1445412490500", 10.5),
        ("x-ratelimit-reset: 1m30s", 90.0),
        ("ratelimit-reset: 50", 50.0),
        ("x-ratelimit-reset-requests: 8.64s", 8.64),
        ("x-ratelimit-reset-tokens: 6ms", 0.006),
        ("x-ratelimit-reset-tokens: 1h2m3.5s", SECONDS_MAX),
        ("x-ratelimit-reset-requests-day: 33011.382867", SECONDS_MAX),
        ("x-ratelimit-reset-tokens-minute: 11.38", 11.38),
        ("anthropic-ratelimit-requests-reset: 2015-10-21T07:28:11Z", 11.0),
        ("anthropic-ratelimit-input-tokens-reset: 2015-10-21T09:28:11+02:00", 11.0),
        ("anthropic-ratelimit-output-tokens-reset: 2015-10-21T07:28:11.250Z", 11.25),
        ("anthropic-ratelimit-tokens-reset: 2015-10-21T00:28:11-07:00", 11.0),
        ("anthropic-ratelimit-unified-reset: 1445412490", 10.0),
    ],
)
def test_each_dialect(line: str, seconds: float) -> None:
    """Seconds, milliseconds, dates, points in time, durations: alone in an answer."""
    found = read("content-type: application/json", line)
    assert found is not None
    assert found == pytest.approx(seconds)


@pytest.mark.parametrize(
    "line",
    [
        "retry-after: soon",
        "retry-after: ",
        "retry-after: -5",
        "retry-after: nan",
        "retry-after: inf",
        "retry-after: 1e3",
        "retry-after: 1_000",
        "retry-after: ٣",
        "retry-after: 5 apples",
        "retry-after: Wed, 32 Oct 2015 07:28:30 GMT",
        "retry-after: Wed, 21 Okt 2015 07:28:30 GMT",
        "retry-after: Wed, 21 Oct 2015 25:28:30 GMT",
        "retry-after: " + "9" * 100,
        "retry-after-ms: 1m30s",
        "x-ratelimit-reset: 1d",
        "x-ratelimit-reset: 1m 30s",
        "x-ratelimit-reset: m",
        "anthropic-ratelimit-tokens-reset: 2015-10-21",
        "x-ratelimit-limit-requests: 60",
        "x-ratelimit-remaining-requests: 0",
        "date: Wed, 21 Oct 2015 07:28:30 GMT",
    ],
)
def test_garbage_says_nothing(line: str) -> None:
    """Nor do fields that are about something else."""
    assert read(line) is None


def test_what_is_said_plainly_goes_first() -> None:
    """Milliseconds before seconds, both before the reset of a limit; garbage gives way to what can be read."""
    resets = ("x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-tokens: 40s")
    assert read(*resets, "retry-after: 3", "retry-after-ms: 2600") == 2.6
    assert read(*resets, "retry-after: 3") == 3.0
    assert read(*resets, "retry-after: later") == 40.0


def test_the_limit_that_is_used_up_says_when() -> None:
    """OpenAI names the resets of all limits in every answer; where two are used up the later one counts."""
    limits = ["x-ratelimit-reset-requests: 1m", "x-ratelimit-reset-tokens: 6ms"]
    assert read("x-ratelimit-remaining-requests: 0", "x-ratelimit-remaining-tokens: 900", *limits) == 60.0
    assert read("x-ratelimit-remaining-requests: 9", "x-ratelimit-remaining-tokens: 0", *limits) == 0.006
    assert read("x-ratelimit-remaining-requests: 0", "x-ratelimit-remaining-tokens: 0", *limits) == 60.0


def test_a_limit_of_the_day_that_is_not_used_up_does_not_count() -> None:
    """Cerebras tells the resets of the day's and the minute's limits side by side."""
    day = ["x-ratelimit-remaining-requests-day: 14000", "x-ratelimit-reset-requests-day: 33011.38"]
    minute = ["x-ratelimit-remaining-tokens-minute: 0", "x-ratelimit-reset-tokens-minute: 11.38"]
    assert read(*day, *minute) == 11.38


def test_where_no_limit_is_used_up_the_first_reset_counts() -> None:
    """A request may need more than what is left: asking after the first reset is the earliest that can help."""
    assert read("x-ratelimit-reset-requests: 1m", "x-ratelimit-reset-tokens: 4s") == 4.0


def test_dates_are_compared_with_the_sender_s_own_clock() -> None:
    """Where an answer has a Date: its clock and ours need not agree."""
    assert read("date: Wed, 21 Oct 2015 09:00:00 GMT", "retry-after: Wed, 21 Oct 2015 09:00:07 GMT") == 7.0
    assert read("date: yesterday", "retry-after: Wed, 21 Oct 2015 07:28:07 GMT") == 7.0


@given(st.integers(0, 4_102_444_800))
def test_dates_are_read_as_the_standard_library_reads_them(unix: int) -> None:
    """The forms with four digits of the year, and RFC 3339, for every second from 1970 to 2099."""
    moment = time.gmtime(unix)
    forms = [email.utils.formatdate(unix, usegmt=True), time.asctime(moment)]
    assert calendar.timegm(email.utils.parsedate(forms[0]) or ()) == unix
    for form in forms:
        assert retry_after_seconds([(b"retry-after", form.encode())], float(unix - 60)) == 60.0
    rfc_3339 = time.strftime("%Y-%m-%dT%H:%M:%SZ", moment).encode()
    assert retry_after_seconds([(b"anthropic-ratelimit-tokens-reset", rfc_3339)], float(unix - 60)) == 60.0


NAMES = st.sampled_from(
    [
        b"retry-after", b"retry-after-ms", b"x-ms-retry-after-ms", b"x-ratelimit-reset", b"x-ratelimit-reset-tokens",
        b"x-ratelimit-remaining-tokens", b"anthropic-ratelimit-tokens-reset", b"ratelimit-reset", b"date",
    ]
)  # fmt: skip
VALUES = st.binary(max_size=80) | st.from_regex(r"[0-9.:hmsuTZ+-]{1,30}", fullmatch=True).map(str.encode)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.floats(0, 4e9))
def test_whatever_comes_the_answer_is_bounded(headers: list[Header], now: float) -> None:
    """No header makes reading fail, nor anybody wait for longer than an hour."""
    found = retry_after_seconds(headers, now)
    assert found is None or (math.isfinite(found) and 0.0 <= found <= SECONDS_MAX)

"""Rates that must not be exceeded, over any minute and exactly."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.limits import (
    MERGE_SECONDS,
    NEVER,
    WINDOW_SECONDS,
    Entry,
    HostedLimiter,
    RateLimiter,
    RateWindow,
)

PAUSES = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 40)), max_size=120)


@given(PAUSES, st.integers(1, 100))
def test_no_span_of_a_minute_gets_more_than_the_limit(steps: list[tuple[float, int]], limit: int) -> None:
    """Not at the edge of a window either: every span of 60 seconds is looked at."""
    window = RateWindow(limit)
    taken: list[tuple[float, int]] = []
    now = 100.0
    for pause, amount in steps:
        now += pause
        if window.take(now, amount) == 0.0:
            taken.append((now, amount))

    for start, _ in taken:
        assert sum(amount for at, amount in taken if start <= at < start + WINDOW_SECONDS) <= limit


@given(PAUSES, st.integers(1, 100), st.integers(1, 40))
def test_the_wait_is_right(steps: list[tuple[float, int]], limit: int, wanted: int) -> None:
    """After it the amount fits; before it, but for the quarter of a second that is counted as one, it does not."""
    window = RateWindow(limit)
    now = 0.0
    for pause, amount in steps:
        now += pause
        window.take(now, amount)

    wait = window.wait_seconds(now, wanted)

    if wanted > limit:
        assert wait in {0.0, NEVER}
    elif wait:
        assert 0 < wait <= WINDOW_SECONDS
        early = max(now, now + wait - MERGE_SECONDS - 0.01)
        assert early == now or window.wait_seconds(early, wanted) > 0.0
        assert window.take(now + wait + 1e-6, wanted) == 0.0


def test_a_client_at_exactly_its_rate_is_never_refused() -> None:
    """60 a minute is one a second for ever."""
    window = RateWindow(60)

    assert [window.take(float(second), 1) for second in range(600)] == [0.0] * 600


def test_a_burst_may_use_the_whole_limit_and_then_waits_for_its_own_minute() -> None:
    """Nothing trickles back before the minute is over, so that no two minutes' worth pass an edge."""
    window = RateWindow(10)
    for _ in range(10):
        assert window.take(59.9, 1) == 0.0

    assert window.take(60.1, 1) == pytest.approx(59.8)
    assert window.take(119.9, 10) == 0.0


def test_what_was_counted_too_much_comes_back_where_it_was_counted() -> None:
    """A correction downwards frees room now, and nothing twice when the minute ends."""
    window = RateWindow(100)
    entry = window.add(0.0, 80)
    assert window.take(10.0, 60) > 0

    window.correct(10.0, entry, 80, 30)

    assert window.take(10.0, 70) == 0.0
    assert window.take(10.0, 1) == pytest.approx(50.0)
    assert window.take(60.0, 30) == 0.0
    assert window.take(60.0, 1) > 0


def test_what_was_counted_too_little_counts_from_then_on() -> None:
    """More tokens than estimated: the window is overdrawn and the next request waits for them."""
    window = RateWindow(100)
    entry = window.add(0.0, 10)
    window.correct(30.0, entry, 10, 150)

    assert window.wait_seconds(30.0, 1) == pytest.approx(60.0)
    assert window.counted(90.0) == 0


def test_a_correction_after_the_minute_changes_nothing() -> None:
    """A long answer's tokens were forgotten already: they are not given back a second time."""
    window = RateWindow(100)
    entry = window.add(0.0, 80)
    assert window.take(61.0, 100) == 0.0

    window.correct(62.0, entry, 80, 0)

    assert window.counted(62.0) == 100


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 50), st.integers(0, 80)), max_size=60))
def test_corrections_never_lose_count(steps: list[tuple[float, int, int]]) -> None:
    """When a minute has passed without requests nothing is left, and it is never less than nothing."""
    window = RateWindow(100)
    now = 0.0
    open_ones = []
    for pause, counted, actual in steps:
        now += pause
        if window.wait_seconds(now, counted) == 0.0:
            open_ones.append((window.add(now, counted), counted, actual))
        if len(open_ones) > 3:
            window.correct(now, *open_ones.pop(0))
        assert window.total >= 0
    for one in open_ones:
        window.correct(now, *one)

    assert window.counted(now + WINDOW_SECONDS + 0.001) == 0


def test_memory_is_bounded_whatever_the_rate() -> None:
    """Requests a quarter of a second apart or less are one entry."""
    window = RateWindow(10**9)
    for number in range(100_000):
        window.add(number / 1000, 1)
    window.counted(100.0)

    assert len(window._entries) <= WINDOW_SECONDS / MERGE_SECONDS + 2


def test_a_request_larger_than_the_limit_is_told_so() -> None:
    """No waiting helps: the wait is infinite rather than a minute that would end in the same refusal."""
    assert RateWindow(100).take(0.0, 101) == NEVER


def test_a_lowered_limit_holds_at_once_and_a_raised_one_too() -> None:
    """What was counted stays counted."""
    limiter = RateLimiter(10, 1000)
    for _ in range(8):
        limiter.add(0.0, 100)

    limiter.update(5, 1000)
    assert limiter.wait_seconds(1.0, 1) == pytest.approx(59.0)
    limiter.update(20, 1000)
    assert limiter.wait_seconds(1.0, 200) == 0.0
    assert limiter.wait_seconds(1.0, 201) == pytest.approx(59.0)
    limiter.update(None, None)
    assert limiter.wait_seconds(1.0, 10**9) == 0.0


def test_both_rates_hold_and_the_longer_wait_is_told() -> None:
    """Requests and tokens: whichever takes longer."""
    limiter = RateLimiter(2, 100)
    limiter.add(0.0, 10)
    limiter.add(20.0, 85)

    assert limiter.wait_seconds(30.0, 5) == pytest.approx(30.0)
    assert limiter.wait_seconds(30.0, 90) == pytest.approx(50.0)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60), st.booleans()), max_size=100))
def test_a_hosted_api_never_gets_more_than_its_provider_allows(steps: list[tuple[float, int, bool]]) -> None:
    """Requests and tokens of any minute, and requests at a time."""
    limiter = HostedLimiter(30, 500, 4)
    running: list[tuple[Entry | None, int]] = []
    sent: list[tuple[float, int]] = []
    now = 0.0
    for pause, tokens, ends in steps:
        now += pause
        if limiter.may_take(now, tokens):
            running.append((limiter.began(now, tokens), tokens))
            sent.append((now, tokens))
        assert len(running) <= 4
        if ends and running:
            entry, counted = running.pop(0)
            limiter.ended(now, entry, counted, counted)

    for start, _ in sent:
        span = [tokens for at, tokens in sent if start <= at < start + WINDOW_SECONDS]
        assert len(span) <= 30
        assert sum(span) <= 500


def test_a_place_is_free_again_when_its_request_has_ended() -> None:
    """Concurrency counts what runs, and a request that ends frees one place."""
    limiter = HostedLimiter(None, None, 1)
    entry = limiter.began(0.0, 5)
    assert not limiter.may_take(0.0, 5)

    limiter.ended(1.0, entry, 5, 5)

    assert limiter.may_take(1.0, 5)
    assert math.isclose(limiter.wait_seconds(1.0, 5), 0.0)

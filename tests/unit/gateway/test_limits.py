"""Rates that must not be exceeded, over any minute and exactly."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overspill_gateway.core.money.limits import (
    MERGE_SECONDS,
    NEVER,
    UNSEEN_REQUESTS_MAX,
    WINDOW_SECONDS,
    Entry,
    HostedLimiter,
    RateLimiter,
    RateWindow,
)
from overspill_gateway.core.requests.ask import Ask

PAUSES = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 40)), max_size=120)


def take(window: RateWindow, now: float, amount: int) -> float:
    """Count an amount if it fits, as a request is let in; else the seconds until it would."""
    wait = window.wait_seconds(now, amount)
    if wait == 0.0:
        window.add(now, amount)
    return wait


@given(PAUSES, st.integers(1, 100))
def test_no_span_of_a_minute_gets_more_than_the_limit(steps: list[tuple[float, int]], limit: int) -> None:
    """Not at the edge of a window either: every span of 60 seconds is looked at."""
    window = RateWindow(limit)
    taken: list[tuple[float, int]] = []
    now = 100.0
    for pause, amount in steps:
        now += pause
        if take(window, now, amount) == 0.0:
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
        take(window, now, amount)

    wait = window.wait_seconds(now, wanted)

    if wanted > limit:
        assert wait in {0.0, NEVER}
    elif wait:
        assert 0 < wait <= WINDOW_SECONDS
        early = max(now, now + wait - MERGE_SECONDS - 0.01)
        assert early == now or window.wait_seconds(early, wanted) > 0.0
        assert take(window, now + wait + 1e-6, wanted) == 0.0


def test_a_client_at_exactly_its_rate_is_never_refused() -> None:
    """60 a minute is one a second for ever."""
    window = RateWindow(60)

    assert [take(window, float(second), 1) for second in range(600)] == [0.0] * 600


def test_a_burst_may_use_the_whole_limit_and_then_waits_for_its_own_minute() -> None:
    """Nothing trickles back before the minute is over, so that no two minutes' worth pass an edge."""
    window = RateWindow(10)
    for _ in range(10):
        assert take(window, 59.9, 1) == 0.0

    assert take(window, 60.1, 1) == pytest.approx(59.8)
    assert take(window, 119.9, 10) == 0.0


def test_what_was_counted_too_much_comes_back_where_it_was_counted() -> None:
    """A correction downwards frees room now, and nothing twice when the minute ends."""
    window = RateWindow(100)
    entry = window.add(0.0, 80)
    assert take(window, 10.0, 60) > 0

    window.correct(10.0, entry, 80, 30)

    assert take(window, 10.0, 70) == 0.0
    assert take(window, 10.0, 1) == pytest.approx(50.0)
    assert take(window, 60.0, 30) == 0.0
    assert take(window, 60.0, 1) > 0


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
    assert take(window, 61.0, 100) == 0.0

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

    assert len(window.entries) <= WINDOW_SECONDS / MERGE_SECONDS + 2


def test_memory_is_bounded_where_the_limit_is_never_met() -> None:
    """What is older than a minute is forgotten although nobody has had to look for room."""
    window = RateWindow(10**9)
    for second in range(1000):
        assert take(window, float(second), 1) == 0.0

    assert len(window.entries) <= WINDOW_SECONDS + 1
    assert window.total <= WINDOW_SECONDS + 1


def test_a_request_larger_than_the_limit_is_told_so() -> None:
    """No waiting helps: the wait is infinite rather than a minute that would end in the same refusal."""
    assert RateWindow(100).wait_seconds(0.0, 101) == NEVER


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


LONGEST = 4096
"""Tokens of the longest answer in the tests of bursts."""


@given(st.data())
@settings(max_examples=settings().max_examples // 2)
def test_a_burst_serves_no_more_than_is_stated(data: st.DataObject) -> None:
    """Whoever sets a limit to his answers never goes beyond; others by eight longest answers at most, in any minute."""
    limit = data.draw(st.integers(1_000, 50_000))
    limiter = RateLimiter(None, limit)
    served: list[tuple[float, int]] = []
    underway: list[tuple[Entry | None, int, int]] = []
    now = 0.0
    for _ in range(data.draw(st.integers(1, 300))):
        now += data.draw(st.sampled_from([0.0, 0.0, 0.1, 5.0]))
        if underway and data.draw(st.integers(0, 3)) == 0:
            entry, reserved, actual = underway.pop(0)
            limiter.correct(now, entry, reserved, actual)
            limiter.observed(actual - 10)
            served.append((now, actual))
        asked = data.draw(st.sampled_from([None, None, 16, 500, LONGEST]))
        ask = Ask(10, min(asked or 256, 256), asked)
        reserved = limiter.reservation(ask)
        if limiter.wait_seconds(now, reserved) == 0.0:
            longest = LONGEST if asked is None else asked
            underway.append((limiter.add(now, reserved), reserved, 10 + data.draw(st.integers(1, longest))))
            unlimited = sum(1 for _, counted, actual in underway if actual > counted)
            assert unlimited <= UNSEEN_REQUESTS_MAX
        in_this_minute = sum(amount for at, amount in served if at > now - 60)
        assert in_this_minute <= limit + UNSEEN_REQUESTS_MAX * (LONGEST + 10)


def test_a_burst_of_requests_with_a_limit_reserves_it_whole() -> None:
    """10,000 tokens a minute are 2 answers of 4,096 at a time, not 37 of 266."""
    limiter = RateLimiter(None, 10_000)
    ask = Ask(10, 256, LONGEST)
    admitted = 0
    for _ in range(200):
        if limiter.wait_seconds(0.0, limiter.reservation(ask)) == 0.0:
            limiter.add(0.0, limiter.reservation(ask))
            admitted += 1

    assert admitted * (10 + LONGEST) <= 10_000
    assert admitted == 2


def test_short_answers_before_do_not_let_a_burst_of_long_ones_through() -> None:
    """What was learned makes the share larger, never smaller than an eighth."""
    limiter = RateLimiter(None, 10_000)
    for _ in range(100):
        limiter.observed(3)
    assert limiter.reservation(Ask(10, 5)) == 10 + 10_000 // UNSEEN_REQUESTS_MAX
    limiter.observed(3000)

    assert limiter.reservation(Ask(10, 5)) > 3000


def test_all_answers_of_a_request_are_reserved() -> None:
    """``n`` times the longest one; nothing where nothing is generated."""
    limiter = RateLimiter(None, 10_000)

    assert limiter.reservation(Ask(10, 256, 100, 5)) == 510
    assert limiter.reservation(Ask(10, 0, 0)) == 10
    assert RateLimiter(5, None).reservation(Ask(10, 256, 100)) == 0


def test_a_request_that_may_take_more_than_a_provider_s_minute_has_it_for_itself() -> None:
    """What it asks for at most is seldom what it takes; a prompt that is longer than the limit never fits."""
    limiter = HostedLimiter(None, 1000, None)
    long = Ask(100, 256, 5000)
    assert limiter.may_take(0.0, limiter.reservation(long))
    entry = limiter.began(0.0, limiter.reservation(long))
    assert not limiter.may_take(1.0, limiter.reservation(Ask(10, 5, 10)))
    limiter.ended(1.0, entry, 1000, 150)

    assert limiter.may_take(1.0, limiter.reservation(Ask(10, 5, 10)))
    assert limiter.wait_seconds(1.0, limiter.reservation(Ask(2000, 5, 10))) == NEVER

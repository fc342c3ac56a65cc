"""When a failing backend must rest and how it comes back, step by step and as rules that hold for any history."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.backends.ejection import Outlier
from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.prediction.tuning import TUNING

STATUS, TIMEOUT, RESET = FailureKind.STATUS, FailureKind.TIMEOUT, FailureKind.RESET


def fails(outlier: Outlier, now: float, times: int, kind: FailureKind = STATUS, status: int = 500) -> None:
    """So many failures, a second apart, the last one now."""
    for ago in range(times - 1, -1, -1):
        outlier.failed(now - ago, kind, None, status=status)


def ejected_times(times: int) -> tuple[Outlier, float]:
    """A backend that failed again each time it came back, and when it did so last."""
    outlier, now = Outlier(), 0.0
    fails(outlier, now, 5)
    for _ in range(times - 1):
        now = outlier.returns_at
        outlier.failed(now, STATUS, None, status=500)
    return outlier, now


def test_five_failures_in_a_row_eject() -> None:
    """Four do not."""
    outlier = Outlier()
    fails(outlier, 100.0, 4)
    assert not outlier.ejected(100.0)
    fails(outlier, 101.0, 1)
    assert outlier.ejected(101.0)
    assert outlier.returns_at == 101.0 + TUNING.ejection_seconds


def test_a_success_ends_a_row() -> None:
    """Failures that are rare and apart eject nobody."""
    outlier = Outlier()
    for now in range(0, 100_000, 20):
        fails(outlier, float(now), 1)
        for later in range(1, 20):
            outlier.succeeded(now + later)
    assert outlier.ejections_total == 0


def test_three_timeouts_in_a_row_eject() -> None:
    """Each has cost somebody the longest wait there is."""
    outlier = Outlier()
    fails(outlier, 100.0, 2, TIMEOUT, 0)
    assert not outlier.ejected(100.0)
    fails(outlier, 130.0, 1, TIMEOUT, 0)
    assert outlier.ejected(130.0)


def test_one_crash_counts_once() -> None:
    """Fifty connections that break together are one event; five such events are a row."""
    outlier = Outlier()
    for event in range(5):
        assert not outlier.ejected(event)
        for number in range(50):
            outlier.failed(event + number / 1000, RESET, None)
    assert outlier.ejected(5.0)


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_a_backend_that_fails_half_of_its_requests_is_ejected(share: float) -> None:
    """Though some succeed in between."""
    source, outlier = random.Random(1), Outlier()
    for now in range(40):
        if source.random() < share:
            outlier.failed(float(now), STATUS, None, status=503)
        else:
            outlier.succeeded(float(now))
    assert outlier.ejections_total > 0


def test_a_backend_that_fails_two_of_a_hundred_is_not() -> None:
    """Over ten thousand requests."""
    source, outlier = random.Random(1), Outlier()
    for now in range(10_000):
        if source.random() < 0.02:
            outlier.failed(float(now), STATUS, None, status=500)
        else:
            outlier.succeeded(float(now))
    assert outlier.ejections_total == 0


def test_the_rest_doubles_up_to_two_minutes() -> None:
    """5, 10, 20, 40, 80, 120, 120 seconds."""
    found = []
    for times in range(1, 8):
        outlier, now = ejected_times(times)
        found.append(outlier.returns_at - now)
    assert found == [5, 10, 20, 40, 80, TUNING.ejection_seconds_max, TUNING.ejection_seconds_max]


def test_a_good_minute_forgives_one_ejection() -> None:
    """And many forgive all of them."""
    outlier, _ = ejected_times(4)
    later = outlier.returns_at + TUNING.forgiven_seconds
    fails(outlier, later, 1)
    assert outlier.returns_at - later == TUNING.ejection_seconds * 8
    much_later = outlier.returns_at + 20 * TUNING.forgiven_seconds
    fails(outlier, much_later, 1)
    assert outlier.returns_at - much_later == TUNING.ejection_seconds


def test_it_returns_slowly() -> None:
    """Nothing while it rests, a tenth at once afterwards, all of it ten seconds later."""
    outlier, _ = ejected_times(1)
    back = outlier.returns_at
    assert outlier.weight(back - 0.01) == 0.0
    assert outlier.weight(back) == pytest.approx(0.1)
    assert outlier.weight(back + TUNING.returning_seconds / 2) == pytest.approx(0.5)
    assert outlier.weight(back + TUNING.returning_seconds) == 1.0


def test_on_its_return_the_first_failure_ejects_it_again() -> None:
    """However late it comes: an hour without a request proves nothing."""
    for wait in (0.0, 5.0, 50.0, 3600.0):
        outlier, _ = ejected_times(1)
        outlier.failed(outlier.returns_at + wait, STATUS, None, status=500)
        assert outlier.ejections_total == 2


def test_after_a_few_good_answers_it_is_trusted_again() -> None:
    """From then on it takes five failures in a row, as with any other."""
    outlier, _ = ejected_times(1)
    now = outlier.returns_at
    for _ in range(TUNING.probation_successes):
        outlier.succeeded(now)
    fails(outlier, now + 4, 4)
    assert not outlier.ejected(now + 4)


def test_answers_to_requests_sent_before_do_not_end_its_rest() -> None:
    """Nor do failures of such requests make it longer."""
    outlier, now = ejected_times(1)
    back = outlier.returns_at
    for _ in range(10):
        outlier.succeeded(now + 1)
        outlier.failed(now + 1, STATUS, None, status=500)
    assert outlier.returns_at == back
    outlier.failed(back, STATUS, None, status=500)
    assert outlier.ejections == 2


def test_a_429_rests_for_as_long_as_it_asked_and_returns_at_once() -> None:
    """It is well, and is not punished: no slow return, no longer rest the next time."""
    outlier = Outlier()
    for now in (0.0, 10.0, 20.0, 30.0, 40.0, 50.0):
        outlier.failed(now, STATUS, 7.0, status=429)
        assert outlier.ejected(now + 6.9)
        assert not outlier.ejected(now + 7.0)
        assert outlier.weight(now + 7.0) == 1.0
    assert outlier.ejections_total == 0


def test_a_429_without_a_time_rests_longer_each_time() -> None:
    """Half a second, one, two, ... half a minute, until an answer comes."""
    outlier, now, rests = Outlier(), 0.0, []
    for _ in range(8):
        outlier.failed(now, STATUS, None, status=429)
        rests.append(outlier.returns_at - now)
        now = outlier.returns_at
    assert rests == [0.5, 1, 2, 4, 8, 16, 30, 30]
    outlier.succeeded(now)
    outlier.failed(now, STATUS, None, status=429)
    assert outlier.returns_at - now == 0.5


def test_an_overloaded_backend_rests_for_as_long_as_it_asked() -> None:
    """503 with Retry-After, the first time already; a time beyond reason is cut."""
    outlier = Outlier()
    outlier.failed(0.0, STATUS, 3.0, status=503)
    assert outlier.returns_at == 3.0
    assert outlier.weight(3.0) == 1.0
    outlier.failed(10.0, STATUS, 86400.0, status=503)
    assert outlier.returns_at == 10.0 + TUNING.rest_seconds_max


def test_an_answer_against_its_schema_is_not_the_backend_s_fault() -> None:
    """The same model would give it elsewhere."""
    outlier = Outlier()
    fails(outlier, 100.0, 50, FailureKind.INVALID_OUTPUT, 200)
    assert not outlier.ejected(100.0)


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.none() | st.sampled_from(list(FailureKind)),
        st.none() | st.floats(0, 1e6),
        st.sampled_from([0, 429, 500, 503]),
    ),
    max_size=60,
)


@given(EVENTS)
def test_no_history_keeps_a_backend_out_for_longer_than_its_longest_rest(
    events: list[tuple[float, FailureKind | None, float | None, int]],
) -> None:
    """Nobody is out for ever, and a share of work is always between nothing and all of it."""
    outlier, now = Outlier(), 0.0
    for pause, kind, retry_after, status in events:
        now += pause
        if kind is None:
            outlier.succeeded(now)
        else:
            outlier.failed(now, kind, retry_after, status=status)
        assert outlier.returns_at <= now + max(TUNING.ejection_seconds_max, TUNING.rest_seconds_max)
        assert 0.0 <= outlier.weight(now) <= 1.0
        assert outlier.ejected(now) == (outlier.weight(now) == 0.0)
        assert outlier.weight(outlier.returns_at) > 0.0
        assert outlier.weight(outlier.returns_at + TUNING.returning_seconds) == 1.0

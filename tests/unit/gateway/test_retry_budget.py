"""How many further attempts run at a time, and how long they wait before they begin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.admission.retry_budget import (
    BACKOFF_SECONDS_MAX,
    JITTER,
    RetryBudget,
    adds_load,
    backoff_seconds,
)
from overspill_gateway.core.backends.outcome import FailureKind


def granted(budget: RetryBudget, in_flight: int) -> int:
    """How many more may begin."""
    count = 0
    budget.requests_in_flight = in_flight
    while budget.may_retry():
        budget.began()
        count += 1
    return count


@pytest.mark.parametrize(("in_flight", "expected"), [(0, 3), (1, 3), (15, 3), (16, 4), (100, 20), (1000, 200)])
def test_a_fifth_of_the_requests_in_flight(in_flight: int, expected: int) -> None:
    """And three in any case."""
    assert granted(RetryBudget(), in_flight) == expected


def test_one_that_ends_makes_room() -> None:
    """For one."""
    budget = RetryBudget()
    granted(budget, 0)
    budget.ended()
    assert granted(budget, 0) == 1


MOVES = {
    FailureKind.CONNECT,
    FailureKind.RESET,
    FailureKind.CREDENTIALS,
    FailureKind.UNABLE,
    FailureKind.FULL,
}


@pytest.mark.parametrize("kind", sorted(MOVES))
def test_work_that_moves_adds_no_load(kind: FailureKind) -> None:
    """With one of two replicas half of all requests move to the other: the first has nothing left to do for them."""
    assert not adds_load(kind, spills=False)


@pytest.mark.parametrize("kind", [None, *sorted(set(FailureKind) - MOVES)])
def test_work_that_is_done_again_adds_load(kind: FailureKind | None) -> None:
    """Whatever else went wrong, or nothing before a hedge; but a spill is what hosted APIs are there for."""
    assert adds_load(kind, spills=False)
    assert not adds_load(kind, spills=True)


def test_what_was_granted_and_denied_is_counted() -> None:
    """For metrics: attempts begun, attempts refused."""
    budget = RetryBudget()
    granted(budget, 0)
    assert (budget.granted_total, budget.denied_total, budget.active) == (3, 1, 3)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=200))
def test_attempts_that_need_budget_never_exceed_it(steps: list[tuple[bool, int]]) -> None:
    """In whatever order they begin and end."""
    budget = RetryBudget()
    for begins, in_flight in steps:
        if not begins:
            budget.ended()
            continue
        budget.requests_in_flight = in_flight
        if budget.may_retry():
            budget.began()
            assert budget.active <= max(3, 0.2 * in_flight + 1)
        assert budget.active >= 0


def test_pauses_double() -> None:
    """0.1, 0.2, 0.4, ... 5 s, without the jitter."""
    pauses = [backoff_seconds(attempt, 0.5, None) for attempt in range(1, 9)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_requests_that_fail_together_do_not_come_back_together() -> None:
    """Pauses are spread a quarter to both sides."""
    assert backoff_seconds(3, 0.0, None) == pytest.approx(0.4 * (1 - JITTER))
    assert backoff_seconds(3, 1.0, None) == pytest.approx(0.4 * (1 + JITTER))


@given(st.integers(-5, 10_000), st.floats(0, 1), st.none() | st.floats(0, 3600))
def test_a_pause_is_never_shorter_than_asked_for(attempt: int, random: float, retry_after: float | None) -> None:
    """Nor longer than reason."""
    pause = backoff_seconds(attempt, random, retry_after)
    if retry_after is None:
        assert 0 < pause <= BACKOFF_SECONDS_MAX * (1 + JITTER)
    else:
        assert retry_after <= pause <= retry_after * (1 + JITTER)

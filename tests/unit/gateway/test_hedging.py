"""How often a second backend is asked, and what that may cost."""

import random

from hypothesis import given
from hypothesis import strategies as st

from overspill_api.compiled import HedgingRules
from overspill_gateway.core.admission.hedging import BURST, HedgeLedger

FIVE_PERCENT = HedgingRules(after_seconds=1.0, max_percent=5)
CENT = 10_000_000
PAID = HedgingRules(after_seconds=1.0, max_percent=100, hosted_nano_usd_per_hour=100 * CENT)


def after_requests(count: int) -> HedgeLedger:
    """A ledger that has seen so many requests."""
    ledger = HedgeLedger()
    for _ in range(count):
        ledger.request_seen(0.0)
    return ledger


def hedges(ledger: HedgeLedger, rules: HedgingRules, now: float = 0.0, cost: int = 0) -> int:
    """How many more may begin."""
    count = 0
    while ledger.may_hedge(now, rules, hosted_cost_nano_usd=cost):
        count += 1
    return count


def test_a_percentage_of_the_requests() -> None:
    """One in twenty, none before the twentieth."""
    assert hedges(after_requests(19), FIVE_PERCENT) == 0
    assert hedges(after_requests(20), FIVE_PERCENT) == 1
    assert hedges(after_requests(100), FIVE_PERCENT) == 5


def test_few_are_saved_up() -> None:
    """However long nothing was slow: a backend in trouble gets a small burst, then the percentage."""
    ledger = after_requests(1_000_000)
    assert hedges(ledger, FIVE_PERCENT) == BURST
    for _ in range(100):
        ledger.request_seen(0.0)
    assert hedges(ledger, FIVE_PERCENT) == 5


def test_none_where_the_route_allows_none() -> None:
    """Nought percent."""
    assert hedges(after_requests(1000), HedgingRules(after_seconds=1.0, max_percent=0)) == 0


@given(st.lists(st.booleans(), max_size=500), st.integers(1, 100))
def test_the_percentage_holds_at_every_moment(steps: list[bool], percent: int) -> None:
    """Counted from the start, hedges are never more than the percentage of the requests so far."""
    ledger, seen, begun = HedgeLedger(), 0, 0
    rules = HedgingRules(after_seconds=1.0, max_percent=percent)
    for is_request in steps:
        if is_request:
            seen += 1
            ledger.request_seen(0.0)
        else:
            begun += ledger.may_hedge(0.0, rules, hosted_cost_nano_usd=0)
        assert begun * 100 <= seen * percent


def test_without_money_hedges_go_to_replicas_only() -> None:
    """The default."""
    ledger = after_requests(1000)
    assert not ledger.may_hedge(0.0, FIVE_PERCENT, hosted_cost_nano_usd=1)
    assert ledger.may_hedge(0.0, FIVE_PERCENT, hosted_cost_nano_usd=0)


def test_what_may_be_spent_in_an_hour() -> None:
    """Ten hedges of ten cents on a dollar an hour, and ten more when the hour is over."""
    ledger = after_requests(1000)
    assert hedges(ledger, PAID, 0.0, 10 * CENT) == 10
    ledger = after_requests(0)
    for now in (0.0, 3599.0, 3659.9):
        for _ in range(100):
            ledger.request_seen(now)
        expected = 10 if now == 0.0 else 0
        assert sum(ledger.may_hedge(now, PAID, hosted_cost_nano_usd=10 * CENT) for _ in range(20)) == expected
    assert ledger.may_hedge(3660.0, PAID, hosted_cost_nano_usd=10 * CENT)


def test_what_a_hedge_did_not_cost_is_free_again() -> None:
    """It is held at its most and settled at what it was; where nobody knows, it was its most."""
    ledger = after_requests(1000)
    assert ledger.may_hedge(5.0, PAID, hosted_cost_nano_usd=90 * CENT)
    assert not ledger.may_hedge(5.0, PAID, hosted_cost_nano_usd=20 * CENT)
    ledger.settled(5.0, held_nano_usd=90 * CENT, actual_nano_usd=10 * CENT)
    assert ledger.spent_nano_usd(700.0) == 10 * CENT
    assert ledger.may_hedge(700.0, PAID, hosted_cost_nano_usd=90 * CENT)
    ledger.settled(700.0, held_nano_usd=90 * CENT, actual_nano_usd=None)
    assert ledger.spent_nano_usd(700.0) == 100 * CENT


def test_settling_what_is_long_past_gives_nothing_back() -> None:
    """Its money left the hour already."""
    ledger = after_requests(1000)
    assert ledger.may_hedge(0.0, PAID, hosted_cost_nano_usd=50 * CENT)
    assert ledger.may_hedge(7200.0, PAID, hosted_cost_nano_usd=50 * CENT)
    ledger.settled(0.0, held_nano_usd=50 * CENT, actual_nano_usd=0)
    assert ledger.spent_nano_usd(7200.0) == 50 * CENT


@given(st.integers(0, 2**32))
def test_no_sixty_minutes_cost_more_than_the_limit(seed: int) -> None:
    """Whenever hedges begin and end, and whatever they cost: what began in any hour is within it."""
    source, ledger, now = random.Random(seed), HedgeLedger(), 0.0
    spent: list[tuple[float, int]] = []
    open_: list[tuple[float, int]] = []
    for _ in range(300):
        now += source.expovariate(1 / 60)
        ledger.request_seen(now)
        cost = source.randrange(1, 30) * CENT
        if ledger.may_hedge(now, PAID, hosted_cost_nano_usd=cost):
            open_.append((now, cost))
        while open_ and source.random() < 0.5:
            began, held = open_.pop(source.randrange(len(open_)))
            actual = source.choice([None, 0, held // 2, held])
            ledger.settled(began, held_nano_usd=held, actual_nano_usd=actual)
            spent.append((began, held if actual is None else actual))
        in_hour = sum(one for began, one in spent + open_ if began > now - 3600)
        assert in_hour <= PAID.hosted_nano_usd_per_hour
        assert 0 <= in_hour <= ledger.spent_nano_usd(now)

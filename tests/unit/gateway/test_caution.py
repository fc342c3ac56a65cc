"""How sure one has to be that a replica is in time follows from how decisions turned out."""

from overspill_gateway.core.prediction.caution import Caution
from overspill_gateway.core.prediction.tuning import TUNING


def test_regret_makes_it_less_within_a_bound() -> None:
    """Spill after spill that was not needed."""
    caution = Caution()
    seen = []
    for _ in range(1000):
        caution.regretted()
        seen.append(caution.times)

    assert seen == sorted(seen, reverse=True)
    assert caution.times == TUNING.caution_min


def test_a_late_one_weighs_more_than_some_regretted_ones() -> None:
    """One is enough to undo ten."""
    caution = Caution()
    for _ in range(10):
        caution.regretted()
    caution.served(late=True)

    assert caution.times == 1.0


def test_while_too_many_are_late_regret_counts_for_nothing() -> None:
    """And for something again once hundreds were in time."""
    caution = Caution()
    for number in range(100):
        caution.served(late=number % 20 == 0)
    for _ in range(100):
        caution.regretted()
    assert caution.times == 1.0
    for _ in range(3000):
        caution.served(late=False)
    caution.regretted()

    assert caution.times < 1.0

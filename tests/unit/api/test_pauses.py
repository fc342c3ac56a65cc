"""How long to wait after failures in a row."""

import pytest

from overspill_api.pauses import pause_seconds


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.2), (2, 0.4), (5, 3.2), (8, 15.0), (10**9, 15.0)])
def test_each_failure_doubles_the_pause_up_to_a_bound(failures: int, longest: float) -> None:
    """The first one waits the first pause; however many there were, no wait is longer than the bound."""
    assert pause_seconds(failures, first=0.2, most=15.0, draw=1.0) == pytest.approx(longest)


def test_who_failed_together_does_not_return_together() -> None:
    """Half of the pause is sure, the rest is drawn."""
    pauses = [pause_seconds(3, first=1.0, most=60.0, draw=draw) for draw in (0.0, 0.25, 1.0)]

    assert pauses == [2.0, 2.5, 4.0]

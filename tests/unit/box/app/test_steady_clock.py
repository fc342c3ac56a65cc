"""Ages by a clock that nobody sets."""

from overspill_box.app.steady_clock import SteadyClock
from unit.operator_.virtual_clock import VirtualClock


def test_its_seconds_pass_as_if_nobody_had_set_the_clock() -> None:
    """And what it has noted is shown in the system's time as that is now."""
    clock = VirtualClock(1000.0)
    steady = SteadyClock(clock)
    clock.advance(10.0)
    assert steady.unix() == 1010.0
    assert steady.shown(1005.0) == 1005.0

    clock.set_by(-3600.0)

    assert steady.unix() == 1010.0
    assert steady.shown(1005.0) == clock.unix() - 5.0

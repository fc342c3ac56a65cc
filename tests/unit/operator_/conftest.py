"""What many tests of the operator are given."""

import pytest

from unit.operator_.virtual_clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """The clock of what is tested."""
    return VirtualClock()

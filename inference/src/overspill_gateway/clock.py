"""The time, as whatever decides or counts in the gateway is given it: one clock, which tests may set themselves.

Timers are the event loop's: who does nothing but plan them asks the loop for the time. Who only bounds how long a
stretch of work keeps the loop uses ``wire.time_slice``.
"""

import time
from collections.abc import Callable


class Clock:
    """What time it is."""

    __slots__ = ("monotonic", "unix")

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, unix: Callable[[], float] = time.time) -> None:
        self.monotonic = monotonic
        """Seconds since some moment, never set back: between what happens in this process."""
        self.unix = unix
        """Seconds since 1970: for dates, periods of a calendar, and whatever another process is told."""

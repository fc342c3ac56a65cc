"""The one clock: what time it is, and waiting for a time. Whatever looks at the time or waits has been given one.

Nothing else in this package reads the system's clock, so that tests and simulators can move time themselves.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """It shall not come; one that has come already is no error."""


class Clock(Protocol):
    """Time, in seconds."""

    def unix(self) -> float:
        """Since 1970: for what is written down or compared with others' clocks. It may jump."""

    def monotonic(self) -> float:
        """Since some moment or other: for how long something takes. It never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return after so long."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in the event loop after so long, unless it is cancelled."""


class SystemClock:
    """The system's clock and the running event loop's timers."""

    def unix(self) -> float:
        """See ``Clock``."""
        return time.time()

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """See ``Clock``."""
        return asyncio.get_running_loop().call_later(seconds, callback)

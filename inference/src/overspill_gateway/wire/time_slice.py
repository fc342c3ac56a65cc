"""A stretch of work on the event loop, bounded so that others have their turn."""

import asyncio
from time import monotonic


class TimeSlice:
    """The stretch that runs now. It is measured in the machine's own time, wherever the gateway's clock stands."""

    __slots__ = ("_seconds", "_until")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether it has lasted long enough."""
        return monotonic() >= self._until

    async def give_way(self) -> None:
        """Let others have their turn if it has lasted long enough; another stretch begins."""
        if self.is_over:
            await asyncio.sleep(0)
            self._until = monotonic() + self._seconds

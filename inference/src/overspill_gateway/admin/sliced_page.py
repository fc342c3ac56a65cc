"""A page of metrics that is made in slices, between which requests are served: once for all who ask meanwhile.

Not here: what stands on it.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Final

SLICE_SECONDS: Final = 0.002
"""The longest that a scrape keeps the event loop from requests, or little more."""


class SlicedPage(ABC):
    """One page."""

    def __init__(self) -> None:
        self._running: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        """The text of the page; who asks while it is being made gets the same."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._in_slices())
        return await asyncio.shield(self._running)

    @abstractmethod
    async def _in_slices(self) -> bytes:
        """Make it, giving way after each slice."""

"""Deadlines by sweeping: one timer looks through all that have one, instead of a timer for each.

A request sets its deadline several times; here that is writing one number. Not for deadlines finer than the period.
"""

import asyncio
import logging
from typing import Protocol

logger = logging.getLogger(__name__)


class Expiring(Protocol):
    """Something with a deadline."""

    deadline: float
    """Time of the loop's clock, in seconds; infinity: none now."""

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        ...


class Sweeper:
    """Looks for passed deadlines once a period while it has anything to look at."""

    def __init__(self, loop: asyncio.AbstractEventLoop, period_seconds: float) -> None:
        self._loop = loop
        self._period = period_seconds
        self._items: set[Expiring] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Expiring) -> None:
        """Look at this item until it is discarded."""
        self._items.add(item)
        if self._timer is None:
            self._timer = self._loop.call_later(self._period, self._tick)

    def discard(self, item: Expiring) -> None:
        """Look at this item no more."""
        self._items.discard(item)

    def _tick(self) -> None:
        now = self._loop.time()
        for item in [item for item in self._items if item.deadline <= now]:
            if item in self._items:
                try:
                    item.expire(now)
                except Exception:
                    # One item's fault must not take the deadlines of all others away.
                    self._items.discard(item)
                    logger.exception("a deadline could not be kept")
        self._timer = self._loop.call_later(self._period, self._tick) if self._items else None

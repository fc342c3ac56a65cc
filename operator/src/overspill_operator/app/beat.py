"""When each route is looked at: on a beat where something was heard, and at its own time where that comes.

Which number a look comes to, and that a wake is looked at without waiting for the beat, is ``app.scaler``'s subject. A
route of which nothing is heard and that waits for no time costs nothing, however many there are.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock, Timer

logger = logging.getLogger(__name__)

BEAT_SECONDS: Final = 2.0
"""Short beside the time that any replica takes to load; long enough that a thousand busy routes of ten gateways, each
of which speaks of each once a second, are looked at a thousand times and not twenty thousand."""

TURN_SECONDS: Final = 0.005
"""After so much looking the others have their turn for as long: a wake that comes meanwhile is answered."""

LATE_SECONDS: Final = 0.01
"""A look is a little late rather than too early, when nothing would be due yet."""


class Beat:
    """The routes that are to be looked at, and when."""

    def __init__(self, clock: Clock, look: Callable[[str, bool], None]) -> None:
        """``look`` gets the key of a route whose turn it is, and whether that is because a time has come."""
        self._clock = clock
        self._look = look
        self._waiting: dict[str, None] = {}
        """Those for the next beat, in the order in which they were heard of."""
        self._timers: dict[str, Timer] = {}
        self._on_time: dict[str, None] = {}
        """Those whose time has come."""
        self._catching_up: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Routes for the next beat."""
        return len(self._waiting)

    def next_time(self, key: str) -> None:
        """Look at the route on the next beat."""
        self._waiting[key] = None

    def looked(self, key: str, seconds: float | None) -> None:
        """It was looked at just now: again in so many seconds even if nothing is heard; None: only if something is."""
        self._waiting.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
        if seconds is not None:
            wait = max(0.0, seconds) + LATE_SECONDS
            self._timers[key] = self._clock.call_later(wait, partial(self._its_time, key))

    def forget(self, key: str) -> None:
        """The route is gone."""
        self.looked(key, None)
        self._on_time.pop(key, None)

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            began = self._clock.monotonic()
            await self._look_at(self._waiting, on_time=False)
            took = self._clock.monotonic() - began
            await self._clock.sleep(max(BEAT_SECONDS - took, TURN_SECONDS))

    def _its_time(self, key: str) -> None:
        """Windows of a thousand routes may begin at the same minute: they too give way to others."""
        del self._timers[key]
        self._on_time[key] = None
        if self._catching_up is None:
            self._catching_up = asyncio.create_task(self._catch_up(), name="routes whose time has come")

    async def _catch_up(self) -> None:
        try:
            await self._look_at(self._on_time, on_time=True)
        finally:
            self._catching_up = None

    async def _look_at(self, keys: dict[str, None], *, on_time: bool) -> None:
        """Take the keys out, look at each; those that come in meanwhile have their turn the next time."""
        routes = len(keys)
        spent, turn = 0.0, self._clock.monotonic()
        for key in tuple(keys):
            if key not in keys:
                continue  # a wake was quicker, or it is gone
            del keys[key]
            try:
                self._look(key, on_time)
            except Exception:
                # A fault of one route must not keep the others from being looked at.
                logger.exception("route not looked at", extra={"route": key})
            took = self._clock.monotonic() - turn
            if took >= TURN_SECONDS:
                spent += took
                await self._clock.sleep(took)
                turn = self._clock.monotonic()
        if routes:
            telemetry.BEAT_SECONDS.observe(spent + self._clock.monotonic() - turn)
            telemetry.BEAT_ROUTES.inc(routes)

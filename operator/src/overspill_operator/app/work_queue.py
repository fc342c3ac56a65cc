"""Keys that wait to be reconciled: each at most once, several at a time, with a pause that grows after failures.

No key is worked on twice at the same time; one that is added meanwhile is worked on again. What takes long belongs
into ``add_after``, never into a sleep inside a reconcile.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from overspill_api.pauses import pause_seconds
from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock, Timer
from overspill_operator.ports import ClusterError

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Kind and ``namespace/name``."""

BACKOFF_SECONDS: Final = 0.2
BACKOFF_SECONDS_MAX: Final = 60.0


class WorkQueue:
    """The queue and its workers."""

    def __init__(
        self, reconcile: Callable[[Key], Awaitable[None]], clock: Clock, *, workers: int, jitter: Callable[[], float]
    ) -> None:
        """``jitter`` gives numbers from 0 to 1, so that failures of many keys do not come back together."""
        self._reconcile = reconcile
        self._clock = clock
        self._workers = workers
        self._jitter = jitter
        # Ordered sets: a key leaves the one for the other in constant time.
        self._waiting: OrderedDict[Key, None] = OrderedDict()
        self._background: OrderedDict[Key, None] = OrderedDict()
        self._since: dict[Key, float] = {}
        self._running: dict[Key, float] = {}
        self._again: dict[Key, bool] = {}
        self._timers: dict[tuple[Key, bool], tuple[float, Timer]] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Semaphore(0)

    def add(self, key: Key, *, background: bool = False) -> None:
        """Reconcile ``key`` soon; ``background``: after all that is not."""
        if key in self._running:
            self._again[key] = self._again.get(key, True) and background
            return
        if key in self._since:
            if not background and key in self._background:
                # What a person has changed overtakes a resync; the key's turn in the background is void then.
                del self._background[key]
                self._waiting[key] = None
            return
        self._since[key] = self._clock.monotonic()
        (self._background if background else self._waiting)[key] = None
        telemetry.QUEUE_LENGTH.set(len(self._since))
        self._wake.release()

    def add_after(self, key: Key, seconds: float, *, background: bool = False) -> None:
        """Reconcile ``key`` in a while; of several such wishes the earliest counts."""
        due = self._clock.monotonic() + seconds
        known = self._timers.get((key, background))
        if known is not None:
            if known[0] <= due:
                return
            known[1].cancel()
        timer = self._clock.call_later(seconds, partial(self._due, key, background))
        self._timers[key, background] = due, timer

    def forget(self, key: Key) -> None:
        """Drop what is remembered of an object that is gone."""
        self._failures.pop(key, None)
        for background in (False, True):
            known = self._timers.pop((key, background), None)
            if known is not None:
                known[1].cancel()

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"worker {number}")

    @property
    def oldest_wait_seconds(self) -> float:
        """How long the key that has waited longest has waited."""
        return self._clock.monotonic() - min(self._since.values(), default=self._clock.monotonic())

    @property
    def longest_run_seconds(self) -> float:
        """How long the reconcile that runs longest has run."""
        return self._clock.monotonic() - min(self._running.values(), default=self._clock.monotonic())

    def _due(self, key: Key, background: bool) -> None:  # noqa: FBT001 - called by the loop
        self._timers.pop((key, background), None)
        self.add(key, background=background)

    async def _work(self) -> None:
        while True:
            await self._wake.acquire()
            key, _ = (self._waiting or self._background).popitem(last=False)
            del self._since[key]
            self._running[key] = began = self._clock.monotonic()
            telemetry.QUEUE_LENGTH.set(len(self._since))
            result = "error"
            try:
                await self._reconcile(key)
                self._failures.pop(key, None)
                result = "ok"
            except Exception as error:  # noqa: BLE001 - whatever failed, the other keys go on
                self._failed(key, error)
            finally:
                del self._running[key]
                telemetry.RECONCILES.labels(key[0], result).observe(self._clock.monotonic() - began)
                if key in self._again:
                    self.add(key, background=self._again.pop(key))

    def _failed(self, key: Key, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = pause_seconds(failures, first=BACKOFF_SECONDS, most=BACKOFF_SECONDS_MAX, draw=self._jitter())
        context = {"kind": key[0], "object": key[1], "failures": failures, "pause_seconds": round(pause, 3)}
        if isinstance(error, ClusterError):
            level = logging.DEBUG if error.status in (0, 409) and failures < 3 else logging.WARNING
            logger.log(level, "reconcile failed, trying again: %s", error, extra=context)
        else:
            logger.error("reconcile failed, trying again", exc_info=error, extra=context)
        self.add_after(key, pause)

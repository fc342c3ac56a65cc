"""A clock that the test moves: the double of ``overspill_operator.clock.Clock``. Nothing waits in earnest."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

BEGIN_UNIX = 1_790_000_000.0


class VirtualTimer:
    """A call that is to come."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """See ``clock.Timer``."""
        self.callback = None


class VirtualClock:
    """Time that passes only by ``advance``. Both kinds of time are one number until somebody sets the clock."""

    def __init__(self, now: float = BEGIN_UNIX) -> None:
        self.now = now
        self.pauses: list[float] = []
        self._set_by = 0.0
        self._due: list[tuple[float, int, VirtualTimer]] = []
        self._count = count()

    def unix(self) -> float:
        """See ``clock.Clock``."""
        return self.now + self._set_by

    def set_by(self, seconds: float) -> None:
        """Somebody sets the machine's clock: what is written down jumps, what waits does not."""
        self._set_by += seconds

    def monotonic(self) -> float:
        """See ``clock.Clock``."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """See ``clock.Clock``; each pause is kept in ``pauses``."""
        self.pauses.append(seconds)
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> VirtualTimer:
        """See ``clock.Clock``."""
        timer = VirtualTimer(callback)
        heapq.heappush(self._due, (self.now + seconds, next(self._count), timer))
        return timer

    @property
    def next_due(self) -> float | None:
        """When something is due next; None: nothing waits."""
        while self._due and self._due[0][2].callback is None:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def advance(self, seconds: float) -> None:
        """Let time pass; what comes due is called in its order, each at its own time."""
        end = self.now + seconds
        while (due := self.next_due) is not None and due <= end:
            self.now = max(self.now, due)
            callback = heapq.heappop(self._due)[2].callback
            assert callback is not None
            callback()
        self.now = end

    async def until(self, look: Callable[[], object]) -> None:
        """Wait until something is so; while it is not, time passes to what is due next. Twenty real seconds at most."""
        async with asyncio.timeout(20):
            while not look():
                await asyncio.sleep(0.001)  # for what is awaited in earnest: the event loop, a socket on loopback
                if self.next_due is not None:
                    self.advance(max(0.0, self.next_due - self.now))

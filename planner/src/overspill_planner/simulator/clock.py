"""Virtual time, and what is to happen when."""

import heapq
from collections.abc import Callable


class Clock:
    """Virtual time in seconds; what falls on the same moment happens in the order in which it was asked for."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = 0

    def at(self, when: float, event: Callable[[], object]) -> None:
        """Let something happen then, or now where that is past."""
        self._sequence += 1
        heapq.heappush(self._events, (max(self.now, when), self._sequence, event))

    def run(self, until: float) -> None:
        """Go on until then."""
        events = self._events
        while events and events[0][0] <= until:
            due = heapq.heappop(events)
            self.now = due[0]
            due[2]()
        self.now = until

    def step(self, until: float) -> bool:
        """Let the next thing happen, if it does until then; whether it did."""
        events = self._events
        if not events or events[0][0] > until:
            return False
        due = heapq.heappop(events)
        self.now = due[0]
        due[2]()
        return True

"""Requests that wait for a replica, in the order in which they go: by priority, then fairly among consumers.

Fair is start-time fair queueing (Goyal, Vin, Cheng, 1996): each consumer's requests are strung out by their cost, and
whoever has had least goes next, so that one who floods the queue delays the others by one request of its own at most.
Not here: who may go now (``core.prediction.release``), and how long one waits.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

REMEMBERED_CONSUMERS_MAX: Final = 1024
"""Consumers without a waiting request of whom it is remembered what they had: more are looked through and forgotten."""


class _Line(Generic[T]):
    """The waiting requests of one consumer at one priority, oldest first."""

    __slots__ = ("costs", "start")

    def __init__(self, start: float) -> None:
        self.costs: OrderedDict[T, float] = OrderedDict()
        self.start = start
        """Virtual time at which its first request begins."""


class _Level(Generic[T]):
    """The waiting requests of one priority."""

    __slots__ = ("count", "finished", "heap", "lines", "sequence", "virtual")

    def __init__(self) -> None:
        self.lines: dict[str, _Line[T]] = {}
        self.heap: list[tuple[float, int, str]] = []
        """(start, sequence, consumer): one entry for each line, besides some of lines that are gone."""
        self.finished: dict[str, float] = {}
        """Virtual time up to which a consumer with no line has been served, where that is ahead of the level's."""
        self.virtual = 0.0
        self.sequence = 0
        self.count = 0

    def add(self, item: T, consumer: str, cost: float) -> None:
        line = self.lines.get(consumer)
        if line is None:
            line = self.lines[consumer] = _Line(max(self.virtual, self.finished.pop(consumer, 0.0)))
            self.sequence += 1
            heappush(self.heap, (line.start, self.sequence, consumer))
        line.costs[item] = cost
        self.count += 1

    def discard(self, item: T, consumer: str) -> None:
        line = self.lines[consumer]
        del line.costs[item]
        self.count -= 1
        if not line.costs:
            self._close(consumer, line)

    def first(self) -> T:
        """The one that goes next; there is one."""
        return next(iter(self._first_line()[1].costs))

    def pop(self) -> T:
        consumer, line = self._first_line()
        item, cost = line.costs.popitem(last=False)
        self.count -= 1
        self.virtual = line.start
        line.start += cost
        if line.costs:
            self.sequence += 1
            heapreplace(self.heap, (line.start, self.sequence, consumer))
        else:
            heappop(self.heap)
            self._close(consumer, line)
        return item

    def _first_line(self) -> tuple[str, _Line[T]]:
        while True:
            start, _, consumer = self.heap[0]
            line = self.lines.get(consumer)
            if line is not None and line.start == start:
                return consumer, line
            heappop(self.heap)  # of a line that was emptied by discarding

    def _close(self, consumer: str, line: _Line[T]) -> None:
        del self.lines[consumer]
        if len(self.heap) > 2 * len(self.lines) + 16:
            live = {name: lane.start for name, lane in self.lines.items()}
            self.heap = [entry for entry in dict.fromkeys(self.heap) if live.get(entry[2]) == entry[0]]
            heapify(self.heap)
        if line.start > self.virtual:
            self.finished[consumer] = line.start
            if len(self.finished) > REMEMBERED_CONSUMERS_MAX:
                self.finished = {name: at for name, at in self.finished.items() if at > self.virtual}
            if len(self.finished) > REMEMBERED_CONSUMERS_MAX:
                self.finished.clear()


class WaitingQueue(Generic[T]):
    """A bag of waiting requests that knows who is next. Adding and taking cost O(log consumers), the rest O(1)."""

    __slots__ = ("_order", "_places", "levels")

    def __init__(self) -> None:
        self._places: dict[T, tuple[int, str]] = {}
        self.levels: dict[int, _Level[T]] = {}
        """Those who wait, by priority."""
        self._order: list[int] = []
        """Priorities, highest first."""

    def add(self, item: T, priority: int = 0, consumer: str = "", cost: float = 1.0) -> None:
        """Let it wait; ``cost`` is its work in any unit that all share. One that waits already keeps its place."""
        if item in self._places:
            return
        level = self.levels.get(priority)
        if level is None:
            level = self.levels[priority] = _Level()
            self._order = sorted(self.levels, reverse=True)
        self._places[item] = (priority, consumer)
        level.add(item, consumer, cost if cost > 0.0 else 1.0)

    def discard(self, item: T) -> None:
        """It waits no more; nothing happens if it did not. The ``first`` one counts as served, as by ``pop``."""
        place = self._places.get(item)
        if place is None:
            return
        if item == self.first():
            self.pop()
            return
        del self._places[item]
        level = self.levels[place[0]]
        level.discard(item, place[1])
        self._forget(place[0], level)

    def first(self) -> T | None:
        """The one that ``pop`` would take; None: nobody waits."""
        return self.levels[self._order[0]].first() if self._order else None

    def pop(self) -> T | None:
        """Take the one that goes next; None: nobody waits."""
        if not self._order:
            return None
        priority = self._order[0]
        level = self.levels[priority]
        item = level.pop()
        del self._places[item]
        self._forget(priority, level)
        return item

    def displaced_by(self, priority: int, consumer: str) -> T | None:
        """Who of a full queue makes room for a newcomer: the last of those who take more than their share.

        A lower priority makes room for a higher one; among equals, a consumer with at least two more waiting than the
        newcomer's makes room. None: nobody, and the newcomer is refused. Costs O(consumers of one priority).
        """
        if not self._order:
            return None
        lowest = self._order[-1]
        lines = self.levels[lowest].lines
        largest = max(lines, key=lambda name: len(lines[name].costs))
        waiting = lines[largest].costs
        if lowest < priority:
            return next(reversed(waiting))
        own = lines.get(consumer)
        if lowest == priority and len(waiting) >= 2 + (len(own.costs) if own is not None else 0):
            return next(reversed(waiting))
        return None

    def _forget(self, priority: int, level: _Level[T]) -> None:
        if not level.count:
            del self.levels[priority]
            self._order = sorted(self.levels, reverse=True)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, item: object) -> bool:
        return item in self._places

    def __iter__(self) -> Iterator[T]:
        """All that wait, in no order; the queue may change meanwhile."""
        return iter(tuple(self._places))

"""What was done for each route in the last minute, all gateways together: what latency and cost are seen by.

Gateways say what they have counted since they began (``work``); here is what that grew by, put to the time at which it
was heard. A gateway that goes leaves what it did; one that begins anew adds what it does from then on.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from overspill_operator.core.demand.work import Work, all_of

WINDOW_SECONDS: Final = 60.0
"""Long enough for a percentile of a route with a request a second, short enough to see a peak."""
ROUTES_MAX: Final = 10_000
"""Gateways may speak of routes that there are not: those that were not heard of for longest are forgotten."""
SLOT_SECONDS: Final = 10.0
"""What grew within one slot is kept as one sum: a thousand busy routes are kept in some ten megabytes."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What one gateway's counts of one route have grown by since it was heard before."""

    route: str
    """``namespace/name``."""
    uid: str
    """Of the ModelRoute; empty: the gateway does not say."""
    work: Work | None
    """None: it is heard of for the first time, and nobody knows when what it has counted was done."""


@dataclass(frozen=True, slots=True)
class SeenWork:
    """Work of one route, and over how long it was seen."""

    seconds: float
    """How long that is: at most ``WINDOW_SECONDS`` and a slot, less for a route that is heard of since lately."""
    work: Work
    """What was done in that time."""
    is_whole: bool = True
    """Whether all gateways count it; else there was more, of which nobody knows how long it took."""
    arrivals_so_far: float = 0.0
    """Requests that were let in since the route was first heard of: it only grows, and tells what came between two
    looks."""

    def per_second(self, count: float) -> float:
        """A number of ``work`` as a rate."""
        return count / self.seconds


class _Recent:
    """Of one route."""

    __slots__ = ("_slots", "_sum", "arrivals", "since_unix", "uid")

    def __init__(self, uid: str, now_unix: float) -> None:
        self.uid = uid
        self.since_unix = now_unix
        self.arrivals = 0.0
        """All that have been heard of."""
        self._slots: deque[tuple[int, Work]] = deque()
        """By number, oldest first; those in which nothing was heard are left out."""
        self._sum = Work()
        """Of all of them: it is asked for with each line that comes."""

    def add(self, work: Work, now_unix: float) -> None:
        """Something was heard now."""
        self._drop_old(now_unix)
        self._sum = self._sum.plus(work)
        self.arrivals += work.arrivals
        number = int(now_unix // SLOT_SECONDS)
        if self._slots and self._slots[-1][0] == number:
            work = self._slots.pop()[1].plus(work)
        self._slots.append((number, work))

    def seen(self, now_unix: float, *, is_whole: bool) -> SeenWork:
        """What was heard in whole slots before now, and in this one so far."""
        self._drop_old(now_unix)
        begin = max(self.since_unix, _oldest(now_unix) * SLOT_SECONDS)
        return SeenWork(now_unix - begin, self._sum, is_whole, self.arrivals)

    def _drop_old(self, now_unix: float) -> None:
        if now_unix < self.since_unix:  # the clock was set back: when what was heard was, nobody can tell
            self.since_unix, self._sum = now_unix, Work()
            self._slots.clear()
        if self._slots and self._slots[0][0] < _oldest(now_unix):
            while self._slots and self._slots[0][0] < _oldest(now_unix):
                self._slots.popleft()
            self._sum = all_of(work for _, work in self._slots)


def _oldest(now_unix: float) -> int:
    """The number of the oldest slot of which all lies within the window, or little before it."""
    return int((now_unix - WINDOW_SECONDS) // SLOT_SECONDS)


class RecentWork:
    """Of all routes."""

    def __init__(self) -> None:
        self._routes: dict[str, _Recent] = {}
        """Those that were heard of last are the last ones."""

    def heard(self, growth: Growth, now_unix: float) -> None:
        """A gateway's counts of a route have grown, or are heard for the first time."""
        recent = self._routes.pop(growth.route, None)
        if recent is None or (growth.uid and recent.uid and growth.uid != recent.uid):
            recent = _Recent(growth.uid, now_unix)
        self._routes[growth.route] = recent
        if len(self._routes) > ROUTES_MAX:
            del self._routes[next(iter(self._routes))]
        if growth.work is not None:
            recent.add(growth.work, now_unix)

    def of(self, key: str, uid: str, now_unix: float, *, is_whole: bool = True) -> SeenWork | None:
        """What was done for a route lately; None: no gateway counts it, or not long enough to tell."""
        recent = self._routes.get(key)
        if recent is None or (uid and recent.uid and uid != recent.uid):
            return None
        seen = recent.seen(now_unix, is_whole=is_whole)
        return seen if seen.seconds >= SLOT_SECONDS else None

    def forget(self, key: str) -> None:
        """The route is gone."""
        self._routes.pop(key, None)

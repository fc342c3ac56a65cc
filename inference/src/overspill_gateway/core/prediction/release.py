"""How many of the requests that wait may go to a replica now: as many as it takes in, one for each that it has begun.

Like TCP's slow start: a few at first, one more for each that is begun, fewer when the engine's own queue shows up. A
request counts as begun with its first token, when the engine's gauges show nobody waiting, or after some seconds in
which nothing was heard, so that nothing ever gets stuck. Not here: who goes first (``waiting``), and whether a
replica is fast enough (``core.admission.plan``).
"""

from collections.abc import Iterable

from overspill_gateway.core.prediction.load import ReplicaLoad
from overspill_gateway.core.prediction.pace import ReplicaRates
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.prediction.tuning import TUNING, Tuning


class ReleaseWindow:
    """What one replica may still be given of those who wait. Told of every request there, held or not."""

    __slots__ = (
        "_gauges_seen_at",
        "_load",
        "_moved",
        "_own",
        "_rates",
        "_running",
        "_tuning",
        "_waited",
        "begun_unseen",
        "full_until",
        "limit",
        "sent_at",
        "unbegun",
    )

    def __init__(self, load: ReplicaLoad, rates: ServiceRates, own: ReplicaRates) -> None:
        self._tuning = rates.tuning
        self.limit = float(rates.tuning.room_min)
        """Requests that may be at the replica and not begun."""
        self.unbegun = 0
        """Requests at the replica that it has not begun, as far as known."""
        self.begun_unseen = 0
        """Requests that count as begun although their first token has not come."""
        self.sent_at = float("-inf")
        """When the last was sent."""
        self.full_until = float("-inf")
        """Until when the replica is not asked, since it has said that it has no room, unless something ends there."""
        self._load = load
        self._rates = rates
        self._own = own
        self._gauges_seen_at = load.scraped_at
        self._running = -1
        self._waited = False
        self._moved = False

    def sent(self, now: float) -> None:
        """A request goes to the replica; ``load`` knows of it already."""
        if self._load.scraped_at > self._gauges_seen_at:
            self._see_gauges()
        self.unbegun += 1
        self.sent_at = now

    def first_token(self) -> None:
        """A request's first token has come: there is room for it and for one more."""
        self._begun()
        if self.limit < self._tuning.room_max:
            self.limit += 1.0

    def refused(self, now: float) -> None:
        """The replica has as much to do as its own bounds allow. Told after ``done`` of the request that it refused."""
        self.full_until = now + self._tuning.full_seconds
        self.limit = max(float(self._tuning.room_min), 0.5 * self.limit)

    def done(self, *, first_token_came: bool) -> None:
        """A request has ended there."""
        self.full_until = float("-inf")
        self._moved = True
        if not first_token_came:
            self._begun()

    def _begun(self) -> None:
        self._moved = True
        if self.begun_unseen:
            self.begun_unseen -= 1
        elif self.unbegun:
            self.unbegun -= 1

    def _see_gauges(self) -> None:
        """The replica's gauges were read since anybody looked."""
        load = self._load
        self._gauges_seen_at = load.scraped_at
        waiting = load.waiting
        if waiting < self.unbegun:
            self.begun_unseen += self.unbegun - waiting
            self.unbegun = waiting
        if waiting:
            self.limit = max(float(self._tuning.room_min), 0.5 * self.limit)
        # A full engine runs no more than it ran a moment ago, and yet others wait, then and now; one that is still
        # taking them in runs more each time, and between two steps somebody waits in an empty one as well.
        # One that has ended no step in between, as slow ones do, has shown nothing.
        full = waiting > 0 and self._waited and self._moved and 0 < load.running <= self._running
        self._rates.observed_slots(self._own, load.running, full=full)
        self._running, self._waited, self._moved = load.running, waiting > 0, False

    def room(self, now: float) -> int:
        """Requests that may go there now."""
        if now < self.full_until:
            return 0
        tuning = self._tuning
        load = self._load
        if load.scraped_at > self._gauges_seen_at:
            self._see_gauges()
        if load.in_flight == 0:
            self.unbegun = self.begun_unseen = 0
        elif (
            self.unbegun
            and now - self.sent_at >= tuning.settle_seconds
            and now - load.scraped_at > tuning.fresh_seconds
        ):
            self.begun_unseen += self.unbegun
            self.unbegun = 0
        others = 0
        if load.waiting > self.unbegun and now - load.scraped_at <= tuning.fresh_seconds:
            others = max(0, load.running + load.waiting - load.in_flight_at_scrape)
            others = min(others, load.waiting - self.unbegun)
        room = int(self.limit) - self.unbegun - others
        return room if room > 0 else int(load.in_flight == 0)


def next_release_at(windows: Iterable[ReleaseWindow], now: float, tuning: Tuning = TUNING) -> float:
    """When to look again at those who wait, if nothing happens before: predictions age and silence settles."""
    due = now + tuning.look_seconds_max
    for window in windows:
        settles = window.sent_at + tuning.settle_seconds
        if now < settles < due:
            due = settles
        if now < window.full_until < due:
            due = window.full_until
    return max(due, now + tuning.look_seconds_min)

"""The money of one holder under one cap in one period: what it may spend, and what it wants of the ledger.

Events in (a call asks, a call is over, a second has passed, the ledger has answered), wishes to the ledger out
(``outbox``); time is an argument. It spends only what the ledger has written down for it beforehand (a lease), so that
a crash can lose track of money but never find any. Leases are asked for in blocks, before they run out: larger ones
while they are used up within seconds, and smaller ones where little is left that others may need as well.

Not here: who carries wishes out (``money.spending``), and what the ledger makes of them (``ledger_rules``).
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from overspill_gateway.core.money.ledger_rules import Claim, Failed, Granted

REFRESH_SECONDS: Final = 10.0
"""An account that has no money asks this often whether others have given back."""
FAILED_PAUSE_SECONDS: Final = 1.0
"""Between two claims while the ledger can't be written."""
ANSWER_SECONDS: Final = 30.0
"""A claim that was not answered by then is made anew, since answers get lost between machines; then after twice the
time, and so on, so that a ledger that hangs does not have ever more to do."""
IDLE_SECONDS: Final = 30.0
"""What is leased goes back after so long without a call, where others may need it."""
LACKING_SECONDS: Final = 60.0
"""For so long after a call was refused for lack of money it is asked for again, unless all of it is spent."""
_EXHAUSTED_PERCENT: Final = 95
_QUICK_SECONDS: Final = 5.0
"""A lease used up faster than this was too small."""
_BLOCKS_MIN: Final = 20
"""A lease that nothing is known of takes at most this part of the limit."""
_BLOCKS_GROWN: Final = 50
_SURPLUS: Final = 4
"""What is leased and not needed goes back beyond so many blocks."""
_PART_OF_REST: Final = 8
"""Under a cap that is shared no block is more than this part of what is left: the last of it goes to whoever needs it,
and not to who was first to ask."""
_NEVER: Final = float("-inf")
_UNKNOWN: Final = -1


class Money(Enum):
    """What comes of asking for money."""

    HELD = auto()
    """It is set aside."""
    WAIT = auto()
    """The ledger is asked for it and will answer."""
    NO = auto()
    """There is none, or none that can be counted."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A percentage of the cap was reached: whoever is the first to see it tells people."""

    percent: int
    level: int
    """The amount that this is."""


class Account:
    """The money of one holder.

    Always: ``spent + held <= leased`` but for what backends reported beyond their holds, and ``leased`` is never more
    than what the ledger has written for this holder, but for that. After a failure or a change of the limit the ledger
    may have more written; a later claim puts that right.
    """

    __slots__ = (
        "_active_at", "_alert_asked", "_alert_failed", "_alerts", "_answer_by", "_asked_at", "_block", "_block_min",
        "_claim", "_is_failing", "_is_shared", "_lacked_at", "_leased_at", "_moved", "_next_alert", "_number",
        "_patience", "_rest_given_back", "_written", "alerted", "charged_before", "held", "holds", "is_known",
        "is_late", "lacks", "leased", "limit", "outbox", "overshoot", "retired", "spent",
    )  # fmt: skip

    def __init__(self, limit: int, block_min: int, *, is_shared: bool = False) -> None:
        """``is_shared``: whether others, in other processes, spend under the same cap."""
        self.limit = limit
        """The cap."""
        self.charged_before = 0
        """Charged in this period by others and by earlier lives of this process, crashed leases included."""
        self.leased = 0
        """Written down by the ledger for this account, as far as it may be spent."""
        self.spent = 0
        """Settled."""
        self.held = 0
        """Held for calls under way."""
        self.holds = 0
        """How many those are."""
        self.overshoot = 0
        """What backends reported beyond what had been held for them."""
        self.alerted = 0
        """The highest charge that somebody was told of."""
        self.is_known = False
        """Whether the ledger has said what was charged in this period before."""
        self.is_late = False
        """Whether the ledger has not answered in time: money may be there, and nobody knows."""
        self.lacks = False
        """Whether the last call that was to be paid was not made for lack of money."""
        self.retired = False
        """Whether its period is over: it lives until the last call that it holds money for has ended."""
        self.outbox: list[Claim | Alert] = []
        """What the ledger is to be told now; whoever tells it empties it."""
        self._is_shared = is_shared
        self._claim: Claim | None = None
        """The one that is not answered yet. There is one at a time: what changes meanwhile is in the next one."""
        self._number = 0
        self._written = 0
        """What the ledger has written for this account, as far as it has said so."""
        self._is_failing = False
        self._asked_at = _NEVER
        self._answer_by = 0.0
        self._patience = ANSWER_SECONDS
        self._alerts: tuple[int, ...] = ()
        self._next_alert = 1 << 62
        self._alert_asked = 0
        """The level that the ledger is being asked about."""
        self._alert_failed = False
        """Whether it could not be asked the last time."""
        self._leased_at = self._lacked_at = self._active_at = _NEVER
        self._moved = (0, 0)
        """Spent and held at the last tick."""
        self._rest_given_back = False
        self._block_min = self._block = 1
        self.set_limit(limit, block_min)

    def set_alerts(self, percentages: tuple[int, ...]) -> None:
        """Of which percentages of the limit to tell, in rising order."""
        self._alerts = percentages
        self._set_next_alert()

    def set_limit(self, limit: int, block_min: int) -> None:
        """Another cap, and the least that is worth leasing; what was spent stays spent."""
        self.limit = limit
        self._block_min = max(min(block_min, limit // _BLOCKS_MIN), 1)
        self._block = max(self._block, self._block_min)
        self._set_next_alert()

    @property
    def charged(self) -> int:
        """All that this period has cost, as far as it is settled."""
        return self.charged_before + self.spent

    @property
    def left(self) -> int:
        """What the cap still allows to hold."""
        return self.limit - self.charged_before - self.spent - self.held

    @property
    def lease_left(self) -> int:
        """What may be held without asking the ledger."""
        return self.leased - self.spent - self.held

    @property
    def waits(self) -> bool:
        """Whether the ledger is asked, and has not answered."""
        return self._claim is not None

    def money(self, *, ledger_works: bool) -> int:
        """The most that a call may cost now; while the ledger does not answer, no more than is leased."""
        if ledger_works and not self.is_late:
            return self.left
        return min(self.left, self.lease_left)

    # -- calls -------------------------------------------------------------------------------------------------

    def hold(self, amount: int, now: float) -> Money:
        """Set an amount aside for a call, or ask the ledger for it."""
        used = self.spent + self.held + amount
        if used <= self.leased and used <= self.limit - self.charged_before:
            self.held += amount
            self.holds += 1
            self.lacks = False
            if self.leased - used <= self._block >> 1:
                self.prepare(now)
            return Money.HELD
        if amount > self.left or self.is_late:
            return Money.NO
        self.prepare(now, amount)
        return Money.WAIT if self._claim is not None else Money.NO

    def settle(self, held: int, charged: int, now: float) -> None:
        """A call is over. What it cost beyond the lease the ledger has to hear of, whatever the cap."""
        self.held -= held
        self.holds -= 1
        self.spent += charged
        if charged > held:
            self.overshoot += charged - held
            lacking = self.spent + self.held - self.leased
            if lacking > 0:
                self.leased += lacking
        if self.charged_before + self.spent >= self._next_alert:
            self._look_at_alerts()
        if self.retired:
            self._last_claim(now)
            return
        surplus = self.leased - self.spent - self.held - self._block
        if surplus > 0 and surplus >= self._block * _SURPLUS and self._claim is None:
            self.leased -= surplus
        if self.leased != self._written:
            self.prepare(now)

    def refused(self, now: float) -> None:
        """A request was not sent for lack of money.

        The last of the money pays for no call, so that the whole limit is hardly ever charged: that it is spent is told
        when little is left though nothing is held.
        """
        self.lacks = True
        self._lacked_at = now
        level = self._level(100)
        alerted = max(self.alerted, self._alert_asked)
        spent = self.charged * 100 >= self.limit * _EXHAUSTED_PERCENT
        if 100 in self._alerts and alerted < level and not self.held and spent:
            self._ask_alert(100)

    # -- the ledger --------------------------------------------------------------------------------------------

    def prepare(self, now: float, at_least: int = 0) -> None:
        """See to it that enough is leased before it is needed, and that the ledger has what is so."""
        if self._claim is not None or self.retired:
            return
        if self._is_failing and now - self._asked_at < FAILED_PAUSE_SECONDS:
            return
        wanted = self._block_wanted(at_least)
        if wanted or self.leased != self._written:
            self._ask(self.leased, self.leased + wanted, now)

    def waited_in_vain(self) -> None:
        """A request has waited long enough: until the ledger answers, no more is spent than is leased."""
        self.is_late = self._claim is not None

    def tick(self, now: float, *, ledger_works: bool) -> None:
        """A second has passed: what no call brings about."""
        if self._alert_failed:
            self._look_at_alerts()
        moved = self.spent, self.held
        if moved != self._moved:
            self._moved, self._active_at = moved, now
        if self._claim is not None:
            if now >= self._answer_by:
                self._patience *= 2
                self._ask(self.leased, self.leased + self._claim.most - self._claim.least, now)
        elif self._is_failing or not ledger_works or self.leased != self._written:
            self.prepare(now)
        elif now - self._asked_at >= REFRESH_SECONDS:
            self._refresh(now)

    def answered(self, granted: Granted, now: float) -> bool:
        """The ledger has written a claim down; False: nobody waits for this answer any more."""
        claim = self._claim
        if claim is None or granted.number != claim.number:
            return False
        self._claim = None
        self._heard()
        self.is_known, self._is_failing = True, False
        self._written = granted.charged
        self.leased += granted.charged - claim.least
        self.charged_before = granted.charged_by_others
        self.alerted = max(self.alerted, granted.alerted)
        self._set_next_alert()
        if claim.most > claim.least:
            if now - self._leased_at < _QUICK_SECONDS:
                self._block = max(min(self._block * 2, self.limit // _BLOCKS_GROWN), self._block_min)
            else:
                self._block = max(self._block // 2, self._block_min)
            self._leased_at = now
        if self.leased != self._written:
            self.prepare(now)
        return True

    def failed(self, failed: Failed) -> bool:
        """The ledger may not have written a claim; False: nobody waits for this answer any more."""
        claim = self._claim
        if claim is None or failed.number != claim.number:
            return False
        self._claim = None
        self._heard()
        self._is_failing, self._written = True, _UNKNOWN
        return True

    def alert_answered(self, alert: Alert, *, is_first: bool | None) -> None:
        """The ledger has said who was the first to see a percentage reached; None: it could not."""
        if alert.level == self._alert_asked:
            self._alert_asked = 0
        if is_first is None:
            self._alert_failed = True
        else:
            self.alerted = max(self.alerted, alert.level)
        self._set_next_alert()

    def retire(self, now: float) -> None:
        """The period is over, or the budget is gone: what is not held goes back, whatever is being asked for."""
        self.retired = True
        self._last_claim(now)

    def _refresh(self, now: float) -> None:
        """Nothing is being asked, and nothing was lately."""
        left = self.left
        idle = now - self._active_at >= IDLE_SECONDS
        if not self._is_shared:
            if left <= 0:
                self._ask(self.leased, self.leased, now)
        elif left <= 0 or (self.lacks and now - self._lacked_at < LACKING_SECONDS):
            # A rest that pays for no call here may do so together with those of others: all put theirs back, and look
            # some seconds later what there is.
            gives = not self._rest_given_back and not self.held and self.lease_left > 0
            self._rest_given_back = gives
            if gives:
                self.leased = self.spent
            self._ask(self.leased, self.leased, now)
        elif idle and self.lease_left > 0:
            self.leased = self.spent + self.held
            self._ask(self.leased, self.leased, now)

    def _last_claim(self, now: float) -> None:
        self.leased = self.spent + self.held
        self._ask(self.leased, self.leased, now, is_last=not self.holds)

    def _ask(self, least: int, most: int, now: float, *, is_last: bool = False) -> None:
        self._number += 1
        claim = self._claim = Claim(self._number, least, most, self.limit, is_last)
        self._asked_at = now
        self._answer_by = now + self._patience
        self.outbox.append(claim)

    def _heard(self) -> None:
        self.is_late = False
        self._patience = ANSWER_SECONDS

    def _block_wanted(self, at_least: int = 0) -> int:
        """How much to lease now; 0: enough is leased, or nothing is left."""
        lease_left = self.lease_left
        room = self.limit - self.charged_before - self.leased
        block = self._block
        if self._is_shared:
            block = min(block, max(room // _PART_OF_REST, 1))
        if lease_left >= max(at_least, block // 2 + 1) or lease_left >= self.left:
            return 0
        return max(min(max(block, at_least) - lease_left, room), 0)

    # -- alerts ------------------------------------------------------------------------------------------------

    def _look_at_alerts(self) -> None:
        """Ask about the highest percentage that is reached and that nobody was told of."""
        charged = self.charged_before + self.spent
        self._alert_failed = False
        if charged >= self._next_alert:
            self._ask_alert(max(percent for percent in self._alerts if self._level(percent) <= charged))

    def _ask_alert(self, percent: int) -> None:
        self._alert_asked = self._level(percent)
        self.outbox.append(Alert(percent, self._alert_asked))
        self._set_next_alert()

    def _set_next_alert(self) -> None:
        alerted = max(self.alerted, self._alert_asked)
        levels = (self._level(percent) for percent in self._alerts)
        self._next_alert = next((level for level in levels if level > alerted), 1 << 62)

    def _level(self, percent: int) -> int:
        return -(-self.limit * percent // 100)

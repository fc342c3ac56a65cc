"""The budget of a route as requests see it: its account of this period, leased from the ledger as it is needed.

Leases are asked for before they run out, and written by the ledger's thread. Where the money at hand does not do for
a call, the request waits for the thread's answer as others wait for a replica: nothing ever waits on the thread of the
event loop. Looking (``RouteBudget.at_hand``, ``PeriodSpending.money``) changes nothing.
"""

import itertools
import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from overspill_api.compiled import BudgetRules
from overspill_api.demand import BudgetDemand
from overspill_gateway.core.money.budget import Account
from overspill_gateway.money.ledger import Ledger, LedgerKey, Pending
from overspill_gateway.money.periods import TimeZoneError, period_at

logger = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 10.0
"""At its limit an account asks this often whether others have given back."""
FAILED_PAUSE_SECONDS: Final = 1.0
_holders: Final = itertools.count(1)


class BudgetCounters:
    """What a route's budget has gone through in this process's life, over all periods."""

    __slots__ = ("alerts", "overshoot_nano_usd", "overshoots", "refused")

    def __init__(self) -> None:
        self.alerts: dict[int, int] = {}
        """How often each percentage was reached."""
        self.refused = 0
        """Requests for which hosted APIs were passed over for lack of money, or of a price."""
        self.overshoots = 0
        """Calls for which a backend reported more than was held."""
        self.overshoot_nano_usd = 0
        """How much more."""


class Money(Enum):
    """What comes of asking for money."""

    HELD = auto()
    """It is set aside."""
    WAIT = auto()
    """The ledger has been asked for it and will answer."""
    NO = auto()
    """There is none, or none that can be counted."""


class Waiter(Protocol):
    """A request that waits for the ledger's answer."""

    def money_came(self) -> None:
        """The ledger has answered: ask again."""


class PeriodSpending:
    """One account and its leases."""

    __slots__ = (
        "_asked_at", "_clock", "_late", "_ledger", "_pending", "account", "counters", "is_known", "key", "lacks",
        "retired", "waiting",
    )  # fmt: skip

    def __init__(
        self, ledger: Ledger, key: LedgerKey, account: Account, counters: BudgetCounters, clock: Callable[[], float]
    ) -> None:
        self.account = account
        self.key = key
        self.counters = counters
        self.retired = False
        """Whether its period is over: it lives until the last call that it holds money for has ended."""
        self.lacks = False
        """Whether the last call that was to be paid was not made for lack of money."""
        self.is_known = False
        """Whether the ledger has said what was charged in this period before."""
        self.waiting: set[Waiter] = set()
        """Requests that wait for the ledger."""
        self._ledger = ledger
        self._clock = clock
        self._pending: Pending | None = None
        self._late = False
        self._asked_at = float("-inf")

    @property
    def is_late(self) -> bool:
        """Whether the ledger has not answered in time: money may be there, and nobody knows."""
        return self._late

    @property
    def money(self) -> int:
        """The most that a call may cost now; while the ledger does not answer, no more than is leased."""
        account = self.account
        if self._ledger.error is None and not self._late:
            return account.left
        return min(account.left, account.lease_left)

    def hold(self, amount: int, now: float) -> Money:
        """Set an amount aside, or ask for it."""
        account = self.account
        if account.hold(amount):
            self.lacks = False
            if account.runs_low:
                self.prepare(now)
            return Money.HELD
        if amount > account.left or self._late:
            return Money.NO
        self.prepare(now, amount)
        return Money.NO if self._pending is None else Money.WAIT

    def waited_in_vain(self) -> None:
        """A request has waited long enough: until the ledger answers, no more is spent than is leased."""
        self._late = self._pending is not None

    def settle(self, held: int, charged: int) -> None:
        """A call is over."""
        account = self.account
        beyond = account.settle(held, charged)
        if charged > held:
            self.counters.overshoots += 1
            self.counters.overshoot_nano_usd += charged - held
            logger.warning(
                "budget: a backend of %s reported %d nano-dollars more than the most that its answer could cost",
                self.key.route, charged - held, extra={"route": self.key.route},
            )  # fmt: skip
        if beyond:
            self._ledger.charge(self.key, beyond)
        percent = account.alert_due()
        if percent:
            self._alert(percent)
        self._return()

    def refused(self) -> None:
        """A request was not sent for lack of money."""
        self.lacks = True
        self.counters.refused += 1
        if self.account.alert_exhausted():
            self._alert(100)

    def tick(self, now: float) -> None:
        """A second has passed: heal, and find out whether others who share the file have given back."""
        self.collect(now)
        if self._ledger.error is not None:
            self.prepare(now)
        elif self.account.left <= 0 and self._pending is None and now - self._asked_at >= REFRESH_SECONDS:
            self._lease(now, 0)

    def prepare(self, now: float, at_least: int = 0) -> None:
        """See to it that enough is leased before it is needed."""
        self.collect(now)
        if self._pending is not None:
            return
        if self._ledger.error is not None and now - self._asked_at < FAILED_PAUSE_SECONDS:
            return
        wanted = self.account.block_wanted(at_least)
        if wanted:
            self._lease(now, wanted)

    def retire(self) -> None:
        """The period is over, or the budget is gone: what is not held goes back, a lease under way as well."""
        self.collect(self._asked_at)
        self.retired = True
        pending, self._pending = self._pending, None
        if pending is not None:
            self._ledger.undo(pending)
        self._return()

    def collect(self, now: float) -> None:
        """Take the ledger's answer, if there is one."""
        pending = self._pending
        if pending is None or not pending.done:
            return
        self._pending, self._late = None, False
        lease = pending.lease
        if lease is not None:
            self.is_known = True
            self.account.leased_block(lease.granted, lease.charged_by_others, now)
            self.account.alerted_of(lease.alerted)

    def _lease(self, now: float, amount: int) -> None:
        self._asked_at = now
        self._pending = self._ledger.lease(self.key, amount, self.account.limit, self._answered)

    def _answered(self) -> None:
        """The ledger's thread has answered; called by the event loop."""
        self.collect(self._clock())
        waiting, self.waiting = self.waiting, set()
        for waiter in waiting:
            waiter.money_came()

    def _return(self) -> None:
        surplus = self.account.take_back(everything=self.retired)
        if surplus:
            self._ledger.give_back(self.key, surplus)

    def _alert(self, percent: int) -> None:
        account, alerts = self.account, self.counters.alerts
        alerts[percent] = alerts.get(percent, 0) + 1
        self._ledger.alerted(self.key, account.alerted)
        logger.warning(
            "budget: %s has spent %d %% of its limit in this period", self.key.route, percent,
            extra={"route": self.key.route, "charged_nano_usd": account.charged, "limit_nano_usd": account.limit},
        )  # fmt: skip


class RouteBudget:
    """The budget of one route. Its rules may change under it; what was spent stays spent."""

    def __init__(self, route: str, ledger: Ledger, unix_clock: Callable[[], float], clock: Callable[[], float]) -> None:
        self.route = route
        self.rules: BudgetRules | None = None
        self.block_min = 1
        """The least that is worth leasing: a few calls at the dearest hosted API."""
        self.counters = BudgetCounters()
        self.error: str | None = None
        """Why the budget can't be kept, so that nothing is spent."""
        self._ledger = ledger
        self._unix_clock = unix_clock
        self._clock = clock
        self._spending: PeriodSpending | None = None

    def update(self, rules: BudgetRules | None, block_min: int) -> None:
        """Other rules."""
        before, self.rules, self.block_min = self.rules, rules, max(block_min, 1)
        if rules is None:
            self.close()
            return
        if before is not None and (before.period, before.time_zone) != (rules.period, rules.time_zone):
            self.close()
        spending = self.current()
        if spending is not None:
            spending.account.set_limit(rules.limit_nano_usd, self.block_min)
            spending.account.set_alerts(rules.alerts)

    @property
    def at_hand(self) -> PeriodSpending | None:
        """The account of this period, if it was begun; None: see ``is_new``."""
        spending = self._spending
        return spending if spending is not None and spending.key.period.holds(self._unix_clock()) else None

    @property
    def is_new(self) -> bool:
        """Whether there is a budget whose account of this period was not begun yet: all its money may be there."""
        return self.rules is not None and self.error is None and self.at_hand is None

    def tick(self) -> None:
        """A second has passed."""
        spending = self.current()
        if spending is not None:
            spending.tick(self._clock())

    def current(self) -> PeriodSpending | None:
        """The account of this period, begun if need be; None: there is no budget, or it can't be kept (``error``)."""
        spending = self._spending
        unix_now = self._unix_clock()
        if spending is not None and spending.key.period.start <= unix_now < spending.key.period.end:
            return spending
        return self._begin(unix_now)

    @property
    def unusable(self) -> bool:
        """Whether it is not the money that is lacking but the account of it: a ledger or a time zone that fails."""
        late = self._spending is not None and self._spending.is_late
        return late or self.error is not None or self._ledger.error is not None

    def demand(self) -> BudgetDemand | None:
        """What the operator is told of it; None: there is no budget, or nobody knows yet what its period has cost."""
        spending = self._spending
        if spending is None or not spending.is_known:
            return None
        account = spending.account
        return BudgetDemand(
            period_start_unix_seconds=spending.key.period.start,
            limit_nano_usd=account.limit,
            charged_nano_usd=max(account.charged, 0),
            exhausted=spending.lacks or account.left <= 0,
        )

    def seconds_to_next_period(self) -> float | None:
        """Until the money begins anew."""
        spending = self.at_hand
        return spending.key.period.end - self._unix_clock() if spending is not None else None

    def close(self) -> None:
        """Give back what is not held."""
        if self._spending is not None:
            self._spending.retire()
            self._spending = None

    def _begin(self, unix_now: float) -> PeriodSpending | None:
        rules = self.rules
        if rules is None:
            return None
        self.close()
        try:
            period = period_at(rules.period, rules.time_zone, unix_now)
        except TimeZoneError as error:
            if self.error is None:
                logger.error("budget of %s: %s", self.route, error)  # noqa: TRY400 - the message says all
            self.error = str(error)
            return None
        self.error = None
        account = Account(rules.limit_nano_usd, self.block_min)
        account.set_alerts(rules.alerts)
        key = LedgerKey(self.route, period, next(_holders))
        spending = self._spending = PeriodSpending(self._ledger, key, account, self.counters, self._clock)
        spending.prepare(self._clock())
        return spending

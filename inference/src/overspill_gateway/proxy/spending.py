"""The budget of a route as requests see it: its account of this period, leased from the ledger as it is needed.

Leases are asked for before they run out, by the ledger's thread. Only where the money at hand does not do for a call
is it waited for, shortly: a disk that hangs must not keep replicas from serving.
"""

import itertools
import logging
from collections.abc import Callable
from typing import Final

from overspill_api.compiled import BudgetRules
from overspill_gateway.core.budget import Account
from overspill_gateway.proxy.ledger import Ledger, LedgerKey, Pending
from overspill_gateway.proxy.periods import TimeZoneError, period_at

logger = logging.getLogger(__name__)

LEASE_WAIT_SECONDS: Final = 0.05
"""A block is written in one to ten milliseconds on disks that are well, in fifty on slow ones."""
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
        """How often a hosted API was passed over for lack of money, or of a price."""
        self.overshoots = 0
        """Calls for which a backend reported more than was held."""
        self.overshoot_nano_usd = 0
        """How much more."""


class PeriodSpending:
    """One account and its leases."""

    __slots__ = ("_asked_at", "_ledger", "_pending", "_waited", "account", "counters", "key", "retired")

    def __init__(self, ledger: Ledger, key: LedgerKey, account: Account, counters: BudgetCounters) -> None:
        self.account = account
        self.key = key
        self.counters = counters
        self.retired = False
        """Whether its period is over: it lives until the last call that it holds money for has ended."""
        self._ledger = ledger
        self._pending: Pending | None = None
        self._waited = False
        self._asked_at = float("-inf")

    @property
    def is_late(self) -> bool:
        """Whether the ledger has not answered in time: money may be there, and nobody knows."""
        return self._waited

    def may_hold(self, now: float) -> int:
        """The most that a call may cost now; while the ledger does not answer, no more than is leased."""
        account = self.account
        if self._pending is not None and self._pending.done:
            self._collect(now)
        left = account.left
        if self._ledger.error is None and not self._waited:
            if left > 0 or now - self._asked_at < REFRESH_SECONDS:
                return left
            self._lease(now, 0)  # others who share the file may have given back
            return left
        self.prepare(now)
        return min(left, account.lease_left)

    def hold(self, amount: int, now: float) -> bool:
        """Set an amount aside, if it can be had at once or nearly so."""
        account = self.account
        if account.hold(amount):
            if account.runs_low:
                self.prepare(now)
            return True
        for _ in range(2):  # a lease under way may be too small: one more
            if amount > account.left or self._waited:
                break
            self.prepare(now, amount)
            if self._pending is None:
                break
            self._waited = not self._pending.wait(LEASE_WAIT_SECONDS)
            self._collect(now)
            if account.hold(amount):
                return True
        return False

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
        """A call was not made for lack of money."""
        self.counters.refused += 1
        if self.account.alert_exhausted():
            self._alert(100)

    def prepare(self, now: float, at_least: int = 0) -> None:
        """See to it that enough is leased before it is needed."""
        if self._pending is not None:
            if not self._pending.done:
                return
            self._collect(now)
        if self._ledger.error is not None and now - self._asked_at < FAILED_PAUSE_SECONDS:
            return
        wanted = self.account.block_wanted(at_least)
        if wanted:
            self._lease(now, wanted)

    def retire(self) -> None:
        """The period is over, or the budget is gone: what is not held goes back."""
        self.retired = True
        if self._pending is not None:
            self._pending.wait(LEASE_WAIT_SECONDS)
            self._collect(self._asked_at)
        self._return()

    def _lease(self, now: float, amount: int) -> None:
        self._asked_at = now
        self._pending = self._ledger.lease(self.key, amount, self.account.limit)

    def _collect(self, now: float) -> None:
        pending = self._pending
        if pending is None or not pending.done:
            return
        self._pending, self._waited = None, False
        lease = pending.lease
        if lease is not None:
            self.account.leased_block(lease.granted, lease.charged_by_others, now)
            self.account.alerted_of(lease.alerted)

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

    def current(self) -> PeriodSpending | None:
        """The account of this period; None: there is no budget, or it can't be kept (see ``error``)."""
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

    def seconds_to_next_period(self) -> float | None:
        """Until the money begins anew."""
        spending = self.current()
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
        spending = self._spending = PeriodSpending(self._ledger, key, account, self.counters)
        spending.prepare(self._clock())
        return spending

"""The budget of a route as requests see it: its account of this period, and the ledger that it leases from.

``core.money.account`` decides what is leased, given back and told when; here its wishes are carried to the ledger, and
answers back. Where the money at hand does not do for a call, the request waits for the answer as others wait for a
replica: nothing ever waits on the thread of the event loop. Looking (``RouteBudget.at_hand``, ``PeriodSpending.money``)
changes nothing.
"""

import functools
import logging
from typing import Protocol

from overspill_api.compiled import BudgetRules
from overspill_api.demand import BudgetDemand
from overspill_gateway.clock import Clock
from overspill_gateway.core.money.account import Account, Alert, Money
from overspill_gateway.core.money.ledger_rules import AccountKey, CapKey, CapKind, Failed, Granted
from overspill_gateway.money.ledger_store import LedgerStore
from overspill_gateway.money.periods import TimeZoneError, period_at

logger = logging.getLogger(__name__)


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


class Waiter(Protocol):
    """A request that waits for the ledger's answer."""

    def money_came(self) -> None:
        """The ledger has answered: ask again."""


class PeriodSpending:
    """One account, and what carries its wishes to the ledger."""

    __slots__ = ("_clock", "account", "counters", "key", "ledger", "waiting")

    def __init__(
        self, ledger: LedgerStore, key: AccountKey, account: Account, counters: BudgetCounters,
        clock: Clock,
    ) -> None:  # fmt: skip
        self.account = account
        self.key = key
        self.counters = counters
        self.waiting: set[Waiter] = set()
        """Requests that wait for the ledger."""
        self.ledger = ledger
        self._clock = clock

    @property
    def money(self) -> int:
        """The most that a call may cost now."""
        return self.account.money(ledger_works=self.ledger.error is None)

    def hold(self, amount: int, now: float) -> Money:
        """Set an amount aside, or ask for it."""
        account = self.account
        answer = account.hold(amount, now)
        if account.outbox:
            self._carry_out()
        return answer

    def settle(self, held: int, charged: int, now: float) -> None:
        """A call is over."""
        account = self.account
        account.settle(held, charged, now)
        if charged > held:
            self._tell_overshoot(charged - held)
        if account.outbox:
            self._carry_out()

    def refused(self) -> None:
        """A request was not sent for lack of money."""
        self.counters.refused += 1
        self.account.refused(self._clock.monotonic())
        self._carry_out()

    def tick(self, now: float) -> None:
        """A second has passed."""
        self.account.tick(now, ledger_works=self.ledger.error is None)
        self._carry_out()

    def prepare(self, now: float) -> None:
        """See to it that enough is leased before it is needed."""
        self.account.prepare(now)
        self._carry_out()

    def retire(self) -> None:
        """The period is over, or the budget is gone: who waits for its money looks elsewhere."""
        self.account.retire(self._clock.monotonic())
        self._carry_out()
        self._wake()

    def waited_in_vain(self) -> None:
        """A request has waited long enough: until the ledger answers, nobody does."""
        self.account.waited_in_vain()

    def _carry_out(self) -> None:
        account = self.account
        wishes, account.outbox = account.outbox, []
        for wish in wishes:
            if isinstance(wish, Alert):
                self.ledger.alert(self.key, wish.level, functools.partial(self._alert_answered, wish))
            else:
                self.ledger.claim(self.key, wish, self._answered)

    def _answered(self, answer: Granted | Failed) -> None:
        """The ledger has answered; called by the event loop."""
        account = self.account
        now = self._clock.monotonic()
        is_news = account.failed(answer) if isinstance(answer, Failed) else account.answered(answer, now)
        self._carry_out()
        if is_news:
            self._wake()

    def _wake(self) -> None:
        waiting, self.waiting = self.waiting, set()
        for waiter in waiting:
            waiter.money_came()

    def _alert_answered(self, alert: Alert, is_first: bool | None) -> None:  # noqa: FBT001 - the store's answer
        account, alerts = self.account, self.counters.alerts
        account.alert_answered(alert, is_first=is_first)
        if not is_first:
            return
        alerts[alert.percent] = alerts.get(alert.percent, 0) + 1
        route = self.key.cap.name
        logger.warning(
            "budget: %s has spent %d %% of its limit in this period", route, alert.percent,
            extra={"route": route, "charged_nano_usd": account.charged, "limit_nano_usd": account.limit},
        )  # fmt: skip

    def _tell_overshoot(self, beyond: int) -> None:
        self.counters.overshoots += 1
        self.counters.overshoot_nano_usd += beyond
        route = self.key.cap.name
        logger.warning(
            "budget: a backend of %s reported %d nano-dollars more than the most that its answer could cost",
            route, beyond, extra={"route": route},
        )  # fmt: skip


class RouteBudget:
    """The budget of one route. Its rules may change under it; what was spent stays spent."""

    def __init__(self, route: str, ledger: LedgerStore, clock: Clock) -> None:
        self.route = route
        self.rules: BudgetRules | None = None
        self.block_min = 1
        """The least that is worth leasing: a few calls at the dearest hosted API."""
        self.counters = BudgetCounters()
        self.error: str | None = None
        """Why the budget can't be kept, so that nothing is spent."""
        self.ledger = ledger
        self._clock = clock
        self.spending: PeriodSpending | None = None

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
        spending = self.spending
        return spending if spending is not None and spending.key.period.holds(self._clock.unix()) else None

    @property
    def is_new(self) -> bool:
        """Whether there is a budget whose account of this period was not begun yet: all its money may be there."""
        return self.rules is not None and self.error is None and self.at_hand is None

    def tick(self) -> None:
        """A second has passed."""
        spending = self.current()
        if spending is not None:
            spending.tick(self._clock.monotonic())

    def current(self) -> PeriodSpending | None:
        """The account of this period, begun if need be; None: there is no budget, or it can't be kept (``error``)."""
        spending = self.spending
        unix_now = self._clock.unix()
        if spending is not None and spending.key.period.start <= unix_now < spending.key.period.end:
            return spending
        return self._begin(unix_now)

    @property
    def unusable(self) -> bool:
        """Whether it is not the money that is lacking but the account of it: a ledger or a time zone that fails."""
        late = self.spending is not None and self.spending.account.is_late
        return late or self.error is not None or self.ledger.error is not None

    def demand(self) -> BudgetDemand | None:
        """What the operator is told of it; None: there is no budget, or nobody knows yet what its period has cost."""
        spending = self.spending
        if spending is None or not spending.account.is_known:
            return None
        account = spending.account
        return BudgetDemand(
            period_start_unix_seconds=spending.key.period.start,
            limit_nano_usd=account.limit,
            charged_nano_usd=max(account.charged, 0),
            exhausted=account.lacks or account.left <= 0,
        )

    def seconds_to_next_period(self) -> float | None:
        """Until the money begins anew."""
        spending = self.at_hand
        return spending.key.period.end - self._clock.unix() if spending is not None else None

    def close(self) -> None:
        """Give back what is not held."""
        if self.spending is not None:
            self.spending.retire()
            self.spending = None

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
        account = Account(rules.limit_nano_usd, self.block_min, is_shared=self.ledger.shared)
        account.set_alerts(rules.alerts)
        key = AccountKey(CapKey(CapKind.BUDGET, self.route), period, self.ledger.new_holder())
        spending = self.spending = PeriodSpending(self.ledger, key, account, self.counters, self._clock)
        spending.prepare(self._clock.monotonic())
        return spending

"""A request that waits for the ledger to write down money. Not here: the ledger, and what is done with its answer."""

from typing import TYPE_CHECKING

from overspill_gateway.proxy.spending import MONEY_WAIT_SECONDS, PeriodSpending, RouteBudget, Waiter

if TYPE_CHECKING:
    from overspill_gateway.proxy.call import Call


class MoneyWait:
    """All the waiting for money of one request."""

    __slots__ = ("_spending", "until")

    def __init__(self) -> None:
        self.until = 0.0
        """The end of it, however often it waits; 0: it has not had to."""
        self._spending: PeriodSpending | None = None

    def begins(self, waiter: Waiter, budget: RouteBudget, now: float) -> bool:
        """Wait for the ledger's answer; False: it has been waited for long enough."""
        self.until = self.until or now + MONEY_WAIT_SECONDS
        self._spending = budget.at_hand
        if self._spending is None or now >= self.until:
            return False
        self._spending.waiting.add(waiter)
        return True

    def is_in_vain(self, waiter: Waiter) -> None:
        """The ledger has not answered in time: until it does, nobody waits for it."""
        if self._spending is not None:
            self._spending.waited_in_vain()
        self.end(waiter)

    def end(self, waiter: Waiter) -> None:
        """It waits no more."""
        if self._spending is not None:
            self._spending.waiting.discard(waiter)
            self._spending = None


def note_passed_over(call: "Call") -> None:
    """A request goes to no hosted API now: once, it is counted if that is for lack of money."""
    if not call.is_passed_over:
        call.is_passed_over = call.route.meter.count_passed_over(call.ask)

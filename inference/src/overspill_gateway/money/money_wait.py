"""A request that waits for the ledger to write down money. Not here: the ledger, and what is done with its answer."""

from overspill_gateway.money.spending import PeriodSpending, RouteBudget, Waiter


class MoneyWait:
    """All the waiting for money of one request."""

    __slots__ = ("_spending",)

    def __init__(self) -> None:
        self._spending: PeriodSpending | None = None

    def begins(self, waiter: Waiter, budget: RouteBudget) -> bool:
        """Wait for the ledger's answer; False: there is none to wait for."""
        self.end(waiter)
        self._spending = budget.at_hand
        if self._spending is None:
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

"""A ledger in memory: all caps, their periods and holders. Not here: who asks, and files (``money.sqlite_ledger``)."""

from typing import Final

from overspill_gateway.core.money.ledger_rules import (
    AccountKey,
    CapState,
    Claim,
    Granted,
    HolderState,
    apply_alert,
    apply_claim,
)
from overspill_gateway.core.money.period import Period

PERIODS_KEPT: Final = 400
"""Of each cap, the latest; a year of days."""
_NOBODY: Final = HolderState()


class _Page:
    """One cap in one period."""

    __slots__ = ("holders", "whole")

    def __init__(self, charged: int) -> None:
        self.whole = CapState(charged)
        self.holders: dict[str, HolderState] = {}


class LedgerBook:
    """What is charged under each cap in each period."""

    def __init__(self) -> None:
        self._caps: dict[str, dict[Period, _Page]] = {}

    def claim(self, account: AccountKey, claim: Claim) -> Granted:
        """Write a claim down."""
        page = self._page(account)
        mine = page.holders.get(account.holder, _NOBODY)
        page.whole, mine, granted = apply_claim(page.whole, mine, claim)
        page.holders[account.holder] = mine
        return granted

    def alert(self, account: AccountKey, level: int) -> bool:
        """Whether this holder is the first to see that so much is charged."""
        page = self._page(account)
        mine = page.holders.get(account.holder, _NOBODY)
        page.whole, page.holders[account.holder], is_first = apply_alert(page.whole, mine, level)
        return is_first

    def forget_holder(self, account: AccountKey) -> None:
        """It claims nothing more: what it had stays charged. Only for those whose claims can't come late any more."""
        self._page(account).holders.pop(account.holder, None)

    def charged(self, account: AccountKey) -> int:
        """What all holders were charged under the cap in its period."""
        return self._page(account).whole.charged

    def _page(self, account: AccountKey) -> _Page:
        """A page, begun if need be.

        Where the kind of period or the time zone was changed, what other periods that overlap it were charged counts
        as charged in this one as well: a change never makes money.
        """
        pages = self._caps.setdefault(account.cap.text, {})
        period = account.period
        page = pages.get(period)
        if page is None:
            overlapping = (
                other.whole.charged
                for known, other in pages.items()
                if known.start < period.end and known.end > period.start
            )
            page = pages[period] = _Page(sum(overlapping))
            if len(pages) > PERIODS_KEPT:
                del pages[min(pages, key=lambda known: known.end)]
        return page

"""The ledger of one process, in its memory: what is charged is forgotten with it."""

import functools
from collections.abc import Callable, Mapping

from overspill_gateway.core.money.ledger_book import LedgerBook
from overspill_gateway.core.money.ledger_rules import AccountKey, CapKey, Claim, Failed, Granted
from overspill_gateway.money.ledger_store import LedgerStore


class MemoryLedger(LedgerStore):
    """A ledger without a file."""

    def __init__(
        self, process: str, tell: Callable[[Callable[[], None]], object], book: LedgerBook | None = None
    ) -> None:
        """``tell``: calls something later; ``book``: one that several of them share."""
        super().__init__(process, durable=False, shared=book is not None)
        self.tell = tell
        self._book = LedgerBook() if book is None else book

    def claim(self, account: AccountKey, claim: Claim, then: Callable[[Granted | Failed], None]) -> None:
        """Write down what a holder has in all."""
        self.leases += claim.most > claim.least
        granted = self._book.claim(account, claim)
        if claim.is_last:
            self._book.forget_holder(account)
        self.tell(functools.partial(then, granted))

    def alert(self, account: AccountKey, level: int, then: Callable[[bool | None], None]) -> None:
        """Ask whether this holder is the first to see so much charged."""
        self.tell(functools.partial(then, self._book.alert(account, level)))

    def remember(self, counted: Mapping[CapKey, str], unix_now: float) -> None:
        """Nothing outlives the process."""

    def recall(self, unix_now: float, then: Callable[[dict[CapKey, str]], None]) -> None:  # noqa: ARG002
        """There is nothing."""
        nothing: dict[CapKey, str] = {}
        self.tell(functools.partial(then, nothing))

    def close(self, seconds: float = 5.0) -> bool:  # noqa: ARG002
        """Nothing is left to be written."""
        return True

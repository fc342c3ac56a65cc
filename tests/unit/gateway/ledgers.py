"""Ledgers whose answers a test takes when it wants to, and a holder that says what it has in all, as accounts do."""

import itertools
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from overspill_gateway.core.money.ledger_rules import AccountKey, CapKey, CapKind, Claim, Failed, Granted
from overspill_gateway.core.money.period import Period
from overspill_gateway.money.ledger_store import LedgerStore
from overspill_gateway.money.memory_ledger import MemoryLedger
from overspill_gateway.money.sqlite_ledger import SqliteLedger

_boots = itertools.count()
ANSWER_SECONDS = 10.0
"""A disk may take its time."""


class Told:
    """What ledgers tell, in place of an event loop: it is kept until the test wants it."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def __call__(self, then: Callable[[], None]) -> None:
        """Called by ledgers, from any thread."""
        self._waiting.put(then)

    def take(self, seconds: float = ANSWER_SECONDS) -> None:
        """Wait for the next answer, and hear it."""
        try:
            then = self._waiting.get(timeout=seconds)
        except Empty:
            raise AssertionError("the ledger does not answer") from None
        then()

    def take_all(self) -> None:
        """Hear what there is."""
        while not self._waiting.empty():
            self.take()


def ledger_at(path: Path | None, told: Told, process: str = "") -> LedgerStore:
    """A ledger in a file, or in memory; no two are of processes with one name."""
    process = process or f"pod/{next(_boots)}"
    return MemoryLedger(process, told) if path is None else SqliteLedger(path, process, told)


def all_written(ledger: LedgerStore, told: Told) -> None:
    """Wait until a ledger has written all that it was given: it does one thing after the other."""
    answered: list[object] = []
    ledger.recall(0.0, answered.append)
    while not answered:
        told.take()


class Holder:
    """One holder of a route's budget, by what it leases, spends and gives back."""

    def __init__(self, ledger: LedgerStore, told: Told, period: Period, route: str = "ns/tiny") -> None:
        self.ledger = ledger
        self.key = AccountKey(CapKey(CapKind.BUDGET, route), period, ledger.new_holder())
        self.has = 0
        self._told = told
        self._number = 0

    def claim(self, least: int, most: int, cap: int) -> Granted | Failed:
        """What the ledger answers."""
        answers: list[Granted | Failed] = []
        self.send(least, most, cap, answers.append)
        while not answers:
            self._told.take()
        if isinstance(answers[0], Granted):
            self.has = answers[0].charged
        return answers[0]

    def send(
        self, least: int, most: int, cap: int, then: Callable[[Granted | Failed], None] = lambda _: None,
        *, is_last: bool = False,
    ) -> None:  # fmt: skip
        """Ask without waiting."""
        self._number += 1
        self.ledger.claim(self.key, Claim(self._number, least, most, cap, is_last), then)

    def lease(self, amount: int, cap: int) -> int:
        """How much more it got."""
        before = self.has
        answer = self.claim(self.has, self.has + amount, cap)
        assert isinstance(answer, Granted), answer
        return answer.charged - before

    def charge(self, amount: int) -> Granted | Failed:
        """It has spent more than it had."""
        return self.claim(self.has + amount, self.has + amount, 0)

    def give_back(self, amount: int) -> None:
        """It needs less than it has."""
        self.claim(self.has - amount, self.has - amount, 0)

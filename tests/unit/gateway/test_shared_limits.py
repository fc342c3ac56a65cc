"""A limit of rates over two gateways: each has a share, leased by the same claims as money, and counts by itself."""

from random import Random

import pytest

from overspill_gateway.core.money.ledger_book import LedgerBook
from overspill_gateway.core.money.ledger_rules import AccountKey, CapKey, CapKind, Claim, Failed, Granted
from overspill_gateway.core.money.limits import RateWindow
from overspill_gateway.core.money.period import Period
from overspill_gateway.money.memory_ledger import MemoryLedger
from unit.gateway.ledgers import Told

LIMIT = 120
"""Requests a minute."""
HOUR = Period(0, 3600)
PART = 10
"""A share grows by as much at a time."""


class Share:
    """One gateway's share of a limit: the window counts as ever, with the share as its limit."""

    def __init__(self, name: str, book: LedgerBook, told: Told) -> None:
        self.window = RateWindow(0)
        self.let_in: list[float] = []
        self._ledger = MemoryLedger(name, told, book)
        self._told = told
        self._key = AccountKey(CapKey(CapKind.CONSUMER, "ns/me"), HOUR, self._ledger.new_holder())
        self._number = 0
        self._lacks = False

    def ask(self, now: float) -> bool:
        """A request comes: nothing but this process is asked."""
        if self.window.wait_seconds(now, 1):
            self._lacks = True
            return False
        self.window.add(now, 1)
        self.let_in.append(now)
        return True

    def tick(self, now: float) -> None:
        """A second has passed: lease more where it was short, and give back what was not used in the last minute."""
        share = self.window.limit
        if self._lacks:
            least, most = share, share + PART
        else:
            least = most = min(share, self.window.counted(now) + PART)
        self._lacks = False
        self.window.limit = least
        self._number += 1
        self._ledger.claim(self._key, Claim(self._number, least, most, LIMIT), self._answered)

    def _answered(self, answer: Granted | Failed) -> None:
        if isinstance(answer, Granted) and answer.number == self._number:
            self.window.limit = answer.charged


def most_in_a_minute(times: list[float]) -> int:
    """Of any sixty seconds."""
    times = sorted(times)
    return max(sum(1 for at in times[first:] if at < times[first] + 60.0) for first in range(len(times)))


@pytest.mark.parametrize("seed", range(3))
def test_two_gateways_keep_one_limit_in_every_minute(seed: int) -> None:
    """And nearly all of it goes to whoever is asked, also when that changes."""
    chance, book, told = Random(seed), LedgerBook(), Told()
    one, other = Share("pod/1", book, told), Share("pod/2", book, told)
    now = 0.0
    for second in range(600):
        asked = (one, other) if second < 200 else (other,) if second < 400 else (one,)
        for _ in range(6):
            now += 1 / 6
            chance.choice(asked).ask(now)
        for share in (one, other):
            share.tick(now)
        if chance.random() < 0.8:
            told.take_all()
    everything = one.let_in + other.let_in

    assert most_in_a_minute(everything) <= LIMIT
    for begin, times in ((100, everything), (330, other.let_in), (530, one.let_in)):
        assert sum(begin <= at < begin + 60 for at in times) >= 0.9 * LIMIT


def test_the_share_of_a_gateway_that_died_is_nobody_s_until_the_period_ends() -> None:
    """What it has let in within this minute is not known to anybody else."""
    book, told = LedgerBook(), Told()
    dead, alive = Share("pod/1", book, told), Share("pod/2", book, told)
    now = 0.0
    for _ in range(3):
        dead.ask(now)
        dead.tick(now)
        told.take()
    had = dead.window.limit
    for _ in range(600):
        now += 1.0
        for _ in range(20):
            alive.ask(now)
        alive.tick(now)
        told.take()

    assert had == PART
    assert alive.window.limit == LIMIT - had

"""What every store of caps answers, whatever it keeps things in: the same as the rules, to the same questions."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from overspill_gateway.core.money.ledger_book import LedgerBook
from overspill_gateway.core.money.ledger_rules import AccountKey, CapKey, CapKind, Claim
from overspill_gateway.core.money.period import Period
from overspill_gateway.money.ledger_store import LedgerStore
from overspill_gateway.money.memory_ledger import MemoryLedger
from overspill_gateway.money.sqlite_ledger import SqliteLedger
from unit.gateway.ledgers import Told

DAY = 86_400
PERIODS = (Period(0, DAY), Period(DAY, 2 * DAY), Period(0, 7 * DAY))
CAPS = (CapKey(CapKind.BUDGET, "ns/a"), CapKey(CapKind.CONSUMER, "ns/a"), CapKey(CapKind.BUDGET, "ns/b"))


def made(kind: str, folder: Path, told: Told) -> LedgerStore:
    """A store with nothing in it."""
    return MemoryLedger("pod/boot", told) if kind == "memory" else SqliteLedger(folder / "l.db", "pod/boot", told)


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("seed", range(3))
def test_a_store_answers_by_the_rules(kind: str, seed: int, tmp_path: Path) -> None:
    """Claims that come twice, late and from all sides, alerts, and periods that overlap."""
    chance, told, book = Random(seed), Told(), LedgerBook()
    store = made(kind, tmp_path, told)
    numbers: dict[AccountKey, int] = {}
    answers: list[Any] = []
    expected: list[Any] = []
    for _ in range(400):
        account = AccountKey(chance.choice(CAPS), chance.choice(PERIODS), f"pod/{chance.randrange(4)}")
        if chance.random() < 0.2:
            level = chance.randrange(1, 3000)
            store.alert(account, level, answers.append)
            expected.append(book.alert(account, level))
            continue
        newest = numbers[account] = numbers.get(account, 0) + 1
        number = chance.choice([newest, newest, newest, max(newest - 1, 1), max(newest - 3, 1)])
        least = chance.randrange(600)
        claim = Claim(number, least, least + chance.choice([0, 100, 5000]), 2000)
        store.claim(account, claim, answers.append)
        expected.append(book.claim(account, claim))
    while len(answers) < len(expected):
        told.take()
    store.close()

    assert answers == expected


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_nothing_is_answered_within_the_question(kind: str, tmp_path: Path) -> None:
    """Whoever asks is in the middle of something."""
    told, answers = Told(), list[object]()
    store = made(kind, tmp_path, told)
    account = AccountKey(CAPS[0], PERIODS[0], store.new_holder())
    store.claim(account, Claim(1, 0, 100, 1000), answers.append)
    store.alert(account, 50, answers.append)
    store.recall(0.0, answers.append)
    assert answers == []
    while len(answers) < 3:
        told.take()
    store.close()


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_no_two_holders_have_one_name(kind: str, tmp_path: Path) -> None:
    """They begin with the process, so that a store knows whose lease is whose."""
    store = made(kind, tmp_path, Told())

    assert [store.new_holder() for _ in range(3)] == ["pod/boot/1", "pod/boot/2", "pod/boot/3"]
    store.close()

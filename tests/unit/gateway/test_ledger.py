"""The ledger: what is written down survives a kill at any line, and what can't be written is not spent."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overspill_gateway.money.ledger import PERIODS_KEPT, Ledger, LedgerKey, Pending
from overspill_gateway.money.ledger_file import WAL_BYTES_MAX
from overspill_gateway.money.periods import Period
from unit.gateway import ledger_victim

WAIT_SECONDS = 10.0
NOVEMBER = Period(1_793_491_200, 1_796_083_200)
KEY = LedgerKey("ns/tiny", NOVEMBER, 1)
DAY = 86_400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger's file, not made yet."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """A ledger in a file."""
    made = Ledger(path)
    yield made
    made.close()


def answered(pending: Pending) -> Pending:
    """Wait for the ledger's thread."""
    assert pending.wait(WAIT_SECONDS)
    return pending


def granted(ledger: Ledger, amount: int, limit: int, key: LedgerKey = KEY) -> int:
    """What a lease got."""
    lease = answered(ledger.lease(key, amount, limit)).lease
    assert lease is not None
    return lease.granted


def charged(path: Path) -> dict[tuple[str, int], int]:
    """What the file says, read by somebody else."""
    connection = sqlite3.connect(path)
    made = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'charged'").fetchone() == (1,)
    rows = connection.execute("SELECT route, starts, nano_usd FROM charged").fetchall() if made else []
    connection.close()
    return {(route, starts): amount for route, starts, amount in rows}


def test_a_lease_is_in_the_file_before_it_is_granted(ledger: Ledger, path: Path) -> None:
    """Whoever is told of money can die at once: it is written down."""
    assert granted(ledger, 100, 1000) == 100

    assert charged(path) == {("ns/tiny", NOVEMBER.start): 100}


def test_no_more_is_granted_than_the_limit_has_room_for(ledger: Ledger) -> None:
    """The last lease is smaller, and then there is nothing."""
    assert [granted(ledger, 400, 1000) for _ in range(4)] == [400, 400, 200, 0]


def test_what_is_given_back_can_be_leased_again(ledger: Ledger, path: Path) -> None:
    """And never more than was leased."""
    granted(ledger, 900, 1000)
    ledger.give_back(KEY, 500)
    assert granted(ledger, 900, 1000) == 600

    ledger.give_back(KEY, 5000)
    assert granted(ledger, 0, 1000) == 0
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 0}


def test_overshoot_is_charged_beyond_the_limit(ledger: Ledger, path: Path) -> None:
    """It was spent: the ledger says so, and grants nothing until the limit is above it."""
    granted(ledger, 1000, 1000)
    ledger.charge(KEY, 300)

    assert granted(ledger, 10, 1200) == 0
    assert granted(ledger, 500, 1400) == 100
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 1400}


def test_a_restart_finds_what_was_charged(path: Path) -> None:
    """Money of an earlier life is spent, what it had leased and not used included."""
    first = Ledger(path)
    granted(first, 700, 1000)
    assert first.close()
    second = Ledger(path)
    lease = answered(second.lease(LedgerKey("ns/tiny", NOVEMBER, 2), 500, 1000)).lease
    second.close()

    assert lease is not None
    assert (lease.granted, lease.charged_by_others) == (300, 700)


def test_alerts_are_remembered(path: Path) -> None:
    """Somebody was told in an earlier life."""
    first = Ledger(path)
    granted(first, 700, 1000)
    first.alerted(KEY, 500)
    first.close()
    second = Ledger(path)
    lease = answered(second.lease(KEY, 0, 1000)).lease
    second.close()

    assert lease is not None
    assert lease.alerted == 500


def test_two_processes_with_one_file_share_the_limit(path: Path) -> None:
    """The file decides, not what one of them remembers."""
    one, two = Ledger(path), Ledger(path)
    got = [granted(ledger, 300, 1000, LedgerKey("ns/tiny", NOVEMBER, 1)) for ledger in (one, two, one, two)]
    one.close()
    two.close()

    assert got == [300, 300, 300, 100]


def test_periods_and_routes_stand_for_themselves(ledger: Ledger) -> None:
    """A new month has its own money, and so has another route."""
    december = Period(NOVEMBER.end, NOVEMBER.end + 31 * DAY)
    granted(ledger, 1000, 1000)

    assert granted(ledger, 1000, 1000, LedgerKey("ns/tiny", december, 2)) == 1000
    assert granted(ledger, 1000, 1000, LedgerKey("ns/other", NOVEMBER, 3)) == 1000


def test_another_kind_of_period_makes_no_money(ledger: Ledger) -> None:
    """Month to Day, or another time zone: what overlapping periods were charged counts as charged."""
    granted(ledger, 700, 1000)
    today = LedgerKey("ns/tiny", Period(NOVEMBER.start + 3 * DAY, NOVEMBER.start + 4 * DAY), 2)

    assert granted(ledger, 1000, 1000, today) == 300


def test_the_file_stays_small(ledger: Ledger, path: Path) -> None:
    """Old periods of a route are forgotten, and the write-ahead log is cut."""
    for number in range(3 * PERIODS_KEPT):
        period = Period(number * DAY, (number + 1) * DAY)
        pending = ledger.lease(LedgerKey("ns/tiny", period, number), 10, 1000)
    answered(pending)
    for _ in range(5000):
        ledger.lease(KEY, 1, 10**9)
    granted(ledger, 1, 10**9)
    ledger.close()

    assert len(charged(path)) <= PERIODS_KEPT + 1
    assert path.stat().st_size < 1 << 20
    log = path.with_name(path.name + "-wal")
    assert not log.exists() or log.stat().st_size <= WAL_BYTES_MAX + (1 << 20)


def test_in_memory_it_keeps_account_as_well() -> None:
    """Without a file: the same rules, until the process ends."""
    ledger = Ledger(None)
    assert not ledger.durable
    assert [granted(ledger, 600, 1000) for _ in range(3)] == [600, 400, 0]
    assert ledger.close()


def test_it_says_that_other_gateways_have_their_own(ledger: Ledger) -> None:
    """N gateways may spend N times the limit until there is a shared store: nobody may believe otherwise."""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"this is no database at all, but long enough to be looked at as one" * 100, "not a database"),
        (b"SQLite format 3\x00" + b"\xff" * 4096, ""),
    ],
)
def test_a_damaged_file_grants_nothing_and_says_what_to_do(path: Path, content: bytes, told: str) -> None:
    """Fails closed: the file is left as it is, and the error names it."""
    path.write_bytes(content)
    ledger = Ledger(path)

    pending = answered(ledger.lease(KEY, 100, 1000))
    ledger.close()

    assert pending.lease is None
    assert pending.error is not None
    assert str(path) in pending.error
    assert told in pending.error
    assert "replicas serve on" in pending.error
    assert ledger.error == pending.error
    assert path.read_bytes() == content


def test_a_page_that_was_overwritten_is_found(path: Path) -> None:
    """The whole file is checked when it is opened, before anything is granted."""
    ledger = Ledger(path)
    for number in range(2000):
        pending = ledger.lease(LedgerKey(f"ns/route-{number}", NOVEMBER, number), 10, 1000)
    answered(pending)
    ledger.close()
    with path.open("r+b") as file:
        file.seek(4096 + 2048)
        file.write(os.urandom(4096))
    again = Ledger(path)

    pending = answered(again.lease(KEY, 100, 1000))
    again.close()

    assert pending.lease is None
    assert pending.error is not None


def test_another_program_s_database_is_left_alone(path: Path) -> None:
    """A path that was mistyped must not gain a table."""
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    ledger = Ledger(path)

    pending = answered(ledger.lease(KEY, 100, 1000))
    ledger.close()

    assert pending.error is not None
    assert "another program" in pending.error
    with sqlite3.connect(path) as found:
        assert found.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_a_newer_version_s_file_is_not_written(path: Path, ledger: Ledger) -> None:
    """After a downgrade nothing is guessed."""
    granted(ledger, 100, 1000)
    ledger.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    older = Ledger(path)

    pending = answered(older.lease(KEY, 100, 1000))
    older.close()

    assert pending.error is not None
    assert "newer version" in pending.error


def test_a_folder_that_is_not_there_grants_nothing(tmp_path: Path) -> None:
    """A volume that was not mounted."""
    ledger = Ledger(tmp_path / "missing" / "ledger.db")

    pending = answered(ledger.lease(KEY, 100, 1000))
    ledger.close()

    assert pending.error is not None
    assert "unable to open" in pending.error


def test_a_file_that_can_t_be_written_for_a_while_heals(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases get nothing meanwhile; what was spent beyond one is written as soon as it can be, and once."""
    monkeypatch.setattr("overspill_gateway.money.ledger.RETRY_SECONDS", 0.0)
    monkeypatch.setattr("overspill_gateway.money.ledger_file.BUSY_SECONDS", 0.05)
    ledger = Ledger(path)
    granted(ledger, 100, 10_000)
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    ledger.charge(KEY, 50)
    refused = answered(ledger.lease(KEY, 100, 10_000))
    other.rollback()
    other.close()

    lease = answered(ledger.lease(KEY, 100, 10_000)).lease
    ledger.close()

    assert refused.lease is None
    assert refused.error is not None
    assert "locked" in refused.error
    assert ledger.errors >= 1
    assert lease is not None
    assert ledger.error is None
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 250}


# -- a kill at any line --------------------------------------------------------------------------------------------


def bills(path: Path) -> tuple[int, int]:
    """What a provider has billed at least, and at most: calls that never ended may have cost what was held."""
    held: dict[bytes, int] = {}
    billed = 0
    for line in path.read_bytes().splitlines():
        word, call, amount = line.split()
        if word == b"sent":
            held[call] = int(amount)
        else:
            assert int(amount) <= held.pop(call)
            billed += int(amount)
    return billed, billed + sum(held.values())


def live(path: Path, provider: Path, seed: int, line: int) -> int:
    """One life of a process that spends; its exit code."""
    folders = [str(Path(module.__file__ or "").parents[2]) for module in (ledger_victim,)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, *sys.path])}
    command = [sys.executable, "-m", "unit.gateway.ledger_victim", str(path), str(provider), str(seed), str(line)]
    return subprocess.run(command, env=environment, check=False, timeout=60).returncode


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.interpreted  # it counts lines
def test_killed_at_any_line_the_ledger_covers_what_was_spent(tmp_path: Path, seed: int) -> None:
    """Life after life on one file: charged is never less than was spent, nor more than a lease for each crash above.

    And whatever was lost in crashes, the provider never bills more than the limit.
    """
    path, provider = tmp_path / "ledger.db", tmp_path / "bills"
    chance = random.Random(seed)
    lease_max = 5 * max(ledger_victim.LIMIT // 50, 60_000_000)
    deaths = 0
    for number in range(5):
        code = live(path, provider, seed * 100 + number, int(10 ** chance.uniform(2.0, 4.6)))
        assert code in {0, -9}
        deaths += code == -9
        if not provider.exists() or not path.exists():
            continue
        billed, at_most = bills(provider)
        known = sum(charged(path).values())
        assert known >= at_most
        assert at_most <= ledger_victim.LIMIT
        assert known <= at_most + deaths * lease_max
        assert billed <= known

    assert deaths >= 2
    assert live(path, provider, seed * 100 + 99, 0) == 0
    (known,) = charged(path).values()
    assert bills(provider)[1] <= known <= ledger_victim.LIMIT


def test_an_orderly_end_leaves_exactly_what_was_spent(tmp_path: Path) -> None:
    """To the nano-dollar."""
    path, provider = tmp_path / "ledger.db", tmp_path / "bills"

    assert live(path, provider, 1, 0) == 0

    billed, at_most = bills(provider)
    assert billed == at_most > 0
    assert list(charged(path).values()) == [billed]


def test_a_change_that_can_never_be_written_stops_nobody(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """A number that no column holds, or a sum that overflows: it is left out and told, and others are written."""
    granted(ledger, 100, 1000)
    for amount in (1 << 63, 1 << 70, (1 << 63) - 1):
        ledger.charge(KEY, amount)

    assert granted(ledger, 50, 1000, LedgerKey("ns/other", NOVEMBER, 2)) == 50
    assert granted(ledger, 10, 1000) == 10
    assert answered(ledger.lease(KEY, 1 << 70, 1 << 71)).error is not None
    assert (ledger.dropped, ledger.errors, ledger.error) == (4, 0, None)
    assert "ns/tiny" in caplog.text


def test_a_lease_that_nobody_waits_for_any_more_is_given_back(ledger: Ledger, path: Path) -> None:
    """Its account ended before it was answered: neither its block stays charged, nor more goes back than it got."""
    granted(ledger, 100, 1000)
    pending = ledger.lease(KEY, 5000, 1000)
    ledger.undo(pending)
    assert granted(ledger, 0, 1000) == 0

    assert charged(path) == {("ns/tiny", NOVEMBER.start): 100}


@pytest.mark.parametrize("how", ["deleted", "replaced", "emptied folder", "log deleted"])
def test_a_file_that_vanishes_is_noticed_and_written_anew(
    ledger: Ledger, path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite would go on writing to a file without a name: what was spent would be forgotten with the process."""
    granted(ledger, 700, 1000)
    if how == "replaced":
        path.with_name("other.db").touch()
        path.with_name("other.db").replace(path)
    elif how == "deleted":
        path.unlink()
    else:
        for file in path.parent.glob("ledger.db-wal" if how == "log deleted" else "*"):
            file.unlink()

    assert granted(ledger, 500, 1000, LedgerKey("ns/tiny", NOVEMBER, 2)) == 300

    assert charged(path) == {("ns/tiny", NOVEMBER.start): 1000}
    assert (ledger.losses, ledger.error) == (1, None)
    assert sum("removed or replaced" in line for line in caplog.messages) == 1
    ledger.close()
    second = Ledger(path)
    assert granted(second, 1, 1000) == 0
    second.close()


def test_a_file_that_vanishes_while_nothing_is_written_is_noticed_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed later must not have been the only one that knew."""
    monkeypatch.setattr("overspill_gateway.money.ledger.LOOK_SECONDS", 0.01)
    ledger = Ledger(path)
    granted(ledger, 700, 1000)
    path.unlink()
    until = time.monotonic() + WAIT_SECONDS
    while not (ledger.losses and path.exists() and charged(path)):
        assert time.monotonic() < until
        threading.Event().wait(0.01)

    assert charged(path) == {("ns/tiny", NOVEMBER.start): 700}
    ledger.close()


def test_where_no_file_can_be_made_nothing_is_spent(path: Path) -> None:
    """Its folder is gone as well: told, and nothing is granted until there is one again."""
    folder = path.parent / "volume"
    folder.mkdir()
    ledger = Ledger(folder / "ledger.db")
    granted(ledger, 700, 1000)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()

    refused = answered(ledger.lease(KEY, 100, 1000))

    assert refused.lease is None
    assert ledger.error is not None
    folder.mkdir()
    ledger._failed_at = float("-inf")
    assert granted(ledger, 500, 1000) == 300
    ledger.close()


def test_what_rates_have_counted_is_kept_for_two_minutes(path: Path) -> None:
    """What is older says nothing any more."""
    found: list[dict[str, str]] = []
    first = Ledger(path)
    first.remember({"a": "1", "b": "1"}, 1000.0)
    first.remember({"a": "2"}, 1100.0)
    first.close()
    second = Ledger(path)
    second.tell = lambda then: then()
    second.recall(1130.0, found.append)
    second.close()

    assert found == [{"a": "2"}]

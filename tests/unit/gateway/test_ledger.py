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

from overspill_gateway.core.money.ledger_book import PERIODS_KEPT
from overspill_gateway.core.money.ledger_rules import CapKey, CapKind, Claim, Failed, Granted
from overspill_gateway.core.money.period import Period
from overspill_gateway.money.ledger_file import WAL_BYTES_MAX
from overspill_gateway.money.sqlite_ledger import SqliteLedger
from unit.gateway import ledger_victim
from unit.gateway.ledgers import Holder, Told, all_written, ledger_at

WAIT_SECONDS = 10.0
NOVEMBER = Period(1_793_491_200, 1_796_083_200)
DAY = 86_400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger's file, not made yet."""
    return tmp_path / "ledger.db"


@pytest.fixture
def told() -> Told:
    """What ledgers have answered."""
    return Told()


@pytest.fixture
def ledger(path: Path, told: Told) -> Iterator[SqliteLedger]:
    """A ledger in a file."""
    made = SqliteLedger(path, "pod/boot", told)
    yield made
    made.close()


@pytest.fixture
def holder(ledger: SqliteLedger, told: Told) -> Holder:
    """A holder in it."""
    return Holder(ledger, told, NOVEMBER)


def charged(path: Path) -> dict[tuple[str, int], int]:
    """What the file says, read by somebody else."""
    connection = sqlite3.connect(path)
    made = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'charged'").fetchone() == (1,)
    rows = connection.execute("SELECT route, starts, nano_usd FROM charged").fetchall() if made else []
    connection.close()
    return {(route, starts): amount for route, starts, amount in rows}


def test_a_lease_is_in_the_file_before_it_is_granted(holder: Holder, path: Path) -> None:
    """Whoever is told of money can die at once: it is written down."""
    assert holder.lease(100, 1000) == 100

    assert charged(path) == {("ns/tiny", NOVEMBER.start): 100}


def test_no_more_is_granted_than_the_limit_has_room_for(holder: Holder) -> None:
    """The last lease is smaller, and then there is nothing."""
    assert [holder.lease(400, 1000) for _ in range(4)] == [400, 400, 200, 0]


def test_what_is_given_back_can_be_leased_again(holder: Holder, path: Path) -> None:
    """By whoever asks first."""
    other = Holder(holder.ledger, Told(), NOVEMBER)
    holder.lease(900, 1000)
    holder.give_back(500)
    assert holder.lease(900, 1000) == 600

    holder.give_back(1000)
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 0}
    assert other.has == 0


def test_overshoot_is_charged_beyond_the_limit(holder: Holder, path: Path) -> None:
    """It was spent: the ledger says so, and grants nothing until the limit is above it."""
    holder.lease(1000, 1000)
    holder.charge(300)

    assert holder.lease(10, 1200) == 0
    assert holder.lease(500, 1400) == 100
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 1400}


def test_a_restart_finds_what_was_charged(path: Path, told: Told) -> None:
    """Money of an earlier life is spent, what it had leased and not used included."""
    first = ledger_at(path, told)
    Holder(first, told, NOVEMBER).lease(700, 1000)
    assert first.close()
    second = ledger_at(path, told)
    answer = Holder(second, told, NOVEMBER).claim(0, 500, 1000)
    second.close()

    assert isinstance(answer, Granted)
    assert (answer.charged, answer.charged_by_others) == (300, 700)


def test_alerts_are_remembered(path: Path, told: Told) -> None:
    """Somebody was told in an earlier life."""
    first = ledger_at(path, told)
    holder = Holder(first, told, NOVEMBER)
    holder.lease(700, 1000)
    is_first: list[bool | None] = []
    first.alert(holder.key, 500, is_first.append)
    told.take()
    first.close()
    second = ledger_at(path, told)
    later = Holder(second, told, NOVEMBER)
    answer = later.claim(0, 0, 1000)
    second.alert(later.key, 500, is_first.append)
    second.alert(later.key, 750, is_first.append)
    told.take()
    told.take()
    second.close()

    assert isinstance(answer, Granted)
    assert answer.alerted == 500
    assert is_first == [True, False, True]


def test_two_processes_with_one_file_share_the_limit(path: Path, told: Told) -> None:
    """The file decides, not what one of them remembers."""
    one, two = ledger_at(path, told), ledger_at(path, told)
    first, second = Holder(one, told, NOVEMBER), Holder(two, told, NOVEMBER)
    got = [holder.lease(300, 1000) for holder in (first, second, first, second)]
    one.close()
    two.close()

    assert got == [300, 300, 300, 100]


def test_a_file_knows_whose_lease_is_whose(path: Path, told: Told) -> None:
    """By pod, start and account: who died with what, until the period is forgotten; who ended in order is not kept."""
    ledger = ledger_at(path, told, "pod/boot")
    dead, ended = Holder(ledger, told, NOVEMBER), Holder(ledger, told, NOVEMBER)
    dead.lease(300, 1000)
    ended.lease(200, 1000)
    ended.send(150, 150, 1000, is_last=True)
    assert ledger.close()

    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT holder, nano_usd FROM holders").fetchall() == [("pod/boot/1", 300)]
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 450}


def test_a_claim_that_comes_twice_is_written_once_and_one_that_comes_late_not_at_all(
    holder: Holder, path: Path, told: Told
) -> None:
    """Whatever carries them may repeat them and turn them round."""
    holder.claim(0, 300, 1000)
    holder.claim(100, 100, 1000)
    late = Claim(1, 0, 300, 1000)
    for claim in (late, Claim(2, 100, 100, 1000)):
        holder.ledger.claim(holder.key, claim, lambda _: None)
        told.take()

    assert charged(path) == {("ns/tiny", NOVEMBER.start): 100}


def test_periods_and_routes_stand_for_themselves(holder: Holder, told: Told) -> None:
    """A new month has its own money, and so has another route."""
    december = Period(NOVEMBER.end, NOVEMBER.end + 31 * DAY)
    holder.lease(1000, 1000)

    assert Holder(holder.ledger, told, december).lease(1000, 1000) == 1000
    assert Holder(holder.ledger, told, NOVEMBER, "ns/other").lease(1000, 1000) == 1000


@pytest.mark.parametrize("where", ["file", "memory"])
def test_another_kind_of_period_makes_no_money(path: Path, told: Told, where: str) -> None:
    """Month to Day, or another time zone: what overlapping periods were charged counts as charged."""
    ledger = ledger_at(path if where == "file" else None, told)
    Holder(ledger, told, NOVEMBER).lease(700, 1000)
    today = Period(NOVEMBER.start + 3 * DAY, NOVEMBER.start + 4 * DAY)

    assert Holder(ledger, told, today).lease(1000, 1000) == 300
    ledger.close()


def test_the_file_stays_small(holder: Holder, path: Path, told: Told) -> None:
    """Old periods of a route are forgotten, and the write-ahead log is cut."""
    ledger = holder.ledger
    for number in range(3 * PERIODS_KEPT):
        period = Period(number * DAY, (number + 1) * DAY)
        Holder(ledger, told, period).send(0, 10, 1000)
    all_written(ledger, told)
    for _ in range(5000):
        holder.send(0, 1, 10**9)
    holder.claim(0, 1, 10**9)
    ledger.close()

    assert len(charged(path)) <= PERIODS_KEPT + 1
    assert path.stat().st_size < 1 << 20
    log = path.with_name(path.name + "-wal")
    assert not log.exists() or log.stat().st_size <= WAL_BYTES_MAX + (1 << 20)


def test_in_memory_it_keeps_account_as_well(told: Told) -> None:
    """Without a file: the same rules, until the process ends."""
    ledger = ledger_at(None, told)
    holder, other = Holder(ledger, told, NOVEMBER), Holder(ledger, told, NOVEMBER)
    assert not ledger.durable
    assert [holder.lease(600, 1000) for _ in range(3)] == [600, 400, 0]
    holder.give_back(300)
    assert other.lease(1000, 1000) == 300
    assert ledger.close()


def test_it_says_that_other_gateways_have_their_own(ledger: SqliteLedger) -> None:
    """N gateways may spend N times the limit until there is a shared store: nobody may believe otherwise."""
    assert (ledger.durable, ledger.shared) == (True, False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is no database at all, but long enough to be looked at as one" * 100, "not a database"),
        (b"SQLite format 3\x00" + b"\xff" * 4096, ""),
    ],
)
def test_a_damaged_file_grants_nothing_and_says_what_to_do(path: Path, content: bytes, reason: str, told: Told) -> None:
    """Fails closed: the file is left as it is, and the error names it."""
    path.write_bytes(content)
    ledger = ledger_at(path, told)

    answer = Holder(ledger, told, NOVEMBER).claim(0, 100, 1000)
    ledger.close()

    assert isinstance(answer, Failed)
    assert str(path) in answer.reason
    assert reason in answer.reason
    assert "replicas serve on" in answer.reason
    assert ledger.error == answer.reason
    assert path.read_bytes() == content


def test_a_page_that_was_overwritten_is_found(path: Path, told: Told) -> None:
    """The whole file is checked when it is opened, before anything is granted."""
    ledger = ledger_at(path, told)
    for number in range(300):
        Holder(ledger, told, NOVEMBER, f"ns/route-{number}").send(0, 10, 1000)
    all_written(ledger, told)
    ledger.close()
    assert path.stat().st_size > 8 * 4096, "what is overwritten lies in the middle"
    with path.open("r+b") as file:
        file.seek(4096 + 2048)
        file.write(os.urandom(4096))
    again = ledger_at(path, told)

    answer = Holder(again, told, NOVEMBER).claim(0, 100, 1000)
    again.close()

    assert isinstance(answer, Failed)


def test_another_program_s_database_is_left_alone(path: Path, told: Told) -> None:
    """A path that was mistyped must not gain a table."""
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    ledger = ledger_at(path, told)

    answer = Holder(ledger, told, NOVEMBER).claim(0, 100, 1000)
    ledger.close()

    assert isinstance(answer, Failed)
    assert "another program" in answer.reason
    with sqlite3.connect(path) as found:
        assert found.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_a_newer_version_s_file_is_not_written(path: Path, holder: Holder, told: Told) -> None:
    """After a downgrade nothing is guessed."""
    holder.lease(100, 1000)
    holder.ledger.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    older = ledger_at(path, told)

    answer = Holder(older, told, NOVEMBER).claim(0, 100, 1000)
    older.close()

    assert isinstance(answer, Failed)
    assert "newer version" in answer.reason


def test_a_folder_that_is_not_there_grants_nothing(tmp_path: Path, told: Told) -> None:
    """A volume that was not mounted."""
    ledger = ledger_at(tmp_path / "missing" / "ledger.db", told)

    answer = Holder(ledger, told, NOVEMBER).claim(0, 100, 1000)
    ledger.close()

    assert isinstance(answer, Failed)
    assert "unable to open" in answer.reason


def test_a_file_that_can_t_be_written_for_a_while_heals(
    path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases get nothing meanwhile; what was spent beyond one is written as soon as it can be, and once."""
    monkeypatch.setattr("overspill_gateway.money.sqlite_ledger.RETRY_SECONDS", 0.0)
    monkeypatch.setattr("overspill_gateway.money.ledger_file.BUSY_SECONDS", 0.05)
    ledger = ledger_at(path, told)
    holder, other_route = Holder(ledger, told, NOVEMBER), Holder(ledger, told, NOVEMBER, "ns/other")
    holder.lease(100, 10_000)
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    holder.charge(50)
    refused = other_route.claim(0, 100, 10_000)
    other.rollback()
    other.close()

    assert other_route.lease(100, 10_000) == 100
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 150, ("ns/other", NOVEMBER.start): 100}
    holder.claim(150, 250, 10_000)
    other_route.give_back(100)
    ledger.close()

    assert isinstance(refused, Failed)
    assert "locked" in refused.reason
    assert ledger.errors >= 1
    assert ledger.error is None
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 250, ("ns/other", NOVEMBER.start): 0}


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


def test_a_claim_that_can_never_be_written_stops_nobody(
    holder: Holder, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """A number that no column holds, or a sum that overflows: it is left out and told, and others are written."""
    ledger = holder.ledger
    holder.lease(100, 1000)
    for amount in (1 << 63, 1 << 70, (1 << 63) - 1):
        assert isinstance(holder.charge(amount), Failed)

    assert Holder(ledger, told, NOVEMBER, "ns/other").lease(50, 1000) == 50
    assert holder.lease(10, 1000) == 10
    assert isinstance(holder.claim(0, 1 << 70, 1 << 71), Failed)
    assert (ledger.dropped, ledger.errors, ledger.error) == (4, 0, None)
    assert sum("ns/tiny" in line for line in caplog.messages) == 1


def test_a_lease_that_nobody_waits_for_any_more_is_given_back(holder: Holder, path: Path) -> None:
    """Its account ended before it was answered: neither its block stays charged, nor more goes back than it got."""
    holder.lease(100, 1000)
    holder.send(100, 5100, 1000)
    holder.claim(100, 100, 1000)

    assert charged(path) == {("ns/tiny", NOVEMBER.start): 100}


@pytest.mark.parametrize("how", ["deleted", "replaced", "emptied folder", "log deleted"])
def test_a_file_that_vanishes_is_noticed_and_written_anew(
    holder: Holder, path: Path, told: Told, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite would go on writing to a file without a name: what was spent would be forgotten with the process."""
    ledger = holder.ledger
    holder.lease(700, 1000)
    if how == "replaced":
        path.with_name("other.db").touch()
        path.with_name("other.db").replace(path)
    elif how == "deleted":
        path.unlink()
    else:
        for file in path.parent.glob("ledger.db-wal" if how == "log deleted" else "*"):
            file.unlink()

    assert Holder(ledger, told, NOVEMBER).lease(500, 1000) == 300

    assert charged(path) == {("ns/tiny", NOVEMBER.start): 1000}
    assert (ledger.losses, ledger.error) == (1, None)
    assert sum("removed or replaced" in line for line in caplog.messages) == 1
    holder.give_back(50)
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 950}, "it is known whose money it is"
    holder.lease(50, 1000)
    ledger.close()
    second = ledger_at(path, told)
    assert Holder(second, told, NOVEMBER).lease(1, 1000) == 0
    second.close()


def test_a_file_that_vanishes_while_nothing_is_written_is_noticed_too(
    path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed later must not have been the only one that knew."""
    monkeypatch.setattr("overspill_gateway.money.sqlite_ledger.LOOK_SECONDS", 0.01)
    ledger = ledger_at(path, told)
    Holder(ledger, told, NOVEMBER).lease(700, 1000)
    path.unlink()
    until = time.monotonic() + WAIT_SECONDS
    while not (ledger.losses and path.exists() and charged(path)):
        assert time.monotonic() < until
        threading.Event().wait(0.01)

    assert charged(path) == {("ns/tiny", NOVEMBER.start): 700}
    ledger.close()


def test_where_no_file_can_be_made_nothing_is_spent(path: Path, told: Told) -> None:
    """Its folder is gone as well: told, and nothing is granted until there is one again."""
    folder = path.parent / "volume"
    folder.mkdir()
    ledger = SqliteLedger(folder / "ledger.db", "pod/boot", told)
    holder = Holder(ledger, told, NOVEMBER)
    holder.lease(700, 1000)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()

    assert isinstance(holder.claim(700, 800, 1000), Failed)
    assert ledger.error is not None
    folder.mkdir()
    ledger.failed_at = float("-inf")
    assert holder.lease(500, 1000) == 300
    ledger.close()


def test_what_rates_have_counted_is_kept_for_two_minutes(path: Path, told: Told) -> None:
    """What is older says nothing any more."""
    one, other = CapKey(CapKind.CONSUMER, "ns/a"), CapKey(CapKind.HOSTED, "ns/tiny api")
    found: list[dict[CapKey, str]] = []
    first = ledger_at(path, told)
    first.remember({one: "1", other: "1"}, 1000.0)
    first.remember({one: "2"}, 1100.0)
    first.close()
    second = ledger_at(path, told)
    second.recall(1130.0, found.append)
    told.take()
    second.recall(1110.0, found.append)
    told.take()
    second.close()

    assert found == [{one: "2"}, {one: "2", other: "1"}]


def test_a_later_version_s_kinds_of_limits_harm_nobody(path: Path, told: Told) -> None:
    """After a downgrade: what is not known is passed over, and the ledger goes on."""
    known, found = CapKey(CapKind.CONSUMER, "ns/a"), list[dict[CapKey, str]]()
    ledger = ledger_at(path, told)
    ledger.remember({known: "1"}, 1000.0)
    all_written(ledger, told)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO rates VALUES ('end-user ns/x', 1000, '1')")
    ledger.recall(1000.0, found.append)
    told.take()

    assert found == [{known: "1"}]
    assert Holder(ledger, told, NOVEMBER).lease(100, 1000) == 100
    ledger.close()


def test_a_fault_of_ours_ends_no_ledger(
    path: Path, told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits is told, it is logged, and what is claimed next is written, with what was spent meanwhile."""
    monkeypatch.setattr("overspill_gateway.money.sqlite_ledger.RETRY_SECONDS", 0.0)
    ledger = ledger_at(path, told)
    holder, other = Holder(ledger, told, NOVEMBER), Holder(ledger, told, NOVEMBER, "ns/other")
    holder.lease(100, 1000)
    with monkeypatch.context() as broken:
        broken.setattr("overspill_gateway.money.sqlite_ledger.apply_claim", lambda *_: 1 // 0)
        assert isinstance(holder.claim(150, 250, 1000), Failed)

    assert other.lease(10, 1000) == 10
    assert charged(path) == {("ns/tiny", NOVEMBER.start): 150, ("ns/other", NOVEMBER.start): 10}
    assert caplog.text.count("ZeroDivisionError") == 1
    ledger.close()

"""The ledger in a SQLite file, written by one thread.

A block of money is written down as charged before any of it is spent, and what was not needed is given back when the
period or the process ends in order. So a crash at any line leaves at least what was really spent, and at most one
block for each account more. A write that fails grants nothing: no money is spent, and everything else goes on. A file
that vanishes is written anew with all that this process knows of. What the limits of rates have counted is kept beside
it, so that a restart is no way around them.

Every process has a ledger for itself: N gateways of one release may together spend N times the limit. Only processes
that are given the same file, on one machine, share it.
"""

import contextlib
import functools
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from overspill_gateway.clock import Clock
from overspill_gateway.core.money.ledger_book import PERIODS_KEPT
from overspill_gateway.core.money.ledger_rules import (
    AccountKey,
    CapKey,
    CapState,
    Claim,
    Failed,
    Granted,
    HolderState,
    apply_alert,
    apply_claim,
    at_its_least,
    cap_key,
)
from overspill_gateway.money.ledger_file import LedgerFile, LedgerFileError
from overspill_gateway.money.ledger_store import LedgerStore

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0
"""A file that failed is not tried again sooner."""
ROWS_MAX: Final = 100_000
"""Of all routes, those that are gone included; and of holders, those that died included."""
LOOK_SECONDS: Final = 5.0
"""While nothing is written, this often it is looked whether the file is still there."""
PLACES_KNOWN_MAX: Final = 10_000
"""Accounts of which this process remembers what was charged, the latest ones."""
RATES_KEPT_SECONDS: Final = 120
_BATCH_MAX: Final = 256
_NEVER: Final = "the amount is larger than the ledger can hold"
_NAMED_MAX: Final = 1000

_READ: Final = "SELECT nano_usd, alerted_nano_usd FROM charged WHERE route = ? AND starts = ? AND ends = ?"
_READ_HOLDER: Final = """
SELECT number, nano_usd, alerted_nano_usd FROM holders WHERE route = ? AND starts = ? AND ends = ? AND holder = ?
"""
_WRITE: Final = """
UPDATE charged SET nano_usd = ?, alerted_nano_usd = ? WHERE route = ? AND starts = ? AND ends = ?
"""
_WRITE_HOLDER: Final = "INSERT OR REPLACE INTO holders VALUES (?, ?, ?, ?, ?, ?, ?)"
_FORGET_HOLDER: Final = "DELETE FROM holders WHERE route = ? AND starts = ? AND ends = ? AND holder = ?"
_FORGET_OLD_PERIODS: Final = """
DELETE FROM charged WHERE route = ? AND ends NOT IN
    (SELECT ends FROM charged WHERE route = ? ORDER BY ends DESC LIMIT ?)
"""
_FORGET_OLD_ROWS: Final = """
DELETE FROM charged WHERE (route, starts, ends) IN
    (SELECT route, starts, ends FROM charged ORDER BY ends DESC LIMIT -1 OFFSET ?)
"""
_FORGET_OLD_HOLDERS: Final = """
DELETE FROM holders WHERE (route, starts, ends, holder) IN
    (SELECT route, starts, ends, holder FROM holders ORDER BY ends DESC LIMIT -1 OFFSET ?)
"""
_WRITE_ANEW: Final = """
INSERT INTO charged (route, starts, ends, nano_usd, alerted_nano_usd) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET nano_usd = max(nano_usd, excluded.nano_usd),
        alerted_nano_usd = max(alerted_nano_usd, excluded.alerted_nano_usd)
"""
_REMEMBER: Final = "INSERT OR REPLACE INTO rates (name, saved, counted) VALUES (?, ?, ?)"

_Place = tuple[str, int, int]
"""A cap in one period: its key, start and end."""


@dataclass(slots=True)
class _ClaimJob:
    """A claim that is to be written."""

    account: AccountKey
    claim: Claim
    then: Callable[[Granted | Failed], None] | None
    """None: a claim that failed before, of which nobody waits to hear."""
    granted: Granted | None = None


@dataclass(slots=True)
class _AlertJob:
    """A level that somebody sees reached."""

    account: AccountKey
    level: int
    then: Callable[[bool | None], None]
    is_first: bool | None = None


@dataclass(frozen=True, slots=True)
class _Memory:
    """What rates have counted: to be kept, or to be found again."""

    counted: dict[str, str]
    unix_now: int
    then: Callable[[dict[CapKey, str]], None] | None = None


_Job = _ClaimJob | _AlertJob


class SqliteLedger(LedgerStore):
    """The ledger of one process, in a file."""

    def __init__(
        self, path: Path, process: str, tell: Callable[[Callable[[], None]], object], clock: Clock | None = None
    ) -> None:
        """``tell``: lets the event loop's thread call something, such as ``loop.call_soon_threadsafe``."""
        super().__init__(process, durable=True, shared=False)
        self.path = path
        self._clock = clock or Clock()
        self.tell = tell
        self._jobs: SimpleQueue[_Job | _Memory | None] = SimpleQueue()
        self._unwritten: dict[AccountKey, Claim] = {}
        """Of each account whose claim failed the newest one, at its least."""
        self._file = LedgerFile(path)
        self._known: dict[_Place, CapState] = {}
        """What was charged and told, as last written."""
        self._holders: dict[tuple[_Place, str], HolderState] = {}
        """The same of the accounts of this process that have not ended."""
        self._is_lost = False
        """Whether the file has vanished and was not written anew yet."""
        self.failed_at = float("-inf")
        """When it was last tried in vain, on the monotonic clock: it is tried again after a pause."""
        self._cause = ""
        self._dropped_of: set[str] = set()
        """Holders of which it was told that a claim can never be written."""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def claim(self, account: AccountKey, claim: Claim, then: Callable[[Granted | Failed], None]) -> None:
        """Write down what a holder has in all."""
        self._jobs.put(_ClaimJob(account, claim, then))

    def alert(self, account: AccountKey, level: int, then: Callable[[bool | None], None]) -> None:
        """Ask whether this holder is the first to see so much charged."""
        self._jobs.put(_AlertJob(account, level, then))

    def remember(self, counted: Mapping[CapKey, str], unix_now: float) -> None:
        """Keep what rates have counted."""
        self._jobs.put(_Memory({key.text: counts for key, counts in counted.items()}, int(unix_now)))

    def recall(self, unix_now: float, then: Callable[[dict[CapKey, str]], None]) -> None:
        """Ask for what was kept lately; nothing, where it can't be read."""
        self._jobs.put(_Memory({}, int(unix_now), then))

    def close(self, seconds: float = 5.0) -> bool:
        """Write what is left and stop; whether that was done in time."""
        self._jobs.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # -- in the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch: list[_Job | _Memory] = []
            job: _Job | _Memory | None
            try:
                job = self._jobs.get(timeout=LOOK_SECONDS)
            except Empty:
                self._look()
                continue
            while job is not None:
                batch.append(job)
                if len(batch) >= _BATCH_MAX or self._jobs.empty():
                    break
                job = self._jobs.get()
            going_on = job is not None
            self.write([each for each in batch if not isinstance(each, _Memory)])
            for each in batch:
                if isinstance(each, _Memory):
                    self._serve_memory(each)
        self._close()

    def _look(self) -> None:
        """Nothing is to be written: see whether it could be."""
        if self.error is not None or self._is_lost or self._file.is_gone():
            self.write([], always=True)

    def write(self, batch: list[_Job], *, always: bool = False) -> None:
        """Write a batch, and what could not be written before; in the ledger's own thread."""
        again = [_ClaimJob(account, claim, None) for account, claim in self._unwritten.items()]
        jobs: list[_Job] = [*again, *batch]
        if not jobs and not always:
            return
        known, holders = dict(self._known), dict(self._holders)
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            if self._is_lost:
                self._write_anew(connection)
            for job in jobs:
                self._apply(connection, job)
            connection.execute("COMMIT")
        except Exception as error:
            if not isinstance(error, sqlite3.Error | OSError | LedgerFileError) and str(error) != self._cause:
                logger.exception("a fault in the ledger")  # of ours; whoever waits hears of it all the same
            self._known, self._holders = known, holders
            self._failed(jobs, error)
            return
        self._written(batch)

    def _written(self, batch: list[_Job]) -> None:
        if self.error is not None:
            logger.info("the ledger can be written again", extra={"path": str(self.path)})
        self.error, self._is_lost, self._unwritten = None, False, {}
        while len(self._known) > PLACES_KNOWN_MAX:
            del self._known[next(iter(self._known))]
        while len(self._holders) > PLACES_KNOWN_MAX:
            del self._holders[next(iter(self._holders))]
        for job in batch:
            if isinstance(job, _ClaimJob):
                self.leases += job.granted is not None and job.claim.most > job.claim.least
            self._answer(job, _NEVER)

    def _serve_memory(self, memory: "_Memory") -> None:
        """Rates are kept as well as can be: what is lost of them is a minute's count, so that nothing waits for it."""
        texts: dict[CapKey, str] = {}
        try:
            connection = self._open()
            if memory.counted:
                rows = [(name, memory.unix_now, counted) for name, counted in memory.counted.items()]
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_REMEMBER, rows)
                connection.execute("DELETE FROM rates WHERE saved < ?", (memory.unix_now - RATES_KEPT_SECONDS,))
                connection.execute("COMMIT")
            elif memory.then is not None:
                since = (memory.unix_now - RATES_KEPT_SECONDS,)
                for name, counted in connection.execute("SELECT name, counted FROM rates WHERE saved >= ?", since):
                    with contextlib.suppress(ValueError):  # of a kind that only a later version knows
                        texts[cap_key(name)] = counted
        except (sqlite3.Error, OSError, LedgerFileError) as error:
            self._failed([], error)
        if memory.then is not None:
            self._tell_loop(functools.partial(memory.then, texts))

    def _answer(self, job: _Job, reason: str) -> None:
        """Tell what came of it; ``reason``: why nothing did, where nothing did."""
        if isinstance(job, _AlertJob):
            self._tell_loop(functools.partial(job.then, job.is_first))
        elif job.then is not None:
            answer = Failed(job.claim.number, reason) if job.granted is None else job.granted
            self._tell_loop(functools.partial(job.then, answer))

    def _tell_loop(self, then: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left who waits
            self.tell(then)

    def _apply(self, connection: sqlite3.Connection, job: _Job) -> None:
        """Write one; what can never be written, whatever the state of the file, is left out."""
        account = job.account
        place: _Place = (account.cap.text, account.period.start, account.period.end)
        mine_at = (place, account.holder)
        try:
            row = connection.execute(_READ, place).fetchone()
            before = CapState(*row) if row is not None else self._begin(connection, place)
            row = connection.execute(_READ_HOLDER, (*place, account.holder)).fetchone()
            mine_before = HolderState(*row) if row is not None else HolderState()
            granted: Granted | None = None
            is_first, is_last = False, False
            if isinstance(job, _AlertJob):
                whole, mine, is_first = apply_alert(before, mine_before, job.level)
            else:
                whole, mine, granted = apply_claim(before, mine_before, job.claim)
                is_last = job.claim.is_last
            if whole != before:
                connection.execute(_WRITE, (whole.charged, whole.alerted, *place))
            if is_last:
                connection.execute(_FORGET_HOLDER, (*place, account.holder))
            elif mine != mine_before:
                row = (*place, account.holder, mine.number, mine.charged, mine.alerted)
                connection.execute(_WRITE_HOLDER, row)
        except (OverflowError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError) as error:
            self._drop(job, error)
            return
        self._known.pop(place, None)
        self._known[place] = whole
        self._holders.pop(mine_at, None)
        if not is_last:
            self._holders[mine_at] = mine
        if isinstance(job, _AlertJob):
            job.is_first = is_first
        else:
            job.granted = granted

    def _drop(self, job: _Job, error: Exception) -> None:
        self.dropped += 1
        account = job.account
        if account.holder in self._dropped_of or isinstance(job, _AlertJob):
            return
        if len(self._dropped_of) < _NAMED_MAX:
            self._dropped_of.add(account.holder)
        logger.error(
            "ledger: a claim of %d nano-dollars for %s can never be written (%s) and is left out; look at the prices "
            "of its hosted APIs", job.claim.least, account.cap.name, error, extra={"route": account.cap.name},
        )  # fmt: skip

    def _begin(self, connection: sqlite3.Connection, place: _Place) -> CapState:
        """A period's first charge.

        Where the kind of period or the time zone was changed, what other periods of the route that overlap it were
        charged counts as charged in this one as well: a change never makes money.
        """
        route, start, end = place
        connection.execute(_FORGET_OLD_PERIODS, (route, route, PERIODS_KEPT))
        connection.execute(_FORGET_OLD_ROWS, (ROWS_MAX,))
        connection.execute(_FORGET_OLD_HOLDERS, (ROWS_MAX,))
        (overlapping,) = connection.execute(
            "SELECT coalesce(sum(nano_usd), 0) FROM charged WHERE route = ? AND starts < ? AND ends > ?",
            (route, end, start),
        ).fetchone()
        connection.execute(
            "INSERT INTO charged (route, starts, ends, nano_usd) VALUES (?, ?, ?, ?)", (route, start, end, overlapping)
        )
        return CapState(overlapping)

    def _write_anew(self, connection: sqlite3.Connection) -> None:
        """The file is another one: what this process knows is written into it."""
        places = [(*place, whole.charged, whole.alerted) for place, whole in self._known.items()]
        connection.executemany(_WRITE_ANEW, places)
        rows = [
            (*place, holder, mine.number, mine.charged, mine.alerted)
            for (place, holder), mine in self._holders.items()
        ]  # fmt: skip
        connection.executemany(_WRITE_HOLDER, rows)

    def _failed(self, jobs: list[_Job], error: Exception) -> None:
        """Nothing of the batch was written: what it asks for is not granted; what was spent is tried again."""
        self.errors += 1
        if self._file.connection is not None or str(error) != self._cause:
            self.failed_at = self._clock.monotonic()
        self._cause = str(error)
        self._abandon()
        text = (
            f"The budget's ledger {self.path} can't be written ({error}). Hosted APIs of routes with a budget are not "
            "used until it can be; replicas serve on. Give it room and the right to write; if the file is damaged, "
            "restore it or move it away: what was spent in this period is then forgotten."
        )
        if self.error is None:
            logger.error("ledger failed: %s", text)
        self.error = text
        for job in jobs:
            if isinstance(job, _ClaimJob):
                job.granted = None
                known = self._unwritten.get(job.account)
                if known is None or known.number <= job.claim.number:
                    self._unwritten[job.account] = at_its_least(job.claim)
            else:
                job.is_first = None
            self._answer(job, text)

    def _open(self) -> sqlite3.Connection:
        if self._file.is_gone():
            self._lost()
        if self._file.connection is not None:
            return self._file.connection
        if self._clock.monotonic() - self.failed_at < RETRY_SECONDS and self.error is not None:
            raise LedgerFileError(self._cause)
        return self._file.open()

    def _lost(self) -> None:
        """The file has vanished: what this process knows is written to a new one."""
        self.losses += 1
        self._is_lost = True
        self._close()
        logger.error(
            "the budgets' ledger %s was removed or replaced while it was used: it is written anew with what this "
            "process knows of. What only the file knew (routes that were not used since the gateway started) is lost; "
            "restore it if you can", self.path, extra={"path": str(self.path)},
        )  # fmt: skip

    def _abandon(self) -> None:
        """Undo what was begun; the file is opened and checked anew."""
        connection = self._file.connection
        if connection is None:
            return
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            logger.debug("nothing to roll back", extra={"detail": str(error)})
        self._close()

    def _close(self) -> None:
        try:
            self._file.close()
        except sqlite3.Error:
            logger.exception("the ledger could not be closed")

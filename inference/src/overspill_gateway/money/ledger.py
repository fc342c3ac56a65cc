"""The durable side of budgets: what each route was charged in each period, in a SQLite file written by one thread.

A block of money is written down as charged before any of it is spent, and what was not needed is given back when the
period or the process ends in order. So a crash at any line leaves at least what was really spent, and at most one
block for each account more. A write that fails grants nothing: no money is spent, and everything else goes on. A file
that vanishes is written anew with all that this process knows of. What the limits of rates have counted is kept beside
it, so that a restart is no way around them.

Every process has a ledger for itself: N gateways of one release may together spend N times the limit. Only processes
that are given the same file, on one machine, share it. Without a file it is kept in memory and ends with the process.
"""

import contextlib
import functools
import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from overspill_gateway.clock import Clock
from overspill_gateway.money.ledger_file import LedgerFile, LedgerFileError
from overspill_gateway.money.periods import Period

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0
"""A file that failed is not tried again sooner."""
PERIODS_KEPT: Final = 400
"""Of each route, the latest; a year of days."""
ROWS_MAX: Final = 100_000
"""Of all routes, those that are gone included."""
LOOK_SECONDS: Final = 5.0
"""While nothing is written, this often it is looked whether the file is still there."""
PLACES_KNOWN_MAX: Final = 10_000
"""Accounts of which this process remembers what was charged, the latest ones."""
RATES_KEPT_SECONDS: Final = 120
_BATCH_MAX: Final = 256
_NEVER: Final = "the amount is larger than the ledger can hold"

_FORGET_OLD_PERIODS: Final = """
DELETE FROM charged WHERE route = ? AND ends NOT IN
    (SELECT ends FROM charged WHERE route = ? ORDER BY ends DESC LIMIT ?)
"""
_WRITE_ANEW: Final = """
INSERT INTO charged (route, starts, ends, nano_usd, alerted_nano_usd) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET nano_usd = max(nano_usd, excluded.nano_usd),
        alerted_nano_usd = max(alerted_nano_usd, excluded.alerted_nano_usd)
"""
_REMEMBER: Final = "INSERT OR REPLACE INTO rates (name, saved, counted) VALUES (?, ?, ?)"
_FORGET_OLD_ROWS: Final = """
DELETE FROM charged WHERE (route, starts, ends) IN
    (SELECT route, starts, ends FROM charged ORDER BY ends DESC LIMIT -1 OFFSET ?)
"""


_Place = tuple[str, int, int]
"""A route in one period: its key, start and end."""


@dataclass(frozen=True, slots=True)
class LedgerKey:
    """One account: a route in one period, as one holder has it."""

    route: str
    """``namespace/name``."""
    period: Period
    """In which it is charged."""
    holder: int
    """Tells accounts of one process apart, for what each has leased."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What the ledger wrote down."""

    granted: int
    """Nano-dollars that may be spent now; 0: the limit is reached."""
    charged_by_others: int
    """Charged in this period, what this account has leased left out."""
    alerted: int
    """The highest charge that somebody was told of."""


class Pending:
    """An answer of the ledger that may still be to come."""

    __slots__ = ("_event", "error", "job", "lease", "then")

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.job: _Job | None = None
        """What it is the answer to."""
        self.then = then
        """Called by ``Ledger.tell`` when the answer is there."""
        self.lease: Lease | None = None
        self.error: str | None = None
        """Why nothing was written down."""
        self._event = threading.Event()

    @property
    def done(self) -> bool:
        """Whether the answer is there."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the answer, but no longer than this."""
        return self._event.wait(seconds)

    def answer(self, lease: Lease | None, error: str | None) -> None:
        """Called by the ledger's thread."""
        self.lease = lease
        self.error = error
        self._event.set()


@dataclass(slots=True)
class _Job:
    """One change: of an account by an amount, or of the alert level."""

    key: LedgerKey
    amount: int
    """To charge; negative: to give back."""
    limit: int | None = None
    """Grant no more than fits this; None: charge it all."""
    alerted: int = 0
    undo: "_Job | None" = None
    """A lease that nobody wants any more: what it got is given back."""
    pending: Pending | None = None
    outcome: Lease | None = None


@dataclass(frozen=True, slots=True)
class _Memory:
    """What rates have counted: to be kept, or to be found again."""

    counted: dict[str, str]
    unix_now: int
    then: Callable[[dict[str, str]], None] | None = None


class Ledger:
    """The ledger of one process."""

    def __init__(self, path: Path | None, clock: Clock | None = None) -> None:
        self.path = path
        self._clock = clock or Clock()
        self.error: str | None = None
        """Why the file can't be used now; None: it can."""
        self.errors = 0
        """Writes that failed."""
        self.tell: Callable[[Callable[[], None]], object] | None = None
        """Lets the event loop's thread call something, such as ``loop.call_soon_threadsafe``; None: nobody is told."""
        self.leases = 0
        """Leases written."""
        self.dropped = 0
        """Changes that could never be written."""
        self.losses = 0
        """How often the file vanished while it was used."""
        self._jobs: SimpleQueue[_Job | _Memory | None] = SimpleQueue()
        self._unwritten: list[_Job] = []
        self._leased: dict[int, int] = {}
        self._file = LedgerFile(path)
        self._known: dict[_Place, tuple[int, int]] = {}
        """What was charged and told, as last written."""
        self._is_lost = False
        """Whether the file has vanished and was not written anew yet."""
        self._failed_at = float("-inf")
        self._cause = ""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def durable(self) -> bool:
        """Whether what is charged outlives this process."""
        return self.path is not None

    def lease(self, key: LedgerKey, amount: int, limit: int, then: Callable[[], None] | None = None) -> Pending:
        """Charge a block, as far as the limit of the period has room for it; ``then``: what to call afterwards."""
        pending = Pending(then)
        pending.job = _Job(key, amount, limit, pending=pending)
        self._jobs.put(pending.job)
        return pending

    def undo(self, pending: Pending) -> None:
        """Give back whatever a lease that has not been answered yet is going to get."""
        if pending.job is not None:
            self._jobs.put(_Job(pending.job.key, 0, undo=pending.job))

    def charge(self, key: LedgerKey, amount: int) -> None:
        """Charge what was spent beyond the lease, whatever the limit."""
        self._jobs.put(_Job(key, amount))

    def give_back(self, key: LedgerKey, amount: int) -> None:
        """Undo a part of a lease that was not spent."""
        self._jobs.put(_Job(key, -amount))

    def alerted(self, key: LedgerKey, level: int) -> None:
        """Somebody was told that this much is charged: a restart doesn't tell them again."""
        self._jobs.put(_Job(key, 0, alerted=level))

    def remember(self, counted: dict[str, str], unix_now: float) -> None:
        """Keep what rates have counted, by name."""
        self._jobs.put(_Memory(counted, int(unix_now)))

    def recall(self, unix_now: float, then: Callable[[dict[str, str]], None]) -> None:
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
            self._write([one for one in batch if isinstance(one, _Job)])
            for one in batch:
                if isinstance(one, _Memory):
                    self._serve_memory(one)
        self._close()

    def _look(self) -> None:
        """Nothing is to be written: see whether it could be."""
        if self.error is not None or self._is_lost or self._file.is_gone():
            self._write([], always=True)

    def _write(self, batch: list[_Job], *, always: bool = False) -> None:
        jobs = [*self._unwritten, *batch]
        if not jobs and not always:
            return
        leased, known = dict(self._leased), dict(self._known)
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            if self._is_lost:
                places = [(*place, *amounts) for place, amounts in self._known.items()]
                connection.executemany(_WRITE_ANEW, places)
            for job in jobs:
                job.outcome = self._applied(connection, job)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError, LedgerFileError) as error:
            self._leased, self._known = leased, known
            self._failed(jobs, error)
            return
        self._written(batch)

    def _written(self, batch: list[_Job]) -> None:
        if self.error is not None:
            logger.info("the ledger can be written again", extra={"path": str(self.path)})
        self.error, self._is_lost, self._unwritten = None, False, []
        while len(self._known) > PLACES_KNOWN_MAX:
            del self._known[next(iter(self._known))]
        for job in batch:
            if job.pending is not None:
                self.leases += 1
                self._answer(job.pending, job.outcome, None if job.outcome is not None else _NEVER)

    def _serve_memory(self, memory: "_Memory") -> None:
        """Rates are kept as well as can be: what is lost of them is a minute's count, so that nothing waits for it."""
        found: dict[str, str] = {}
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
                found = dict(connection.execute("SELECT name, counted FROM rates WHERE saved >= ?", since).fetchall())
        except (sqlite3.Error, OSError, LedgerFileError) as error:
            self._failed([], error)
        if memory.then is not None and self.tell is not None:
            with contextlib.suppress(RuntimeError):
                self.tell(functools.partial(memory.then, found))

    def _answer(self, pending: Pending, lease: Lease | None, error: str | None) -> None:
        pending.answer(lease, error)
        if self.tell is not None and pending.then is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left who waits
                self.tell(pending.then)

    def _applied(self, connection: sqlite3.Connection, job: _Job) -> Lease | None:
        """What came of a change; None: it can never be written, whatever the state of the file: it is left out."""
        try:
            return self._apply(connection, job)
        except (OverflowError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError) as error:
            self.dropped += 1
            logger.error(  # noqa: TRY400 - the message says all
                "ledger: a change of %d nano-dollars for %s can never be written (%s) and is left out; look at the "
                "prices of its hosted APIs", job.amount, job.key.route, error, extra={"route": job.key.route},
            )  # fmt: skip
            return None

    def _apply(self, connection: sqlite3.Connection, job: _Job) -> Lease:
        key = job.key
        place: _Place = (key.route, key.period.start, key.period.end)
        row = connection.execute(
            "SELECT nano_usd, alerted_nano_usd FROM charged WHERE route = ? AND starts = ? AND ends = ?", place
        ).fetchone()
        before, alerted = row if row is not None else self._begin(connection, key)
        mine = self._leased.get(key.holder, 0)
        amount = job.amount
        if job.undo is not None:
            amount = -job.undo.outcome.granted if job.undo.outcome is not None else 0
        if job.limit is not None:
            amount = max(min(amount, job.limit - before), 0)
        elif amount < 0:
            amount = max(amount, -mine, -before)
        if amount or job.alerted > alerted:
            connection.execute(
                "UPDATE charged SET nano_usd = nano_usd + ?, alerted_nano_usd = max(alerted_nano_usd, ?)"
                " WHERE route = ? AND starts = ? AND ends = ?",
                (amount, job.alerted, *place),
            )
        self._known.pop(place, None)
        self._known[place] = before + amount, max(alerted, job.alerted)
        self._leased[key.holder] = mine + amount
        return Lease(amount, before - mine, alerted)

    def _begin(self, connection: sqlite3.Connection, key: LedgerKey) -> tuple[int, int]:
        """A period's first charge.

        Where the kind of period or the time zone was changed, what other periods of the route that overlap it were
        charged counts as charged in this one as well: a change never makes money.
        """
        route, start, end = key.route, key.period.start, key.period.end
        connection.execute(_FORGET_OLD_PERIODS, (route, route, PERIODS_KEPT))
        connection.execute(_FORGET_OLD_ROWS, (ROWS_MAX,))
        (overlapping,) = connection.execute(
            "SELECT coalesce(sum(nano_usd), 0) FROM charged WHERE route = ? AND starts < ? AND ends > ?",
            (route, end, start),
        ).fetchone()
        connection.execute(
            "INSERT INTO charged (route, starts, ends, nano_usd) VALUES (?, ?, ?, ?)", (route, start, end, overlapping)
        )
        return overlapping, 0

    def _failed(self, jobs: list[_Job], error: Exception) -> None:
        """Nothing of the batch was written: leases grant nothing; what was spent or given back is tried again."""
        self.errors += 1
        if self._file.connection is not None or str(error) != self._cause:
            self._failed_at = self._clock.monotonic()
        self._cause = str(error)
        self._abandon()
        where = self.path if self.path is not None else "in memory"
        text = (
            f"The budget's ledger {where} can't be written ({error}). Hosted APIs of routes with a budget are not used "
            "until it can be; replicas serve on. Give it room and the right to write; if the file is damaged, restore "
            "it or move it away: what was spent in this period is then forgotten."
        )
        if self.error is None:
            logger.error("ledger failed: %s", text)
        self.error = text
        self._unwritten = [job for job in jobs if job.pending is None]
        for job in jobs:
            job.outcome = None
        for job in jobs:
            if job.pending is not None:
                self._answer(job.pending, None, text)

    def _open(self) -> sqlite3.Connection:
        if self._file.is_gone():
            self._lost()
        if self._file.connection is not None:
            return self._file.connection
        if self._clock.monotonic() - self._failed_at < RETRY_SECONDS and self.error is not None:
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
        """Undo what was begun; a file is opened and checked anew, what is in memory stays."""
        connection = self._file.connection
        if connection is None:
            return
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            logger.debug("nothing to roll back", extra={"detail": str(error)})
        if self.path is not None:
            self._close()

    def _close(self) -> None:
        try:
            self._file.close()
        except sqlite3.Error:
            logger.exception("the ledger could not be closed")

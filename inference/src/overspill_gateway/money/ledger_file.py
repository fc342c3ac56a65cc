"""The ledger's file: opened, checked, and watched, so that one that vanishes while it is used is noticed.

SQLite goes on writing to a file that was deleted or replaced, and all of it would be gone with the process. So before
each write the file's name has to lead to the file that is open. Not here: what is written.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final

APPLICATION_ID: Final = 0x4F53504C
SCHEMA_VERSION: Final = 1
BUSY_SECONDS: Final = 2.0
WAL_BYTES_MAX: Final = 1 << 20

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS charged (
    route TEXT NOT NULL,
    starts INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    nano_usd INTEGER NOT NULL CHECK (nano_usd >= 0),
    alerted_nano_usd INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (route, starts, ends)
) STRICT, WITHOUT ROWID
"""
_RATES: Final = """
CREATE TABLE IF NOT EXISTS rates (
    name TEXT NOT NULL PRIMARY KEY,
    saved INTEGER NOT NULL,
    counted TEXT NOT NULL
) STRICT, WITHOUT ROWID
"""


_HOLDERS: Final = """
CREATE TABLE IF NOT EXISTS holders (
    route TEXT NOT NULL,
    starts INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    holder TEXT NOT NULL,
    number INTEGER NOT NULL,
    nano_usd INTEGER NOT NULL CHECK (nano_usd >= 0),
    alerted_nano_usd INTEGER NOT NULL,
    PRIMARY KEY (route, starts, ends, holder)
) STRICT, WITHOUT ROWID
"""
"""Earlier versions do not know of it: a file that they have written is short of holders, and its sums are right."""


class LedgerFileError(Exception):
    """The file is not a ledger that this version can use."""


class LedgerFile:
    """One connection at a time to a file."""

    __slots__ = ("_identity", "connection", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection: sqlite3.Connection | None = None
        self._identity: tuple[tuple[int, int], ...] | None = None

    def open(self) -> sqlite3.Connection:
        """Open it and see that it is sound and ours; raises LedgerFileError, sqlite3.Error, OSError."""
        connection = sqlite3.connect(str(self.path), timeout=BUSY_SECONDS, isolation_level=None)
        try:
            _prepare(connection)
            self._identity = self._seen()
        except BaseException:
            connection.close()
            raise
        self.connection = connection
        return connection

    def is_gone(self) -> bool:
        """Whether another file, or none, is where the open one was."""
        return self.connection is not None and self._seen() != self._identity

    def close(self) -> None:
        """Close it; raises sqlite3.Error."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def _seen(self) -> tuple[tuple[int, int], ...]:
        """Which files are there: the database and its log, without which its last writes are lost."""
        try:
            files = [os.stat(name) for name in (str(self.path), f"{self.path}-wal")]  # noqa: PTH116 - once a write
        except OSError:
            return ()
        return tuple((file.st_dev, file.st_ino) for file in files)


def _prepare(connection: sqlite3.Connection) -> None:
    """Check that the file is sound and ours, and make what is missing."""
    (identity,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if identity != APPLICATION_ID and (tables or identity):
        raise LedgerFileError("it is the database of another program")
    if version > SCHEMA_VERSION:
        raise LedgerFileError(f"it was written by a newer version ({version}; this one knows {SCHEMA_VERSION})")
    (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if sound != "ok":
        raise LedgerFileError(f"it is damaged: {sound}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_SCHEMA)
    connection.execute(_RATES)
    connection.execute(_HOLDERS)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")

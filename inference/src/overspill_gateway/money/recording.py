"""A recording of a gateway's requests, for the planner: when, how many tokens, who served, what it cost. No content.

What happened is put into a list as it is charged, and a thread of its own writes the list once a second: no request
waits for a disk. All has a bound: the lines that wait, the size of a file and the number of files. A line is JSON:
one for each attempt that was served or charged and for each request that nobody served, and one where the number of
a route's replicas has changed, and once a minute.
"""

import json
import logging
import os
import sys
from collections.abc import Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Final

from overspill_gateway.clock import Clock

logger = logging.getLogger(__name__)

LINES_MAX: Final = 50_000
"""Lines that wait to be written; more are lost, and counted."""
FILES: Final = 4
"""The file that is written, and older ones: FILE.1, FILE.2 ..."""
REPLICAS_SECONDS: Final = 60.0
"""After so long a route's number of replicas is written again: files begin anew."""
END_SECONDS: Final = 5.0
"""How long the end waits for the disk."""

Line = dict[str, object]


class _File(RotatingFileHandler):
    """Lines in files of bounded size; what the disk refuses is told once, and lost."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        _end_cut_line(path)
        super().__init__(path, maxBytes=bytes_max, backupCount=FILES - 1, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter("%(message)s"))
        self.fails = False

    def write(self, line: Line) -> None:
        """One line."""
        text = json.dumps(line, separators=(",", ":"))
        self.emit(logging.LogRecord("recording", logging.INFO, "", 0, text, None, None))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - the standard library's names
        """The disk is full, or the folder is gone."""
        if not self.fails:
            where = {"path": self.baseFilename, "error": str(sys.exc_info()[1])}
            logger.error("the recording can't be written: its lines are lost", extra=where)
        self.fails = True


def _end_cut_line(path: Path) -> None:
    """A process that was killed while it wrote has left half a line: what comes now is not written behind it."""
    try:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
    except OSError:
        pass  # there is none, or it is empty; what can't be written is told when there is a line


class Recording:
    """Writes what was charged. Called in the event loop, but for its thread."""

    def __init__(self, path: Path, clock: Clock, bytes_max: int) -> None:
        """``bytes_max``: of all its files together."""
        self.lost = 0
        """Lines that came while too many waited."""
        self._clock = clock
        self._file = _File(path, max(bytes_max // FILES, 1))
        self._lines: list[Line] = []
        self._replicas: dict[str, tuple[int, int, float]] = {}
        """By route: listed, ready, and when that was written."""
        self._batches: SimpleQueue[list[Line] | None] = SimpleQueue()
        self._thread = Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    def served(
        self,
        route: str,
        served_by: str,
        reason: str,
        *,
        arrived_at: float,
        first_token_at: float,
        ended_at: float,
        prompt_tokens: int,
        output_tokens: int,
        nano_usd: int,
        whole: bool,
    ) -> None:
        """An attempt was charged, or served. Times: of the process's clock, 0: it has not come to that.

        ``whole``: its request is one that was served, and is told of by this line alone.
        """
        first = round(first_token_at - arrived_at, 6) if first_token_at else None
        self._add({
            "seconds": self._unix(arrived_at), "route": route, "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens, "served_by": served_by, "reason": reason, "nano_usd": nano_usd,
            "first_token_seconds": first, "end_seconds": round(ended_at - arrived_at, 6), "served": whole,
        })  # fmt: skip

    def unserved(self, route: str, *, arrived_at: float, prompt_tokens: int, output_tokens: int) -> None:
        """Nobody has served a request; tokens as they were estimated."""
        self._add({
            "seconds": self._unix(arrived_at), "route": route, "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens, "served_by": "none", "nano_usd": 0, "served": False,
        })  # fmt: skip

    def tick(self, replicas: Iterable[tuple[str, int, int]]) -> None:
        """Once a second: replicas of each route, listed and ready, and what has come goes to the disk."""
        now = self._clock.monotonic()
        seen = {route: (listed, ready) for route, listed, ready in replicas}
        for gone in self._replicas.keys() - seen.keys():
            if self._replicas.pop(gone)[:2] != (0, 0):
                self._add_replicas(gone, 0, 0)
        for route, counts in seen.items():
            *before, at = self._replicas.get(route, (-1, -1, 0.0))
            if [*counts] != before or (counts[0] and now - at >= REPLICAS_SECONDS):
                self._replicas[route] = (*counts, now)
                self._add_replicas(route, *counts)
        self._hand_over()

    def close(self) -> None:
        """Write what there is, and end; the last line of each route that is there says how many replicas it had."""
        for route, (listed, ready, _) in self._replicas.items():
            self._add_replicas(route, listed, ready)
        self._batches.put(self._lines)
        self._batches.put(None)
        self._thread.join(END_SECONDS)
        if self.lost:
            logger.warning("lines of the recording were lost: they came faster than they were written",
                           extra={"lines": self.lost})  # fmt: skip

    def _add_replicas(self, route: str, listed: int, ready: int) -> None:
        now = self._unix(self._clock.monotonic())
        self._add({"seconds": now, "route": route, "replicas": listed, "ready": ready})

    def _unix(self, at: float) -> float:
        return round(self._clock.unix() - (self._clock.monotonic() - at), 3)

    def _add(self, line: Line) -> None:
        if len(self._lines) < LINES_MAX:
            self._lines.append(line)
        else:
            self.lost += 1

    def _hand_over(self) -> None:
        """To the thread, unless it has not come to what it got before."""
        if self._lines and self._batches.empty():
            self._batches.put(self._lines)
            self._lines = []

    def _write(self) -> None:
        while (batch := self._batches.get()) is not None:
            for line in batch:
                self._file.write(line)
        self._file.close()

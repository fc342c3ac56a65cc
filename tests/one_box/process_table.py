"""What runs on this machine, from /proc: engines are found by their command lines, as a person finds them with `ps`."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Running:
    """One process."""

    pid: int
    """Its number."""
    command: tuple[str, ...]
    """Program and arguments."""
    resident_bytes: int
    """Memory that it holds."""


def processes(*words: str) -> list[Running]:
    """Processes whose command lines have all these words in them, the largest first; without those that have ended."""
    found = []
    for folder in PROC.iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            command = tuple((folder / "cmdline").read_text(errors="replace").rstrip("\0").split("\0"))
            if all(any(word in part for part in command) for word in words):
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                if stat[0] != "Z":
                    resident = int(stat[21]) * os.sysconf("SC_PAGE_SIZE")
                    found.append(Running(int(folder.name), command, resident))
    return sorted(found, key=lambda one: -one.resident_bytes)


def kill(running: Running, number: signal.Signals = signal.SIGKILL) -> None:
    """Send it a signal; that it has ended meanwhile is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, number)

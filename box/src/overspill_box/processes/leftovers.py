"""Finds and ends processes that no guard answers for, by a mark in their environment.

The mark is inherited by all that descend from an engine, so a process that was given an old pid is never taken for one
of them. Linux only: without /proc nothing is found, and nothing is ended.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ENGINE_MARK = "OVERSPILL_ENGINE"
"""Variable of an engine and of all that descend from it."""
GUARD_MARK = "OVERSPILL_GUARD"
"""Variable of a guard."""
PROC = Path("/proc")
SCANS_MAX = 1000


def boot_id() -> str:
    """Of the machine's run since it was started; empty where the system does not say."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def started_ticks(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None: it has gone, or the system does not say."""
    try:
        return int((PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def mark_of(pid: int, variable: str) -> str | None:
    """What the variable was when the process was started; None: it has none, has gone, or is somebody else's."""
    try:
        environment = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    prefix = f"{variable}=".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return None


def marks(variable: str, prefix: str) -> set[str]:
    """Marks that processes bear now, of those that begin with the prefix."""
    found = (mark_of(pid, variable) for pid in _pids())
    return {mark for mark in found if mark is not None and mark.startswith(prefix)}


def end_marked(token: str) -> None:
    """SIGKILL to all processes of one engine, until a look around finds none. It blocks: for a thread."""
    for _ in range(SCANS_MAX):
        if not sum(kill_marked(pid, ENGINE_MARK, token) for pid in list(_pids())):
            return


def kill_marked(pid: int, variable: str, token: str, wait_seconds: float = 1.0) -> bool:
    """SIGKILL to a process that bears the mark; whether it did. The pid is held while that is looked at."""
    if mark_of(pid, variable) != token or sys.platform != "linux":
        return False
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if mark_of(pid, variable) != token:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        until = time.monotonic() + wait_seconds
        watch = select.poll()
        watch.register(descriptor, select.POLLIN)  # readable when it has ended
        watch.poll(1000 * max(0.0, until - time.monotonic()))
    except PermissionError:
        return False
    finally:
        os.close(descriptor)
    return True


def _pids() -> Iterator[int]:
    try:
        names = [path.name for path in PROC.iterdir()]
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit())

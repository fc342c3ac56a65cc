"""Finds and ends a cluster's processes from the world alone: no pid file is believed.

A cluster's processes carry its state folder in their environment, or share a PID or network namespace
with one that does. Signals go through a pidfd, opened before the process is looked at, so that a reused
pid is never hit.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.plan import MARK

OWN_KINDS = ("pid", "net")
"""The kinds of namespace that a cluster has for itself."""


@dataclass(frozen=True)
class Process:
    """One process as /proc shows it."""

    pid: int
    mark: str
    """State folder of the cluster that it was started for; empty for others and for containers."""
    namespaces: tuple[str, ...]
    """Identities of its PID and network namespace."""
    namespace_pids: tuple[int, ...]
    """Its pid in each nested PID namespace, outermost first."""
    command: str
    """The command line, for messages."""

    @property
    def is_first(self) -> bool:
        """Whether it is process 1 of a nested PID namespace."""
        return len(self.namespace_pids) > 1 and self.namespace_pids[-1] == 1


def read_process(pid: int) -> Process | None:
    """What /proc says of a process; None when it has ended or is not ours to look at."""
    folder = Path("/proc") / str(pid)
    try:
        environment = (folder / "environ").read_bytes().split(b"\0")
        namespaces = tuple(str((folder / "ns" / kind).readlink()) for kind in OWN_KINDS)
        status = (folder / "status").read_text()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    prefix = f"{MARK}=".encode()
    mark = next((os.fsdecode(entry[len(prefix) :]) for entry in environment if entry.startswith(prefix)), "")
    pids = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return Process(pid, mark, namespaces, tuple(int(number) for number in pids), command)


def all_processes() -> Iterator[Process]:
    """All that can be looked at."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (process := read_process(int(entry.name))) is not None:
            yield process


def belonging(processes: list[Process], state: Path, own: tuple[str, ...]) -> list[Process]:
    """Those of a cluster: marked, or in a namespace that a marked one is in and the caller (`own`) is not."""
    marked = [process for process in processes if process.mark == str(state)]
    spaces = {space for process in marked for space in process.namespaces} - set(own)
    return [process for process in processes if process in marked or spaces.intersection(process.namespaces)]


def of_cluster(state: Path) -> list[Process]:
    """A cluster's processes now, this one excepted."""
    own = tuple(str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in OWN_KINDS)
    return [process for process in belonging(list(all_processes()), state, own) if process.pid != os.getpid()]


def first_process(state: Path) -> Process | None:
    """Process 1 of a cluster's PID namespace: its supervisor."""
    return next((process for process in of_cluster(state) if process.is_first and process.mark == str(state)), None)


def send(process: Process, number: signal.Signals) -> bool:
    """Signal just this process; False when it has ended, even if its pid lives on in another."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if read_process(process.pid) != process:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def end_all(state: Path, within_seconds: float = 20.0) -> int:
    """Kill a cluster's processes and wait until none is left; returns how many there were."""
    ended: set[int] = set()
    deadline = time.monotonic() + within_seconds
    while processes := of_cluster(state):
        if time.monotonic() > deadline:
            left = "; ".join(f"{process.pid} {process.command[:80]}" for process in processes)
            raise RuntimeError(f"these processes of {state} do not end: {left}")
        ended.update(process.pid for process in processes)
        # Process 1 first: the kernel then kills its whole namespace, which can start nothing new.
        for process in sorted(processes, key=lambda process: not process.is_first):
            _kill_and_wait(process, deadline)
    return len(ended)


def _kill_and_wait(process: Process, deadline: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if send(process, signal.SIGKILL):
                # A pidfd turns readable when its process has ended.
                select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(descriptor)

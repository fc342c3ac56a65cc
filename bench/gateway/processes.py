"""Processes that the benchmark starts: pinned to a CPU, read from /proc, ended with all they have started."""

import os
import re
import resource
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.gateway.places import command

FILES_WANTED: Final = 65536
END_SECONDS: Final = 5.0
_TICK_SECONDS: Final = 1 / os.sysconf("SC_CLK_TCK")
_MIB: Final = 2**20


class DiedError(Exception):
    """A process ended that should not have; the message has its last words."""


def raise_file_limit() -> None:
    """Let this process and its children open as many files as they may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        wanted = max(hard, FILES_WANTED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (ValueError, OSError):  # only some may have more than the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Process:
    """One process and its children, all in a session of their own."""

    def __init__(
        self,
        line: list[str],
        log: Path,
        cpu: int,
        folder: Path,
        environment: dict[str, str] | None = None,
        *,
        takes_orders: bool = False,
    ) -> None:
        """``takes_orders``: its stdin and stdout are pipes, and the log has only its stderr."""
        self._log = log
        # Should this program be killed, its children are told to end.
        guard = command("setpriv")
        prefix = [guard, "--pdeathsig", "TERM"] if guard else []
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [*prefix, "taskset", "--cpu-list", str(cpu), *line],
                stdin=subprocess.PIPE if takes_orders else subprocess.DEVNULL,
                stdout=subprocess.PIPE if takes_orders else output,
                stderr=output,
                start_new_session=True,
                cwd=folder,
                env=os.environ | (environment or {}),
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def check(self) -> None:
        """Raise if the process has ended."""
        code = self._popen.poll()
        if code is not None:
            raise DiedError(f"ended with exit code {code}: {self.last_words()}")

    def order(self, *words: str) -> None:
        """Give a command."""
        assert self._popen.stdin is not None
        self._popen.stdin.write((" ".join(words) + "\n").encode())
        self._popen.stdin.flush()

    def says(self, seconds: float) -> bytes | None:
        """The line that it prints next; None: nothing within this time."""
        assert self._popen.stdout is not None
        ready, _, _ = select.select([self._popen.stdout], [], [], seconds)
        return self._popen.stdout.readline() if ready else None

    def last_words(self) -> str:
        """The end of what it has printed."""
        return self._log.read_text(errors="replace").strip()[-600:]

    def end(self) -> None:
        """End it and its children: politely, then not."""
        for number in (signal.SIGCONT, signal.SIGTERM):
            self._signal_all(number)
        until = time.monotonic() + END_SECONDS
        while time.monotonic() < until and self._popen.poll() is None:
            time.sleep(0.02)
        self._signal_all(signal.SIGKILL)
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()

    def _signal_all(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)  # the session's group: this process's and its children's
        except ProcessLookupError:
            return

    def stop_for_now(self) -> None:
        """Let it use no CPU until it is continued."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a stop."""
        self._signal_all(signal.SIGCONT)

    # -- readings ----------------------------------------------------------------------------------------------

    def cpu_seconds(self) -> float:
        """CPU that the tree has used, user and system, to the nanosecond where the kernel counts so."""
        return sum(_cpu_seconds(pid) for pid in tree(self.pid))

    def system_share(self) -> float:
        """Part of its CPU since it started that was spent in the kernel; counted in hundredths of seconds."""
        times = [_stat_times(pid) for pid in tree(self.pid)]
        user, system = sum(one[0] for one in times), sum(one[1] for one in times)
        return system / (user + system) if user + system else 0.0

    def memory_mb(self) -> float:
        """MiB of the tree; pages that it shares with others count in proportion."""
        return sum(_memory_bytes(pid, "Pss") for pid in tree(self.pid)) / _MIB

    def resident_mb(self) -> float:
        """MiB of the tree, shared pages in full: does not change with what others start."""
        return sum(_memory_bytes(pid, "Rss") for pid in tree(self.pid)) / _MIB


def tree(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):  # it has just ended
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _cpu_seconds(pid: int) -> float:
    nanoseconds = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            nanoseconds += int((task / "schedstat").read_text().split()[0])
    except OSError:  # a kernel without them, or a thread that has just ended
        return sum(_stat_times(pid))
    return nanoseconds / 1e9 or sum(_stat_times(pid))


def _stat_times(pid: int) -> tuple[float, float]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    return int(fields[11]) * _TICK_SECONDS, int(fields[12]) * _TICK_SECONDS


def _memory_bytes(pid: int, which: str) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{which}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0

"""Small engines for tests, and looks at the machine's processes."""

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from overspill_box.core.process import Ending, ProcessFact, ProcessSpec
from overspill_box.processes.local_processes import LocalProcesses

MARK = "TEST_ENGINE_MARK"
DEADLINE_SECONDS = 30.0


class WallClock:
    """The time does not matter to these tests."""

    def unix(self) -> float:
        """A moment in 2026."""
        return 1.79e9


def spec_of(
    script: str, name: str = "default/chat#0", *, mark: str = "", stop_seconds: float = 20.0, port: int = 20001
) -> ProcessSpec:
    """A Python script as an engine; every process of it bears the mark."""
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-I", "-S", "-u", "-c", script),
        port=port,
        made_from="a",
        environment={MARK: mark or secrets.token_hex(8)},
        stop_seconds=stop_seconds,
    )


class Watched:
    """``LocalProcesses`` and a way to wait until something is so of its facts."""

    def __init__(
        self,
        state: Path,
        *,
        environment: Mapping[str, str] = os.environ,
        keep_seconds: float = 30.0,
        grace_seconds: float = 5.0,
        log_bytes_max: int = 2**20,
    ) -> None:
        self.changes: list[ProcessFact] = []
        self._changed = asyncio.Event()
        self.processes = LocalProcesses(
            state,
            WallClock(),
            self._note,
            environment=environment,
            keep_seconds=keep_seconds,
            grace_seconds=grace_seconds,
            log_bytes_max=log_bytes_max,
        )

    def _note(self, name: str) -> None:
        self.changes.append(self.processes.facts[name])
        self._changed.set()

    async def until(self, name: str, holds: Callable[[ProcessFact], bool]) -> ProcessFact:
        """Its fact, when it is so."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (name in self.processes.facts and holds(self.processes.facts[name])):
                self._changed.clear()
                await self._changed.wait()
        return self.processes.facts[name]

    async def ended(self, name: str) -> Ending:
        """How it has ended, when it has."""
        fact = await self.until(name, lambda fact: not fact.runs)
        assert fact.ending is not None
        return fact.ending


async def until(holds: Callable[[], bool]) -> None:
    """Return when it is so."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():  # noqa: ASYNC110 - any condition, not one event
            await asyncio.sleep(0.01)


def alive(mark: str) -> list[int]:
    """Processes that bear a test's mark."""
    found = []
    entry = f"{MARK}={mark}".encode()
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if entry in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
            except OSError:
                continue
    return found


def command_lines() -> bytes:
    """Of all processes."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += path.read_bytes()
    return found

"""SIGKILL at any moment, to serve, to guards or to all of them: afterwards no process of an engine is left."""

import asyncio
import contextlib
import hashlib
import os
import random
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

import pytest

from overspill_box.processes.leftovers import GUARD_MARK, mark_of
from unit.box.processes.engines import Watched, alive, spec_of, until
from unit.tiers import exhaustively

NAME = "default/chat#0"
DRIVER = Path(__file__).with_name("engines_driver.py")
FAMILY = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
print('up')
while True: signal.pause()
"""


def guards_of(folder: Path) -> list[int]:
    """Guards of engines with their files in this folder, and engines that have not begun to run."""
    prefix = f"{hashlib.sha256(bytes(folder.resolve())).hexdigest()[:8]}-"
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if (mark_of(pid, GUARD_MARK) or "").startswith(prefix)]


def kill(pid: int) -> None:
    """SIGKILL, unless it has just ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def drive(state: Path, mark: str, seed: int, dies_after_seconds: float) -> Process:
    """A serve that may be killed."""
    return await asyncio.create_subprocess_exec(
        sys.executable, str(DRIVER), str(state), mark, str(seed), str(dies_after_seconds), stdin=DEVNULL, stdout=PIPE
    )


async def nothing_left(state: Path, mark: str) -> None:
    """No engine, no guard, and a next serve finds nothing."""
    await until(lambda: not alive(mark))
    await until(lambda: not guards_of(state / "engines"))
    watched = Watched(state)
    await watched.processes.adopt()
    assert not watched.processes.facts
    await until(lambda: not guards_of(state / "engines"))  # one may have been about to be when serve was killed
    assert {path.suffix for path in (state / "engines").iterdir()} <= {".log", ".part"}


@pytest.mark.parametrize("seed", [1, *exhaustively(*range(2, 20))])
async def test_serve_is_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    """Its guards end what they guard, however deep, and themselves."""
    mark = secrets.token_hex(8)
    serve = await drive(tmp_path, mark, seed, random.Random(seed).uniform(0.3, 1.5))
    assert await serve.wait() == -signal.SIGALRM
    await nothing_left(tmp_path, mark)


@pytest.mark.parametrize("seed", [1, *exhaustively(*range(2, 6))])
async def test_guards_are_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    """Serve ends what they leave, and goes on: it starts new engines."""
    mark = secrets.token_hex(8)
    chance = random.Random(seed)
    serve = await drive(tmp_path, mark, seed, 0)
    assert serve.stdout is not None
    while await serve.stdout.readline():
        if guards := guards_of(tmp_path / "engines"):
            kill(chance.choice(guards))
    assert await serve.wait() == 0
    await nothing_left(tmp_path, mark)


@pytest.mark.parametrize("seed", [1, *exhaustively(*range(2, 10))])
async def test_serve_and_guards_are_killed_at_once(tmp_path: Path, seed: int) -> None:
    """The next serve ends what is left, before it starts anything."""
    mark = secrets.token_hex(8)
    serve = await drive(tmp_path, mark, seed, 0)
    assert serve.stdout is not None
    for _ in range(random.Random(seed).randrange(1, 12)):
        await serve.stdout.readline()
    for pid in [serve.pid, *guards_of(tmp_path / "engines")]:
        kill(pid)
    await serve.wait()

    watched = Watched(tmp_path)
    await watched.processes.adopt()
    await watched.processes.close(keep=False)  # engines whose guards were started in the last moment
    await nothing_left(tmp_path, mark)


async def test_a_guard_is_killed(tmp_path: Path) -> None:
    """The engine is ended with all that descends from it; it counts as one that a signal ended, and can be started."""
    watched = Watched(tmp_path)
    await watched.processes.start(spec_of(FAMILY, mark="guardless"))
    await until(lambda: watched.processes.log_of(NAME).read_bytes().count(b"up") == 2)
    [guard] = guards_of(tmp_path / "engines")
    os.kill(guard, signal.SIGKILL)

    ending = await watched.ended(NAME)
    assert (ending.code, ending.signal, ending.was_asked) == (None, signal.SIGKILL, False)
    assert ending.last_words == ("up", "up")
    assert alive("guardless") == []
    await watched.processes.start(spec_of(FAMILY, mark="guardless"))
    assert watched.processes.facts[NAME].runs
    await watched.processes.close(keep=False)


async def test_a_guard_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not end its engine is ended itself, and the engine with it."""
    monkeypatch.setattr("overspill_box.processes.guarded_engine.OVERDUE_SECONDS", 0.05)
    watched = Watched(tmp_path)
    await watched.processes.start(spec_of(FAMILY, mark="hung", stop_seconds=0.05))
    await until(lambda: len(alive("hung")) == 2)
    [guard] = guards_of(tmp_path / "engines")
    os.kill(guard, signal.SIGSTOP)
    for _ in range(3):
        await watched.processes.stop(NAME)

    ending = await watched.ended(NAME)
    assert (ending.signal, ending.was_asked) == (signal.SIGKILL, True)
    assert alive("hung") == []
    assert guards_of(tmp_path / "engines") == []


async def test_a_terminal_s_signals_reach_neither_guard_nor_engine(tmp_path: Path) -> None:
    """Both are in sessions of their own, and the guard takes no notice of what a terminal would send."""
    watched = Watched(tmp_path, grace_seconds=0.05)
    await watched.processes.start(spec_of(FAMILY, mark="terminal"))
    await until(lambda: len(alive("terminal")) == 2)
    [guard] = guards_of(tmp_path / "engines")
    pid = watched.processes.facts[NAME].pid
    assert pid is not None
    assert len({os.getsid(0), os.getsid(guard), os.getsid(pid)}) == 3
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(guard, number)
    await watched.processes.stop(NAME)  # the guard has still to be there to do it
    await watched.processes.close(keep=False)
    assert watched.processes.facts[NAME].ending is not None
    assert alive("terminal") == []


async def test_a_guard_that_is_told_to_end_ends_its_engine(tmp_path: Path) -> None:
    """As by a service manager that sends SIGTERM to every process."""
    watched = Watched(tmp_path, grace_seconds=0.05)
    await watched.processes.start(spec_of(FAMILY, mark="told"))
    await until(lambda: len(alive("told")) == 2)
    [guard] = guards_of(tmp_path / "engines")
    os.kill(guard, signal.SIGTERM)

    assert (await watched.ended(NAME)).was_asked
    assert alive("told") == []

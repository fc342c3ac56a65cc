"""Serve ends and another comes: engines that it kept are taken over, all others are ended."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from overspill_box.processes.leftovers import boot_id, started_ticks
from overspill_box.processes.records import file_name
from unit.box.processes.engines import Watched, alive, spec_of, until

NAME = "default/chat#0"
WAITS = "import signal; print('up'); signal.pause()"


async def test_the_next_serve_takes_over_what_was_kept(tmp_path: Path) -> None:
    """The same process with the same facts; it can be stopped, and its log is the same."""
    first = Watched(tmp_path)
    await first.processes.start(spec_of(WAITS, mark="kept"))
    await first.processes.start(spec_of(WAITS, "default/other#1", mark="kept"))
    facts = dict(first.processes.facts)
    await first.processes.close(keep=True)
    assert dict(first.processes.facts) == facts

    second = Watched(tmp_path)
    await second.processes.adopt()
    assert dict(second.processes.facts) == facts
    await second.processes.start(spec_of(WAITS, mark="kept"))
    assert len(alive("kept")) == 2

    await second.processes.stop(NAME)
    ending = await second.ended(NAME)
    assert (ending.signal, ending.was_asked, ending.last_words) == (signal.SIGTERM, True, ("up",))
    await second.processes.close(keep=True)
    third = Watched(tmp_path)
    await third.processes.adopt()
    assert dict(third.processes.facts) == {"default/other#1": facts["default/other#1"]}
    await third.processes.close(keep=False)
    assert alive("kept") == []


async def test_kept_and_nobody_comes(tmp_path: Path) -> None:
    """The guard waits so long, then ends it."""
    first = Watched(tmp_path, keep_seconds=0.2)
    await first.processes.start(spec_of(WAITS, mark="alone"))
    await first.processes.close(keep=True)
    await until(lambda: not alive("alone"))

    second = Watched(tmp_path)
    await second.processes.adopt()
    assert not second.processes.facts
    assert list((tmp_path / "engines").glob("*.json")) == []


async def test_kept_and_it_ends_meanwhile(tmp_path: Path) -> None:
    """There is nothing to take over, and its record is forgotten."""
    first = Watched(tmp_path)
    await first.processes.start(spec_of(WAITS, mark="gone"))
    await first.processes.close(keep=True)
    [pid] = alive("gone")
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not list((tmp_path / "engines").glob("*.sock")))

    second = Watched(tmp_path)
    await second.processes.adopt()
    assert not second.processes.facts
    await second.processes.start(spec_of(WAITS))
    assert second.processes.facts[NAME].runs
    await second.processes.close(keep=False)


async def test_kept_while_it_is_told_to_end(tmp_path: Path) -> None:
    """It goes on ending, with the time that it was given, and the next serve sees that."""
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up')\nwhile True: signal.pause()"
    first = Watched(tmp_path)
    await first.processes.start(spec_of(script, mark="ending", stop_seconds=60))
    await until(lambda: b"up" in first.processes.log_of(NAME).read_bytes())
    await first.processes.stop(NAME)
    await first.processes.close(keep=True)

    second = Watched(tmp_path, grace_seconds=0.05)
    await second.processes.adopt()
    assert second.processes.facts[NAME].stopping
    assert second.processes.facts[NAME].runs
    await second.processes.close(keep=False)
    assert (await second.ended(NAME)).was_asked
    assert alive("ending") == []


async def test_two_serves(tmp_path: Path) -> None:
    """Engines belong to the one that was there first: the second neither ends them nor starts others of their names."""
    first, second = Watched(tmp_path), Watched(tmp_path)
    await first.processes.start(spec_of(WAITS, mark="mine"))
    await second.processes.adopt()
    assert not second.processes.facts
    await second.processes.start(spec_of(WAITS, mark="mine"))
    [words] = (await second.ended(NAME)).last_words
    assert "another serve" in words
    await second.processes.close(keep=False)

    assert len(alive("mine")) == 1
    assert first.processes.facts[NAME].runs
    await first.processes.close(keep=False)


async def test_a_long_path(tmp_path: Path) -> None:
    """A socket's path may have some 100 bytes; a state directory may be deeper."""
    state = tmp_path / ("d" * 120)
    first = Watched(state)
    await first.processes.start(spec_of(WAITS))
    await first.processes.close(keep=True)
    second = Watched(state)
    await second.processes.adopt()
    assert second.processes.facts[NAME] == first.processes.facts[NAME]
    await second.processes.close(keep=False)


async def test_a_guard_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, and its engine with it."""
    monkeypatch.setattr("overspill_box.processes.local_processes.ANSWER_SECONDS_MAX", 0.1)
    first = Watched(tmp_path)
    await first.processes.start(spec_of(WAITS, mark="mute"))
    await first.processes.close(keep=True)
    record = json.loads((tmp_path / "engines" / f"{file_name(NAME)}.json").read_text())
    os.kill(record["guard_pid"], signal.SIGSTOP)

    second = Watched(tmp_path)
    await second.processes.adopt()
    assert not any(fact.runs for fact in second.processes.facts.values())
    assert alive("mute") == []


def record_of(pid: int, token: str, name: str = NAME) -> dict[str, object]:
    """A record that names a process as guard and as engine."""
    return {
        "name": name, "port": 20001, "made_from": "a", "stop_seconds": 1.0, "started_unix": 1.0, "boot": boot_id(),
        "guard_pid": pid, "guard_ticks": started_ticks(pid), "engine_pid": pid, "engine_ticks": started_ticks(pid),
        "token": token,
    }  # fmt: skip


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with engines."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


async def test_records_that_are_none_harm_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bystander: subprocess.Popen[bytes]
) -> None:
    """Half-written ones, links, pipes, folders, and whole ones that name a process which is somebody else's."""
    monkeypatch.setattr("overspill_box.processes.local_processes.ANSWER_SECONDS_MAX", 0.1)
    folder = tmp_path / "engines"
    folder.mkdir()
    kept = tmp_path / "kept.json"
    token = "0" * 8 + "-" + "1" * 16
    whole = json.dumps(record_of(bystander.pid, token))
    kept.write_text(whole)
    path = folder / f"{file_name(NAME)}.json"
    (folder / "link.json").symlink_to(kept)
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(folder)  # for the socket's path, which would be too long
        listener.bind(f"{token}.sock")
        listener.listen()
        for text in (
            *(whole[:length] for length in range(0, len(whole), 29)),
            whole,
            "[" * 100_000,
            "\0" * 1000,
            json.dumps({**record_of(bystander.pid, token), "token": "../../x"}),
            json.dumps({**record_of(bystander.pid, token), "guard_pid": -1}),
            json.dumps({**record_of(bystander.pid, token), "guard_pid": 2**40}),
            json.dumps({**record_of(bystander.pid, token), "engine_ticks": 1, "guard_ticks": 1}),
            json.dumps({**record_of(bystander.pid, token), "name": "default/another#0"}),
        ):
            path.write_text(text)
            watched = Watched(tmp_path)
            await watched.processes.adopt()
            assert not any(fact.runs for fact in watched.processes.facts.values())
            assert not path.exists()
    assert bystander.poll() is None
    assert kept.read_text() == whole


def test_on_the_loop_that_serves(tmp_path: Path) -> None:
    """uvloop has its own sockets and its own care for child processes."""

    async def serve(*, adopts: bool) -> None:
        watched = Watched(tmp_path)
        if adopts:
            await watched.processes.adopt()
            await watched.processes.stop(NAME)
            assert (await watched.ended(NAME)).signal == signal.SIGTERM
        await watched.processes.start(spec_of(WAITS, mark="uv"))
        await watched.processes.close(keep=not adopts)

    for adopts in (False, True):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(adopts=adopts))
    assert alive("uv") == []


async def test_a_serve_that_goes_without_a_word(tmp_path: Path) -> None:
    """Its event loop is closed and nothing was: the guard sees that, and ends the engine in the short grace."""

    async def serve() -> None:
        watched = Watched(tmp_path, grace_seconds=0.05)
        await watched.processes.start(replace(spec_of(WAITS, mark="wordless"), stop_seconds=60))

    await asyncio.to_thread(asyncio.run, serve())
    await until(lambda: not alive("wordless"))

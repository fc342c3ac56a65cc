"""What an engine prints: kept in a file that does not grow without end, whatever the disk does."""

import os
import resource
import signal
from pathlib import Path

from overspill_box.core.process import LAST_WORDS_MAX
from overspill_box.processes.engine_log import last_words
from unit.box.processes.engines import Watched, spec_of, until

NAME = "default/chat#0"
LOG_BYTES = 200_000


async def test_a_log_begins_anew_and_one_before_it_is_kept(tmp_path: Path) -> None:
    """Neither is larger than its bound; no line is lost in between, and the last words may begin in the one before."""
    watched = Watched(tmp_path, log_bytes_max=LOG_BYTES)
    await watched.processes.start(spec_of("for n in range(5000): print(f'{n:099d}', flush=False)"))
    ending = await watched.ended(NAME)
    log = watched.processes.log_of(NAME)
    before = log.with_name(f"{log.name}.1")

    assert max(log.stat().st_size, before.stat().st_size) <= LOG_BYTES
    lines = (before.read_text() + log.read_text()).splitlines()[1:]  # the first may have begun in one that is gone
    numbers = [int(line) for line in lines]
    assert numbers == list(range(numbers[0], 5000))
    assert len(numbers) > 2000
    assert [int(line) for line in ending.last_words] == list(range(5000 - LAST_WORDS_MAX, 5000))
    assert sorted(path.name for path in log.parent.iterdir()) == sorted([log.name, before.name])


async def test_a_log_that_cannot_be_written_does_not_stop_the_engine(tmp_path: Path) -> None:
    """Lines are lost, the engine is not: here its file may not grow, as on a disk that is full."""
    watched = Watched(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # what it starts inherits it
    try:
        await watched.processes.start(spec_of("for n in range(5000): print('x' * 99)\nimport sys; sys.exit(7)"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (await watched.ended(NAME)).code == 7
    assert watched.processes.log_of(NAME).stat().st_size <= 1024


async def test_what_is_printed_in_the_last_moment_is_there(tmp_path: Path) -> None:
    """By the engine, and by one that it leaves behind, before either is ended."""
    script = """
import os, signal
child = os.fork()
if child == 0:
    os.write(1, b'child\\n')
    signal.pause()
os.write(1, b'up\\n')
signal.pause()
"""
    watched = Watched(tmp_path)
    await watched.processes.start(spec_of(script))
    await until(lambda: len(watched.processes.log_of(NAME).read_bytes().splitlines()) == 3)
    pid = watched.processes.facts[NAME].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert sorted((await watched.ended(NAME)).last_words) == ["child", "up"]


def test_last_words_are_bounded(tmp_path: Path) -> None:
    """Lines of any length, bytes of any kind, a file that is not there."""
    log = tmp_path / "x.log"
    assert last_words(log) == ()
    log.write_bytes(b"a\xff\n" + b"b" * 1_000_000)
    [line] = last_words(log)
    assert line == "b" * 2000
    log.write_bytes(b"--- started x ---\nbefore\n--- started y ---\n")
    assert last_words(log) == ()

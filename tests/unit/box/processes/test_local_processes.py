"""An engine as a process: started, told to end, ended by itself, and what is known of it."""

import asyncio
import os
import secrets
import shutil
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path

from overspill_box.core.process import LAST_WORDS_MAX, ProcessSpec
from unit.box.processes.engines import Watched, alive, command_lines, spec_of, until

NAME = "default/chat#0"
SIGNALS = "sed -n 's/^\\(Sig[BI][a-z]*:\\)[[:space:]]*/\\1 /p' /proc/self/status; umask"
WAITS = "import signal; print('up'); signal.pause()"
IGNORES_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up')\nwhile True: signal.pause()"


async def test_an_engine_runs_until_it_is_told_to_end(tmp_path: Path) -> None:
    """Its fact says so at each step, and so does the callback."""
    watched = Watched(tmp_path)
    spec = spec_of(WAITS, mark="run")
    await watched.processes.start(spec)

    fact = watched.processes.facts[NAME]
    assert fact.runs
    assert fact.pid is not None
    assert os.getpgid(fact.pid) == os.getsid(fact.pid) == fact.pid
    assert (fact.port, fact.made_from) == (spec.port, spec.made_from)
    await until(lambda: b"up" in watched.processes.log_of(NAME).read_bytes())

    await watched.processes.stop(NAME)
    assert watched.processes.facts[NAME].stopping
    ending = await watched.ended(NAME)
    assert (ending.code, ending.signal, ending.was_asked) == (None, signal.SIGTERM, True)
    assert ending.last_words == ("up",)
    assert alive("run") == []
    await watched.processes.close(keep=False)


async def test_an_engine_that_ends_says_how(tmp_path: Path) -> None:
    """Its exit code and the last lines that it printed, of this run only."""
    watched = Watched(tmp_path)
    await watched.processes.start(spec_of("print('of the run before')"))
    await watched.ended(NAME)
    await watched.processes.start(spec_of("import sys\nfor n in range(1000): print(n)\nsys.exit('out of memory')"))
    ending = await watched.ended(NAME)

    assert (ending.code, ending.signal, ending.was_asked) == (1, None, False)
    assert ending.last_words == (*(str(number) for number in range(1001 - LAST_WORDS_MAX, 1000)), "out of memory")
    await watched.processes.start(spec_of("print('once more')"))
    assert (await watched.ended(NAME)).last_words == ("once more",)
    assert b"of the run before" in watched.processes.log_of(NAME).read_bytes()


async def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    """A program that is not there, one that may not be run, and a command that is none."""
    watched = Watched(tmp_path)
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for command, why in (
        (("no-such-program", "serve"), "no-such-program could not be started: No such file or directory"),
        ((str(plain),), f"{plain} could not be started: Permission denied"),
        ((), "it could not be started: the command is empty"),
        (("a\0b",), "it could not be started: the command or a variable has a NUL character in it"),
    ):
        await watched.processes.start(replace(spec_of(""), command=command))
        ending = await watched.ended(NAME)
        assert ending.last_words == (why,)
        assert (ending.code, ending.signal, ending.was_asked) == (None, None, False)
        assert watched.processes.facts[NAME].pid is None
    assert list((tmp_path / "engines").glob("*.json")) == []
    assert list((tmp_path / "engines").glob("*.sock")) == []


async def test_one_that_does_not_listen_is_ended_by_force(tmp_path: Path) -> None:
    """After its ``stop_seconds``, and told several times it has the shortest."""
    watched = Watched(tmp_path)
    await watched.processes.start(spec_of(IGNORES_TERM, mark="deaf", stop_seconds=0.05))
    await until(lambda: b"up" in watched.processes.log_of(NAME).read_bytes())
    await asyncio.gather(*(watched.processes.stop(NAME) for _ in range(5)))

    ending = await watched.ended(NAME)
    assert (ending.code, ending.signal, ending.was_asked) == (None, signal.SIGKILL, True)
    assert alive("deaf") == []


async def test_nothing_that_descends_from_an_engine_outlives_it(tmp_path: Path) -> None:
    """Grandchildren in sessions of their own that ignore SIGTERM: whether the engine was told to end or crashed."""
    watched = Watched(tmp_path, grace_seconds=0.05)
    family = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True: signal.pause()
        os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
print('up')
signal.pause()
"""
    for number in (signal.SIGTERM, signal.SIGKILL):
        await watched.processes.start(spec_of(family, mark="family", stop_seconds=0.3))
        pid = watched.processes.facts[NAME].pid
        assert pid is not None
        await until(lambda: len(alive("family")) == 4)
        if number == signal.SIGTERM:
            await watched.processes.stop(NAME)
        else:
            os.kill(pid, number)
        ending = await watched.ended(NAME)
        assert ending.signal == number
        assert alive("family") == []


async def test_one_that_hides_is_ended_as_well(tmp_path: Path) -> None:
    """An orphan in a session of its own with nothing in its environment, and children that are born all the time."""
    word = f"hides-{secrets.token_hex(8)}"
    script = f"""
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def bear():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(sys.executable, ['{word}', '-I', '-S', '-c', 'import signal; signal.pause()'], {{}})
        os._exit(0)
    os.wait()
for _ in range(30):
    bear()
    print('up')
while True:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""
    watched = Watched(tmp_path)
    await watched.processes.start(spec_of(script, stop_seconds=0.01))
    await until(lambda: watched.processes.log_of(NAME).read_bytes().count(b"up") >= 10)
    await watched.processes.stop(NAME)
    await watched.ended(NAME)
    assert word.encode() not in command_lines()


async def test_stopped_while_it_starts(tmp_path: Path) -> None:
    """It ends, at whatever moment it is told, and can be started anew at once."""
    watched = Watched(tmp_path)
    for yields in range(0, 40, 4):
        start = asyncio.create_task(watched.processes.start(spec_of(WAITS, mark="early")))
        await watched.until(NAME, lambda fact: fact.runs)
        for _ in range(yields):
            await asyncio.sleep(0)
        await watched.processes.stop(NAME)
        await start
        assert (await watched.ended(NAME)).was_asked
        assert alive("early") == []


async def test_one_of_a_name_runs_at_a_time(tmp_path: Path) -> None:
    """Starting it again changes nothing; what is none can be stopped."""
    watched = Watched(tmp_path)
    await watched.processes.stop("nobody")
    await watched.processes.start(spec_of(WAITS))
    before = watched.processes.facts[NAME]
    await watched.processes.start(replace(spec_of(WAITS), made_from="b"))
    assert watched.processes.facts[NAME] == before
    await watched.processes.close(keep=False)
    assert not watched.processes.facts[NAME].runs


async def test_an_engine_gets_a_clean_environment(tmp_path: Path) -> None:
    """What engines need of serve's own variables and those of its spec, nothing else; and no open file."""
    script = "import json, os; print(json.dumps([dict(os.environ), sorted(os.listdir('/proc/self/fd')), os.getcwd()]))"
    own = {"PATH": os.environ["PATH"], "HF_TOKEN": "h", "https_proxy": "p", "OVERSPILL_KEY": "o", "OPENAI_API_KEY": "k"}
    watched = Watched(tmp_path, environment=own)
    spec = replace(spec_of(script), environment={"VLLM_API_KEY": "s3cret"})
    with (tmp_path / "held").open("w"):
        await watched.processes.start(spec)
        [line] = (await watched.ended(NAME)).last_words
    for word in ("PATH", "HF_TOKEN", "https_proxy", "VLLM_API_KEY", "SPT_NOENV"):
        assert f'"{word}"' in line
    assert "OVERSPILL_KEY" not in line
    assert "OPENAI_API_KEY" not in line
    assert '["0", "1", "2", "3"]' in line
    assert str(Path.cwd()) in line


async def test_an_engine_begins_as_from_a_shell(tmp_path: Path) -> None:
    """It ignores and blocks no signal, and makes files as serve does; a guard's own ways are not inherited."""
    watched = Watched(tmp_path)
    before = os.umask(0o027)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    quits = signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # as a script's shell does for what it puts behind
    try:
        await watched.processes.start(replace(spec_of(""), command=("sh", "-c", SIGNALS)))
    finally:
        os.umask(before)
        signal.signal(signal.SIGHUP, hangup)
        signal.signal(signal.SIGQUIT, quits)
    blocked, ignored, mask = (await watched.ended(NAME)).last_words
    assert (blocked, mask) == (f"SigBlk: {0:016x}", "0027")
    # Of the two above the 31 of everyday's the C library makes its own use.
    assert int(ignored.removeprefix("SigIgn: "), 16) & 0x7FFFFFFF == 0


async def test_the_state_directory_is_removed_under_it(tmp_path: Path) -> None:
    """The engine goes on, and how it ended is known all the same."""
    watched = Watched(tmp_path / "state")
    await watched.processes.start(spec_of(WAITS))
    shutil.rmtree(tmp_path / "state")
    await watched.processes.stop(NAME)
    ending = await watched.ended(NAME)
    assert (ending.signal, ending.was_asked, ending.last_words) == (signal.SIGTERM, True, ())
    await watched.processes.start(spec_of(WAITS))
    [why] = (await watched.ended(NAME)).last_words
    assert why.startswith("it could not be started: [Errno 2] No such file or directory")


async def test_secrets_and_files_are_the_owner_s(tmp_path: Path) -> None:
    """No secret in a record, a log or a guard's command line; nobody else may read what is in the folder."""
    watched = Watched(tmp_path)
    name = "team-ä/../../chat#0"
    spec = ProcessSpec(name, (sys.executable, "-c", WAITS), 20001, "a", {"VLLM_API_KEY": "s3cret"})
    await watched.processes.start(spec)
    folder = tmp_path / "engines"
    files = sorted(folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.suffix for path in files} == {".json", ".log", ".sock"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) in (0o600, 0o700)
        assert path.parent == folder
        if path.suffix != ".sock":
            assert b"s3cret" not in path.read_bytes()
    assert b"s3cret" not in command_lines()
    await watched.processes.close(keep=False)
    assert {path.suffix for path in folder.iterdir()} == {".log"}

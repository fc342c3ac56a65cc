"""The supervisor with small processes: it starts again what dies, and takes all along when it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.places import SOURCES
from cluster.plan import Component, Plan, Wait
from cluster.processes import of_cluster

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Look until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "gave up"
        time.sleep(0.01)


def plan(folder: Path, *components: Component) -> Plan:
    """A plan in a folder of the test's."""
    return Plan(str(folder), str(folder / "log"), str(folder / "status.json"), list(components))


@contextmanager
def supervising(folder: Path, content: Plan) -> Iterator[subprocess.Popen[bytes]]:
    """A running supervisor, ended by the end of its input."""
    (folder / "plan.json").write_text(content.to_json())
    command = [sys.executable, str(SOURCES), "supervise", str(folder / "plan.json"), "--until-input-ends"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process


def status(folder: Path) -> dict[str, dict[str, Any]]:
    """What the supervisor last wrote."""
    try:
        content: dict[str, dict[str, Any]] = json.loads((folder / "status.json").read_text())
    except FileNotFoundError:
        return {}
    return content


def pid_of(folder: Path, name: str) -> int | None:
    """A component's pid, None while it does not run."""
    pid: int | None = status(folder).get(name, {}).get("pid")
    return pid


def test_what_dies_is_started_again(tmp_path: Path) -> None:
    """Given a running component, when it is killed, then another takes its place and the count says so."""
    with supervising(tmp_path, plan(tmp_path, Component("a", SLEEPER))):
        wait_until(lambda: pid_of(tmp_path, "a") is not None)
        first = pid_of(tmp_path, "a")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: pid_of(tmp_path, "a") not in (None, first))
        assert status(tmp_path)["a"]["starts"] == 2
        assert status(tmp_path)["a"]["lastExit"] == -signal.SIGKILL


def test_all_end_with_the_supervisor_however_it_ends(tmp_path: Path) -> None:
    """Nothing is left after the end of its input, and nothing after its SIGKILL."""
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        folder = tmp_path / str(number)
        folder.mkdir()
        with supervising(folder, plan(folder, Component("a", SLEEPER), Component("b", SLEEPER))) as process:
            wait_until(lambda folder=folder: len(of_cluster(folder)) == 2)  # type: ignore[misc]
            if number is not None:
                process.send_signal(number)
        wait_until(lambda folder=folder: of_cluster(folder) == [])  # type: ignore[misc]


def test_a_component_waits_for_its_condition(tmp_path: Path) -> None:
    """Given a component that waits for a socket, when another opens it, then it is started."""
    socket = tmp_path / "socket"
    opens = (
        f"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind({str(socket)!r}); s.listen(); time.sleep(600)"
    )
    waiting = Component("waiting", SLEEPER, [Wait("unix", str(socket))])
    with supervising(tmp_path, plan(tmp_path, waiting)) as process:
        wait_until(lambda: "waiting" in status(tmp_path))
        assert pid_of(tmp_path, "waiting") is None
        both = plan(tmp_path, waiting, Component("opens", [sys.executable, "-c", opens]))
        (tmp_path / "plan.json").write_text(both.to_json())
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: pid_of(tmp_path, "waiting") is not None)


def test_a_new_plan_touches_only_what_it_changes(tmp_path: Path) -> None:
    """Given two components, when the plan changes one, then the other keeps its process."""
    with supervising(tmp_path, plan(tmp_path, Component("a", SLEEPER), Component("b", SLEEPER))) as process:
        wait_until(lambda: None not in (pid_of(tmp_path, "a"), pid_of(tmp_path, "b")))
        a, b = pid_of(tmp_path, "a"), pid_of(tmp_path, "b")
        changed = plan(tmp_path, Component("a", SLEEPER), Component("b", [*SLEEPER, "changed"]))
        (tmp_path / "plan.json").write_text(changed.to_json())
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: pid_of(tmp_path, "b") not in (None, b))
        assert pid_of(tmp_path, "a") == a


def test_a_command_that_is_not_there_is_said_in_its_log(tmp_path: Path) -> None:
    """A missing binary stops neither the supervisor nor the other components."""
    missing = Component("missing", [str(tmp_path / "nothing")])
    with supervising(tmp_path, plan(tmp_path, missing, Component("a", SLEEPER))):
        wait_until(lambda: pid_of(tmp_path, "a") is not None)
        assert "cannot start" in (tmp_path / "log" / "missing.log").read_text()

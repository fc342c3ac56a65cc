"""Finding a cluster's processes in the world."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from cluster.plan import MARK
from cluster.processes import Process, belonging, end_all, of_cluster, read_process, send

STATE = Path("/cache/clusters/a")
HOST = ("pid:[1]", "net:[1]")
INSIDE = ("pid:[2]", "net:[2]")


def process(pid: int, mark: str = "", namespaces: tuple[str, ...] = HOST) -> Process:
    """A process as /proc would show it."""
    return Process(pid, mark, namespaces, (pid,), "command")


def test_marked_processes_and_those_in_their_namespaces_belong() -> None:
    """A container carries no mark, but shares the PID namespace of what started it."""
    supervisor, container = process(10, str(STATE), INSIDE), process(11, "", ("pid:[2]", "net:[3]"))
    other, other_cluster = process(12), process(13, "/cache/clusters/b", ("pid:[4]", "net:[4]"))
    found = belonging([supervisor, container, other, other_cluster], STATE, HOST)
    assert found == [supervisor, container]


def test_a_marked_process_in_the_hosts_namespaces_drags_in_no_one() -> None:
    """A command that was marked and runs on the host must not make the whole host part of the cluster."""
    marked, host = process(20, str(STATE)), process(1)
    assert belonging([marked, host], STATE, HOST) == [marked]


def test_a_longer_path_is_another_cluster() -> None:
    """The mark is compared as a whole: cluster `a` is not cluster `a-b`."""
    assert belonging([process(30, f"{STATE}-b")], STATE, HOST) == []


def test_ending_takes_marked_processes_and_waits_for_them(tmp_path: Path) -> None:
    """`end_all` returns when they are gone, and says how many there were."""
    code = "import time; print('up', flush=True); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, MARK: str(tmp_path)}, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        assert [found.pid for found in of_cluster(tmp_path)] == [child.pid]
        assert end_all(tmp_path) == 1
        assert child.wait() == -signal.SIGKILL


def test_a_reused_pid_is_not_hit() -> None:
    """A signal is sent only if the pid still is the process that was found."""
    own = read_process(os.getpid())
    assert own is not None
    before = Process(own.pid, str(STATE), own.namespaces, own.namespace_pids, own.command)
    assert not send(before, signal.SIGKILL)

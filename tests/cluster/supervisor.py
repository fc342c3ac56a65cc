"""Runs the components of a plan, starts again what dies, and takes all of them along when it ends.

For a whole cluster it is process 1 of a PID namespace: when it ends, however it ends, the kernel kills
every process of the namespace, containers included, and with them go the mounts and the network. For a
control plane alone each component asks the kernel to be killed with the supervisor.

SIGHUP: read the plan again. SIGTERM, or end of standard input with `--until-input-ends`: end.
Not here: deciding what a cluster consists of.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from cluster.files import write_whole
from cluster.plan import MARK, Component, Plan, Wait, restart_delay_seconds

POLL_SECONDS = 0.02
"""How often conditions are looked at while a component waits for one; afterwards the supervisor sleeps."""
QUICK_FAILURE_SECONDS = 10.0
"""A component that ends sooner counts as failing again, and its next start waits longer."""
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def holds(wait: Wait) -> bool:
    """Whether a condition holds now."""
    try:
        if wait.kind == "tcp":
            host, port = wait.target.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=1).close()
        elif wait.kind == "unix":
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(wait.target)
        else:
            context = ssl.create_default_context(cafile=wait.ca)
            direct = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )
            direct.open(wait.target, timeout=2).close()
    except OSError:
        return False
    return True


@dataclass
class Running:
    """What became of one component so far."""

    component: Component
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    """Monotonic time of the last start."""
    started_at_clock: float = 0.0
    """The same as Unix time, for people and other processes."""
    not_before: float = 0.0
    """Monotonic time before which it is not started again."""
    starts: int = 0
    quick_failures: int = 0
    last_exit: int | None = None


@dataclass
class Supervisor:
    """The loop: match the processes to the plan, then wait for a signal or for a condition."""

    plan_path: Path
    plan: Plan
    running: dict[str, Running] = field(default_factory=dict)
    ending: bool = False
    reload: bool = False

    def run(self, *, until_input_ends: bool) -> None:
        """Set up, run until told to end, and end everything."""
        wakeup = self._catch_signals()
        try:
            for command in self.plan.setup:
                subprocess.run(command, check=True, env=self._environment(), stdin=subprocess.DEVNULL)
            self._adopt_plan()
            while not self.ending:
                waiting = self._start_what_may_start()
                watched = [wakeup, *([0] if until_input_ends else [])]
                ready, _, _ = select.select(watched, [], [], waiting)
                if wakeup in ready:
                    os.read(wakeup, 4096)
                if until_input_ends and 0 in ready and not os.read(0, 4096):
                    self.ending = True
                if self.reload:
                    self.reload = False
                    self.plan = Plan.from_json(self.plan_path.read_text())
                    self._adopt_plan()
                self._reap()
        finally:
            self._end_all()

    def _catch_signals(self) -> int:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "ending", True))
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "ending", True))
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "reload", True))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return reader

    def _environment(self) -> dict[str, str]:
        # A proxy of the host is out of reach, and would be asked for addresses that only exist in the cluster.
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {**kept, MARK: self.plan.state}

    def _adopt_plan(self) -> None:
        wanted = {component.name: component for component in self.plan.components}
        for name, running in list(self.running.items()):
            if wanted.get(name) != running.component:
                if running.process is not None:
                    running.process.kill()
                    running.process.wait()
                del self.running[name]
        for name, component in wanted.items():
            self.running.setdefault(name, Running(component))
        self._write_status()

    def _start_what_may_start(self) -> float | None:
        """Start what is due; return how long to sleep at most, None for until a signal."""
        sleep: float | None = None
        for running in self.running.values():
            if running.process is not None:
                continue
            pause = running.not_before - time.monotonic()
            if pause <= 0 and (running.starts or all(holds(wait) for wait in running.component.after)):
                self._start(running)
            else:
                sleep = min(x for x in (sleep, max(pause, POLL_SECONDS)) if x is not None)
        return sleep

    def _start(self, running: Running) -> None:
        component = running.component
        Path(self.plan.logs).mkdir(parents=True, exist_ok=True)
        with (Path(self.plan.logs) / f"{component.name}.log").open("ab") as log:
            try:
                running.process = subprocess.Popen(
                    component.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**self._environment(), **component.environment},
                    pass_fds=component.descriptors,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509  -- the supervisor has one thread
                    start_new_session=True,
                )
            except OSError as error:
                log.write(f"cannot start {component.arguments[0]}: {error}\n".encode())
                running.not_before = time.monotonic() + restart_delay_seconds(10)
                return
        running.started_at, running.started_at_clock = time.monotonic(), time.time()
        running.starts += 1
        self._write_status()

    def _reap(self) -> None:
        by_pid = {running.process.pid: running for running in self.running.values() if running.process is not None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid not in by_pid:
                continue  # an orphan of a container: process 1 has to collect those
            running = by_pid[pid]
            assert running.process is not None
            running.process.returncode = running.last_exit = os.waitstatus_to_exitcode(status)
            running.process = None
            now = time.monotonic()
            quick = now - running.started_at < QUICK_FAILURE_SECONDS
            running.not_before = now + restart_delay_seconds(running.quick_failures)
            running.quick_failures = running.quick_failures + 1 if quick else 0
            self._write_status()

    def _write_status(self) -> None:
        lines = {
            name: {
                "pid": running.process.pid if running.process else None,
                "starts": running.starts,
                "startedAt": int(running.started_at_clock),
                "quickFailures": running.quick_failures,
                "lastExit": running.last_exit,
            }
            for name, running in self.running.items()
        }
        with contextlib.suppress(OSError):  # the folder was removed under us: the components run on
            write_whole(Path(self.plan.status), json.dumps(lines, indent=1))

    def _end_all(self) -> None:
        for running in self.running.values():
            if running.process is not None:
                running.process.kill()
        for running in self.running.values():
            if running.process is not None:
                running.process.wait()
        if self.plan.remove_at_end:
            shutil.rmtree(self.plan.remove_at_end, ignore_errors=True)


def supervise(plan_path: Path, *, until_input_ends: bool) -> None:
    """Run a plan to its end."""
    Supervisor(plan_path, Plan.from_json(plan_path.read_text())).run(until_input_ends=until_input_ends)

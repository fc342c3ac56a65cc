"""Processes on loopback that tests start and end, vLLM and the gateway, each with a log and a sign of being ready."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import httpx

from real_engine.environments import VLLM, made

READY_SECONDS = 120.0
MODEL = "tiny"
Value = TypeVar("Value")


def wait_until(what: str, condition: Callable[[], Value], seconds: float, *, pause_seconds: float = 0.02) -> Value:
    """The first true value of a condition; fails, naming it and its last value, after some seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"gave up after {seconds:g} s waiting until {what}; last seen: {value!r}"
        time.sleep(pause_seconds)
    return value


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Process:
    """One process, its output in a file."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as output:
            self.popen = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )

    def wait_for(self, url: str) -> None:
        """Wait until a URL answers 200; fails with the end of the log where it does not."""

        def answers() -> bool:
            assert self.popen.poll() is None, f"{self.name} ended with {self.popen.returncode}:\n{self.tail()}"
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url, timeout=2).status_code == 200
            return False

        try:
            wait_until(f"{url} answers", answers, READY_SECONDS, pause_seconds=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def tail(self) -> str:
        """The end of what it has written."""
        return self.log.read_text(errors="replace")[-3000:]

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 10.0) -> int:
        """Send a signal and wait for its end, at last by SIGKILL; its exit code. What it has left behind ends as well.

        vLLM's engine is a child of its server, and outlives it where the server is killed.
        """
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)


class Engine(Process):
    """A vLLM that serves the tiny model."""

    def __init__(self, name: str, model: Path, folder: Path, options: Sequence[str] = ()) -> None:
        """``options``: of vLLM, after the usual ones."""
        environment = made(VLLM)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(
            name,
            [
                str(environment / "bin" / "vllm"), "serve", str(model), f"--served-model-name={MODEL}",
                "--enforce-eager", "--kv-cache-memory-bytes=64M", "--host=127.0.0.1", f"--port={self.port}",
                # Without it a random model writes white space between two fields of its JSON for ever.
                '--structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}',
                *options,
            ],
            {
                "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
                "HOME": str(folder),
                # As in the engine's image; inference/engine/Dockerfile.cpu says why.
                "TORCH_COMPILE_DISABLE": "1",
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_LOGGING_COLOR": "0",
                # What vLLM learns of the model's kind is learned once: 5 s.
                "VLLM_CACHE_ROOT": str(environment / "cache"),
            },
            folder,
        )  # fmt: skip

    def wait_until_ready(self) -> Engine:
        """Wait until it serves."""
        self.wait_for(f"{self.url}/health")
        return self

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 where it has not been counted yet."""
        lines = httpx.get(f"{self.url}/metrics", timeout=5).text.splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if line.startswith((f"{name}{{", f"{name} "))]
        return sum(map(float, values))

    @property
    def running(self) -> float:
        """Requests that it works on."""
        return self.metric("vllm:num_requests_running")


class GatewayProcess(Process):
    """A gateway that reads its routes from a folder."""

    def __init__(self, routes: Path, folder: Path, pepper: bytes) -> None:
        port, admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        super().__init__(
            "gateway",
            [
                sys.executable, "-m", "overspill_gateway.main", f"--folder={routes}", f"--listen=127.0.0.1:{port}",
                f"--admin-listen=127.0.0.1:{admin_port}", "--drain-delay-seconds=0",
            ],
            {**os.environ, "OVERSPILL_KEY_PEPPER": pepper.decode()},
            folder,
        )  # fmt: skip

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over the samples that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = httpx.get(f"{self.admin_url}/metrics", timeout=5).text.splitlines()
        found = [
            line for line in lines if line.startswith((f"{name}{{", f"{name} ")) and all(x in line for x in wanted)
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

"""`overspill serve` as a process on loopback, with its log, and what it needs around it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from one_box import process_table
from one_box.client import FAILURES, Client, GaveUpError, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
TINY_MODEL = CHECKOUT / "inference" / "engine" / "tiny_model.py"
STANDIN = CHECKOUT / "tests" / "standin" / "vllm"
START_SECONDS = 30.0
HOSTED_KEY = "standin-secret"

PROFILES = """\
profiles:
  cpu:
    args: [--enforce-eager, --max-model-len=2048, --kv-cache-memory-bytes=64M]
    env: {HF_HUB_OFFLINE: "1", OMP_NUM_THREADS: "1"}
    startupTimeout: 5m
    drainTimeout: 5s
    local: {memory: 2Gi}
"""
"""What the tiny model needs: the chart's profile of this name, with less memory for its cache."""


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """The model's folder, made if it is not there."""
    if not (folder / "tokenizer.json").exists():
        subprocess.run([sys.executable, str(TINY_MODEL), str(folder), f"--seed={seed}"], check=True)
    return folder


class Process:
    """One process whose output is in a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def tail(self, characters: int = 2000) -> str:
        """The end of what it has written."""
        return self.log.read_text(errors="replace")[-characters:]

    def check_runs(self) -> None:
        """Raise with the end of its log where it has ended."""
        if self.popen.poll() is not None:
            raise GaveUpError(f"{self.popen.args!r} ended with code {self.popen.returncode}:\n{self.tail()}")

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send a signal and wait; its exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise GaveUpError(f"{self.popen.args!r} did not end within {seconds:g} s:\n{self.tail()}") from None


class HostedStandin(Process):
    """What plays a hosted API."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.port = free_port()
        super().__init__(
            [python, str(STANDIN), "hosted", f"--port={self.port}"],
            folder / "standin.log",
            {**os.environ, "STANDIN_API_KEY": HOSTED_KEY, "STANDIN_TOKEN_DELAY_MS": "5"},
        )
        self.client = Client(f"http://127.0.0.1:{self.port}")

    @property
    def requests(self) -> int:
        """How many it has been asked."""
        return int(json.loads(self.client.get("/standin/requests")[1])["count"])


class Serve(Process):
    """`overspill serve`."""

    def __init__(
        self,
        program: Sequence[str],
        documents: Sequence[Path],
        folder: Path,
        *options: str,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.port = port or free_port()
        self.client = Client(f"http://127.0.0.1:{self.port}")
        super().__init__(
            [
                *program,
                "serve",
                *map(str, documents),
                f"--state={self.state}",
                f"--listen=127.0.0.1:{self.port}",
                *options,
            ],
            folder / "serve.log",
            environment,
        )

    def wait_until_listening(self) -> None:
        """It answers, whatever it answers."""

        def answers() -> bool:
            self.check_runs()
            try:
                return self.client.get("/v1/models")[0] in {200, 401}
            except FAILURES:
                return False

        wait_until("overspill serve listens", answers, START_SECONDS, pause_seconds=0.05)


def engines(model: Path) -> list[process_table.Running]:
    """Processes that serve a model's folder, vLLM's own children not among them."""
    return process_table.processes("vllm", str(model), "--port")

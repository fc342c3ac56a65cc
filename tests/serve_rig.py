"""``overspill serve`` as a real process, with stand-ins as its engines and as the hosted API."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import waiting
from overspill_box.processes.free_port import free_port

TESTS = Path(__file__).resolve().parent
WAIT_SECONDS = 60.0
"""Seconds of a quiet machine are minutes of a busy one."""
Json = dict[str, Any]


def wait_for(what: str, look: Callable[[], waiting.Found | None], seconds: float = WAIT_SECONDS) -> waiting.Found:
    """``waiting.wait_for``, with the patience of these tests."""
    return waiting.wait_for(what, look, seconds)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got."""

    status: int
    served_by: str
    text: str
    body: Json


class Serve:
    """One ``overspill serve`` after the other, on one state directory and one port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.port = free_port()
        self.log = folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, name: str, text: str) -> Path:
        """Write a file whole, as an editor does."""
        path = self.folder / name
        other = path.with_suffix(".new")
        other.write_text(text)
        other.replace(path)
        return path

    def start(self, *arguments: str, wait: bool = True, **variables: str) -> None:
        """Start it with ``route.yaml`` and ``profiles.yaml``; more arguments follow."""
        command = [
            sys.executable, "-m", "overspill_cli.main", "serve", str(self.folder / "route.yaml"),
            "--listen", f"127.0.0.1:{self.port}", "--admin-listen", "127.0.0.1:0", "--state", str(self.state),
            "--profiles", str(self.folder / "profiles.yaml"), *arguments,
        ]  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OVERSPILL_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment | variables)
        if wait:
            wait_for("serve is ready", self.is_ready)

    def is_ready(self) -> bool:
        """Whether it says so."""
        assert self.process is not None
        assert self.process.poll() is None, f"serve has ended:\n{self.said()[-3000:]}"
        try:
            about = json.loads((self.state / "serve.json").read_text())
            return bool(about["pid"] == self.process.pid)
        except (OSError, ValueError):
            return False

    def said(self) -> str:
        """All that it has printed."""
        return self.log.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS)

    def ask(self, model: str = "tiny", key: str = "", headers: Mapping[str, str] = {}, **fields: Any) -> Answer:
        """A chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4} | fields
        given = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return self.request("POST", "/v1/chat/completions", json.dumps(body), given | dict(headers))

    def ask_meanwhile(self, model: str = "tiny", **fields: Any) -> Callable[[], Answer]:
        """Ask in a thread; what waits for the answer."""
        answers: list[Answer] = []

        def ask() -> None:
            try:
                answers.append(self.ask(model, **fields))
            except (OSError, http.client.HTTPException):
                answers.append(Answer(0, "", "", {}))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()

        def answer() -> Answer:
            thread.join(WAIT_SECONDS)
            assert answers, "no answer came"
            return answers[0]

        return answer

    def request(self, method: str, path: str, body: str = "", headers: Mapping[str, str] = {}) -> Answer:
        """A request to the API."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        try:
            connection.request(method, path, body or None, dict(headers))
            response = connection.getresponse()
            content = response.read()
            served_by = response.getheader("x-overspill-served-by") or ""
        finally:
            connection.close()
        document = json.loads(content) if content.startswith(b"{") else {}
        choices = document.get("choices") or [{}]
        text = (choices[0].get("message") or {}).get("content") or ""
        return Answer(response.status, served_by, text, document)

    def status(self) -> Json:
        """What the admin port shows."""
        about = json.loads((self.state / "serve.json").read_text())
        connection = http.client.HTTPConnection(about["admin"].removeprefix("http://"), timeout=WAIT_SECONDS)
        try:
            connection.request("GET", "/status.json")
            found: Json = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found

    def route(self, name: str = "tiny") -> Json:
        """What status says of a route."""
        found: Json = next(entry for entry in self.status()["routes"] if entry["route"] == f"default/{name}")
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of ``overspill``."""
        command = [sys.executable, "-m", "overspill_cli.main", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)

    def engine_pids(self) -> list[int]:
        """Processes of engines that serve has started: those whose command line says so."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                    environment = (folder / "environ").read_bytes()
                except OSError:
                    continue
                if b"standin" in words and b"serve" in words and f"RIG={self.folder}".encode() in environment:
                    found.append(int(folder.name))
        return found

    def kill_all(self) -> None:
        """Whatever a test has left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        wait_for("no engine is left", lambda: not self.engine_pids())


def profile(folder: Path, *, load_ms: int = 0, variables: str = "", local: str = "") -> str:
    """A profile whose engine is a stand-in, as one line of a mapping."""
    command = f'["{sys.executable}", -m, standin, serve, "{{model}}", --port, "{{port}}", --host, 127.0.0.1]'
    environment = (
        f'PYTHONPATH: "{TESTS}", STANDIN_MODELS: "{{served_model}}", STANDIN_API_KEY: "{{api_key}}", '
        f'STANDIN_NAME: "{{served_model}}", STANDIN_LOAD_MS: "{load_ms}", RIG: "{folder}"{variables}'
    )
    return f"{{startupTimeout: 20s, drainTimeout: 2s, env: {{{environment}}}, local: {{command: {command}{local}}}}}"


def route(name: str = "tiny", *, profile: str = "engine", idle_after: str = "10m", more: str = "") -> str:
    """A ModelRoute with an engine."""
    return f"""\
---
apiVersion: overspill.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  selfHosted: {{source: "hf://test/{name}", profile: {profile}}}
  scaling: {{minReplicas: 0, maxReplicas: 1, idleAfter: {idle_after}}}
{more}"""


@contextmanager
def hosted_api() -> Iterator[str]:
    """A hosted API; its base URL."""
    port = free_port()
    command = [sys.executable, "-m", "standin", "hosted", "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(TESTS)}, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it listens
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)
        assert process.stdout is not None
        process.stdout.close()

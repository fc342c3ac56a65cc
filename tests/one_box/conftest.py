"""What tests of one machine share: vLLM, two tiny models, and one `overspill serve` that runs through most of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from client_leftovers import pytest_unconfigure
from one_box import process_table
from one_box.client import Client, wait_until
from one_box.serving import HOSTED_KEY, PROFILES, HostedStandin, Serve, engines, tiny_model

OVERSPILL = (sys.executable, "-m", "overspill_cli.main")
ROUTE = """\
---
apiVersion: overspill.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  selfHosted: {{source: "{source}", profile: {profile}}}
  scaling: {{minReplicas: 0, maxReplicas: 1, idleAfter: 10m}}
  overflow: {{onColdStart: Hold, hold: {{timeout: 4m}}}}
"""


def route(name: str, source: str, profile: str = "cpu") -> str:
    """A ModelRoute with an engine, whose requests wait for it."""
    return ROUTE.format(name=name, source=source, profile=profile)


def standin_engine(load_ms: int = 0) -> str:
    """A profile of another OpenAI-compatible server by its command line, as llama-server would be."""
    standin = Path(__file__).resolve().parents[1]
    command = f'["{sys.executable}", -m, standin, serve, "{{model}}", --host, 127.0.0.1, --port, "{{port}}"]'
    return (
        f'{{drainTimeout: 1s, env: {{PYTHONPATH: "{standin}", STANDIN_MODELS: "{{served_model}}",'
        f' STANDIN_NAME: "{{served_model}}", STANDIN_API_KEY: "{{api_key}}", STANDIN_LOAD_MS: "{load_ms}"}},'
        f" local: {{memory: 1Gi, command: {command}}}}}"
    )


@dataclass
class Watch:
    """Looks all the time how many engines of some models run at once."""

    models: tuple[Path, ...]
    """Their folders."""
    most: int = 0
    """The most that were seen at once."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set to stop looking."""

    def run(self) -> None:
        """Look until told to end."""
        while not self.ended.wait(0.05):
            self.most = max(self.most, sum(bool(engines(model)) for model in self.models))


@dataclass
class World:
    """One machine, and `overspill serve` on it."""

    folder: Path
    """Its files."""
    serve: Serve
    """The process."""
    hosted: HostedStandin
    """What plays a hosted API."""
    models: tuple[Path, ...]
    """Two tiny models."""
    watch: Watch
    """How many of them run at once."""
    key: str = ""
    """An API key that `overspill keys` has made."""

    @property
    def client(self) -> Client:
        """Asks with that key."""
        return Client(self.serve.client.url, self.key)

    def command(self, *arguments: str) -> str:
        """What another command of `overspill` prints."""
        done = subprocess.run([*OVERSPILL, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two tiny models on real vLLM in memory for one of them, and a server of another kind, with API keys."""
    folder = tmp_path_factory.mktemp("box")
    models = (tiny_model(folder / "first", seed=0), tiny_model(folder / "second", seed=1))
    hosted = HostedStandin(folder)
    documents, profiles = folder / "route.yaml", folder / "profiles.yaml"
    documents.write_text(
        "".join(route(model.name, f"file://{model}") for model in models)
        + route("other", "hf://test/other", "llama")
        + f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: hosted}}\nstringData: {{api-key: {HOSTED_KEY}}}\n"
    )
    profiles.write_text(f"{PROFILES}  llama: {standin_engine()}\n")
    serve = Serve(
        OVERSPILL, [documents], folder, f"--profiles={profiles}", "--memory=3Gi", "--vllm=cpu",
        environment={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )  # fmt: skip
    watch = Watch(models)
    made = World(folder, serve, hosted, models, watch)
    thread = threading.Thread(target=watch.run)
    try:
        serve.wait_until_listening()
        made.key = made.command("keys", "create", "me", "--local", f"--state={serve.state}")
        wait_until("the key is known", lambda: made.client.get("/v1/models")[0] == 200, 15)
        thread.start()
        yield made
    finally:
        watch.ended.set()
        hosted.end()
        serve.end()
        thread.join()
        left = process_table.processes(str(folder))
        for one in left:
            process_table.kill(one)
        assert left == [], "a process was left behind"


def gone(model: Path, seconds: float) -> float:
    """Wait until no process serves a model; how long that took."""
    began = time.monotonic()
    wait_until("no engine is left", lambda: not engines(model), seconds, pause_seconds=0.02)
    return time.monotonic() - began


__all__ = ["pytest_unconfigure"]

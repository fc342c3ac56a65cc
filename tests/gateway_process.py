"""A gateway as a process that watches a real API server, as its pod does; clients are the test's."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from chart_rig import Release
from operator_rig import Rig, wait_for

Json = dict[str, Any]


class GatewayProcess:
    """One gateway, with the account and the variables that the chart gives it."""

    def __init__(self, world: Rig, release: Release, pod: str = "gateway-a", **variables: str) -> None:
        self._port, self._admin_port = _free_ports()
        self.admin_address = f"127.0.0.1:{self._admin_port}"
        self.log = world.folder / f"{pod}.log"
        token = world.folder / f"{pod}.token"
        token.write_text(release.token("gateway"))
        places = {"--listen": f"127.0.0.1:{self._port}", "--admin-listen": self.admin_address}
        access = {"--kube-url": world.plane.url, "--kube-ca": world.plane.ca_file, "--kube-token-file": token}
        flags = [str(part) for pair in (places | access).items() for part in pair]
        # The folder with compiled code, where the tests run that.
        code = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
        given = release.variables("gateway") | {"POD_NAME": pod} | code | variables
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "overspill_gateway.main", *flags]
            self.process = subprocess.Popen(command, env=given, stderr=log, stdout=log)

    @property
    def is_ready(self) -> bool:
        """Whether it says so."""
        assert self.process.poll() is None, f"the gateway has ended:\n{self.log.read_text()[-3000:]}"
        return _answer(urllib.request.Request(f"http://{self.admin_address}/readyz"))[0] == 200

    def ask(self, key: str, model: str) -> tuple[int, Json]:
        """A chat completion: status and answer; (0, {}) where it does not listen."""
        question = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self._port}/v1/chat/completions"
        return _answer(urllib.request.Request(url, json.dumps(question).encode(), headers))

    def models(self, key: str) -> tuple[int, list[str]]:
        """What a key's holder may call: status and models."""
        url = f"http://127.0.0.1:{self._port}/v1/models"
        status, answer = _answer(urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"}))
        return status, [model["id"] for model in answer.get("data") or ()]

    def stop(self) -> None:
        """Ask it to end, as Kubernetes does."""
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def gateway(world: Rig, release: Release, **variables: str) -> Iterator[GatewayProcess]:
    """A gateway until the block ends; whether it is ready is for the test to wait for."""
    made = GatewayProcess(world, release, **variables)
    try:
        yield made
    finally:
        made.stop()


def wait_ready(gateway: GatewayProcess) -> None:
    """Wait until it has read all."""
    wait_for("the gateway is ready", lambda: gateway.is_ready)


def _answer(request: urllib.request.Request) -> tuple[int, Json]:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, _json(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _json(error.read())
    except OSError:
        return 0, {}


def _json(content: bytes) -> Json:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _free_ports() -> tuple[int, int]:
    with ExitStack() as stack:
        one, other = (stack.enter_context(socket.socket()) for _ in range(2))
        for held in (one, other):
            held.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]

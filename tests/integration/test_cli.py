"""``overspill keys`` against a real API server with the real CRDs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.controlplane import ControlPlane
from overspill_api.keys import key_hash

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CHECKOUT = Path(__file__).resolve().parents[2]


class CommandLine:
    """``overspill`` and kubectl on one control plane."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    def overspill(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command, as a person would run it."""
        environment = {"KUBECONFIG": str(self.plane.kubeconfig), "PATH": os.environ["PATH"]}
        command = [sys.executable, "-m", "overspill_cli.main", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints; it must succeed."""
        command = [self.plane.kubectl, "--kubeconfig", str(self.plane.kubeconfig), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def spec(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """Spec of a Consumer."""
        found: dict[str, Any] = json.loads(self.kubectl("-n", namespace, "get", "consumer", name, "-o", "json"))
        spec: dict[str, Any] = found["spec"]
        return spec


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    """A control plane with the CRDs and a pepper."""
    with ControlPlane(controllers=False) as plane:
        running = CommandLine(plane)
        running.kubectl("apply", "-f", str(CHECKOUT / "manifests" / "crds"))
        running.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
        running.kubectl("create", "namespace", "overspill-system")
        running.kubectl(
            "-n", "overspill-system", "create", "secret", "generic", "overspill-key-pepper",
            "--from-literal=pepper=abc",
        )  # fmt: skip
        yield running


def test_a_key_is_made_listed_and_revoked(command_line: CommandLine) -> None:
    """The life of a key: created with its Consumer, joined by another, revoked."""
    created = command_line.overspill("keys", "create", "team", "--route", "llama")
    assert created.returncode == 0, created.stderr
    key = created.stdout.strip()
    spec = command_line.spec("team")
    assert spec["routes"] == [{"name": "llama"}]
    assert key_hash(b"abc", key) == spec["keys"][0]["hash"]

    second = command_line.overspill("keys", "create", "team", "--route", "shared/small")
    assert second.returncode == 0, second.stderr
    assert command_line.spec("team")["routes"] == [{"name": "llama"}, {"namespace": "shared", "name": "small"}]

    listed = command_line.overspill("keys", "list")
    assert [line.split()[:2] for line in listed.stdout.splitlines()[1:]] == [["default", "team"]] * 2

    revoked = command_line.overspill("keys", "revoke", "team", key)
    assert revoked.returncode == 0, revoked.stderr
    assert [entry["id"] for entry in command_line.spec("team")["keys"]] == [second.stdout.split("-")[1]]


def test_keys_made_at_the_same_time_are_all_kept(command_line: CommandLine) -> None:
    """Two administrators do not overwrite each other: a change to an object that has changed is made anew."""
    command_line.overspill("keys", "create", "crowd")
    with ThreadPoolExecutor(4) as crowd:
        results = list(crowd.map(lambda _: command_line.overspill("keys", "create", "crowd"), range(4)))
    assert [result.returncode for result in results] == [0] * 4, [result.stderr for result in results]
    assert len(command_line.spec("crowd")["keys"]) == 5


def test_a_consumer_of_another_namespace(command_line: CommandLine) -> None:
    """``--namespace`` says where the Consumer is; a namespace that is not there is said."""
    command_line.kubectl("create", "namespace", "chat")
    assert command_line.overspill("keys", "create", "bot", "-n", "chat").returncode == 0
    assert command_line.spec("bot", "chat")["routes"] == [{"name": "*"}]

    missing = command_line.overspill("keys", "create", "bot", "-n", "nowhere")
    assert missing.returncode == 1
    assert missing.stdout == ""
    assert "there is no namespace nowhere" in missing.stderr


def test_without_a_release_the_message_says_where_to_look(command_line: CommandLine) -> None:
    """No key is made where no pepper is; where there is not even the namespace, nothing is waited for."""
    result = command_line.overspill("keys", "create", "lost", "--release-namespace", "elsewhere")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        "overspill: there is no namespace elsewhere, so Overspill is not installed there: "
        "say with --release-namespace where it is\n"
    )


def test_a_key_that_is_asked_for_right_after_the_installation(command_line: CommandLine) -> None:
    """The pepper is waited for, and what is waited for is said."""
    command_line.kubectl("create", "namespace", "fresh")
    asked = ("keys", "create", "early", "--release-namespace", "fresh")
    late = command_line.overspill(*asked, "--wait-seconds", "1")
    assert (late.returncode, late.stdout) == (1, "")
    assert "Waiting up to 1 s for Secret overspill-key-pepper in namespace fresh" in late.stderr
    assert "kubectl -n fresh get pods" in late.stderr

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(command_line.overspill, *asked)
        command_line.kubectl(
            "-n", "fresh", "create", "secret", "generic", "overspill-key-pepper", "--from-literal=pepper=abc"
        )
        made = waiting.result()
    assert made.returncode == 0, made.stderr
    assert key_hash(b"abc", made.stdout.strip()) == command_line.spec("early")["keys"][0]["hash"]

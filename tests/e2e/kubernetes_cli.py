"""kubectl and helm as a person would type them: run, read, wait for a condition. Nothing else reaches the cluster.

A command that fails raises CommandError with the command line and what it printed.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

POLL_SECONDS = 0.2

Value = TypeVar("Value")


class CommandError(RuntimeError):
    """A command that ended with another code than 0."""


class GaveUpError(RuntimeError):
    """A condition that did not come true in time."""


@dataclass(frozen=True)
class Cluster:
    """A Kubernetes cluster, by its kubeconfig and the folder where kubectl and helm are."""

    kubeconfig: Path
    """Kubeconfig of an administrator."""
    gateway_url: str
    """Where the gateway's NodePort can be reached from here, such as http://127.0.0.1:8080."""
    tools: Path | None = None
    """Folder with kubectl and helm; None: those of PATH."""

    @property
    def environment(self) -> dict[str, str]:
        """Environment in which kubectl and helm find this cluster."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        if self.tools:
            environment["PATH"] = f"{self.tools}:{environment['PATH']}"
        return environment

    def run(self, *command: str, stdin: str | None = None, timeout_seconds: float = 300) -> str:
        """Standard output of a command."""
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env=self.environment,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-2000:]
            raise CommandError(f"`{' '.join(command)}` ended with code {done.returncode}:\n{said}")
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 300) -> str:
        """Standard output of kubectl."""
        return self.run("kubectl", *arguments, stdin=stdin, timeout_seconds=timeout_seconds)

    def get(self, *arguments: str) -> dict[str, Any]:
        """What ``kubectl get ... -o json`` answers; an empty mapping where there is no such object."""
        text = self.kubectl("get", *arguments, "--ignore-not-found", "-o", "json")
        answer: dict[str, Any] = json.loads(text) if text.strip() else {}
        return answer

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects of a list, none where there are none."""
        objects: list[dict[str, Any]] = self.get(*arguments).get("items", [])
        return objects

    def apply(self, manifest: str, namespace: str | None = None) -> str:
        """Apply YAML text."""
        where = ("-n", namespace) if namespace else ()
        return self.kubectl("apply", *where, "-f", "-", stdin=manifest)

    def delete_namespaces(self, *names: str) -> None:
        """Delete namespaces and wait until they are gone; those that are not there do not matter."""
        self.kubectl("delete", "namespace", *names, "--ignore-not-found", "--wait=true", "--timeout=120s")


def wait_until(what: str, condition: Callable[[], Value], seconds: float) -> Value:
    """The first true value of a condition; GaveUpError, which names it and its last value, after some seconds."""
    deadline = time.monotonic() + seconds
    value = condition()
    while not value:
        if time.monotonic() > deadline:
            raise GaveUpError(f"gave up after {seconds:.0f} s waiting until {what}; last seen: {value!r}")
        time.sleep(POLL_SECONDS)
        value = condition()
    return value

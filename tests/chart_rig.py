"""The chart as the real helm renders it: its rights in a cluster, its processes with its accounts and its variables."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from operator_rig import CHECKOUT, RELEASE, Json, Operator, Rig

CHART = CHECKOUT / "charts" / "overspill"
KUBE_VERSION = "1.34.0"
RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


@cache
def helm() -> str:
    """Path of helm."""
    tool = Path(os.environ.get("OVERSPILL_TOOLS", "")) / "helm"
    found = str(tool) if tool.is_file() else shutil.which("helm")
    assert found, "helm is missing: `make binaries` builds it, and OVERSPILL_TOOLS names its folder"
    return found


def render(values: Json | None = None, namespace: str = RELEASE) -> list[dict[str, Any]]:
    """Objects of a release called overspill, hooks included."""
    command = [helm(), "template", "overspill", str(CHART), "--namespace", namespace, "--kube-version", KUBE_VERSION]
    result = subprocess.run(
        [*command, "--values", "-"], input=json.dumps(values or {}), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def workload(documents: list[dict[str, Any]], component: str) -> dict[str, Any]:
    """The Deployment or Job of a component."""
    return next(
        document
        for document in documents
        if document["kind"] in ("Deployment", "Job")
        and document["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )


def kubectl(world: Rig, *arguments: str, stdin: str = "") -> str:
    """What kubectl prints as an administrator; it must succeed."""
    command = [world.plane.kubectl, "--kubeconfig", str(world.plane.kubeconfig), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Release:
    """A release without pods: its rights are in the cluster, and a test runs its processes with them."""

    def __init__(self, world: Rig, values: Json | None = None, namespace: str = RELEASE) -> None:
        self.namespace = namespace
        self._world = world
        self._documents = render(values, namespace)
        rights = [document for document in self._documents if document["kind"] in RIGHTS]
        self._rights = json.dumps({"apiVersion": "v1", "kind": "List", "items": rights})
        kubectl(world, "apply", "-f", "-", stdin=self._rights)

    def take_rights_away(self) -> None:
        """As `helm uninstall` does: the next release of the name has its own alone."""
        kubectl(self._world, "delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=self._rights)

    def variables(self, component: str) -> dict[str, str]:
        """Variables that the manifest gives to a component's container, and those that its pod would."""
        container = workload(self._documents, component)["spec"]["template"]["spec"]["containers"][0]
        given = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        return given | {"POD_NAMESPACE": self.namespace, "PATH": os.environ["PATH"]}

    def token(self, component: str) -> str:
        """A token of a component's ServiceAccount."""
        return kubectl(self._world, "create", "token", f"overspill-{component}", "-n", self.namespace).strip()

    def kubeconfig(self, component: str) -> Path:
        """Access by such a token alone."""
        access = json.loads(self._world.plane.kubeconfig.read_text())
        access["users"][0]["user"] = {"token": self.token(component)}
        path = self._world.folder / f"{self.namespace}-{component}.kubeconfig"
        path.write_text(json.dumps(access))
        return path

    def operator(self, pod: str, **variables: str) -> Operator:
        """Start an operator of this release, as its pod would."""
        given = self.variables("operator") | {"OVERSPILL_PROFILES": str(self._world.profiles)}
        given |= {"OVERSPILL_LOG_LEVEL": "DEBUG"} | variables
        return Operator(self._world, pod, self.kubeconfig("operator"), **given)

    def clean_up(self) -> None:
        """What the hook's Job does at `helm uninstall`."""
        given = self.variables("cleanup") | {"KUBECONFIG": str(self.kubeconfig("cleanup"))}
        command = [sys.executable, "-m", "overspill_operator.main", "cleanup"]
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr

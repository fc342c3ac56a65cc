"""The control plane that integration tests stand on: real, alone, quick, and gone afterwards."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.api import wait_until
from cluster.controlplane import ControlPlane
from cluster.processes import of_cluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def kubectl(plane: ControlPlane, *arguments: str, stdin: str = "") -> str:
    """The standard output of kubectl."""
    command = [plane.kubectl, "--kubeconfig", str(plane.kubeconfig), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def get(plane: ControlPlane, *arguments: str) -> dict[str, Any]:
    """What kubectl reads, decoded."""
    answer: dict[str, Any] = json.loads(kubectl(plane, "get", *arguments, "-o", "json"))
    return answer


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """One with controllers, scheduler and two nodes of two GPUs, for the tests that only look."""
    with ControlPlane(kwok_nodes=2, gpus_per_node=2) as running:
        yield running


def deployment(replicas: int, gpus: int) -> str:
    """A Deployment whose pods ask for GPUs."""
    container = {"name": "a", "image": "none", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    labels = {"app": "gpu"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gpu"}, "spec": spec})


def test_pods_are_scheduled_by_gpus_and_played_by_kwok(plane: ControlPlane) -> None:
    """Given four GPUs, when five pods ask for one each, then four are Running and one is Pending, as on real nodes."""
    kubectl(plane, "apply", "-f", "-", stdin=deployment(5, 1))

    def phases() -> list[str]:
        return sorted(pod["status"]["phase"] for pod in get(plane, "pods", "-l", "app=gpu")["items"])

    wait_until(lambda: phases() == ["Pending"] + ["Running"] * 4, "four of five pods run", 30)
    pods = get(plane, "pods", "-l", "app=gpu")["items"]
    pending = [pod for pod in pods if pod["status"]["phase"] == "Pending"]
    wait_until(
        lambda: "Insufficient nvidia.com/gpu" in kubectl(plane, "describe", "pod", pending[0]["metadata"]["name"]),
        "the reason is said",
        10,
    )


def test_the_owners_end_is_followed(plane: ControlPlane) -> None:
    """The garbage collector runs: what an object owns goes with it."""
    kubectl(plane, "create", "configmap", "owner")
    uid = get(plane, "configmap", "owner")["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "ownerReferences": [owner]}}
    kubectl(plane, "apply", "-f", "-", stdin=json.dumps(owned))
    kubectl(plane, "delete", "configmap", "owner")
    wait_until(lambda: "owned" not in kubectl(plane, "get", "configmaps", "-o", "name"), "the owned object is gone", 30)


def test_custom_resources_with_cel_rules_and_server_side_apply(plane: ControlPlane) -> None:
    """What a current cluster checks: a structural schema, defaults, CEL messages, field managers."""
    rule = {"rule": "self.min <= self.max", "message": "min must not exceed max"}
    number = {"type": "integer", "default": 1}
    spec = {"type": "object", "properties": {"min": number, "max": number}, "x-kubernetes-validations": [rule]}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "ranges.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "ranges", "kind": "Range"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    kubectl(plane, "apply", "-f", "-", stdin=json.dumps(crd))
    kubectl(plane, "wait", "--for=condition=Established", "crd/ranges.example.com", "--timeout=20s")
    good = {"apiVersion": "example.com/v1", "kind": "Range", "metadata": {"name": "a"}, "spec": {"max": 5}}
    kubectl(plane, "apply", "--server-side", "--field-manager=test", "-f", "-", stdin=json.dumps(good))
    stored = get(plane, "ranges.example.com", "a", "--show-managed-fields")
    assert stored["spec"] == {"min": 1, "max": 5}
    assert stored["metadata"]["managedFields"][0]["manager"] == "test"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        kubectl(plane, "apply", "-f", "-", stdin=json.dumps({**good, "spec": {"min": 9, "max": 5}}))
    assert "min must not exceed max" in refused.value.stderr


def test_several_run_side_by_side_and_leave_nothing() -> None:
    """Two planes share no address and no object; at the end no process and no folder is left."""
    with ControlPlane(controllers=False) as one, ControlPlane(controllers=False) as two:
        assert one.url != two.url
        kubectl(one, "create", "configmap", "only-in-one")
        assert "only-in-one" not in kubectl(two, "get", "configmaps", "-o", "name")
        folders = [one.folder, two.folder]
        assert all(of_cluster(folder) for folder in folders)
    assert not any(of_cluster(folder) for folder in folders)
    assert not any(folder.exists() for folder in folders)


def test_it_ends_with_a_killed_test(tmp_path: Path) -> None:
    """A test process that is killed cannot clean up; its control plane ends all the same."""
    code = f"""
        import sys, time
        sys.path[:0] = {sys.path!r}
        from cluster.controlplane import ControlPlane
        with ControlPlane(controllers=False) as plane:
            print(plane.folder, flush=True)
            time.sleep(600)
    """
    script = tmp_path / "test.py"
    script.write_text(textwrap.dedent(code))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        folder = next(Path(line.strip()) for line in lines if line.startswith("/"))
        assert of_cluster(folder)
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not of_cluster(folder) and not folder.exists(), "nothing is left", 20)


def test_it_starts_in_seconds() -> None:
    """Under five seconds where the machine is idle; a busy one gets more, as its load says."""
    started = time.monotonic()
    with ControlPlane():
        seconds = time.monotonic() - started
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert seconds < 5 * busy, f"{seconds:.1f} s at load {os.getloadavg()[0]:.1f}"

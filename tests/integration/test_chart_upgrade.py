"""From the chart that made the pepper by a template to today's, with the real helm: keys given out go on working."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from chart_rig import CHART, Release, helm, kubectl
from gateway_process import GatewayProcess, gateway, wait_ready
from operator_rig import CHECKOUT, RELEASE, Json, Rig, rig, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

FORMER = "0259cac4cde28e89b42689bd446aceec462a525a"
"""The last commit whose chart made the pepper."""

KEEP: Json = {"keyPepper": {"keep": True}}


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole chart of that time."""
    folder: Path = tmp_path_factory.mktemp("former")
    archive = ["git", "-C", str(CHECKOUT), "archive", FORMER, "charts/overspill"]
    packed = subprocess.run(archive, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip("this checkout has no history, so the former chart is not there")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder / "charts" / "overspill"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Rig]:
    """A cluster without pods; the CRDs are the chart's."""
    with rig(tmp_path, crds=False, controllers=False) as made:
        yield made


def run_helm(world: Rig, *arguments: str, values: Json | None = None) -> None:
    """One helm command, as an administrator; without hooks, whose Job nobody runs here."""
    environment = {**os.environ, "KUBECONFIG": str(world.plane.kubeconfig), "HELM_CACHE_HOME": str(world.folder)}
    given = ["--values", "-"] if values is not None else []
    command = [helm(), *arguments, "--namespace", RELEASE, "--no-hooks", *given]
    done = subprocess.run(
        command, input=json.dumps(values or {}), capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr


def pepper(world: Rig) -> str:
    """The pepper as it lies there; empty: there is none."""
    secret = world.get(f"/api/v1/namespaces/{RELEASE}/secrets/overspill-key-pepper")
    return base64.b64decode(secret["data"]["pepper"]).decode() if secret else ""


def new_key(world: Rig, consumer: str) -> str:
    """A key as an administrator makes it."""
    environment = {"KUBECONFIG": str(world.plane.kubeconfig), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "overspill_cli.main", "keys", "create", consumer]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def is_taken(front: GatewayProcess, key: str) -> bool:
    """Whether the gateway knows a key."""
    return front.models(key)[0] == 200


@contextmanager
def running(world: Rig, release: Release) -> Iterator[GatewayProcess]:
    """Today's operator and a gateway; nothing more is asked of them than to let keys in."""
    with gateway(world, release) as front:
        operator = release.operator("operator-1", OVERSPILL_GATEWAY_ADDRESSES=front.admin_address)
        try:
            wait_for("it leads", lambda: operator.leads)
            wait_ready(front)
            yield front
        finally:
            operator.stop()


def test_keys_given_out_work_after_an_upgrade_and_after_a_new_installation(world: Rig, former: Path) -> None:
    """The template's pepper stays as it is; keepPepper outlives the release, and without it the clean-up takes it."""
    run_helm(world, "install", "overspill", str(former))
    kubectl(world, "wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
    made = pepper(world)
    assert len(made) == 64
    early = new_key(world, "early")

    run_helm(world, "upgrade", "overspill", str(CHART), values=KEEP)
    assert pepper(world) == made
    release = Release(world, KEEP)
    with running(world, release) as front:
        wait_for("the key from before", lambda: front.models(early)[0] == 200)
        later = new_key(world, "later")
        wait_for("a new key", lambda: front.models(later)[0] == 200)
        assert front.models(f"{later}x")[0] == 401
    assert pepper(world) == made

    run_helm(world, "uninstall", "overspill")
    release.clean_up()
    assert pepper(world) == made
    assert world.get(f"/api/v1/namespaces/{RELEASE}/secrets/consumer.default.early") is None
    run_helm(world, "install", "overspill", str(CHART), values=KEEP)
    with running(world, Release(world, KEEP)) as front:
        for key in (early, later):
            wait_for("the same key", partial(is_taken, front, key))

    run_helm(world, "upgrade", "overspill", str(CHART), values={})
    assert pepper(world) == made
    run_helm(world, "uninstall", "overspill")
    Release(world).clean_up()
    assert pepper(world) == ""

"""kind-config.yaml against kind's own Go types, since no Docker may be there to try it."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster import binaries, lifecycle
from cluster.places import CHECKOUT, cache_folder

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def reader() -> str:
    """The command that reads a configuration as kind does."""
    return binaries.ensure(cache_folder(), [binaries.KIND]).command("read-kind-config")


def test_kind_reads_it_and_leads_the_gateways_port_to_the_host(reader: str) -> None:
    """The gateway's NodePort is at 127.0.0.1:8080, as with the local cluster, and nowhere else."""
    ran = subprocess.run([reader, str(CHECKOUT / "kind-config.yaml")], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    config = json.loads(ran.stdout)
    ports = [mapping for node in config["nodes"] for mapping in node["extraPortMappings"]]
    assert [(port["listenAddress"], port["hostPort"], port["containerPort"]) for port in ports] == [
        ("127.0.0.1", lifecycle.GATEWAY_PORT, lifecycle.GATEWAY_NODE_PORT)
    ]
    assert config["name"] == "overspill"


def test_the_chart_serves_on_that_port() -> None:
    """The values of demo and tests put the gateway on the NodePort that both clusters lead to."""
    values = yaml.safe_load((CHECKOUT / "charts/overspill/values-local.yaml").read_text())
    assert values["gateway"]["service"] == {"type": "NodePort", "nodePort": lifecycle.GATEWAY_NODE_PORT}


def test_a_misspelled_field_is_refused(reader: str, tmp_path: Path) -> None:
    """The reader is as strict as kind: the test above would notice a typing error."""
    text = (CHECKOUT / "kind-config.yaml").read_text().replace("hostPort", "hostport")
    (tmp_path / "config.yaml").write_text(text)
    ran = subprocess.run([reader, str(tmp_path / "config.yaml")], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "hostport not found" in ran.stderr

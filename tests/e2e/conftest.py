"""The cluster that the end-to-end tests use: the one that `make` started, or another that the environment names.

- OVERSPILL_KUBECONFIG: kubeconfig of an administrator
- OVERSPILL_GATEWAY_URL: where the gateway's NodePort is reached (default http://127.0.0.1:8080)
- OVERSPILL_TOOLS: folder with kubectl and helm (default: PATH)
"""

import os
from pathlib import Path

import pytest

from client_leftovers import pytest_unconfigure
from e2e.kubernetes_cli import Cluster


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """A running cluster with the project's images."""
    kubeconfig = os.environ.get("OVERSPILL_KUBECONFIG")
    if not kubeconfig:
        pytest.fail("OVERSPILL_KUBECONFIG names no cluster: run `make test-e2e`, which starts one")
    tools = os.environ.get("OVERSPILL_TOOLS")
    return Cluster(
        Path(kubeconfig),
        os.environ.get("OVERSPILL_GATEWAY_URL", "http://127.0.0.1:8080"),
        Path(tools) if tools else None,
    )


__all__ = ["pytest_unconfigure"]

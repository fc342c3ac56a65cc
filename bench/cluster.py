"""Overspill on the running cluster, as its users would meet it; one JSON line last.

    make bench-cluster                          everything but the fleet
    make bench-cluster PARTS="fleet" COUNT=300  many routes, on a cluster of its own with kwok nodes

Only kubectl, helm and the openai SDK look at the cluster.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import fleet, idle, kill, wake
from e2e import installation
from e2e.kubernetes_cli import Cluster
from e2e.routes import route

NAMESPACE = "bench"
PARTS = ("install", "idle", "wake", "kill")


def main() -> int:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description="Overspill on the running cluster.")
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=[*PARTS, "fleet"])
    parser.add_argument("--count", type=int, default=300, help="routes of the fleet (default: 300)")
    parser.add_argument("--installs", type=int, default=3, help="how often to install (default: 3)")
    options = parser.parse_args()
    tools = os.environ.get("OVERSPILL_TOOLS")
    cluster = Cluster(
        Path(os.environ["OVERSPILL_KUBECONFIG"]),
        os.environ.get("OVERSPILL_GATEWAY_URL", "http://127.0.0.1:8080"),
        Path(tools) if tools else None,
    )
    results: dict[str, Any] = {}
    installs = options.installs if "install" in options.parts else 1
    results["install_to_ready_s"] = [round(_install(cluster), 2) for _ in range(installs)]
    print(f"helm install to all pods Ready: {results['install_to_ready_s']} s", flush=True)
    key = _prepare(cluster)
    measures: dict[str, Callable[[], Any]] = {
        "idle": lambda: _idle(cluster),
        "wake": lambda: wake.measure(cluster, key),
        "kill": lambda: kill.measure(cluster, key),
        "fleet": lambda: fleet.measure(cluster, key, options.count),
    }
    for part in options.parts:
        if part in measures:
            results[part] = measures[part]()
            print(f"{part}: {json.dumps(results[part], indent=1)}", flush=True)
    _clean(cluster)
    print(json.dumps({"cluster": results}))
    return 0


def _clean(cluster: Cluster) -> None:
    installation.uninstall(cluster)
    cluster.delete_namespaces(NAMESPACE, fleet.NAMESPACE, installation.RELEASE_NAMESPACE)


def _install(cluster: Cluster) -> float:
    _clean(cluster)
    return installation.install(cluster)


def _prepare(cluster: Cluster) -> str:
    installation.start_hosted_standin(cluster, NAMESPACE)
    return installation.create_key(cluster, "bench", NAMESPACE)


def _idle(cluster: Cluster) -> dict[str, float]:
    cluster.apply(json.dumps(route("idle")), NAMESPACE)
    cluster.kubectl("-n", NAMESPACE, "wait", "mr/idle", "--for=condition=Ready", "--timeout=60s")
    figures = idle.measure(cluster)
    cluster.kubectl("-n", NAMESPACE, "delete", "mr", "idle", "--wait=true")
    return figures


if __name__ == "__main__":
    sys.exit(main())

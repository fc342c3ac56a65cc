"""Overspill on a running cluster, as its users would meet it; one JSON line last.

    make bench-cluster                    everything
    make bench-cluster PARTS="wake kill"  some of it

Only kubectl, helm and the openai SDK look at the cluster. The fleet gets a cluster of its own for each size, with
nodes that kwok plays and with the controllers' request limits raised, since those of a default
kube-controller-manager (20 a second) would be all that is measured.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import fleet, idle, kill, wake
from e2e import installation
from e2e.kubernetes_cli import Cluster
from e2e.routes import route

NAMESPACE = "bench"
PARTS = ("install", "idle", "wake", "kill", "fleet")
FLEET_SIZES = (300, 1000)
GPU_NODES = 26
GPUS_PER_NODE = 64


def main() -> int:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description="Overspill on the running cluster.")
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--sizes", type=int, nargs="+", default=FLEET_SIZES, help="routes of the fleets")
    parser.add_argument("--installs", type=int, default=3, help="how often to install (default: 3)")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    if set(options.parts) - {"fleet"}:
        results |= _on_the_running_cluster(options.parts, options.installs)
    if "fleet" in options.parts:
        results["fleet"] = {str(size): _on_a_fleet_cluster(size) for size in options.sizes}
    print(json.dumps({"cluster": results}))
    return 0


def _on_the_running_cluster(parts: list[str], installs: int) -> dict[str, Any]:
    tools = os.environ.get("OVERSPILL_TOOLS")
    cluster = Cluster(
        Path(os.environ["OVERSPILL_KUBECONFIG"]),
        os.environ.get("OVERSPILL_GATEWAY_URL", "http://127.0.0.1:8080"),
        Path(tools) if tools else None,
    )
    times = [round(_install(cluster), 2) for _ in range(installs if "install" in parts else 1)]
    print(f"helm install to all pods Ready: {times} s", flush=True)
    results: dict[str, Any] = {"install_to_ready_s": times}
    key = _prepare(cluster)
    measures: dict[str, Callable[[], Any]] = {
        "idle": lambda: _idle(cluster),
        "wake": lambda: wake.measure(cluster, key),
        "kill": lambda: kill.measure(cluster, key),
    }
    for part, measure in measures.items():
        if part in parts:
            results[part] = measure()
            print(f"{part}: {json.dumps(results[part], indent=1)}", flush=True)
    installation.remove(cluster, NAMESPACE)
    return results


def _on_a_fleet_cluster(size: int) -> dict[str, float]:
    """A fresh cluster for this one run: deleting hundreds of objects slows one down for minutes."""
    nodes = ("--gpu-nodes", str(GPU_NODES), "--gpus-per-node", str(GPUS_PER_NODE))
    try:
        _local_cluster("up", "--fast-controllers", *nodes)
        _local_cluster("images", "overspill-operator", "overspill-gateway", "overspill-standin")
        cluster = Cluster(
            Path(_local_cluster("kubeconfig")), _local_cluster("gateway-url"), Path(_local_cluster("bin-dir"))
        )
        installation.install(cluster)
        key = _prepare(cluster)
        figures = fleet.measure(cluster, key, size)
        print(f"fleet of {size}: {json.dumps(figures)}", flush=True)
        return figures
    finally:
        _local_cluster("down")


def _local_cluster(command: str, *arguments: str) -> str:
    """What a command of the cluster without Docker prints, for the cluster of the fleets."""
    line = [sys.executable, str(installation.CHECKOUT / "tests" / "cluster"), command, "--name", "fleet", *arguments]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _install(cluster: Cluster) -> float:
    installation.remove(cluster, NAMESPACE)
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

"""Nodes that kwok plays, with GPUs to schedule on. Their pods become Ready and have an address, and answer nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.api import Api
from cluster.controllers import KWOK_ANNOTATION, NODE_ADDRESS

PODS_PER_NODE = 250
LABEL = "type"
TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}


def name_of(number: int) -> str:
    """The name of one of these nodes, counted from 0."""
    return f"gpu-node-{number}"


def manifest(number: int, gpus: int, *, product: str = "NVIDIA-L4", tainted: bool = False) -> dict[str, Any]:
    """One node with GPUs as NVIDIA's device plugin and feature discovery would show them.

    `tainted` keeps away the pods that must really run: use it where the cluster has a real node as well.
    """
    capacity = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": str(PODS_PER_NODE)}
    if gpus:
        capacity["nvidia.com/gpu"] = str(gpus)
    name = name_of(number)
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": product,
        LABEL: "kwok",
    }
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {KWOK_ANNOTATION: "fake"}},
        "spec": {"taints": [TAINT] if tainted else []},
    }
    status = {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}],
    }
    return {**node, "status": status}


def set_number(
    api: Api, nodes: int, gpus_per_node: int, *, product: str = "NVIDIA-L4", tainted: bool = False
) -> list[str]:
    """Make it this many nodes: creates those that are lacking, removes those too many; returns the names."""
    for number in range(nodes):
        node = manifest(number, gpus_per_node, product=product, tainted=tainted)
        status = {key: node[key] for key in ("apiVersion", "kind", "status")} | {"metadata": {"name": name_of(number)}}
        path = f"/api/v1/nodes/{name_of(number)}"
        api.apply(path, {key: value for key, value in node.items() if key != "status"})
        api.apply(f"{path}/status", status)
    wanted = {name_of(number) for number in range(nodes)}
    listed = api.request("GET", f"/api/v1/nodes?labelSelector={LABEL}%3Dkwok")["items"]
    for name in {item["metadata"]["name"] for item in listed} - wanted:
        api.request("DELETE", f"/api/v1/nodes/{name}")
    return sorted(wanted)


def all_ready(nodes: int) -> Callable[[Api], bool]:
    """A check that kwok has made this many of the nodes Ready."""

    def check(api: Api) -> bool:
        items = api.request("GET", f"/api/v1/nodes?labelSelector={LABEL}%3Dkwok")["items"]
        ready = [
            item
            for item in items
            for condition in item.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        ]
        return len(ready) >= nodes

    return check

"""The cluster's network and mounts, set up inside its own namespaces before anything runs there.

The network namespace has no default route and no device that leads out of it: nothing ever leaves.
"""

from __future__ import annotations

import json
from pathlib import Path

from cluster.controllers import NODE_ADDRESS, SERVICE_RANGE

POD_RANGE = "198.18.0.0/17"
"""Addresses of real pods; kwok's have the other half of 198.18.0.0/16."""
CLUSTER_RANGE = "198.18.0.0/16"
NODE_DEVICE = "node0"


def setup_commands(state: Path) -> list[list[str]]:
    """What process 1 of the cluster runs first."""
    return [["sh", "-ec", _mounts(state)], ["sh", "-ec", _devices()]]


def _mounts(state: Path) -> str:
    # A private /run: sockets of containers' shims and the pods' network namespaces live and die with the
    # cluster. Likewise what kubelet and the network plugins write to fixed places.
    return f"""
        mount --make-rshared /
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir -p /run/lock /var/lib/cni '{state}/var-log'
        mount -t tmpfs -o mode=700 tmpfs /var/lib/cni
        mount --bind '{state}/var-log' /var/log
    """


def _devices() -> str:
    # Both ends of the veth pair are inside: it gives the node an address, and nothing a way out. The Service
    # range needs a route, although nothing is there: the kernel looks one up before kube-proxy's rules apply.
    return f"""
        echo 1 > /proc/sys/net/ipv4/ip_forward
        ip -batch - <<END
            link set lo up
            link add {NODE_DEVICE} type veth peer name {NODE_DEVICE}-end
            addr add {NODE_ADDRESS}/24 dev {NODE_DEVICE}
            link set {NODE_DEVICE} up
            link set {NODE_DEVICE}-end up
            route add {SERVICE_RANGE} dev {NODE_DEVICE}
        END
    """.replace("        END", "END")


def cni_config(data: Path) -> str:
    """Pods on one bridge, with addresses from a folder of files."""
    addresses = {
        "type": "host-local",
        "dataDir": str(data),
        "ranges": [[{"subnet": POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}, indent=1)

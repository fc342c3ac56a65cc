"""The one real node: containerd, kubelet and kube-proxy, their configuration and command lines. Nothing runs here."""

from __future__ import annotations

import json
from pathlib import Path

from cluster import network
from cluster.binaries import Binaries
from cluster.controllers import NODE_ADDRESS, Settings
from cluster.files import write_whole
from cluster.places import Places
from cluster.plan import Component, Wait

NAME = "node0"
DNS_ADDRESS = "198.19.0.10"
DNS_DOMAIN = "cluster.local"
MAX_PODS = 250


def configure(places: Places, pause_image: str, cni_folder: Path) -> None:
    """Write the node's configuration files."""
    write_whole(places.state / "cni" / "10-pods.conflist", network.cni_config(places.state / "cni-addresses"))
    write_whole(places.state / "containerd.toml", containerd_config(places, pause_image, cni_folder))
    write_whole(places.state / "kubelet.yaml", json.dumps(kubelet_config(places), indent=1))


def containerd_config(places: Places, pause_image: str, cni_folder: Path) -> str:
    """Images outside the state folder, everything else inside."""
    return f"""version = 2
root = "{places.image_store}"
state = "{places.state}/containerd"
[grpc]
  address = "{places.runtime_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE no process may lower its score, and every sandbox would fail with "can't get
  # final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_folder}"
    conf_dir = "{places.state}/cni"
"""


def kubelet_config(places: Places) -> dict[str, object]:
    """As a current node's, but for what a shared test machine cannot give."""
    pki = places.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "address": NODE_ADDRESS,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": DNS_DOMAIN,
        "resolvConf": "/dev/null",
        "containerRuntimeEndpoint": f"unix://{places.runtime_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{places.cgroup}",
        "failSwapOn": False,
        "maxPods": MAX_PODS,
        "serializeImagePulls": False,
        "volumePluginDir": str(places.state / "kubelet" / "volume-plugins"),
        # The disk is shared with all else on the machine: evict late, and never remove images by its use.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def components(places: Places, binaries: Binaries, settings: Settings) -> list[Component]:
    """The node's three processes."""
    containerd = Component("containerd", ["containerd", "--config", str(places.state / "containerd.toml")])
    kubelet = Component(
        "kubelet",
        [
            binaries.command("kubelet"),
            f"--config={places.state / 'kubelet.yaml'}",
            f"--kubeconfig={places.state / 'kubelet.kubeconfig'}",
            f"--root-dir={places.state / 'kubelet'}",
            f"--hostname-override={NAME}",
            f"--node-ip={NODE_ADDRESS}",
        ],
        [settings.api_ready, Wait("unix", str(places.runtime_socket))],
    )
    proxy = Component(
        "kube-proxy",
        [
            binaries.command("kube-proxy"),
            f"--kubeconfig={places.state / 'proxy.kubeconfig'}",
            f"--hostname-override={NAME}",
            f"--bind-address={NODE_ADDRESS}",
            f"--cluster-cidr={network.CLUSTER_RANGE}",
            "--proxy-mode=nftables",
            # The machine's connection tracking limits are not ours to change.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
        [settings.api_ready],
    )
    return [containerd, kubelet, proxy]

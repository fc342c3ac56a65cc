"""The configuration of the real node and of kwok's."""

import json
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path

from cluster import controllers, dns, gpu_nodes, network, node
from cluster.places import Places

PLACES = Places("a", Path("/cache"))


def test_addresses_do_not_overlap_and_lead_nowhere() -> None:
    """Pods, kwok's pods, Services and the node have ranges of their own, all reserved and never routed."""
    pods, kwok = ip_network(network.POD_RANGE), ip_network(controllers.KWOK_POD_RANGE)
    services, cluster = ip_network(controllers.SERVICE_RANGE), ip_network(network.CLUSTER_RANGE)
    assert not pods.overlaps(kwok)
    assert not cluster.overlaps(services)
    assert pods.subnet_of(cluster)  # type: ignore[arg-type]
    assert kwok.subnet_of(cluster)  # type: ignore[arg-type]
    assert ip_address(node.DNS_ADDRESS) in services
    assert all(cluster_range.subnet_of(ip_network("198.18.0.0/15")) for cluster_range in (cluster, services))  # type: ignore[arg-type]
    assert ip_address(controllers.NODE_ADDRESS) in ip_network("192.0.2.0/24")


def test_no_route_leads_out_of_the_cluster() -> None:
    """The set-up adds a route for Services and none by default."""
    script = network.setup_commands(Path("/state"))[-1][-1]
    assert "default" not in script
    assert script.count("route add") == 1


def test_containerd_keeps_images_and_the_rest_apart() -> None:
    """Images outlive the cluster; everything else is in the folder that `down` removes."""
    config = tomllib.loads(node.containerd_config(PLACES, "localhost/pause:1", Path("/usr/lib/cni")))
    assert config["root"] == "/cache/containerd/a"
    assert config["state"].startswith(str(PLACES.state))
    assert config["plugins"]["io.containerd.grpc.v1.cri"]["restrict_oom_score_adj"] is True


def test_kubelet_uses_cgroups_of_this_cluster_only() -> None:
    """Otherwise its pods would be mixed with another kubelet's, and `down` could not tell them apart."""
    assert node.kubelet_config(PLACES)["cgroupRoot"] == f"/{PLACES.cgroup}"


def test_cni_configuration_is_valid_json_on_the_pods_range() -> None:
    """The bridge hands out addresses of the pods' range."""
    config = json.loads(network.cni_config(Path("/data")))
    assert config["plugins"][0]["ipam"]["ranges"] == [[{"subnet": network.POD_RANGE}]]


def test_dns_answers_for_the_cluster_before_denying_the_rest() -> None:
    """In one server block the plugin that denies would answer first, for the cluster's names as well."""
    blocks = dns.COREFILE.split("\n}\n")
    assert [("kubernetes" in block, "template" in block) for block in blocks[:2]] == [(True, False), (False, True)]


def test_a_gpu_node_has_what_a_scheduler_looks_at() -> None:
    """GPUs are capacity and allocatable, and only kwok plays the node."""
    manifest = gpu_nodes.manifest(3, 8, tainted=True)
    assert manifest["metadata"]["name"] == "gpu-node-3"
    assert manifest["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert manifest["metadata"]["annotations"] == {controllers.KWOK_ANNOTATION: "fake"}
    assert manifest["spec"]["taints"]
    assert "nvidia.com/gpu" not in gpu_nodes.manifest(0, 0)["status"]["capacity"]

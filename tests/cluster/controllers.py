"""The command lines of etcd, the API server, the controllers, the scheduler and kwok. Pure: strings to strings.

The same lines make a whole cluster and a control plane for one test; `Settings` tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster.binaries import Binaries
from cluster.plan import Component, Wait

SERVICE_RANGE = "198.19.0.0/16"
"""Benchmarking addresses (RFC 2544): never routed anywhere."""
KWOK_POD_RANGE = "198.18.128.0/17"
KUBERNETES_SERVICE = "198.19.0.1"
NODE_ADDRESS = "192.0.2.2"
"""A documentation address (RFC 5737): never routed anywhere."""
KWOK_ANNOTATION = "kwok.x-k8s.io/node"
FAST_CONTROLLERS_QPS, FAST_CONTROLLERS_BURST = 500, 1000


@dataclass(frozen=True)
class Settings:
    """What differs between the ways to run a control plane."""

    binaries: Binaries
    folder: Path
    """Certificates in `pki/`, data in `etcd/`."""
    etcd_port: int = 2379
    etcd_peer_port: int = 2380
    api_port: int = 6443
    bind_address: str = "127.0.0.1"
    """Where the API server listens."""
    advertised: bool = False
    """Whether the API server puts its address behind the Service `kubernetes`: only where pods can reach it."""
    controllers_share_identity: bool = False
    """Let all controllers act as one administrator. As on a real cluster, each else gets a service account first,
    which their request limit stretches to 4 s."""
    fast_controllers: bool = False
    """Raise the request limits of controllers and scheduler from 20/30 and 50/100 to 500/1000 a second."""

    @property
    def pki(self) -> str:
        """The folder with the keys."""
        return str(self.folder / "pki")

    @property
    def api_url(self) -> str:
        """The API server as the other components reach it."""
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def api_ready(self) -> Wait:
        """The condition that the API server serves."""
        return Wait("https", f"{self.api_url}/readyz", f"{self.pki}/ca.crt")


def etcd(settings: Settings) -> Component:
    """The store, without fsync: after a power cut a test cluster starts empty anyway."""
    client = f"http://127.0.0.1:{settings.etcd_port}"
    peer = f"http://127.0.0.1:{settings.etcd_peer_port}"
    arguments = [settings.binaries.command("etcd"), "--unsafe-no-fsync", f"--data-dir={settings.folder / 'etcd'}"]
    arguments += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    arguments += [
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]
    # Scale tests write tens of thousands of objects: the default of 2 GiB must not be what they measure.
    return Component("etcd", [*arguments, "--quota-backend-bytes=8589934592", "--log-level=warn"])


def api_server(settings: Settings) -> Component:
    """A current API server with RBAC, node authorization, aggregation and the default admission plugins."""
    pki = settings.pki
    arguments = [
        settings.binaries.command("kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{settings.etcd_port}",
        f"--bind-address={settings.bind_address}",
        f"--secure-port={settings.api_port}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--endpoint-reconciler-type={'lease' if settings.advertised else 'none'}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/service-accounts.key",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--requestheader-client-ca-file={pki}/ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
        # kubectl logs and exec: by the node's address, since no DNS knows its name.
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={pki}/admin.crt",
        f"--kubelet-client-key={pki}/admin.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--profiling=false",
    ]
    return Component("kube-apiserver", arguments, [Wait("tcp", f"127.0.0.1:{settings.etcd_port}")])


def _limits(settings: Settings) -> list[str]:
    if not settings.fast_controllers:
        return []
    return [f"--kube-api-qps={FAST_CONTROLLERS_QPS}", f"--kube-api-burst={FAST_CONTROLLERS_BURST}"]


def controller_manager(settings: Settings) -> Component:
    """All default controllers: Deployments, EndpointSlices, garbage collection, service accounts and so on."""
    identity = "admin" if settings.controllers_share_identity else "controller-manager"
    arguments = [
        settings.binaries.command("kube-controller-manager"),
        f"--kubeconfig={settings.folder / f'{identity}.kubeconfig'}",
        f"--root-ca-file={settings.pki}/ca.crt",
        f"--service-account-private-key-file={settings.pki}/service-accounts.key",
        f"--cluster-signing-cert-file={settings.pki}/ca.crt",
        f"--cluster-signing-key-file={settings.pki}/ca.key",
        f"--use-service-account-credentials={str(not settings.controllers_share_identity).lower()}",
        "--allocate-node-cidrs=false",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
        *_limits(settings),
    ]
    if settings.fast_controllers:
        arguments.append("--horizontal-pod-autoscaler-sync-period=1s")
        names = ("deployment", "replicaset", "endpoint", "service-endpoint", "job", "statefulset", "gc", "namespace")
        arguments += [f"--concurrent-{name}-syncs=50" for name in names]
    return Component("kube-controller-manager", arguments, [settings.api_ready])


def scheduler(settings: Settings) -> Component:
    """The default scheduler."""
    arguments = [settings.binaries.command("kube-scheduler")]
    arguments += [f"--kubeconfig={settings.folder / 'scheduler.kubeconfig'}"]
    arguments += ["--leader-elect=false", "--secure-port=0", "--profiling=false", *_limits(settings)]
    return Component("kube-scheduler", arguments, [settings.api_ready])


def kwok(settings: Settings) -> Component:
    """Plays kubelet for the nodes with kwok's annotation, and for those alone."""
    arguments = [
        settings.binaries.command("kwok"),
        f"--kubeconfig={settings.folder / 'admin.kubeconfig'}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={KWOK_ANNOTATION}=fake",
        f"--cidr={KWOK_POD_RANGE}",
        f"--node-ip={NODE_ADDRESS}",
        "--node-lease-duration-seconds=40",
        *(f"--config={stage}" for stage in settings.binaries.stages()),
    ]
    return Component("kwok", arguments, [settings.api_ready])

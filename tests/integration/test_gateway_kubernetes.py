"""The gateway's Kubernetes source against a real API server: what appears, changes and vanishes there arrives here."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.controlplane import ControlPlane
from overspill_api.compiled import CompiledConsumer, CompiledRoute, LocalPool, OverflowRules
from overspill_api.demand import RefusedDocument
from overspill_api.names import COMPILED_KEY, LABEL_COMPILED, LABEL_ROUTE
from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_gateway.sources.kubernetes import KubernetesAccess, KubernetesSource

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
NAMESPACE = "default"
WAIT_SECONDS = 20.0


class Memory:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.routes: dict[str, CompiledRoute] = {}
        self.consumers: dict[str, CompiledConsumer] = {}
        self.slices: dict[tuple[tuple[str, str], str], tuple[EndpointFact, ...]] = {}

    def set_route(self, compiled: CompiledRoute) -> None:
        """Remember."""
        self.routes[compiled.key] = compiled

    def remove_route(self, key: str) -> None:
        """Forget."""
        del self.routes[key]

    def set_consumer(self, compiled: CompiledConsumer) -> None:
        """Remember."""
        self.consumers[f"{compiled.namespace}/{compiled.name}"] = compiled

    def remove_consumer(self, key: str) -> None:
        """Forget."""
        del self.consumers[key]

    def set_pepper(self, pepper: bytes) -> None:
        """The pepper has come."""

    def set_refused(self, documents: tuple[RefusedDocument, ...]) -> None:
        """Documents that can't be used."""

    def set_slice(self, service: tuple[str, str], name: str, facts: tuple[EndpointFact, ...]) -> None:
        """Remember, or forget where there are none."""
        if facts:
            self.slices[service, name] = facts
        else:
            self.slices.pop((service, name), None)


class Cluster:
    """Writes objects."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        context = ssl.create_default_context(cafile=str(plane.ca_file))
        context.load_cert_chain(*plane.client_certificate)
        self.client = httpx.Client(base_url=plane.url, verify=context, trust_env=False, timeout=30)
        self.secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        self.slices = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"

    def put(self, path: str, name: str, document: dict[str, Any]) -> None:
        """Make or replace an object."""
        answer = self.client.put(f"{path}/{name}", json=document)
        if answer.status_code == 404:
            answer = self.client.post(path, json=document)
        assert answer.is_success, answer.text

    def delete(self, path: str, name: str) -> None:
        """Delete an object."""
        assert self.client.delete(f"{path}/{name}").is_success

    def put_secret(self, name: str, kind: str, text: str) -> None:
        """A compiled Secret."""
        metadata = {"name": name, "labels": {LABEL_COMPILED: kind}}
        data = {COMPILED_KEY: base64.b64encode(text.encode()).decode()}
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        self.put(self.secrets, name, document)

    def put_route(self, name: str, generation: int = 1) -> None:
        """A compiled route."""
        self.put_secret(f"route.ns.{name}", "route", compiled(name, generation).model_dump_json())

    def put_slice(self, name: str, *endpoints: dict[str, Any]) -> None:
        """An EndpointSlice of a route's engine."""
        labels = {LABEL_ROUTE: name, "kubernetes.io/service-name": f"{name}-engine"}
        document = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-engine-1", "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8000}],
            "endpoints": list(endpoints),
        }
        self.put(self.slices, f"{name}-engine-1", document)


def compiled(name: str, generation: int = 1) -> CompiledRoute:
    """A route with an engine of its own."""
    local = LocalPool(service=f"{name}-engine", port=8000, served_model=name)
    overflow = OverflowRules(on_cold_start="Hold")
    return CompiledRoute(
        namespace="ns", name=name, uid="u", generation=generation, model=name, local=local, overflow=overflow
    )


def access(plane: ControlPlane) -> KubernetesAccess:
    """As a flag-configured gateway outside the cluster."""
    return KubernetesAccess(plane.url, Path(plane.ca_file), None, plane.client_certificate)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A control plane without controllers."""
    with ControlPlane(controllers=False) as plane:
        made = Cluster(plane)
        yield made
        made.client.close()


@pytest.fixture
async def watched(cluster: Cluster) -> AsyncIterator[tuple[Memory, KubernetesSource]]:
    """A running source and what it has learned."""
    for path in (cluster.secrets, cluster.slices):
        assert cluster.client.delete(path).is_success
    memory = Memory()
    source = KubernetesSource(access(cluster.plane), NAMESPACE, memory)
    task = asyncio.create_task(source.run())
    await eventually(lambda: source.missing() is None)
    yield memory, source
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def eventually(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to be"
        await asyncio.sleep(0.01)


async def test_secrets_appear_change_and_vanish(cluster: Cluster, watched: tuple[Memory, KubernetesSource]) -> None:
    """A compiled Secret is a route as long as it is there, in its last form."""
    memory, _ = watched
    cluster.put_route("tiny")
    await eventually(lambda: "ns/tiny" in memory.routes)
    cluster.put_route("tiny", generation=2)
    await eventually(lambda: memory.routes["ns/tiny"].generation == 2)
    consumer = CompiledConsumer(namespace="ns", name="me", uid="u", generation=1)
    cluster.put_secret("consumer.ns.me", "consumer", consumer.model_dump_json())
    await eventually(lambda: "ns/me" in memory.consumers)

    cluster.delete(cluster.secrets, "route.ns.tiny")
    cluster.delete(cluster.secrets, "consumer.ns.me")

    await eventually(lambda: not memory.routes and not memory.consumers)


async def test_a_malformed_secret_keeps_the_last_good_one(
    cluster: Cluster, watched: tuple[Memory, KubernetesSource]
) -> None:
    """What can't be read is counted and changes nothing; the other documents go on arriving."""
    memory, source = watched
    cluster.put_route("tiny")
    await eventually(lambda: "ns/tiny" in memory.routes)

    cluster.put_secret("route.ns.tiny", "route", '{"namespace": "ns"}')
    cluster.put_route("after")
    await eventually(lambda: "ns/after" in memory.routes)

    assert source.errors_total == 1
    assert memory.routes["ns/tiny"].generation == 1


async def test_endpoints_appear_change_and_vanish(cluster: Cluster, watched: tuple[Memory, KubernetesSource]) -> None:
    """Slices of engines arrive with their conditions; slices of others do not."""
    memory, _ = watched
    target = {"kind": "Pod", "name": "tiny-0", "uid": "pod-uid"}
    endpoint = {"addresses": ["10.0.0.7"], "conditions": {"ready": False}, "targetRef": target}
    cluster.put_slice("tiny", endpoint)
    key = ((NAMESPACE, "tiny-engine"), "tiny-engine-1")
    await eventually(lambda: key in memory.slices)
    assert memory.slices[key] == (EndpointFact("10.0.0.7", 8000, "tiny-0", "pod-uid", ready=False, terminating=False),)

    cluster.put_slice("tiny", endpoint | {"conditions": {"ready": True}})
    await eventually(lambda: memory.slices[key][0].ready)
    cluster.put_slice("tiny", endpoint | {"conditions": {"ready": False, "serving": True, "terminating": True}})
    await eventually(lambda: memory.slices[key][0].terminating)
    cluster.delete(cluster.slices, "tiny-engine-1")
    await eventually(lambda: key not in memory.slices)


async def test_a_thousand_routes_arrive_within_seconds(
    cluster: Cluster, watched: tuple[Memory, KubernetesSource]
) -> None:
    """A new gateway lists a thousand routes, page by page, faster than a pod's readiness needs."""
    memory, _ = watched
    for number in range(1000):
        cluster.put_route(f"r{number}")
    await eventually(lambda: len(memory.routes) == 1000, 60)

    fresh = Memory()
    source = KubernetesSource(access(cluster.plane), NAMESPACE, fresh)
    task = asyncio.create_task(source.run())
    await eventually(lambda: source.missing() is None, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert len(fresh.routes) == 1000


async def test_a_restarted_api_server_loses_nothing(cluster: Cluster, watched: tuple[Memory, KubernetesSource]) -> None:
    """While the API server is away what is known stays; when it is back, changes arrive again."""
    memory, source = watched
    cluster.put_route("before")
    await eventually(lambda: "ns/before" in memory.routes)

    os.kill(api_server_pid(cluster.plane), signal.SIGKILL)
    await eventually(lambda: source.errors_total > 0)
    assert "ns/before" in memory.routes
    await eventually(lambda: serves(cluster), 60)
    cluster.put_route("after")

    await eventually(lambda: "ns/after" in memory.routes, 30)
    assert "ns/before" in memory.routes
    assert source.missing() is None


def serves(cluster: Cluster) -> bool:
    """Whether the API server answers."""
    try:
        return cluster.client.get("/readyz").is_success
    except httpx.HTTPError:
        return False


def api_server_pid(plane: ControlPlane) -> int:
    """The process that serves this plane's port: ours by its command line, which holds the plane's folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"kube-apiserver" in command.split(b"\0")[0] and str(plane.folder).encode() in command:
                return int(entry.name)
    raise AssertionError("no API server of this plane runs")

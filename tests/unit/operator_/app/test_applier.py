"""Applying: only what differs, and a refusal is not repeated at every look."""

from typing import Any

import pytest

from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.applier import Applier
from overspill_operator.ports import SERVICES, ClusterError, Json
from unit.operator_.fakes import FakeCluster

WANTED: dict[str, Any] = {
    "kind": "Service",
    "metadata": {"namespace": "chat", "name": "s", "labels": {"a": "1"}},
    "spec": {"ports": [{"port": 1}]},
}


async def test_what_is_there_is_not_written_again() -> None:
    """One apply, and another only after a difference."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, labels="")
    applier = Applier(cluster)
    await applier.ensure(cache, WANTED)
    await applier.ensure(cache, WANTED)
    assert [verb for verb, _ in cluster.calls] == ["APPLY"]
    await applier.ensure(cache, {**WANTED, "spec": {"ports": [{"port": 2}]}})
    assert [verb for verb, _ in cluster.calls] == ["APPLY", "APPLY"]


async def test_drift_is_written_over() -> None:
    """Whoever has changed it."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, labels="")
    applier = Applier(cluster)
    live = await applier.ensure(cache, WANTED)
    cache.wrote(cluster.put(SERVICES.path("chat", "s"), {**dict(live), "spec": {"ports": []}}))
    await applier.ensure(cache, WANTED)
    assert len(cluster.calls) == 2


async def test_a_refusal_is_remembered() -> None:
    """It costs no second call, until what is wanted is something else."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, labels="")
    applier = Applier(cluster)
    cluster.errors.append(ClusterError(422, "Invalid", "bad port"))
    for _ in range(3):
        with pytest.raises(ClusterError):
            await applier.ensure(cache, WANTED)
    assert len(cluster.calls) == 1
    await applier.ensure(cache, {**WANTED, "spec": {"ports": [{"port": 2}]}})


async def test_a_failure_of_the_server_is_not_a_refusal() -> None:
    """The next look tries again."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, labels="")
    applier = Applier(cluster)
    cluster.errors.append(ClusterError(500, "InternalError", "etcd"))
    with pytest.raises(ClusterError):
        await applier.ensure(cache, WANTED)
    await applier.ensure(cache, WANTED)
    assert len(cluster.calls) == 2


async def test_removing_deletes_what_is_there_and_only_that_one() -> None:
    """By its identity, so that a successor under the same name is safe."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, labels="")
    applier = Applier(cluster)
    await applier.remove(cache, "chat", "s")
    assert cluster.calls == []
    await applier.ensure(cache, WANTED)
    await applier.remove(cache, "chat", "s")
    assert cluster.calls[-1] == ("DELETE", f"{SERVICES.path('chat', 's')} uid-s")


class OwnWay(FakeCluster):
    """A server that writes quantities in its own way."""

    async def apply(self, path: str, manifest: Json) -> Json:
        """See ``ports.Cluster``."""
        spec = {name: "1Gi" if value == "1024Mi" else value for name, value in manifest["spec"].items()}
        return await super().apply(path, {**manifest, "spec": spec})


async def test_scaling_makes_nothing_else_look_changed() -> None:
    """What the server writes in its own way stays accepted when the number of replicas is another one."""
    cluster = OwnWay()
    cache = WatchCache(cluster, SERVICES, labels="")
    applier = Applier(cluster)

    def wanted(replicas: int) -> dict[str, Any]:
        return {**WANTED, "spec": {"replicas": replicas, "memory": "1024Mi"}}

    live = dict(await applier.ensure(cache, wanted(0)))
    cache.wrote(cluster.put(SERVICES.path("chat", "s"), {**live, "spec": {"replicas": 1, "memory": "1Gi"}}))
    await applier.ensure(cache, wanted(1))
    assert len(cluster.calls) == 1
    await applier.ensure(cache, wanted(2))
    assert len(cluster.calls) == 2

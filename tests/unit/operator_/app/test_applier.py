"""Applying: only what differs, over nothing but our own, and a refusal is not repeated at every look."""

import json
from typing import Any

import pytest

from overspill_api.names import ANNOTATION_ADOPT
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.applier import Applier
from overspill_operator.ports import SERVICES, ClusterError, Json, NotOwnedError
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

WANTED: dict[str, Any] = {
    "kind": "Service",
    "metadata": {"namespace": "chat", "name": "s", "labels": {"a": "1"}},
    "spec": {"ports": [{"port": 1}]},
}
OWNED: dict[str, Any] = {
    **WANTED,
    "metadata": {
        **WANTED["metadata"],
        "ownerReferences": [{"kind": "ModelRoute", "name": "r", "uid": "uid-of-r", "controller": True}],
    },
}


async def test_what_is_there_is_not_written_again() -> None:
    """One apply, and another only after a difference."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    applier = Applier(cluster, VirtualClock())
    await applier.ensure(cache, WANTED)
    await applier.ensure(cache, WANTED)
    assert [verb for verb, _ in cluster.calls] == ["GET", "APPLY"]
    await applier.ensure(cache, {**WANTED, "spec": {"ports": [{"port": 2}]}})
    assert [verb for verb, _ in cluster.calls] == ["GET", "APPLY", "APPLY"]


async def test_drift_is_written_over() -> None:
    """Whoever has changed it."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    applier = Applier(cluster, VirtualClock())
    live = await applier.ensure(cache, WANTED)
    cache.wrote(cluster.put(SERVICES.path("chat", "s"), {**dict(live), "spec": {"ports": []}}))
    await applier.ensure(cache, WANTED)
    assert [verb for verb, _ in cluster.calls] == ["GET", "APPLY", "APPLY"]


@pytest.mark.parametrize("status", [400, 403, 409, 422, 500, 503, 0])
async def test_a_refusal_is_remembered(status: int) -> None:
    """Whatever its status, it costs no second call for a while, until what is wanted is something else."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    applier = Applier(cluster, VirtualClock())
    cluster.errors.append(ClusterError(status, "Invalid", "bad port"))
    for _ in range(3):
        with pytest.raises(ClusterError, match="bad port"):
            await applier.ensure(cache, WANTED)
    assert len(cluster.calls) == 1
    assert 0.5 < applier.seconds_until_retry(cache, "chat", "s") < 1.1
    await applier.ensure(cache, {**WANTED, "spec": {"ports": [{"port": 2}]}})


async def test_a_refusal_is_tried_again_after_pauses_that_grow(clock: VirtualClock) -> None:
    """A quota may have been raised, and nothing tells of it; half a minute is the longest pause."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, clock=clock, labels="")
    applier = Applier(cluster, clock)
    pauses = []
    for failures in range(1, 8):
        cluster.errors.append(ClusterError(500, "InternalError", "no"))
        with pytest.raises(ClusterError):
            await applier.ensure(cache, WANTED)
        assert applier.failures(cache, "chat", "s") == failures
        pauses.append(round(applier.seconds_until_retry(cache, "chat", "s")))
        clock.now += pauses[-1] + 1
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    await applier.ensure(cache, WANTED)
    assert applier.failures(cache, "chat", "s") == 0


async def test_another_ones_object_is_left_alone() -> None:
    """A person's object without the labels is in no cache: it is looked for before one is made."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    applier = Applier(cluster, VirtualClock())
    theirs = cluster.put(SERVICES.path("chat", "s"), {"spec": {"ports": []}})
    with pytest.raises(NotOwnedError, match="Service 's' in namespace 'chat' was not made by this ModelRoute"):
        await applier.ensure(cache, OWNED)
    assert cluster.objects[SERVICES.path("chat", "s")] is theirs

    # The same with our labels, and so in the cache, and the same of a route that was deleted and made again.
    owner = {"kind": "ModelRoute", "name": "r", "uid": "another"}
    for meta in ({"labels": OWNED["metadata"]["labels"]}, {"ownerReferences": [owner]}):
        cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
        cache.wrote(cluster.put(SERVICES.path("chat", "s"), {"metadata": meta}))
        with pytest.raises(NotOwnedError):
            await Applier(cluster, VirtualClock()).ensure(cache, OWNED)
    assert {verb for verb, _ in cluster.calls} == {"GET"}


async def test_an_object_that_was_handed_over_is_taken() -> None:
    """By an annotation of whoever has it."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    cluster.put(SERVICES.path("chat", "s"), {"metadata": {"annotations": {ANNOTATION_ADOPT: "r"}}})
    answer = await Applier(cluster, VirtualClock()).ensure(cache, OWNED)
    assert answer["metadata"]["ownerReferences"][0]["uid"] == "uid-of-r"


async def test_what_the_server_drops_is_not_rolled_out() -> None:
    """A change that cannot be taken back is tried first; that a part of it would be dropped is a refusal."""
    cluster = Dropping()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    volumes = [{"name": "model", "image": {"reference": "r"}}]
    wanted = {**WANTED, "spec": {"template": {"spec": {"volumes": volumes}}}}
    with pytest.raises(ClusterError, match=r"volumes\[model\].image.*ImageVolume"):
        await Applier(cluster, VirtualClock()).ensure(cache, wanted, try_first=True)
    assert [verb for verb, _ in cluster.calls] == ["GET", "TRY"]


async def test_what_was_dropped_stays_told() -> None:
    """Where it was not tried first, it is told at every look, and written once."""
    cluster = Dropping()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    applier = Applier(cluster, VirtualClock())
    wanted = {**WANTED, "spec": {"volumes": [{"name": "model", "image": {"reference": "r"}}]}}
    for _ in range(3):
        with pytest.raises(ClusterError, match="drops"):
            await applier.ensure(cache, wanted)
    assert [verb for verb, _ in cluster.calls] == ["GET", "APPLY"]


async def test_a_webhook_that_cannot_be_asked_is_not_asked() -> None:
    """One with side effects refuses every trial run; the change is made all the same."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    cluster.put(SERVICES.path("chat", "s"), WANTED)
    cache.wrote(cluster.objects[SERVICES.path("chat", "s")])
    cluster.errors.append(ClusterError(400, "BadRequest", "admission webhook w does not support dry run"))
    await Applier(cluster, VirtualClock()).ensure(cache, {**WANTED, "spec": {"ports": [{"port": 2}]}}, try_first=True)
    assert [verb for verb, _ in cluster.calls] == ["TRY", "APPLY"]


class Dropping(FakeCluster):
    """A server that does not know images as volumes."""

    async def apply(self, path: str, manifest: Json, *, force: bool = True, dry_run: bool = False) -> Json:
        """See ``ports.Cluster``."""
        content = json.loads(json.dumps(manifest).replace('"image": {"reference": "r"}', '"emptyDir": {}'))
        return await super().apply(path, content, force=force, dry_run=dry_run)


async def test_removing_deletes_what_is_there_and_only_that_one() -> None:
    """By its identity, so that a successor under the same name is safe."""
    cluster = FakeCluster()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    applier = Applier(cluster, VirtualClock())
    await applier.remove(cache, "chat", "s")
    assert cluster.calls == []
    await applier.ensure(cache, WANTED)
    await applier.remove(cache, "chat", "s")
    assert cluster.calls[-1] == ("DELETE", f"{SERVICES.path('chat', 's')} uid-s")


class OwnWay(FakeCluster):
    """A server that writes quantities in its own way."""

    async def apply(self, path: str, manifest: Json, *, force: bool = True, dry_run: bool = False) -> Json:
        """See ``ports.Cluster``."""
        spec = {name: "1Gi" if value == "1024Mi" else value for name, value in manifest["spec"].items()}
        return await super().apply(path, {**manifest, "spec": spec}, force=force, dry_run=dry_run)


async def test_scaling_makes_nothing_else_look_changed() -> None:
    """What the server writes in its own way stays accepted when the number of replicas is another one."""
    cluster = OwnWay()
    cache = WatchCache(cluster, SERVICES, clock=VirtualClock(), labels="")
    applier = Applier(cluster, VirtualClock())

    def wanted(replicas: int) -> dict[str, Any]:
        return {**WANTED, "spec": {"replicas": replicas, "memory": "1024Mi"}}

    live = dict(await applier.ensure(cache, wanted(0)))
    cache.wrote(cluster.put(SERVICES.path("chat", "s"), {**live, "spec": {"replicas": 1, "memory": "1Gi"}}))
    await applier.ensure(cache, wanted(1))
    assert len(cluster.calls) == 2
    await applier.ensure(cache, wanted(2))
    assert len(cluster.calls) == 3

"""Engines as Deployments: what is the route's own is seen and scaled, and nothing else."""

from typing import Any

import pytest

from overspill_api.names import engine_name
from overspill_operator.adapters.kubernetes_engines import KubernetesEngines
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.ports import DEPLOYMENTS, ClusterError, EngineError, Replicas
from unit.operator_.core.builders import route
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

ROUTE = route({"selfHosted": {"source": "hf://a/b", "profile": "cpu"}})
NAME = engine_name(ROUTE.meta.name)


class Rig:
    """Engines, and the cluster below them."""

    def __init__(self, clock: VirtualClock) -> None:
        self.cluster = FakeCluster()
        self.deployments = WatchCache(self.cluster, DEPLOYMENTS, clock=clock, labels="")
        self.engines = KubernetesEngines(self.cluster, self.deployments)

    def deployment(self, uid: str, **more: Any) -> None:
        """A Deployment under the engine's name, of the route with this identity."""
        owner = {"kind": "ModelRoute", "name": ROUTE.meta.name, "uid": uid}
        meta = {"namespace": "chat", "name": NAME, "resourceVersion": "1", "ownerReferences": [owner]}
        self.deployments.wrote({"metadata": meta, "spec": {"replicas": 2, "paused": False}, **more})


async def test_replicas_are_those_of_the_routes_own_deployment(clock: VirtualClock) -> None:
    """One of its name that is another route's is none of it."""
    rig = Rig(clock)
    assert rig.engines.replicas(ROUTE) is None
    rig.deployment("another-uid")
    assert rig.engines.replicas(ROUTE) is None

    available = {"type": "Available", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    rig.deployment(ROUTE.meta.uid, status={"readyReplicas": 1, "conditions": [available]})

    assert rig.engines.replicas(ROUTE) == Replicas(2, ready=1, ready_since_unix=1_767_225_600.0)


async def test_a_number_is_written_to_scale_and_known_at_once(clock: VirtualClock) -> None:
    """Before the watch tells of it, and the rest of the Deployment stays as it was."""
    rig = Rig(clock)
    rig.deployment(ROUTE.meta.uid)

    await rig.engines.set_replicas(ROUTE, 3)

    path = DEPLOYMENTS.path("chat", NAME, "scale")
    assert rig.cluster.calls == [("PATCH", path)]
    assert rig.cluster.objects[path]["spec"] == {"replicas": 3}
    live = rig.deployments.get("chat", NAME)
    assert live is not None
    assert live["spec"] == {"replicas": 3, "paused": False}


async def test_without_an_engine_nothing_is_written(clock: VirtualClock) -> None:
    """Nor where the name is another one's."""
    rig = Rig(clock)
    rig.deployment("another-uid")

    await rig.engines.set_replicas(ROUTE, 3)

    assert rig.cluster.calls == []


async def test_a_refusal_is_told_in_the_ports_words(clock: VirtualClock) -> None:
    """With what the API server has said."""
    rig = Rig(clock)
    rig.deployment(ROUTE.meta.uid)
    rig.cluster.errors.append(ClusterError(409, "Conflict", "somebody was faster"))

    with pytest.raises(EngineError, match="somebody was faster"):
        await rig.engines.set_replicas(ROUTE, 3)

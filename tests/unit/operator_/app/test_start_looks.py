"""Pods are listed once for each start, in turn; what nobody expected there ends nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from overspill_operator.app.objects import Routes
from overspill_operator.app.start_looks import ATTEMPTS_MAX, StartLooks
from overspill_operator.app.start_record import StartRecord
from overspill_operator.core.conditions import timestamp
from overspill_operator.core.demand.recent_work import RecentWork
from overspill_operator.core.engine_state import engine_state
from overspill_operator.ports import ClusterError, Json, Listing
from unit.operator_.core.builders import raw_route
from unit.operator_.fakes import FakeCluster, FakeEvents
from unit.operator_.virtual_clock import VirtualClock

ENGINE = "selfHosted: {source: hf://a/b, profile: cpu}"
KEY = "chat/tiny"


class Pods(FakeCluster):
    """Pods that the test gives."""

    def __init__(self) -> None:
        super().__init__()
        self.pods: list[dict[str, Any]] = []
        self.looks = 0

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", metadata_only: bool = False, fresh: bool = False
    ) -> Listing:
        """See ``ports.Cluster``."""
        assert (path, fields, metadata_only, fresh) == ("/api/v1/namespaces/chat/pods", "", False, False)
        assert "overspill.dev/route=" in labels
        self.looks += 1
        self._called("LIST", path)
        return Listing(tuple(self.pods), "1")


class Rig:
    """Looks that run, at a route whose replicas become ready when the test says so."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.cluster = Pods()
        self.events = FakeEvents()
        self.routes = Routes(lambda _key: None)
        self.engine: Json | None = None
        self.begin()

    def begin(self) -> None:
        """A process that begins."""
        self.record = StartRecord(self.events, self.clock, RecentWork(), lambda _key: None)
        self.looks = StartLooks(self.cluster, self.clock, self.routes, lambda _key: self.engine, self.record)

    def route(self, status: Any = None) -> None:
        """The route is there."""
        self.routes.put(raw_route(ENGINE, status=status or {}))

    def starts(self, name: str, seconds: int = 30) -> None:
        """A pod of the engine becomes ready now."""
        now = self.clock.unix()
        made, ready = timestamp(now - seconds), timestamp(now)
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]
        running = {"name": "engine", "state": {"running": {"startedAt": made}}}
        owner = {"kind": "ReplicaSet", "name": "tiny-engine-6d", "controller": True}
        meta = {"name": name, "uid": f"u-{name}", "creationTimestamp": made, "ownerReferences": [owner]}
        status = {"conditions": conditions, "containerStatuses": [running]}
        self.cluster.pods.append({"metadata": meta, "spec": {}, "status": status})
        self.is_ready(len(self.cluster.pods))

    def is_ready(self, ready: int, *, old: int = 0) -> None:
        """The Deployment says so; ``old``: replicas of an earlier template."""
        available = {"type": "Available", "status": "True", "lastTransitionTime": timestamp(self.clock.unix())}
        since = ((self.engine or {}).get("status") or {}).get("conditions") or [available]
        counts = {"readyReplicas": ready, "replicas": max(ready, 1), "updatedReplicas": max(ready, 1) - old}
        self.engine = {"metadata": {}, "status": {**counts, "conditions": since}}
        self.looks.note(KEY, engine_state(self.engine))

    async def settle(self) -> None:
        """Until nothing more is due."""
        for _ in range(3):
            await asyncio.sleep(0)
        while self.clock.next_due is not None:
            self.clock.advance(self.clock.next_due - self.clock.now)
            for _ in range(5):
                await asyncio.sleep(0)

    def known(self) -> tuple[float, ...]:
        """Seconds of the starts that are known, newest first."""
        route = self.routes.get(KEY)
        assert route is not None
        status = self.record.status(route)
        return tuple(status["recentSeconds"]) if status else ()


@pytest.fixture
async def rig(clock: VirtualClock) -> AsyncIterator[Rig]:
    """Looks that run until the test ends."""
    made = Rig(clock)
    made.route()
    made.is_ready(0)
    task = asyncio.create_task(made.looks.run())
    yield made
    task.cancel()


async def test_one_look_for_each_start(rig: Rig) -> None:
    """Each pod is told once; one that goes is no reason to look."""
    rig.starts("a", 30)
    await rig.settle()
    rig.clock.advance(100)
    rig.starts("b", 40)
    await rig.settle()
    assert rig.known() == (40, 30)
    assert rig.events.told == [(KEY, "EngineStarted")] * 2
    rig.is_ready(1)
    await rig.settle()
    assert rig.cluster.looks == 2


async def test_replicas_that_start_together_are_seen_in_one_look(rig: Rig) -> None:
    """All of them."""
    rig.starts("a", 30)
    rig.starts("b", 31)
    rig.starts("c", 32)
    await rig.settle()
    assert sorted(rig.known()) == [30, 31, 32]
    assert rig.cluster.looks == 1


async def test_a_replica_that_takes_anothers_place_is_seen_when_the_roll_out_ends(rig: Rig) -> None:
    """Where one has come and one has gone between two words of the Deployment, as many are ready as before."""
    rig.starts("a", 30)
    await rig.settle()
    rig.is_ready(1, old=1)
    rig.cluster.pods.clear()
    rig.starts("b", 31)
    await rig.settle()
    assert rig.known() == (31, 30)


async def test_one_that_is_ready_again_has_not_started_again(rig: Rig) -> None:
    """A probe that failed for a while is no start."""
    rig.starts("a", 30)
    await rig.settle()
    rig.is_ready(0)
    ready = rig.cluster.pods[0]["status"]["conditions"][0]
    ready["status"] = "False"
    rig.starts("b", 31)
    await rig.settle()
    ready["status"], ready["lastTransitionTime"] = "True", timestamp(rig.clock.unix())
    rig.is_ready(2)
    await rig.settle()
    assert rig.known() == (31, 30)


async def test_a_list_that_fails_is_tried_again_for_a_while(rig: Rig) -> None:
    """And then let go."""
    rig.cluster.errors = [ClusterError(503, "Busy", "")]
    rig.starts("a", 30)
    await rig.settle()
    assert rig.known() == (30,)
    rig.cluster.errors = [ClusterError(403, "Forbidden", "")] * 100
    rig.starts("b", 31)
    await rig.settle()
    assert rig.cluster.looks == 2 + ATTEMPTS_MAX


async def test_pods_that_nobody_expected_end_no_look(rig: Rig) -> None:
    """People of a namespace write them."""
    rig.cluster.pods.append({"metadata": {"uid": "u", "ownerReferences": 7}})
    rig.is_ready(1)
    await rig.settle()
    rig.cluster.pods.clear()
    rig.starts("a", 30)
    rig.is_ready(2)
    await rig.settle()
    assert rig.known() == (30,)


async def test_after_a_restart_engines_that_go_on_are_not_looked_at(rig: Rig, clock: VirtualClock) -> None:
    """A thousand of them would be a thousand lists; one that has started meanwhile is."""
    rig.starts("a", 30)
    await rig.settle()
    route = rig.routes.get(KEY)
    assert route is not None
    status = {"loadTime": rig.record.status(route)}

    after = Rig(clock)
    after.engine, after.cluster.pods = rig.engine, rig.cluster.pods
    after.route(status)
    task = asyncio.create_task(after.looks.run())
    after.is_ready(1)
    await after.settle()
    assert after.cluster.looks == 0

    clock.advance(500)
    after.starts("b", 40)
    await after.settle()
    assert after.known() == (40, 30)
    assert after.events.told == [(KEY, "EngineStarted")]
    task.cancel()


async def test_after_a_restart_one_that_is_ready_again_has_not_started_again(rig: Rig, clock: VirtualClock) -> None:
    """Its pod was made before the last start that is known of."""
    rig.starts("a", 30)
    await rig.settle()
    route = rig.routes.get(KEY)
    assert route is not None

    after = Rig(clock)
    after.cluster.pods = rig.cluster.pods
    after.route({"loadTime": rig.record.status(route)})
    task = asyncio.create_task(after.looks.run())
    clock.advance(20)
    after.cluster.pods[0]["status"]["conditions"][0]["lastTransitionTime"] = timestamp(clock.unix())
    after.is_ready(1)
    await after.settle()
    assert (after.known(), after.cluster.looks) == ((30,), 1)
    task.cancel()


async def test_an_engine_that_is_seen_before_its_route_is_looked_at_later(clock: VirtualClock) -> None:
    """A process that begins lists both, in any order."""
    rig = Rig(clock)
    task = asyncio.create_task(rig.looks.run())
    rig.starts("a", 30)
    clock.call_later(8.0, rig.route)
    await rig.settle()
    assert rig.known() == (30,)
    task.cancel()


async def test_a_route_that_is_gone_is_forgotten(rig: Rig) -> None:
    """One of its name that comes later has its own pods."""
    rig.starts("a", 30)
    await rig.settle()
    rig.looks.forget(KEY)
    rig.routes.remove(KEY, "uid-of-chat-tiny")
    rig.is_ready(2)
    await rig.settle()
    assert rig.cluster.looks == 1

"""Looking at pods: fair among suspects, at a bounded cost, and none holds up the others."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from overspill_operator.app.diagnosis import LOOKERS, Diagnosis
from overspill_operator.ports import POD_EVENTS, PODS, Json, Listing
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock


class Pods(FakeCluster):
    """Pods by route; a route in ``hangs`` gets no answer."""

    def __init__(self) -> None:
        super().__init__()
        self.looked: list[str] = []
        self.hangs: set[str] = set()
        self.pods: list[dict[str, Any]] = []

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", metadata_only: bool = False, fresh: bool = False
    ) -> Listing:
        """See ``ports.Cluster``."""
        if fields:
            return await super().list(path, fields=fields, metadata_only=metadata_only, fresh=fresh)
        route = labels.partition(",")[0].partition("=")[2]
        self.looked.append(route)
        if route in self.hangs:
            await asyncio.Event().wait()
        return Listing(tuple(self.pods), "1")


@contextmanager
def running(subject: Diagnosis) -> Iterator[None]:
    """The looks, until the block ends."""
    task = asyncio.create_task(subject.run())
    try:
        yield
    finally:
        task.cancel()


def no_engine(_: str) -> Json | None:
    """No Deployment."""
    return None


async def test_none_starves(clock: VirtualClock) -> None:
    """With many that are always due, each has its turn before any has a second one."""
    cluster = Pods()
    subject = Diagnosis(cluster, clock, no_engine, lambda _: None)
    names = {f"r{number}" for number in range(50)}
    for name in names:
        subject.suspect(f"chat/{name}", waiting=True)
    with running(subject):
        await clock.until(lambda: len(cluster.looked) >= 3 * len(names))
    assert set(cluster.looked[: len(names)]) == names
    counts = [cluster.looked.count(name) for name in names]
    assert max(counts) - min(counts) <= 1 + LOOKERS


async def test_one_that_hangs_holds_up_none(clock: VirtualClock) -> None:
    """The others are looked at on and on; fewer looks at a time than there are lookers are lost."""
    cluster = Pods()
    cluster.hangs = {f"r{number}" for number in range(LOOKERS - 1)}
    subject = Diagnosis(cluster, clock, no_engine, lambda _: None)
    for number in range(10):
        subject.suspect(f"chat/r{number}", waiting=True)
    with running(subject):
        await clock.until(lambda: cluster.looked.count("r9") >= 3)


async def test_what_is_found_is_told_once(clock: VirtualClock) -> None:
    """And forgotten once the engine waits no more."""
    cluster = Pods()
    waiting = {"reason": "ImagePullBackOff", "message": "no"}
    status = {"containerStatuses": [{"name": "engine", "state": {"waiting": waiting}}]}
    cluster.pods = [{"metadata": {"name": "p", "uid": "u"}, "status": status}]
    told: list[str] = []
    subject = Diagnosis(cluster, clock, no_engine, told.append)
    subject.suspect("chat/r", waiting=True)
    with running(subject):
        await clock.until(lambda: cluster.looked.count("r") >= 3)
    assert told == ["chat/r"]
    problem = subject.suspect("chat/r", waiting=True)
    assert problem is not None
    assert "ImagePullBackOff" in problem.message
    assert subject.suspect("chat/r", waiting=False) is None
    assert subject.suspect("chat/r", waiting=True) is None


async def test_after_a_restart_what_was_known_is_looked_up_at_once(clock: VirtualClock) -> None:
    """Once; from then on it has its turn like the others."""
    cluster = Pods()
    scheduled = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    cluster.pods = [{"metadata": {"name": "p", "uid": "u"}, "status": {"conditions": [scheduled]}}]
    subject = Diagnosis(cluster, clock, no_engine, lambda _: None)
    assert await subject.look_at_once("chat/r") is None
    subject.suspect("chat/r", waiting=True)
    problem = await subject.look_at_once("chat/r")
    assert problem is not None
    assert problem.reason == "Unschedulable"
    assert await subject.look_at_once("chat/r") is None
    assert cluster.looked == ["r"]


async def test_events_are_asked_for_where_the_pod_is_silent(clock: VirtualClock) -> None:
    """Those about that pod alone; a volume that another node holds is a lack of room."""
    cluster = Pods()
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    new = {"metadata": {"name": "new", "uid": "u-new", "creationTimestamp": "2026-01-02T00:00:00Z"}}
    old = {"metadata": {"name": "old", "uid": "u-old", "creationTimestamp": "2026-01-01T00:00:00Z"}}
    ready = [*scheduled, {"type": "Ready", "status": "True"}]
    cluster.pods = [
        {**new, "status": {"phase": "Pending", "conditions": scheduled}},
        {**old, "status": {"phase": "Running", "conditions": ready}},
    ]
    attach = {"type": "Warning", "reason": "FailedAttachVolume", "message": "Multi-Attach error for volume v"}
    cluster.put(POD_EVENTS.path("chat", "e1"), {**attach, "involvedObject": {"uid": "u-new"}})
    cluster.put(POD_EVENTS.path("chat", "e2"), {**attach, "reason": "Other", "involvedObject": {"uid": "u-old"}})
    subject = Diagnosis(cluster, clock, no_engine, lambda _: None)
    subject.suspect("chat/r", waiting=True)
    with running(subject):
        await clock.until(lambda: subject.no_room_since("chat/r") is not None)
    problem = subject.suspect("chat/r", waiting=True)
    assert problem is not None
    assert "FailedAttachVolume: Multi-Attach error" in problem.message
    assert {path for verb, path in cluster.calls if verb == "LIST"} == {POD_EVENTS.path("chat")}
    assert PODS.path("chat").endswith("pods")


async def test_what_nobody_expected_of_one_pod_ends_no_look_at_others(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Pods and Events are people's to write: a fault in reading those of one route is logged, and all looks go on."""
    cluster = Pods()
    cluster.pods = [{"metadata": {}, "status": {"phase": "Running", "conditions": [{"no": "type"}]}}]
    subject = Diagnosis(cluster, clock, no_engine, lambda _: None)
    for number in range(2 * LOOKERS):
        subject.suspect(f"chat/r{number}", waiting=True)
    with running(subject):
        await clock.until(lambda: len(set(cluster.looked)) == 2 * LOOKERS)
    assert "pods not understood" in caplog.text


async def test_replicas_that_no_node_has_room_for_are_counted(clock: VirtualClock) -> None:
    """While the engine waits for them; one on its way out, or that nobody has looked at yet, is none."""
    cluster = Pods()
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}]
    gated = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]
    stuck = {"metadata": {"name": "p", "uid": "u"}, "status": {"phase": "Pending", "conditions": conditions}}
    leaving = {**stuck, "metadata": {"name": "q", "uid": "v", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    cluster.pods = [stuck, stuck, leaving, {**stuck, "status": {"phase": "Pending", "conditions": gated}}]
    subject = Diagnosis(cluster, clock, no_engine, lambda _: None)
    assert subject.unschedulable("chat/r") == 0
    subject.suspect("chat/r", waiting=True)
    with running(subject):
        await clock.until(lambda: subject.unschedulable("chat/r"))
    assert subject.unschedulable("chat/r") == 2
    subject.suspect("chat/r", waiting=False)
    assert subject.unschedulable("chat/r") == 0

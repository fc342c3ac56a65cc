"""The operator against a real API server: how long replicas take to start, from pods that the test plays."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from operator_rig import Json, Rig, rig, route_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ENGINE: Json = {"source": "hf://org/model", "profile": "cpu"}
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A control plane without controllers: the test plays them."""
    with rig(tmp_path_factory.mktemp("operator"), controllers=False) as made:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        made.apply("/api/v1/namespaces/default/serviceaccounts/default", account)  # pods need one
        yield made


def ago(seconds: float) -> str:
    """A time as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


def made(world: Rig, route: str, number: int) -> str:
    """A pod of the route's engine, as a ReplicaSet makes it; its name."""
    name = f"{route}-engine-6d5f-{number}"
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{route}-engine-6d5f", "uid": "u-1"}
    labels = {"overspill.dev/route": route, "app.kubernetes.io/managed-by": "overspill"}
    meta = {"name": name, "labels": labels, "ownerReferences": [{**owner, "controller": True}]}
    spec: Json = {
        "containers": [{"name": "engine", "image": "example.test/engine:1"}],
        "automountServiceAccountToken": False,
        "serviceAccountName": "default",
    }
    world.api.request("POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    return name


def set_status(world: Rig, pod: str, conditions: Json, engine: Json) -> None:
    """Play the scheduler and the kubelet; ``conditions``: since when each has been True, or what it says."""
    said = [
        {"type": kind, "status": "True", "lastTransitionTime": since}
        if isinstance(since, str)
        else {"type": kind, **since}
        for kind, since in conditions.items()
    ]
    container = {"name": "engine", "image": "i", "imageID": "i", "ready": True, "restartCount": 0, "state": engine}
    status = {"phase": "Running" if engine else "Pending", "conditions": said}
    world.patch(f"{PODS}/{pod}/status", {"status": {**status, "containerStatuses": [container] if engine else []}})


def starts(world: Rig, route: str, ready: int) -> str:
    """A pod is made, and three seconds later it is ready: the node says when what was done; its name."""
    pod = made(world, route, ready)
    born = time.time()
    wait_for("three seconds", lambda: time.time() > born + 3)
    scheduled = {"PodScheduled": ago(3), "PodReadyToStartContainers": ago(2), "Initialized": ago(3)}
    set_status(world, pod, {**scheduled, "Ready": ago(0)}, {"running": {"startedAt": ago(1)}})
    world.make_ready(route, ready)
    return pod


def load_time(world: Rig, route: str) -> Json:
    """``status.loadTime``; empty: there is none."""
    found: Json = world.live(route_path(route)).get("status", {}).get("loadTime") or {}
    return found


def test_a_start_is_in_status_in_an_event_and_in_metrics_and_outlives_a_restart(plane: Rig) -> None:
    """Where its time went; the process after this one counts on, and tells nothing twice."""
    plane.route("timed", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1, "maxReplicas": 2}})
    with plane.operator("operator-1") as operator:
        wait_for("its engine", lambda: plane.replicas("timed") == 1)
        plane.make_ready("timed", 0)
        pod = starts(plane, "timed", 1)
        said = wait_for("its load time", lambda: load_time(plane, "timed"))
        assert said["lastStart"]["replica"] == pod
        phases = said["lastStart"]["phases"]
        assert phases[-1]["name"] == "weights and engine start"
        assert sum(phase["seconds"] for phase in phases) == said["lastStart"]["seconds"] == said["seconds"]
        assert 2 <= said["seconds"] <= 30
        assert said["madeFrom"] == "hf://org/model on cpu"
        (event,) = wait_for("an event", lambda: events(plane, "timed"))
        assert event["note"].startswith(f"Replica {pod} answers after ")
        assert "weights and engine start" in event["note"]
        metrics = operator.get("/metrics")[1]
        assert 'overspill_operator_expected_load_seconds{namespace="default",route="timed"}' in metrics
        assert "overspill_operator_load_seconds_count 1.0" in metrics

    with plane.operator("operator-2"):
        starts(plane, "timed", 2)
        wait_for("both", lambda: len(load_time(plane, "timed")["recentSeconds"]) == 2)
        wait_for("an event each", lambda: len(events(plane, "timed")) == 2)


def test_a_replica_that_no_node_has_room_for_is_a_condition_and_an_event(plane: Rig) -> None:
    """In the scheduler's words, while the gateways' document lets requests go to hosted APIs; then it is over."""
    hosted = {"name": "api", "baseURL": "https://api.example.test/v1", "model": "big"}
    plane.route("stuck", {"selfHosted": ENGINE, "hosted": [hosted], "scaling": {"minReplicas": 1}})
    with plane.operator("operator-3"):
        wait_for("its engine", lambda: plane.replicas("stuck") == 1)
        pod = made(plane, "stuck", 1)
        words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
        no_room = {"status": "False", "reason": "Unschedulable", "message": words, "lastTransitionTime": ago(0)}
        set_status(plane, pod, {"PodScheduled": no_room}, {})
        plane.make_ready("stuck", 0)
        condition = plane.wait_condition("stuck", "EngineAvailable", "False", "Unschedulable")
        assert words.rstrip(".") in condition["message"]
        plane.wait_condition("stuck", "Ready", "True", "HostedStandsIn")
        wait_for("an event", lambda: events(plane, "stuck", "Unschedulable"))
        document = plane.document("stuck")
        assert document is not None
        assert [api["name"] for api in document["hosted"]] == ["api"]

        set_status(plane, pod, {"PodScheduled": ago(0), "Ready": ago(0)}, {"running": {"startedAt": ago(0)}})
        plane.make_ready("stuck", 1)
        plane.wait_condition("stuck", "EngineAvailable", "True", "ReplicasReady")
        wait_for("its load time", lambda: load_time(plane, "stuck"))


def test_pods_that_kubernetes_makes_are_known_by_their_owner(tmp_path: Path) -> None:
    """Deployment, ReplicaSet, scheduler, a node that is played: each replica is measured, those of a roll-out too."""
    engine = {"source": "hf://org/model", "profile": "gpu"}
    with rig(tmp_path, kwok_nodes=1) as world, world.operator():
        scaling = {"minReplicas": 2, "maxReplicas": 2}
        world.route("made", {"selfHosted": engine, "scaling": scaling})
        world.wait_condition("made", "RolledOut", "True", "ReplicasCurrent")
        said = wait_for("both", lambda: seconds(world, "made", 2))
        assert all(value < 30 for value in said)
        assert load_time(world, "made")["lastStart"]["replica"].startswith("made-engine-")

        world.route("made", {"selfHosted": {**engine, "args": ["--seed=1"]}, "scaling": scaling})
        wait_for("the two that follow", lambda: seconds(world, "made", 4))


def seconds(world: Rig, route: str, number: int) -> list[float]:
    """How long the last starts took, once there are so many."""
    found: list[float] = load_time(world, route).get("recentSeconds") or []
    return found if len(found) == number else []


def events(world: Rig, route: str, reason: str = "EngineStarted") -> list[Json]:
    """Events of a route for one reason."""
    return [event for event in world.events(route) if event["reason"] == reason]

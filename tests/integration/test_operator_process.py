"""The operator as a process: leading, standing by, starting anew, cleaning up; with Kubernetes' own controllers."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from operator_rig import RELEASE, Json, Operator, Rig, deployment_path, rig, route_path, service_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ENGINE: Json = {"source": "hf://org/model", "profile": "gpu"}
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{RELEASE}/leases/overspill-operator"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Rig]:
    """A control plane with its controllers and a node that kwok plays."""
    with rig(tmp_path, kwok_nodes=1) as made:
        yield made


def test_a_route_lives_and_dies_on_a_cluster(world: Rig) -> None:
    """Pods come, the route is Ready; the route goes, and nothing is left of it."""
    with world.operator():
        world.route("alive", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1}})
        world.wait_condition("alive", "Ready", "True", "ReplicasReady")

        world.delete(route_path("alive"))
        wait_for("the document is gone", lambda: world.document("alive") is None)
        wait_for("the engine is gone", lambda: world.get(deployment_path("alive")) is None)
        wait_for("the Service is gone", lambda: world.get(service_path("alive")) is None)


def test_an_engine_that_finds_no_node_says_so(world: Rig) -> None:
    """The scheduler's own words are in the condition."""
    with world.operator():
        greedy = {**ENGINE, "tensorParallelSize": 64}
        world.route("greedy", {"selfHosted": greedy, "scaling": {"minReplicas": 1}})
        condition = world.wait_condition("greedy", "EngineAvailable", "False", "Unschedulable")
        assert "nvidia.com/gpu" in condition["message"]


def test_a_standby_takes_over_from_a_dead_leader_within_15_s(world: Rig) -> None:
    """Nothing is written for a killed leader; its lease runs out and the other one leads."""
    with world.operator("operator-1") as first:
        standby = Operator(world, "operator-2")
        try:
            wait_for("the standby is ready", lambda: standby.get("/readyz")[0] == 200)
            assert "overspill_operator_leader 0.0" in standby.get("/metrics")[1]
            first.kill()
            died = time.monotonic()
            world.route("later", {"selfHosted": ENGINE})
            wait_for("the standby leads", lambda: standby.leads)
            took = time.monotonic() - died
            world.wait_condition("later", "Ready", "True", "ScaledToZero")
            print(f"dead leader to next leader ready: {took:.1f} s")
            assert took < 15
        finally:
            standby.stop()


def test_a_standby_takes_over_at_once_from_one_that_leaves(world: Rig) -> None:
    """SIGTERM lets the lease go: nobody waits for its end."""
    with world.operator("operator-1") as first:
        standby = Operator(world, "operator-2")
        try:
            wait_for("the standby is ready", lambda: standby.get("/readyz")[0] == 200)
            assert first.stop() == 0
            left = time.monotonic()
            wait_for("the standby leads", lambda: standby.leads)
            assert time.monotonic() - left < 5
            assert standby.stop() == 0
        finally:
            if standby.process.poll() is None:
                standby.stop()


def test_other_servers_signals_end_nothing(world: Rig) -> None:
    """SIGHUP and SIGUSR, to a leader and while it starts: it leads on."""
    with world.operator("operator-1") as operator:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            operator.process.send_signal(number)
        world.route("after", {"selfHosted": ENGINE})
        world.wait_condition("after", "Ready", "True", "ScaledToZero")
        assert operator.process.poll() is None
        assert operator.leads


def test_a_leader_that_lost_its_lease_stops(world: Rig) -> None:
    """Another holder in the Lease: this process ends rather than act beside it."""
    operator = Operator(world, "operator-1")
    try:
        wait_for("it leads", lambda: operator.leads)
        world.patch(LEASE, {"spec": {"holderIdentity": "another_1", "renewTime": "2000-01-01T00:00:00.000000Z"}})
        wait_for("it has ended", lambda: operator.process.poll() is not None)
        assert operator.process.returncode == 1
    finally:
        if operator.process.poll() is None:
            operator.kill()


def test_what_happened_while_nobody_looked(world: Rig) -> None:
    """A start finds what was made, changed and deleted meanwhile, and decides nothing anew that was decided."""
    with world.operator():
        world.route("kept", {"selfHosted": ENGINE, "scaling": {"maxReplicas": 3}})
        world.route("gone", {"selfHosted": ENGINE})
        wait_for("the documents", lambda: world.document("kept") and world.document("gone"))
        world.wait_condition("kept", "Ready", "True", "ScaledToZero")
        world.gateway.say("default/kept", held=64, wants_replica=True, last_arrival_unix_seconds=time.time())
        wait_for("two replicas", lambda: world.replicas("kept") == 2)
        world.gateway.say("default/kept", last_arrival_unix_seconds=time.time())
        world.wait_condition("kept", "Ready", "True", "ReplicasReady")
    world.delete(route_path("gone"))
    world.delete(deployment_path("kept"))
    world.route("new", {"selfHosted": ENGINE})

    with world.operator("operator-2"):
        wait_for("the document is gone", lambda: world.document("gone") is None)
        wait_for("the engine is back with its replicas", lambda: world.replicas("kept") == 2)
        world.wait_condition("new", "Ready", "True", "ScaledToZero")


def test_cleanup_leaves_routes_and_nothing_else(world: Rig) -> None:
    """After the release is gone: no engine, no document, no Lease; what people wrote stays."""
    with world.operator():
        world.route("stays", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1}})
        world.wait_condition("stays", "Ready", "True", "ReplicasReady")
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(world.plane.kubeconfig),
        "POD_NAMESPACE": RELEASE,
    }
    command = [sys.executable, "-m", "overspill_operator.main", "cleanup"]
    subprocess.run(command, env=environment, check=True, capture_output=True)

    assert world.get(route_path("stays")) is not None
    assert world.get(LEASE) is None
    assert world.document("stays") is None
    wait_for("the engine is gone", lambda: world.get(deployment_path("stays")) is None)
    wait_for("the Service is gone", lambda: world.get(service_path("stays")) is None)


def test_it_may_be_killed_at_any_moment(world: Rig) -> None:
    """No decision lives in memory alone: whoever comes next goes on from what the world shows."""
    names = [f"r{number}" for number in range(12)]
    for number, name in enumerate(names):
        world.route(name, {"selfHosted": ENGINE, "scaling": {"minReplicas": number % 2}})
    for pause_seconds in (0.0, 0.05, 0.2):
        with world.operator() as operator:
            threading.Event().wait(pause_seconds)
            operator.kill()
    with world.operator():
        for number, name in enumerate(names):
            world.wait_condition(name, "Ready", "True", "ReplicasReady" if number % 2 else "ScaledToZero")
            assert world.document(name) is not None
            assert world.replicas(name) == number % 2


def _namespace(world: Rig, name: str) -> None:
    world.apply(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def test_a_second_release_does_not_lead_and_says_why(world: Rig) -> None:
    """Two releases over everything: engines stay as the first one has them, and the second one names it."""
    _namespace(world, "staging")
    with world.operator():
        world.route("mine", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1}})
        wait_for("the engine", lambda: world.get(deployment_path("mine")))
        labels = {"app": "operator"}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "operator", "image": "x.test/o:1"}]},
        }
        world.apply(
            "/apis/apps/v1/namespaces/staging/deployments/own",
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "own"},
                "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
            },
        )

        def told() -> list[Json]:
            events = world.live("/apis/events.k8s.io/v1/namespaces/staging/events")["items"]
            return [event for event in events if event["reason"] == "NotLeading"]

        second = Operator(world, "second", POD_NAMESPACE="staging", OVERSPILL_DEPLOYMENT="own")
        try:
            wait_for("its refusal", lambda: "not leading: the release in namespace" in second.get("/readyz")[1])
            (event,) = wait_for("an event", told)
            assert (event["regarding"]["kind"], event["regarding"]["name"]) == ("Deployment", "own")
            assert "operator.watchNamespaces" in event["note"]
            again = Operator(world, "again", POD_NAMESPACE="staging", OVERSPILL_DEPLOYMENT="own")
            try:
                wait_for("its refusal", lambda: "not leading" in again.get("/readyz")[1])
                wait_for("its word on the event", lambda: "AlreadyExists" in again.log.read_text())
            finally:
                again.stop()
            assert len(told()) == 1
            assert "overspill_operator_leader 0.0" in second.get("/metrics")[1]
            world.patch(deployment_path("mine"), {"spec": {"paused": True}})
            assert world.get("/api/v1/namespaces/staging/secrets/route.default.mine") is None
        finally:
            second.stop()


def test_releases_with_namespaces_of_their_own_live_side_by_side(world: Rig) -> None:
    """Each has its routes and leaves the other's alone; cleaning up after one deletes only its own."""
    for name in ("staging", "chat", "search"):
        _namespace(world, name)
    first = Operator(world, "first", OVERSPILL_WATCH_NAMESPACES="chat")
    second = Operator(world, "second", POD_NAMESPACE="staging", OVERSPILL_WATCH_NAMESPACES="search")
    try:
        for name in ("chat", "search"):
            world.route("engine", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1}}, name)
        for name, release in (("chat", RELEASE), ("search", "staging")):
            live = wait_for(f"the engine in {name}", partial(world.get, deployment_path("engine", name)))
            assert live["metadata"]["labels"]["overspill.dev/release"] == release
        assert world.document("engine", "search") is None
    finally:
        first.stop()
        second.stop()

    environment = {**os.environ, "KUBECONFIG": str(world.plane.kubeconfig), "POD_NAMESPACE": "staging"}
    command = [sys.executable, "-m", "overspill_operator.main", "cleanup"]
    subprocess.run(command, env=environment, check=True, timeout=60)
    wait_for("its engine is gone", lambda: world.get(deployment_path("engine", "search")) is None)
    assert world.get(deployment_path("engine", "chat")) is not None

"""The operator against a real API server and a gateway that the test plays: from zero, up, and back."""

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from operator_rig import Json, Rig, deployment_path, rig, route_path, wait_for
from overspill_api.names import FIELD_MANAGER

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ENGINE: Json = {"source": "hf://org/model", "profile": "cpu"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A control plane without controllers: the test plays them."""
    folder: Path = tmp_path_factory.mktemp("operator")
    with rig(folder, controllers=False) as made, made.operator():
        yield made


def test_a_first_request_wakes_the_engine_and_idleness_puts_it_to_sleep(world: Rig) -> None:
    """0 to 1 on the first request, loading counts as busy, 1 to 0 after idleAfter; each with its reason."""
    world.route("sleeper", {"selfHosted": ENGINE, "scaling": {"idleAfter": "2s"}})
    world.wait_condition("sleeper", "Ready", "True", "ScaledToZero")

    arrival = time.time()
    world.gateway.say("default/sleeper", held=1, wants_replica=True, last_arrival_unix_seconds=arrival)
    wait_for("one replica", lambda: world.replicas("sleeper") == 1)
    # The number has one writer, also in what the API server keeps of who has written what: by /scale.
    writers = {
        (entry["manager"], entry.get("subresource"))
        for entry in world.live(deployment_path("sleeper"))["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }
    assert writers == {(FIELD_MANAGER, "scale")}
    world.wait_condition("sleeper", "EngineAvailable", "False", "Loading")
    # The client has gone away: what was woken for it is still loaded, and then idle for its whole time.
    world.gateway.say("default/sleeper", last_arrival_unix_seconds=arrival)
    world.make_ready("sleeper", 1)
    world.wait_condition("sleeper", "Ready", "True", "ReplicasReady")
    wait_for("zero again", lambda: world.replicas("sleeper") == 0)

    def decisions() -> list[tuple[int, int, str]]:
        status = world.live(route_path("sleeper"))["status"]
        return [(d["from"], d["to"], d["reason"]) for d in status["decisions"]]

    wait_for("both decisions", lambda: decisions() == [(1, 0, "Idle"), (0, 1, "FirstRequest")])
    # The scale is written once for each: reconciling finds nothing left to do.
    assert world.live(deployment_path("sleeper"))["metadata"]["generation"] == 3
    assert world.leader is not None
    assert 'why="Drifted"' not in world.leader.get("/metrics")[1]
    wait_for("an event each", lambda: {"ScaledUp", "ScaledDown"} <= {e["reason"] for e in world.events("sleeper")})


def test_held_and_spilled_requests_call_for_what_they_need(world: Rig) -> None:
    """Straight to the number that the demand needs, and never above the maximum."""
    scaling = {"maxReplicas": 4, "targets": {"concurrency": 10}}
    world.route("burst", {"selfHosted": ENGINE, "scaling": scaling})
    world.wait_condition("burst", "Ready", "True", "ScaledToZero")

    now = time.time()
    world.gateway.say("default/burst", held=5, in_flight_spilled=20, wants_replica=True, last_arrival_unix_seconds=now)
    wait_for("three replicas", lambda: world.replicas("burst") == 3)
    world.gateway.say("default/burst", held=95, wants_replica=True, last_arrival_unix_seconds=now)
    wait_for("four replicas", lambda: world.replicas("burst") == 4)


def test_requests_that_wait_inside_engines_call_for_more(world: Rig) -> None:
    """By the engines' own gauges, which gateways read: their concurrency fits one replica, and yet they queue."""
    scaling = {"minReplicas": 1, "maxReplicas": 4, "targets": {"concurrency": 50, "queueDepth": 4}}
    world.route("queued", {"selfHosted": ENGINE, "scaling": scaling})
    wait_for("its engine", lambda: world.replicas("queued") == 1)
    world.make_ready("queued", 1)
    world.wait_condition("queued", "EngineAvailable", "True", "ReplicasReady")

    gauges = {"served_by": "local/queued-0", "running": 8, "waiting": 12, "kv_cache_usage": 0.9, "age_seconds": 0.1}
    busy = {"in_flight_local": 20, "last_arrival_unix_seconds": time.time()}
    world.gateway.say("default/queued", **busy, engines=[gauges])
    wait_for("two replicas", lambda: world.replicas("queued") == 2)
    (decision,) = wait_for("why", lambda: world.live(route_path("queued")).get("status", {}).get("decisions"))
    assert (decision["from"], decision["to"], decision["reason"]) == (1, 2, "QueueDepth")


def test_a_fixed_number_is_not_scaled(world: Rig) -> None:
    """spec.scaling.replicas switches scaling off: no request moves it."""
    world.route("still", {"selfHosted": ENGINE, "scaling": {"replicas": 0}})
    world.wait_condition("still", "ScalingActive", "False", "FixedReplicas")
    assert wait_for("the document", lambda: world.document("still"))["local"]["may_wake"] is False
    world.gateway.say("default/still", held=1, wants_replica=True, last_arrival_unix_seconds=time.time())

    # The gateway's lines are read in order: once the next one is acted upon, this one has been.
    world.route("after", {"selfHosted": ENGINE})
    world.wait_condition("after", "Ready", "True", "ScaledToZero")
    world.gateway.say("default/after", held=1, wants_replica=True, last_arrival_unix_seconds=time.time())
    wait_for("the other one woke", lambda: world.replicas("after") == 1)
    assert world.replicas("still") == 0


def test_a_paused_route_keeps_its_number_and_kubectl_scale_still_works(world: Rig) -> None:
    """Neither a request nor idleness moves it, and it says so; a number written to /scale holds."""
    world.route("pausing", {"selfHosted": ENGINE, "scaling": {"paused": True, "maxReplicas": 4, "idleAfter": "1s"}})
    world.wait_condition("pausing", "ScalingActive", "False", "Paused")
    world.wait_condition("pausing", "Ready", "False", "ScaledToZero")
    assert wait_for("the document", lambda: world.document("pausing"))["local"]["may_wake"] is False
    world.gateway.say("default/pausing", held=1, wants_replica=True, last_arrival_unix_seconds=time.time())

    world.patch(f"{route_path('pausing')}/scale", {"spec": {"replicas": 2}})
    wait_for("two replicas", lambda: world.replicas("pausing") == 2)

    def decisions() -> list[tuple[int, int, str]]:
        status = world.live(route_path("pausing"))["status"]
        return [(d["from"], d["to"], d["reason"]) for d in status["decisions"]]

    wait_for("the decision", lambda: decisions() == [(0, 2, "Fixed")])

    world.patch(route_path("pausing"), {"spec": {"scaling": {"replicas": None}}})
    world.wait_condition("pausing", "ScalingActive", "False", "Paused")
    assert wait_for("the document", lambda: world.document("pausing"))["local"]["may_wake"] is True
    assert world.replicas("pausing") == 2


def test_another_autoscaler_gets_a_number_at_scale(world: Rig) -> None:
    """/scale answers once spec.scaling.autoscaler says External; what is written there holds, and nobody takes it back.

    Applying the same YAML again, which has no number, is no conflict and leaves the number.
    """
    spec: Json = {"selfHosted": ENGINE, "scaling": {"autoscaler": "External", "maxReplicas": 4}}
    path = f"{route_path('hpa')}/scale"
    world.route("hpa", spec)
    world.wait_condition("hpa", "ScalingActive", "False", "ExternalAutoscaler")
    wait_for("the first number", lambda: world.live(route_path("hpa"))["spec"]["scaling"].get("replicas") == 1)
    assert world.live(path)["spec"] == {"replicas": 1}
    wait_for("one replica", lambda: world.replicas("hpa") == 1)

    world.patch(path, {"spec": {"replicas": 0}})
    wait_for("none", lambda: world.replicas("hpa") == 0)
    world.patch(path, {"spec": {"replicas": 3}})
    world.route("hpa", spec)
    wait_for("three", lambda: world.replicas("hpa") == 3)
    assert world.live(path)["spec"] == {"replicas": 3}

    world.patch(route_path("hpa"), {"spec": {"scaling": {"autoscaler": "Overspill", "replicas": None}}})
    world.wait_condition("hpa", "ScalingActive", "True", "FollowsDemand")


def test_kubectl_describe_tells_why_it_scaled(world: Rig) -> None:
    """What holds now, each change with its figures, what each signal calls for, and the events in their order."""
    scaling = {"maxReplicas": 3, "targets": {"concurrency": 10}, "idleAfter": "1s"}
    world.route("story", {"selfHosted": ENGINE, "scaling": scaling})
    world.wait_condition("story", "Ready", "True", "ScaledToZero")
    busy = {"last_arrival_unix_seconds": time.time()}
    world.gateway.say("default/story", held=1, wants_replica=True, **busy)
    wait_for("one replica", lambda: world.replicas("story") == 1)
    world.gateway.say("default/story", held=55, wants_replica=True, **busy)
    wait_for("three replicas", lambda: world.replicas("story") == 3)
    wait_for("its events", lambda: len([e for e in world.events("story") if e["reason"] == "ScaledUp"]) == 2)

    def told() -> str:
        command = [f"{os.environ['OVERSPILL_TOOLS']}/kubectl", "--kubeconfig", str(world.plane.kubeconfig)]
        return subprocess.check_output([*command, "describe", "mr", "story"], text=True)

    story = [
        " ".join(line.split()) for line in wait_for("both decisions", lambda: _with(told(), "55 held")).splitlines()
    ]
    for line in (
        "Desired Replicas: 3",
        "Message: Between 0 and 3 replicas.",
        "Message: At most 3 by spec.scaling. 0 in flight, 0 spilled, 55 held; one replica serves 10 at a time.",
        "Message: 0 in flight, 0 spilled, 1 held; one replica serves 10 at a time.",
        "Message: 0 in flight, 0 spilled, 55 held; one replica serves 10 at a time.",
        "Reason: FirstRequest",
        "Reason: MaxReplicas",
        "Signal: Concurrency",
        "Replicas: 6",
    ):
        assert line in story, "\n".join(story)
    events = [line for line in story if line.startswith("Normal Scaled")]
    assert [event.partition("overspill-operator ")[2] for event in events] == [
        "From 0 to 1 replicas: FirstRequest. 0 in flight, 0 spilled, 1 held; one replica serves 10 at a time.",
        (
            "From 1 to 3 replicas: MaxReplicas. At most 3 by spec.scaling. "
            "0 in flight, 0 spilled, 55 held; one replica serves 10 at a time."
        ),
    ]


def _with(text: str, part: str) -> str:
    return text if part in text else ""


def test_figures_of_traffic_reach_status(world: Rig) -> None:
    """Who served, when last, and what it cost."""
    hosted = {"name": "api", "baseURL": "https://api.example.test/v1", "model": "big"}
    world.route("busy", {"selfHosted": ENGINE, "hosted": [hosted]})
    world.wait_condition("busy", "Ready", "True", "ScaledToZero")
    backends = {"local": {"served_total": 93}, "hosted/api": {"served_total": 7, "cost_nano_usd_total": 1_500_000_000}}
    world.gateway.say("default/busy", backends=backends, last_arrival_unix_seconds=time.time())

    def status() -> Json:
        found: Json = (world.get(route_path("busy")) or {}).get("status", {})
        return found

    wait_for("the share", lambda: status().get("servedBy") == "local 93%, hosted 7%")
    assert status()["spend"]["USD"] == "1.50"
    assert status()["lastRequestTime"].endswith(":00Z")


def test_a_wake_is_written_within_milliseconds(world: Rig) -> None:
    """From the gateway's line to the scale in the API server: no queue, no poll, no reconcile in between.

    The bound is loose, for a machine that is busy with other tests; ``make bench-cluster`` measures.
    """
    taken = []
    for number in range(10):
        name = f"wake-{number}"
        world.route(name, {"selfHosted": ENGINE})
        world.wait_condition(name, "Ready", "True", "ScaledToZero")
        said = world.gateway.say(f"default/{name}", held=1, wants_replica=True, last_arrival_unix_seconds=time.time())
        wait_for("one replica", lambda: world.replicas(name) == 1)  # noqa: B023 - called within the loop
        taken.append(time.monotonic() - said)
    print(f"wake to scale written, seconds: median {statistics.median(taken):.4f}, {sorted(taken)}")
    assert statistics.median(taken) < 0.25

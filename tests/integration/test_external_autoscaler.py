"""Kubernetes' own HorizontalPodAutoscaler scales a route by what Overspill advises, through a metrics adapter."""

import time
from collections.abc import Iterator

import pytest

from metrics_adapter import metrics_adapter
from operator_rig import Json, Rig, rig, route_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

METRIC = "overspill_operator_route_advised_replicas"
ENGINE: Json = {"source": "hf://org/model", "profile": "cpu"}
HPA_PATH = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/chat"
HPA: Json = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "chat"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "overspill.dev/v1alpha1", "kind": "ModelRoute", "name": "chat"},
        "minReplicas": 1,
        "maxReplicas": 4,
        "metrics": [
            {
                "type": "External",
                "external": {
                    "metric": {"name": METRIC, "selector": {"matchLabels": {"route": "chat"}}},
                    "target": {"type": "AverageValue", "averageValue": "1"},
                },
            }
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    },
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """With kube-controller-manager, which has the autoscaler, and an operator."""
    with rig(tmp_path_factory.mktemp("external"), fast_controllers=True) as made, made.operator():
        yield made


def test_an_hpa_follows_what_overspill_advises(world: Rig) -> None:
    """Up by its own hand; the operator writes no number but the HPA's, and status says what it would do."""
    scaling = {"autoscaler": "External", "maxReplicas": 4, "idleAfter": "1s", "targets": {"concurrency": 10}}
    world.route("chat", {"selfHosted": ENGINE, "scaling": scaling})
    world.wait_condition("chat", "ScalingActive", "False", "ExternalAutoscaler")
    assert world.leader is not None
    leader = world.leader
    with metrics_adapter(world, lambda: leader.get("/metrics")[1], (METRIC,)):
        wait_for("the first number", lambda: world.replicas("chat") == 1)
        world.apply(HPA_PATH, HPA)
        arrival = time.time()
        world.gateway.say("default/chat", in_flight_local=25, last_arrival_unix_seconds=arrival)

        wait_for("three replicas", lambda: world.replicas("chat") == 3, 60.0)
        assert world.live(f"{route_path('chat')}/scale")["spec"] == {"replicas": 3}
        wait_for(
            "status says so",
            lambda: "Overspill would run 3." in world.condition("chat", "ScalingActive").get("message", ""),
        )
        needs = world.live(route_path("chat"))["status"]["scaling"]["needs"]
        assert (needs[0]["signal"], needs[0]["replicas"]) == ("Concurrency", 3)
        decisions = world.live(route_path("chat"))["status"]["decisions"]
        assert {decision["reason"] for decision in decisions} == {"Fixed"}
        said = {c["type"]: c["status"] for c in world.live(HPA_PATH)["status"]["conditions"]}
        assert (said["AbleToScale"], said["ScalingActive"]) == ("True", "True")

"""The operator against a real API server: what a person applies becomes objects, and stays so."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from operator_rig import (
    RELEASE,
    Json,
    Rig,
    deployment_path,
    rig,
    route_path,
    service_path,
    wait_for,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ENGINE: Json = {"source": "hf://org/model", "profile": "cpu"}
HOSTED: Json = {"name": "api", "baseURL": "https://api.example.test/v1", "model": "big"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A control plane without controllers: the test plays them."""
    folder: Path = tmp_path_factory.mktemp("operator")
    with rig(folder, controllers=False) as made, made.operator():
        yield made


def test_a_route_becomes_an_engine_a_service_and_a_document(world: Rig) -> None:
    """Applying one object makes all that serves it, owned by it, and says so in status."""
    world.route("whole", {"model": "org/model", "aliases": ["m"], "selfHosted": ENGINE, "scaling": {"minReplicas": 1}})

    world.wait_condition("whole", "Ready", "False", "Loading")
    deployment, service = world.get(deployment_path("whole")), world.get(service_path("whole"))
    assert deployment is not None
    assert service is not None
    owner = deployment["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("ModelRoute", "whole", True)
    assert deployment["spec"]["replicas"] == 1
    assert service["spec"]["clusterIP"] == "None"
    document = wait_for("the document", lambda: world.document("whole"))
    assert (document["model"], document["aliases"]) == ("org/model", ["m"])
    keys = document["local"].pop("api_keys")
    assert document["local"] == {
        "service": "whole-engine", "port": 8000, "served_model": "org/model", "may_wake": True, "refused": False,
    }  # fmt: skip
    secret = world.get("/api/v1/namespaces/default/secrets/whole-engine-key") or {}
    assert [base64.b64decode(secret["data"]["api-key"]).decode()] == keys
    assert secret["metadata"]["ownerReferences"][0]["name"] == "whole"
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    named = {"secretKeyRef": {"name": "whole-engine-key", "key": "api-key"}}
    assert {"name": "VLLM_API_KEY", "valueFrom": named} in container["env"]
    assert deployment["metadata"]["labels"]["overspill.dev/release"] == "overspill-system"
    route = world.live(route_path("whole"))
    assert route["status"]["url"] == f"http://overspill-gateway.{RELEASE}/v1"
    assert route["status"]["selector"].startswith("overspill.dev/route=whole,")

    world.make_ready("whole", 1)
    ready = world.wait_condition("whole", "Ready", "True", "ReplicasReady")
    assert ready["message"] == "1 of 1 replica ready."


def test_an_engine_asks_for_its_key_once_no_old_gateway_is_left(world: Rig) -> None:
    """During an upgrade gateways that send no keys get no 401; the engine rolls when the last of them has gone."""

    def asks() -> bool:
        spec = world.live(deployment_path("upgraded"))["spec"]["template"]["spec"]
        return any(variable["name"] == "VLLM_API_KEY" for variable in spec["containers"][0].get("env") or ())

    world.gateway.sends_engine_keys = False
    try:
        world.gateway.say("default/nobody")
        world.route("upgraded", {"selfHosted": ENGINE})
        wait_for("the key at the gateways", lambda: (world.document("upgraded") or {}).get("local", {}).get("api_keys"))
        assert not asks()
    finally:
        world.gateway.sends_engine_keys = True
        world.gateway.say("default/nobody")
    wait_for("the key at the engine", asks)


def test_a_deleted_key_is_made_anew_and_gateways_know_both(world: Rig) -> None:
    """Deleting the Secret rotates the key: the engine rolls to the new one, replicas with the old one are served."""
    world.route("rotated", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1}})
    wait_for("the document", lambda: world.document("rotated"))
    (old,) = (world.document("rotated") or {})["local"]["api_keys"]
    before = world.live(deployment_path("rotated"))["spec"]["template"]["metadata"]["annotations"]

    world.delete("/api/v1/namespaces/default/secrets/rotated-engine-key")

    def both() -> bool:
        keys = (world.document("rotated") or {})["local"]["api_keys"]
        return len(keys) == 2 and keys[1] == old and keys[0] != old

    wait_for("both keys", both)
    after = world.live(deployment_path("rotated"))["spec"]["template"]["metadata"]["annotations"]
    assert before["overspill.dev/engine-key"] != after["overspill.dev/engine-key"]


def test_a_route_at_zero_is_ready_because_it_can_be_woken(world: Rig) -> None:
    """Zero by rule is no fault: the next request wakes the engine."""
    world.route("zero", {"selfHosted": ENGINE})

    world.wait_condition("zero", "Ready", "True", "ScaledToZero")
    world.wait_condition("zero", "EngineAvailable", "False", "ScaledToZero")
    route = world.live(route_path("zero"))
    assert (route["status"]["replicas"], route["status"]["desiredReplicas"]) == (0, 0)
    assert world.replicas("zero") == 0


def test_what_others_change_is_put_right(world: Rig) -> None:
    """Drift is repaired: a scaled Deployment, a changed image, a deleted Service, a changed document."""
    world.route("drift", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1}})
    wait_for("the engine", lambda: world.get(deployment_path("drift")))
    wait_for("the Service", lambda: world.get(service_path("drift")))
    wait_for("the document", lambda: world.document("drift"))

    world.patch(f"{deployment_path('drift')}/scale", {"spec": {"replicas": 5}})
    wait_for("one replica again", lambda: world.replicas("drift") == 1)

    engine = {"name": "engine", "image": "example.test/other:2"}
    world.api.request(
        "PATCH",
        deployment_path("drift"),
        {"spec": {"template": {"spec": {"containers": [engine]}}}},
        "application/strategic-merge-patch+json",
    )
    wait_for("the right image again", lambda: _image(world, "drift") == "example.test/engine:1")

    world.delete(service_path("drift"))
    wait_for("the Service again", lambda: world.get(service_path("drift")))

    secret = f"/api/v1/namespaces/{RELEASE}/secrets/route.default.drift"
    world.patch(secret, {"data": {"document.json": "e30="}})
    wait_for("the document again", lambda: (world.document("drift") or {}).get("name") == "drift")

    world.delete(deployment_path("drift"))
    wait_for("the engine again", lambda: world.get(deployment_path("drift")))


def test_a_value_that_the_server_writes_in_its_own_way_is_no_drift(world: Rig) -> None:
    """``2048Mi`` comes back as ``2Gi``; applying again and again would be a loop."""
    world.route("quantity", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1}})
    wait_for("the engine", lambda: world.get(deployment_path("quantity")))
    world.make_ready("quantity", 1)
    world.wait_condition("quantity", "Ready", "True", "ReplicasReady")
    live = world.live(deployment_path("quantity"))
    assert live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "2Gi"
    generation = live["metadata"]["generation"]

    # A change of status makes the operator look again; then a change of spec shows that it has looked.
    world.make_ready("quantity", 1)
    world.route("quantity", {"selfHosted": ENGINE, "scaling": {"minReplicas": 2, "maxReplicas": 2}})
    wait_for("two replicas", lambda: world.replicas("quantity") == 2)
    live = world.live(deployment_path("quantity"))
    assert live["metadata"]["generation"] == generation + 1


def test_a_changed_spec_changes_the_engine(world: Rig) -> None:
    """What is added comes, what is taken away goes."""
    with_env = {**ENGINE, "env": [{"name": "A", "value": "1"}], "args": ["--max-model-len=100"]}
    world.route("change", {"selfHosted": with_env})
    wait_for("the engine", lambda: world.get(deployment_path("change")))
    assert {"name": "A", "value": "1"} in _engine(world, "change")["env"]

    world.route("change", {"selfHosted": {**ENGINE, "env": []}})
    wait_for("the variable is gone", lambda: {"name": "A", "value": "1"} not in _engine(world, "change")["env"])
    assert "--max-model-len=100" not in _engine(world, "change")["args"]


def test_a_cache_is_a_claim_and_is_kept_when_it_is_taken_away(world: Rig) -> None:
    """Weights are gigabytes: what is not wanted any more is told of, and goes when its time has come."""
    claim = "/api/v1/namespaces/default/persistentvolumeclaims/cached-cache"
    world.route("cached", {"selfHosted": {**ENGINE, "cache": {"size": "5Gi"}}, "hosted": [HOSTED]})
    live = wait_for("the claim", lambda: world.get(claim))
    assert live["spec"]["accessModes"] == ["ReadWriteOnce"]

    for spec in ({"selfHosted": ENGINE}, {"hosted": [HOSTED]}):
        world.route("cached", {"hosted": [HOSTED], **spec})
        condition = world.wait_condition("cached", "CacheRetained", "True", "NotWanted")
        annotations = world.live(claim)["metadata"]["annotations"]
        assert annotations["overspill.dev/delete-after"] in condition["message"]
        assert "5Gi" in condition["message"]
        assert wait_for("an event", lambda: [e for e in world.events("cached") if e["reason"] == "CacheRetained"])

        world.route("cached", {"selfHosted": {**ENGINE, "cache": {"size": "5Gi"}}, "hosted": [HOSTED]})
        wait_for("it is wanted again", lambda: "CacheUsedAgain" in {e["reason"] for e in world.events("cached")})
        wait_for(
            "it is not marked",
            lambda: "overspill.dev/delete-after" not in world.live(claim)["metadata"]["annotations"],
        )
        wait_for("nothing is said", lambda: world.condition("cached", "CacheRetained") == {})
    assert world.live(claim)["metadata"]["uid"] == live["metadata"]["uid"]

    world.route("cached", {"hosted": [HOSTED]})
    world.wait_condition("cached", "CacheRetained", "True", "NotWanted")
    world.patch(claim, {"metadata": {"annotations": {"overspill.dev/delete-after": "now"}}})
    wait_for(
        "the claim is on its way out",
        lambda: "deletionTimestamp" in (world.get(claim) or {"metadata": {"deletionTimestamp": ""}})["metadata"],
    )


def test_taking_the_engine_away_leaves_the_hosted_route(world: Rig) -> None:
    """Without selfHosted there is no engine, and the route serves on by the hosted API."""
    world.route("moves", {"selfHosted": ENGINE, "hosted": [HOSTED]})
    wait_for("the engine", lambda: world.get(deployment_path("moves")))

    world.patch(route_path("moves"), {"spec": {"selfHosted": None}})
    world.wait_condition("moves", "Ready", "True", "HostedAvailable")
    wait_for("the engine is gone", lambda: world.get(deployment_path("moves")) is None)
    wait_for("the Service is gone", lambda: world.get(service_path("moves")) is None)
    assert "local" not in (world.document("moves") or {})
    assert world.condition("moves", "EngineAvailable") == {}


def test_the_api_key_is_in_the_document_and_nowhere_else(world: Rig) -> None:
    """Gateways read no Secret of another namespace; status and events never show a key."""
    world.secret("provider", {"api-key": "very-secret\n"})
    hosted = {**HOSTED, "credentials": {"secretName": "provider"}, "price": {"input": "0.15", "output": "0.6"}}
    world.route("paid", {"hosted": [hosted]})

    world.wait_condition("paid", "Ready", "True", "HostedAvailable")
    document = wait_for("the document", lambda: world.document("paid"))
    backend = document["hosted"][0]
    assert backend["api_key"] == "very-secret"
    assert backend["input_nano_usd_per_million"] == 150_000_000
    assert "very-secret" not in str(world.get(route_path("paid")))


def test_a_deleted_route_leaves_no_document(world: Rig) -> None:
    """The Secret goes with the route; the engine is Kubernetes' to collect by its owner."""
    world.route("short", {"selfHosted": ENGINE})
    wait_for("the document", lambda: world.document("short"))

    world.delete(route_path("short"))
    wait_for("the document is gone", lambda: world.document("short") is None)


def test_kubectl_scale_of_the_route_fixes_the_number(world: Rig) -> None:
    """/scale of the ModelRoute writes spec.scaling.replicas, which switches scaling off."""
    world.route("fixed", {"selfHosted": ENGINE, "scaling": {"maxReplicas": 3}})
    wait_for("the engine", lambda: world.get(deployment_path("fixed")))

    world.patch(f"{route_path('fixed')}/scale", {"spec": {"replicas": 2}})
    wait_for("two replicas", lambda: world.replicas("fixed") == 2)
    world.wait_condition("fixed", "ScalingActive", "False", "FixedReplicas")


def test_a_consumer_is_compiled(world: Rig) -> None:
    """Keys and routes of a Consumer reach the gateways; a suspended one has no key there."""
    path = "/apis/overspill.dev/v1alpha1/namespaces/default/consumers/team"
    key = {"id": "abcdefghijkl", "hash": "0" * 64}
    manifest: Json = {"apiVersion": "overspill.dev/v1alpha1", "kind": "Consumer", "metadata": {"name": "team"}}
    world.apply(path, {**manifest, "spec": {"keys": [key], "routes": [{"name": "paid"}]}})

    def ready() -> str:
        conditions = (world.get(path) or {}).get("status", {}).get("conditions") or [{}]
        return str(conditions[0].get("reason"))

    wait_for("Ready", lambda: ready() == "Compiled")
    secret = f"/api/v1/namespaces/{RELEASE}/secrets/consumer.default.team"
    live = wait_for("the document", lambda: world.get(secret))
    assert live["metadata"]["labels"]["overspill.dev/compiled"] == "consumer"

    world.apply(path, {**manifest, "spec": {"keys": [key], "suspended": True}})
    wait_for("Suspended", lambda: ready() == "Suspended")
    world.delete(path)
    wait_for("the document is gone", lambda: world.get(secret) is None)


def _engine(world: Rig, name: str) -> Json:
    live = world.live(deployment_path(name))
    container: Json = live["spec"]["template"]["spec"]["containers"][0]
    return container


def _image(world: Rig, name: str) -> str:
    return str(_engine(world, name)["image"])

"""The operator against a real API server: what hinders one part of a route hinders no other, and is told."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.api import ApiError
from operator_rig import RELEASE, Json, Rig, deployment_path, rig, route_path, service_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ENGINE: Json = {"source": "hf://org/model", "profile": "cpu"}
HOSTED: Json = {"name": "api", "baseURL": "https://api.example.test/v1", "model": "big"}
WITH_KEY: Json = {**HOSTED, "credentials": {"secretName": "provider"}}
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A control plane without controllers: the test plays them."""
    folder: Path = tmp_path_factory.mktemp("operator")
    with rig(folder, controllers=False) as made, made.operator():
        yield made


def api_keys(world: Rig, name: str) -> list[str | None]:
    """Keys of the hosted APIs in a route's document."""
    return [entry.get("api_key") for entry in (world.document(name) or {"hosted": ()})["hosted"]]


@pytest.mark.parametrize(
    ("name", "template", "words"),
    [
        ("unknown", {"spec": {"nodeSelectr": {"a": "b"}}}, "nodeSelectr"),
        ("type", {"spec": {"nodeSelector": {"a": 1}}}, "nodeSelector"),
        ("place", {"strategy": {"type": "Recreate"}}, "strategy"),
        ("value", {"spec": {"restartPolicy": "Sometimes"}}, "restartPolicy"),
    ],
)
def test_a_wrong_pod_template_leaves_the_hosted_api_served(world: Rig, name: str, template: Json, words: str) -> None:
    """Whatever the status that the API server refuses it with, its words are told, and the rest serves."""
    world.route(f"typo-{name}", {"selfHosted": {**ENGINE, "podTemplate": template}, "hosted": [HOSTED]})

    condition = world.wait_condition(f"typo-{name}", "EngineAvailable", "False", "EngineRefused")
    assert words in condition["message"]
    # Two statements: a request is answered, and not by an engine that has this spec.
    world.wait_condition(f"typo-{name}", "Ready", "True", "HostedStandsIn")
    world.wait_condition(f"typo-{name}", "RolledOut", "False", "EngineRefused")
    document = wait_for("the document", lambda: world.document(f"typo-{name}"))
    assert [entry["name"] for entry in document["hosted"]] == ["api"]
    # The engine cannot be woken: requests are not held for it.
    wait_for("no waking", lambda: (world.document(f"typo-{name}") or {})["local"]["may_wake"] is False)
    events = wait_for("an event", lambda: world.events(f"typo-{name}"))
    assert any(event["reason"] == "EngineRefused" and event["type"] == "Warning" for event in events)


def refuses(world: Rig, namespace: str, kind: str) -> bool:
    """Whether the API server, which hears of a quota a moment later, refuses an object of a kind."""
    labels = {"a": "b"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    group, plural, spec = {
        "services": ("/api/v1", "services", {"ports": [{"port": 1}]}),
        "persistentvolumeclaims": ("/api/v1", "persistentvolumeclaims", claim),
    }.get(kind, ("/apis/apps/v1", "deployments", {"selector": {"matchLabels": labels}, "template": pod}))
    path = f"{group}/namespaces/{namespace}/{plural}"
    try:
        world.api.request("POST", path, {"metadata": {"name": "probe"}, "spec": spec})
    except ApiError as error:
        return error.status == 403
    world.delete(f"{path}/probe")
    return False


@pytest.mark.parametrize("kind", ["deployments.apps", "services", "persistentvolumeclaims"])
def test_a_quota_of_one_kind_leaves_the_rest(world: Rig, kind: str) -> None:
    """No controller counts the quota here, so the API server refuses whatever it is for; the document is written."""
    namespace = f"quota-{kind.partition('.')[0]}"
    manifest: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    world.apply(f"/api/v1/namespaces/{namespace}", manifest)
    quota: Json = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/none"
    world.apply(path, {**quota, "spec": {"hard": {f"count/{kind}": "0"}}})
    used = {"hard": {f"count/{kind}": "0"}, "used": {f"count/{kind}": "0"}}
    world.patch(f"{path}/status", {"status": used})
    wait_for("the quota is in force", lambda: refuses(world, namespace, kind))

    spec = {"model": namespace, "selfHosted": {**ENGINE, "cache": {"size": "1Gi"}}, "hosted": [HOSTED]}
    world.route("r", spec, namespace)
    condition = world.wait_condition("r", "EngineAvailable", "False", "EngineRefused", namespace)
    assert "exceeded quota" in condition["message"]
    document = wait_for("the document", lambda: world.document("r", namespace))
    assert [entry["name"] for entry in document["hosted"]] == ["api"]
    if kind == "services":
        wait_for("no replicas are looked for", lambda: "local" not in (world.document("r", namespace) or {}))

    world.patch(path, {"spec": {"hard": {f"count/{kind}": "5"}}})
    world.patch(f"{path}/status", {"status": {"hard": {f"count/{kind}": "5"}, "used": {f"count/{kind}": "0"}}})
    world.wait_condition("r", "Ready", "True", "ScaledToZero", namespace)
    wait_for("the engine", lambda: world.get(deployment_path("r", namespace)))
    wait_for("waking", lambda: (world.document("r", namespace) or {}).get("local", {}).get("may_wake"))


def test_keys_are_rotated_whatever_is_wrong(world: Rig) -> None:
    """With a spec that has a fault, and with an engine that is refused, a new key still reaches the gateways."""
    world.secret("provider", {"api-key": "old"})
    world.route("rotates", {"selfHosted": ENGINE, "hosted": [WITH_KEY]})
    wait_for("the old key", lambda: api_keys(world, "rotates") == ["old"])
    world.route("refused", {"selfHosted": {**ENGINE, "podTemplate": {"spec": {"typo": 1}}}, "hosted": [WITH_KEY]})
    world.wait_condition("refused", "EngineAvailable", "False", "EngineRefused")
    world.route("rotates", {"selfHosted": {**ENGINE, "profile": "missing"}, "hosted": [WITH_KEY]})
    world.wait_condition("rotates", "Ready", "False", "ProfileNotFound")

    world.secret("provider", {"api-key": "new"})
    for name in ("rotates", "refused"):
        wait_for(f"the new key of {name}", lambda name=name: api_keys(world, name) == ["new"], 15)  # type: ignore[misc]


def test_objects_of_others_are_left_alone(world: Rig) -> None:
    """A claim, a Deployment and a Service of a person's, each named as a route's would be."""
    claim: Json = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "mine-cache", "labels": {"by": "user"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }
    labels = {"app": "theirs"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment: Json = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "work-engine"},
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": pod},
    }
    service: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "door-engine"},
        "spec": {"selector": labels, "ports": [{"port": 80}]},
    }
    world.apply(f"{CLAIMS}/mine-cache", claim)
    world.apply(deployment_path("work"), deployment)
    world.apply(service_path("door"), service)
    paths = {"mine": f"{CLAIMS}/mine-cache", "work": deployment_path("work"), "door": service_path("door")}
    before = {name: world.live(path) for name, path in paths.items()}

    engine = {**ENGINE, "cache": {"size": "10Gi"}}
    for name, path in paths.items():
        world.route(name, {"selfHosted": engine, "hosted": [HOSTED], "scaling": {"minReplicas": 1}})
        condition = world.wait_condition(name, "EngineAvailable", "False", "NotOwned")
        assert path.rsplit("/", maxsplit=1)[-1] in condition["message"]
        assert "overspill.dev/adopt" in condition["message"]
        world.wait_condition(name, "Ready", "True", "HostedStandsIn")
    # No prompt goes to whoever is behind that Service, and no engine writes to that claim.
    assert "local" not in (world.document("door") or {})
    assert world.get(deployment_path("mine")) is None

    for name in paths:
        world.route(name, {"hosted": [HOSTED]})
        world.wait_condition(name, "Ready", "True", "HostedAvailable")
        world.delete(route_path(name))
        wait_for("the document is gone", lambda name=name: world.document(name) is None)  # type: ignore[misc]
    assert {name: world.live(path) for name, path in paths.items()} == before


def test_secrets_of_others_are_left_alone(world: Rig) -> None:
    """In the release's namespace as well: a Secret of a person's that is named as a document would be."""
    for kind, name in (("route", "squat"), ("consumer", "squatter")):
        world.secret(f"{kind}.default.{name}", {"precious": "x"}, RELEASE)
    world.route("squat", {"hosted": [HOSTED]})
    condition = world.wait_condition("squat", "Ready", "False", "DocumentRefused")
    assert "route.default.squat" in condition["message"]
    path = "/apis/overspill.dev/v1alpha1/namespaces/default/consumers/squatter"
    manifest: Json = {"apiVersion": "overspill.dev/v1alpha1", "kind": "Consumer", "metadata": {"name": "squatter"}}
    world.apply(path, {**manifest, "spec": {"keys": [{"id": "abcdefghijkl", "hash": "0" * 64}]}})

    def reason() -> str:
        conditions = (world.get(path) or {}).get("status", {}).get("conditions") or [{}]
        return str(conditions[0].get("reason"))

    wait_for("it is said", lambda: reason() == "DocumentRefused")
    for kind, name in (("route", "squat"), ("consumer", "squatter")):
        secret = f"/api/v1/namespaces/{RELEASE}/secrets/{kind}.default.{name}"
        assert set(world.live(secret)["data"]) == {"precious"}
        world.delete(secret)
    world.wait_condition("squat", "Ready", "True", "HostedAvailable")
    wait_for("the document", lambda: reason() == "Compiled")


def test_a_pod_template_of_a_wrong_form_leaves_the_hosted_api_served(world: Rig) -> None:
    """It is found before the API server sees it, and concerns the engine alone as well."""
    template = {"spec": {"containers": "engine"}}
    world.route("formless", {"selfHosted": {**ENGINE, "podTemplate": template}, "hosted": [HOSTED]})
    world.wait_condition("formless", "EngineAvailable", "False", "InvalidPodTemplate")
    wait_for("the document", lambda: world.document("formless"))


def test_what_is_handed_over_is_taken(world: Rig) -> None:
    """An annotation by whoever has the object; the engine then starts with what is in the claim."""
    world.apply(
        f"{CLAIMS}/given-cache",
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "given-cache"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
        },
    )
    world.route("given", {"selfHosted": {**ENGINE, "cache": {"size": "10Gi"}}})
    world.wait_condition("given", "EngineAvailable", "False", "NotOwned")
    world.patch(f"{CLAIMS}/given-cache", {"metadata": {"annotations": {"overspill.dev/adopt": "given"}}})
    world.wait_condition("given", "Ready", "True", "ScaledToZero")
    assert world.live(f"{CLAIMS}/given-cache")["metadata"]["ownerReferences"][0]["name"] == "given"
    assert world.get(deployment_path("given")) is not None


def test_what_a_deleted_route_left_is_not_taken_over(world: Rig) -> None:
    """No controller collects it here: it is named, and once it is gone the new route goes on."""
    world.route("again", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1}})
    wait_for("the engine", lambda: world.get(deployment_path("again")))
    old = world.live(route_path("again"))["metadata"]["uid"]
    live = world.live(deployment_path("again"))
    world.route("again", {"hosted": [HOSTED]})
    wait_for("no engine", lambda: world.get(deployment_path("again")) is None)
    world.delete(route_path("again"))
    wait_for("the document is gone", lambda: world.document("again") is None)
    world.route("again", {"hosted": [HOSTED]})
    world.wait_condition("again", "Ready", "True", "HostedAvailable")
    manifest = {key: live[key] for key in ("apiVersion", "kind", "spec")}
    kept = {key: live["metadata"][key] for key in ("name", "labels", "annotations", "ownerReferences")}
    world.apply(deployment_path("again"), {**manifest, "metadata": kept})

    world.route("again", {"selfHosted": ENGINE, "scaling": {"minReplicas": 2, "maxReplicas": 2}})
    condition = world.wait_condition("again", "EngineAvailable", "False", "NotOwned")
    assert old in condition["message"]
    assert world.replicas("again") == 1
    world.delete(deployment_path("again"))
    wait_for("its own engine", lambda: world.replicas("again") == 2)


def test_an_image_volume_that_the_server_drops_starts_no_engine(world: Rig) -> None:
    """Kubernetes before 1.35 leaves it out in silence, and the engine would start without its model."""
    world.route("image", {"selfHosted": {**ENGINE, "source": "oci://registry.test/llama:1"}, "hosted": [HOSTED]})
    found = wait_for("the engine or its refusal", lambda: world.condition("image", "EngineAvailable"))
    if found["reason"] == "EngineRefused":
        assert "ImageVolume" in found["message"]
        assert world.get(deployment_path("image")) is None
        return
    volumes = world.live(deployment_path("image"))["spec"]["template"]["spec"]["volumes"]
    assert [volume for volume in volumes if volume["name"] == "model" and "image" in volume]


def test_a_removal_survives_kubectl_apply(world: Rig) -> None:
    """Client-side apply drops nulls before they are stored; it keeps the directives of a strategic merge patch."""
    template = {"spec": {"securityContext": {"$retainKeys": ["runAsNonRoot", "seccompProfile"]}}}
    manifest: Json = {
        "apiVersion": "overspill.dev/v1alpha1",
        "kind": "ModelRoute",
        "metadata": {"name": "applied", "namespace": "default"},
        "spec": {"selfHosted": {**ENGINE, "podTemplate": template}},
    }
    command: list[str | Path] = [world.plane.kubectl, "--kubeconfig", world.plane.kubeconfig, "apply", "-f", "-"]
    for _ in range(2):
        subprocess.run(command, input=json.dumps(manifest), text=True, check=True, capture_output=True)
        world.wait_condition("applied", "Ready", "True", "ScaledToZero")
        pod = world.live(deployment_path("applied"))["spec"]["template"]["spec"]
        assert set(pod["securityContext"]) == {"runAsNonRoot", "seccompProfile"}


def test_the_last_good_spec_is_in_force_after_a_restart(world: Rig) -> None:
    """For scaling, for what is repaired and for the keys: not the broken one, nor the defaults."""
    world.secret("kept", {"api-key": "one"})
    hosted = {**HOSTED, "credentials": {"secretName": "kept"}}
    world.route("lasting", {"selfHosted": ENGINE, "hosted": [hosted], "scaling": {"minReplicas": 2, "maxReplicas": 3}})
    wait_for("two replicas", lambda: world.replicas("lasting") == 2)
    broken = {"selfHosted": {**ENGINE, "profile": "missing"}, "scaling": {"minReplicas": 0, "maxReplicas": 1}}
    world.route("lasting", broken)
    world.wait_condition("lasting", "Ready", "False", "ProfileNotFound")

    assert world.leader is not None
    world.leader.kill()
    with world.operator("operator-2"):
        world.delete(deployment_path("lasting"))
        wait_for("the engine again, by the last good spec", lambda: world.replicas("lasting") == 2)
        world.secret("kept", {"api-key": "two"})
        condition = world.condition("lasting", "ScalingActive")
        assert condition["message"] == "Between 2 and 3 replicas."
        wait_for("the new key", lambda: api_keys(world, "lasting") == ["two"], 15)

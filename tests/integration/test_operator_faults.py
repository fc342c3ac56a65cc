"""The operator against a real API server: a bad spec is said in a condition and an event, and disturbs nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from operator_rig import Json, Rig, deployment_path, rig, route_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ENGINE: Json = {"source": "hf://org/model", "profile": "cpu"}
CREDENTIALS: Json = {"secretName": "not-there"}
HOSTED: Json = {"name": "api", "baseURL": "https://api.example.test/v1", "model": "big", "credentials": CREDENTIALS}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A control plane without controllers: the test plays them."""
    folder: Path = tmp_path_factory.mktemp("operator")
    with rig(folder, controllers=False) as made, made.operator():
        yield made


def test_all_faults_are_said_at_once_and_with_what_mends_them(world: Rig) -> None:
    """One message names every fault; nothing is made of the route."""
    window = {"name": "day", "from": "08:00", "to": "20:00", "timeZone": "Europe/Atlantis", "minReplicas": 1}
    bad = {
        "selfHosted": {**ENGINE, "profile": "gpu-of-dreams", "args": ["--port=1"]},
        "scaling": {"windows": [window]},
        "hosted": [HOSTED],
    }
    world.route("bad", bad)

    condition = world.wait_condition("bad", "Ready", "False", "UnknownTimeZone")
    for part in ("Europe/Atlantis", "gpu-of-dreams", "profiles are: cpu, gpu", "--port", "not-there"):
        assert part in condition["message"]
    assert world.condition("bad", "EngineAvailable")["status"] == "False"
    assert world.get(deployment_path("bad")) is None
    assert world.document("bad") is None


def test_a_fault_is_an_event_once(world: Rig) -> None:
    """Transitions are events; that it is still so is not."""
    world.route("eventful", {"selfHosted": {**ENGINE, "profile": "missing"}})
    world.wait_condition("eventful", "Ready", "False", "ProfileNotFound")
    event = wait_for("an event", lambda: world.events("eventful"))[0]
    assert (event["type"], event["reason"]) == ("Warning", "ProfileNotFound")
    assert "missing" in event["note"]

    world.patch(route_path("eventful"), {"spec": {"scaling": {"maxReplicas": 2}}})
    world.wait_condition("eventful", "Ready", "False", "ProfileNotFound")
    world.route("eventful", {"selfHosted": ENGINE, "scaling": {"maxReplicas": 2}})
    world.wait_condition("eventful", "Ready", "True", "ScaledToZero")
    # The mending is an event too. The queue is in order: no second warning can still be on its way.
    wait_for("two events", lambda: len(world.events("eventful")) == 2)
    assert [event["type"] for event in world.events("eventful")].count("Warning") == 1


def test_a_bad_change_leaves_what_runs_alone(world: Rig) -> None:
    """Engine and document stay those of the last good spec."""
    world.route("steady", {"model": "good", "selfHosted": ENGINE, "scaling": {"minReplicas": 1}})
    wait_for("the document", lambda: world.document("steady"))
    before = world.live(deployment_path("steady"))

    world.route("steady", {"model": "other", "selfHosted": {**ENGINE, "profile": "missing"}})
    condition = world.wait_condition("steady", "Ready", "False", "ProfileNotFound")
    assert "last good configuration stays in force" in condition["message"]
    after = world.live(deployment_path("steady"))
    assert after["spec"] == before["spec"]
    assert (world.document("steady") or {}).get("model") == "good"


def test_two_routes_for_one_name(world: Rig) -> None:
    """The older keeps the name, the younger says so; when the older goes, the younger takes over."""
    world.route("elder", {"model": "shared", "selfHosted": ENGINE})
    world.wait_condition("elder", "Ready", "True", "ScaledToZero")
    created = world.live(route_path("elder"))["metadata"]["creationTimestamp"]
    world.route("younger", {"model": "mine", "aliases": ["shared"], "selfHosted": ENGINE})
    younger = world.live(route_path("younger"))["metadata"]["creationTimestamp"]
    assert younger >= created  # within one second, the name decides, and "elder" sorts first

    condition = world.wait_condition("younger", "Ready", "False", "ModelNameConflict")
    assert "default/elder" in condition["message"]
    world.wait_condition("elder", "Ready", "True", "ScaledToZero")
    # Its own name is nobody else's: that much of it is served.
    assert wait_for("the document", lambda: world.document("younger"))["aliases"] == []

    world.delete(route_path("elder"))
    world.wait_condition("younger", "Ready", "True", "ScaledToZero")
    wait_for("the alias", lambda: (world.document("younger") or {}).get("aliases") == ["shared"])


def test_the_loser_of_its_model_name_gets_nothing(world: Rig) -> None:
    """No engine and no document for a route whose model another one owns."""
    world.route("first", {"model": "wanted", "selfHosted": ENGINE})
    world.wait_condition("first", "Ready", "True", "ScaledToZero")
    world.route("second", {"model": "wanted", "selfHosted": ENGINE, "scaling": {"minReplicas": 1}}, "kube-public")

    world.wait_condition("second", "Ready", "False", "ModelNameConflict", "kube-public")
    assert world.get(deployment_path("second", "kube-public")) is None
    assert world.document("second", "kube-public") is None


def test_a_missing_credential_leaves_the_api_out_until_it_comes(world: Rig) -> None:
    """The route serves what it can; the Secret is looked for again without anyone's help."""
    hosted = {**HOSTED, "credentials": {"secretName": "late"}}
    world.route("waits", {"selfHosted": ENGINE, "hosted": [hosted]})

    condition = world.wait_condition("waits", "HostedAvailable", "False", "CredentialsMissing")
    assert "late" in condition["message"]
    world.wait_condition("waits", "Ready", "True", "ScaledToZero")
    document = wait_for("the document", lambda: world.document("waits"))
    assert document["hosted"] == []
    assert document["overflow"]["on_cold_start"] == "Hold"

    world.secret("late", {"wrong-key": "x"})
    wait_for("another message", lambda: "no key 'api-key'" in world.condition("waits", "HostedAvailable")["message"])
    world.secret("late", {"api-key": "k"})
    world.wait_condition("waits", "HostedAvailable", "True", "CredentialsFound")
    wait_for(
        "the API", lambda: (world.document("waits") or {"overflow": {}})["overflow"].get("on_cold_start") == "Hosted"
    )


def test_a_missing_source_secret(world: Rig) -> None:
    """The engine waits for it; the route does not."""
    source = {**ENGINE, "sourceSecretName": "hub-token"}
    world.route("private", {"selfHosted": source})
    world.wait_condition("private", "EngineAvailable", "False", "SourceSecretMissing")
    assert world.get(deployment_path("private")) is None

    world.secret("hub-token", {"HF_TOKEN": "t"})
    world.wait_condition("private", "EngineAvailable", "False", "ScaledToZero")
    live = wait_for("the engine", lambda: world.get(deployment_path("private")))
    assert live["spec"]["template"]["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "hub-token"}}]


def test_a_pod_template_of_a_wrong_form(world: Rig) -> None:
    """What cannot be merged is named by its path."""
    world.route("shape", {"selfHosted": {**ENGINE, "podTemplate": {"spec": {"containers": "engine"}}}})
    condition = world.wait_condition("shape", "EngineAvailable", "False", "InvalidPodTemplate")
    assert "spec.selfHosted.podTemplate.spec.containers must be a list" in condition["message"]


def test_a_pod_template_that_the_server_refuses(world: Rig) -> None:
    """The API server's own words are in the condition, and what ran runs on."""
    world.route("refused", {"selfHosted": ENGINE})
    world.wait_condition("refused", "Ready", "True", "ScaledToZero")
    world.route("refused", {"selfHosted": {**ENGINE, "podTemplate": {"spec": {"restartPolicy": "Sometimes"}}}})

    condition = world.wait_condition("refused", "EngineAvailable", "False", "EngineRefused")
    assert "restartPolicy" in condition["message"]
    world.wait_condition("refused", "Ready", "False", "EngineRefused")
    live = world.live(deployment_path("refused"))
    assert live["spec"]["template"]["spec"]["restartPolicy"] == "Always"

    world.route("refused", {"selfHosted": ENGINE})
    world.wait_condition("refused", "Ready", "True", "ScaledToZero")


def test_fields_without_effect_are_named(world: Rig) -> None:
    """What this version does not act upon yet is never left to guess."""
    world.route("early", {"selfHosted": ENGINE, "cache": {"ttl": "5m"}})
    condition = world.wait_condition("early", "SpecEnforced", "False", "FieldsNotEnforced")
    assert "spec.cache" in condition["message"]
    world.wait_condition("early", "Ready", "True", "ScaledToZero")


def test_a_profile_that_comes_later(world: Rig) -> None:
    """The chart's profiles are read again when they change; routes that waited for one go on."""
    world.route("patient", {"selfHosted": {**ENGINE, "profile": "new"}})
    world.wait_condition("patient", "Ready", "False", "ProfileNotFound")
    with world.profiles.open("a") as profiles:
        profiles.write("new: {image: example.test/new:1}\n")

    world.wait_condition("patient", "Ready", "True", "ScaledToZero")

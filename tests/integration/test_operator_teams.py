"""Teams that share a gateway: a name is held by what is served, and a route of another team is called by consent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from operator_rig import RELEASE, Json, Rig, rig, route_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ENGINE: Json = {"source": "hf://org/model", "profile": "cpu"}
HOSTED: Json = {"name": "api", "baseURL": "https://api.example.test/v1", "model": "big"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Two teams."""
    folder: Path = tmp_path_factory.mktemp("teams")
    with rig(folder, controllers=False) as made:
        for name in ("team-a", "team-b"):
            made.apply(
                f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            )
        with made.operator():
            yield made


def test_the_last_good_document_keeps_its_name(world: Rig) -> None:
    """A rename with a fault in the same edit: the old name is served, so nobody else gets it until it is let go."""
    world.route("ra", {"model": "gpt", "selfHosted": ENGINE}, "team-a")
    wait_for("the document", lambda: world.document("ra", "team-a"))
    edited = {"model": "gpt-a", "selfHosted": {**ENGINE, "profile": "gone"}}
    world.route("ra", edited, "team-a")
    world.wait_condition("ra", "Ready", "False", "ProfileNotFound", "team-a")
    assert (world.document("ra", "team-a") or {})["model"] == "gpt"

    world.route("rb", {"model": "gpt", "hosted": [HOSTED]}, "team-b")
    told = world.wait_condition("rb", "Ready", "False", "ModelNameConflict", "team-b")
    assert "team-a/ra" in told["message"]
    assert world.document("rb", "team-b") is None

    world.route("ra", {"model": "gpt-a", "selfHosted": ENGINE}, "team-a")
    world.wait_condition("rb", "Ready", "True", "HostedAvailable", "team-b")
    assert (world.document("ra", "team-a") or {})["model"] == "gpt-a"
    assert (world.document("rb", "team-b") or {})["model"] == "gpt"


def test_a_consumer_of_another_team_needs_consent(world: Rig) -> None:
    """The route's document says whom it allows, and the consumer's status what is missing, as soon as that changes."""
    path = "/apis/overspill.dev/v1alpha1/namespaces/team-b/consumers/b"
    spec = {"routes": [{"name": "*", "namespace": "team-a"}]}
    world.apply(
        path, {"apiVersion": "overspill.dev/v1alpha1", "kind": "Consumer", "metadata": {"name": "b"}, "spec": spec}
    )
    world.route("open", {"model": "open", "hosted": [HOSTED]}, "team-a")

    def says(kind: str, status: str) -> Json:
        conditions = (world.live(path).get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if (c["type"], c["status"]) == (kind, status)), {})

    refused = wait_for("what is missing", lambda: says("RoutesAllowed", "False"))
    assert "{namespace: team-b, name: b}" in refused["message"]
    assert says("Ready", "False")["reason"] == "RoutesNotAllowed"
    assert wait_for("the document", lambda: world.document("open", "team-a"))["allowed_consumers"] == []

    consent = {"allowedConsumers": [{"namespace": "team-b", "name": "b"}]}
    world.route("open", {"model": "open", "hosted": [HOSTED], **consent}, "team-a")
    wait_for("consent", lambda: says("RoutesAllowed", "True") and says("Ready", "True"))
    wait_for(
        "consent in the document",
        lambda: (world.document("open", "team-a") or {}).get("allowed_consumers") == ["team-b/b"],
    )

    world.delete(route_path("open", "team-a"))
    wait_for("that it is gone", lambda: says("RoutesAllowed", "False"))
    assert world.get(f"/api/v1/namespaces/{RELEASE}/secrets/consumer.team-b.b") is not None

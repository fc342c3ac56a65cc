"""The operator with the rights that the chart gives it: it reads for a route what that route's namespace holds."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from chart_rig import Release
from cluster.api import ApiError
from operator_rig import CHECKOUT, RELEASE, Json, Operator, Rig, rig, route_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

OUT = "../../team-a/secrets/bank"
BANK = "/api/v1/namespaces/team-a/secrets/bank"


def without_rules(schema: object) -> object:
    """A schema as it was before rules came: objects of that time are still stored."""
    if isinstance(schema, dict):
        return {key: without_rules(value) for key, value in schema.items() if key != "x-kubernetes-validations"}
    return [without_rules(value) for value in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An operator with the chart's rights, and a Secret of another team."""
    folder: Path = tmp_path_factory.mktemp("secrets")
    with rig(folder, controllers=False) as made:
        for namespace in ("team-a", "team-b"):
            manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            made.apply(f"/api/v1/namespaces/{namespace}", manifest)
        made.secret("bank", {"password": "the-password"}, "team-a")
        with made.operator(kubeconfig=Release(made).kubeconfig("operator")):
            yield made


def spec(secret: str, key: str = "password") -> Json:
    """A route with a hosted API whose key is in a Secret."""
    credentials = {"secretName": secret, "key": key}
    return {"hosted": [{"name": "o", "baseURL": "https://x.test/v1", "model": "m", "credentials": credentials}]}


def test_a_secret_of_the_routes_namespace_is_read(world: Rig) -> None:
    """The chart's rights suffice for that."""
    world.secret("own", {"password": "k"}, "team-b")
    world.route("own", spec("own"), "team-b")
    document = wait_for("the document", lambda: world.document("own", "team-b"))
    assert document["hosted"][0]["api_key"] == "k"


def test_a_path_is_refused_by_the_api_server(world: Rig) -> None:
    """Where it is written, with what to write."""
    with pytest.raises(ApiError, match="is not the name of a Kubernetes object"):
        world.route("path", spec(OUT), "team-b")


def test_a_name_reaches_no_other_namespace(world: Rig) -> None:
    """The operator's account may read the Secret; for a route of another namespace it is not there all the same."""
    world.route("elsewhere", spec("bank"), "team-b")
    told = world.wait_condition("elsewhere", "HostedAvailable", "False", "CredentialsMissing", "team-b")
    assert "there is no Secret 'bank' in this namespace" in told["message"]
    assert "the-password" not in json.dumps(world.document("elsewhere", "team-b"))


def test_a_route_that_was_stored_before_names_had_a_form_reads_nothing(world: Rig) -> None:
    """An object that an older API server took is judged by the operator as well, before it asks for anything."""
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelroutes.overspill.dev"
    crd = yaml.safe_load((CHECKOUT / "manifests" / "crds" / "modelroutes.yaml").read_text())
    old = json.loads(json.dumps(crd))
    version = old["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"] = without_rules(version["schema"]["openAPIV3Schema"])
    world.apply(crds, old)

    def stored() -> bool:
        try:
            return bool(world.route("old", spec(OUT), "team-b"))
        except ApiError:
            return False

    wait_for("an API server without rules", stored)
    told = world.wait_condition("old", "Ready", "False", "InvalidSpec", "team-b")
    world.apply(crds, crd)

    assert "is not the name of a Kubernetes object" in told["message"]
    assert world.document("old", "team-b") is None
    assert world.get(BANK) is not None
    for secret in world.live(f"/api/v1/namespaces/{RELEASE}/secrets")["items"]:
        for content in (secret.get("data") or {}).values():
            assert b"the-password" not in base64.b64decode(content)
    assert world.get(route_path("old", "team-b")) is not None


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("bom", b"\xef\xbb\xbfsk", "has a byte order mark"),
        ("line", b"sk\r\nx-evil: 1", "has a line break"),
        ("dash", "sk\u2011x".encode(), "that is not ASCII"),
    ],
)
def test_a_key_that_no_header_can_carry_is_told_and_not_compiled(
    world: Rig, name: str, content: bytes, says: str
) -> None:
    """The condition says what mends it; once it is mended, the API is used."""
    world.secret(name, {"other": "x"}, "team-b")
    world.patch(f"/api/v1/namespaces/team-b/secrets/{name}", {"data": {"password": base64.b64encode(content).decode()}})
    world.route(name, spec(name), "team-b")
    told = world.wait_condition(name, "HostedAvailable", "False", "CredentialsMissing", "team-b")
    assert says in told["message"]
    assert "sk" not in told["message"]
    assert wait_for("the document", lambda: world.document(name, "team-b")).get("hosted", []) == []

    world.secret(name, {"password": "mended"}, "team-b")

    def key() -> str:
        entries = (world.document(name, "team-b") or {}).get("hosted") or [{}]
        return str(entries[0].get("api_key", ""))

    wait_for("the mended key", lambda: key() == "mended")


@pytest.mark.parametrize("verb", ["list", "watch"])
def test_a_right_to_see_what_people_write_that_is_missing(world: Rig, verb: str) -> None:
    """Named by /readyz and once in the log; the process goes on, asks seldom, and sees everything once it may."""
    assert world.leader is not None
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    role = next(r for r in world.live(roles)["items"] if r["metadata"]["name"].endswith("overspill-operator"))
    path = f"{roles}/{role['metadata']['name']}"
    reduced = [
        {**rule, "verbs": [have for have in rule["verbs"] if have != verb]}
        if rule.get("resources") == ["modelroutes", "consumers"]
        else rule
        for rule in role["rules"]
    ]
    assert reduced != role["rules"]
    world.leader.stop()
    access = Release(world).kubeconfig("operator")
    world.patch(path, {"rules": reduced})
    second = Operator(world, f"no-{verb}", kubeconfig=access, OVERSPILL_LOG_LEVEL="INFO")
    try:
        wait_for("its word", lambda: f"can't be {verb}ed" in second.get("/readyz")[1])
        assert "Grant the operator's account list and watch" in second.get("/readyz")[1]
        world.patch(path, {"rules": role["rules"]})
        world.route(f"after-{verb}", spec("own"), "team-b")
        wait_for("the document", lambda: world.document(f"after-{verb}", "team-b"), 60)
        wait_for("that it is ready", lambda: second.get("/readyz")[0] == 200, 60)
        lines = [json.loads(line) for line in second.log.read_text().splitlines()]
        assert len([line for line in lines if f"can't be {verb}ed" in line["message"]]) == 1
        assert not [line for line in lines if line["level"] == "ERROR"]
    finally:
        second.stop()
        world.patch(path, {"rules": role["rules"]})

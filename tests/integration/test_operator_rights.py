"""Operators with no other rights than the chart gives them, for a whole cluster and for namespaces of their own."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from chart_rig import Release, render
from operator_rig import (
    CHECKOUT,
    RELEASE,
    Json,
    Operator,
    Rig,
    deployment_path,
    rig,
    route_path,
    service_path,
    wait_for,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HOSTED: Json = {
    "name": "api",
    "baseURL": "https://api.example.test/v1",
    "model": "big",
    "credentials": {"secretName": "openai"},
}
ENGINE: Json = {
    "source": "hf://org/model",
    "profile": "cpu",
    "cache": {"size": "1Gi"},
    "sourceSecretName": "hub",
}
SPEC: Json = {"selfHosted": ENGINE, "scaling": {"maxReplicas": 2}, "hosted": [HOSTED]}
EVERYTHING = {"Deployment", "Service", "claim", "budget", "policy", "key"}
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{RELEASE}/leases/overspill-operator"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Namespaces of several teams; the test plays the controllers."""
    folder: Path = tmp_path_factory.mktemp("rights")
    with rig(folder, controllers=False) as made:
        for name in ("staging", "chat", "search", "open"):
            namespace(made, name)
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            made.apply(f"/api/v1/namespaces/{name}/serviceaccounts/default", account)
            made.secret("hub", {"HF_TOKEN": "t"}, name)
            made.secret("openai", {"api-key": "k"}, name)
        yield made


def namespace(world: Rig, name: str) -> None:
    """Make a namespace."""
    world.apply(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


@contextmanager
def leading(release: Release, pod: str) -> Iterator[Operator]:
    """A leader of a release; at the end the chart's own account for that has cleaned up, and its rights are gone."""
    operator = release.operator(pod)
    try:
        wait_for(f"{pod} leads", lambda: operator.leads)
        yield operator
    finally:
        if operator.process.poll() is None:
            operator.stop()
        release.clean_up()
        release.take_rights_away()


def nothing_refused(operator: Operator) -> None:
    """No call was refused, neither of its own nor of Kopf's."""
    said = operator.log.read_text()
    assert not [line for line in said.splitlines() if "orbidden" in line]
    assert 'status="403"' not in operator.get("/metrics")[1]


def made(world: Rig, place: str) -> set[str]:
    """What there is of the route in its namespace."""
    paths = {
        "Deployment": deployment_path("life", place),
        "Service": service_path("life", place),
        "claim": f"/api/v1/namespaces/{place}/persistentvolumeclaims/life-cache",
        "budget": f"/apis/policy/v1/namespaces/{place}/poddisruptionbudgets/life-engine",
        "policy": f"/apis/networking.k8s.io/v1/namespaces/{place}/networkpolicies/life-engine",
        "key": f"/api/v1/namespaces/{place}/secrets/life-engine-key",
    }
    live = {kind: world.get(path) for kind, path in paths.items()}
    return {kind for kind, item in live.items() if item and "deletionTimestamp" not in item["metadata"]}


def life_of(world: Rig, release: Release, place: str) -> None:
    """The same in a thread of its own."""
    with world.for_thread() as beside:
        life(beside, release, place)


def life(world: Rig, release: Release, place: str) -> None:
    """A route is made, woken, explained, served, given another key and scaled; a Consumer is let in."""
    world.route("life", SPEC, place)
    wait_for("all that is made of it", lambda: made(world, place) == EVERYTHING)
    first = wait_for("the document", lambda: world.document("life", place, release.namespace))
    assert first["hosted"][0]["api_key"] == "k"

    stuck_pod(world, place)
    figures = {"held": 1, "in_flight": 1, "wants_replica": True}
    world.gateway.say(f"{place}/life", **figures, last_arrival_unix_seconds=time.time())
    wait_for("a replica is asked for", lambda: world.replicas("life", place) == 1)
    told = world.wait_condition("life", "EngineAvailable", "False", "PodFailed", place)
    assert "no such volume" in told["message"]
    world.make_ready("life", 1, place)
    world.wait_condition("life", "Ready", "True", "ReplicasReady", place)
    wait_for("an Event", lambda: [e for e in world.events("life", place) if e["reason"] == "ScaledUp"])

    world.delete(f"/api/v1/namespaces/{place}/secrets/life-engine-key")
    wait_for("another key", lambda: keys(world, release, place)[:1] not in ([], first["local"]["api_keys"][:1]))

    consumer = f"/apis/overspill.dev/v1alpha1/namespaces/{place}/consumers/team"
    spec = {"keys": [{"id": "abcdefghij12", "hash": "0" * 64}], "routes": [{"name": "*"}]}
    kind = {"apiVersion": "overspill.dev/v1alpha1", "kind": "Consumer", "metadata": {"name": "team"}}
    world.apply(consumer, {**kind, "spec": spec})
    wait_for("the Consumer's status", lambda: world.live(consumer).get("status"))
    compiled = f"/api/v1/namespaces/{release.namespace}/secrets/consumer.{place}.team"
    wait_for("the Consumer's document", lambda: world.get(compiled))
    wait_for("the pepper", lambda: world.get(f"/api/v1/namespaces/{release.namespace}/secrets/overspill-key-pepper"))


def keys(world: Rig, release: Release, place: str) -> list[str]:
    """Keys of a route's engine that gateways know."""
    document = world.document("life", place, release.namespace) or {"local": {}}
    found: list[str] = document["local"].get("api_keys", [])
    return found


def stuck_pod(world: Rig, place: str) -> None:
    """A replica as the controllers make it, and the Event of a kubelet that cannot start it."""
    labels = world.live(deployment_path("life", place))["spec"]["selector"]["matchLabels"]
    spec = {"containers": [{"name": "engine", "image": "i"}], "automountServiceAccountToken": False}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "life-1", "labels": labels}, "spec": spec}
    live = world.apply(f"/api/v1/namespaces/{place}/pods/life-1", pod)
    about = {"kind": "Pod", "namespace": place, "name": "life-1", "uid": live["metadata"]["uid"]}
    event = {"metadata": {"name": "life-1.1", "namespace": place}, "involvedObject": about, "type": "Warning"}
    world.api.request("POST", f"/api/v1/namespaces/{place}/events", {**event, "message": "no such volume"})


def test_two_releases_with_roles_live_side_by_side(world: Rig) -> None:
    """With Roles in their namespaces alone each does all of its work, and neither it nor its clean-up another's."""
    first = Release(world, {"operator": {"watchNamespaces": ["chat"]}})
    second = Release(world, {"operator": {"watchNamespaces": ["search"]}, "crds": {"enabled": False}}, "staging")
    world.route("life", SPEC, "open")
    with leading(first, "first") as one:
        with leading(second, "second") as other, ThreadPoolExecutor(2) as both:
            pairs = ((first, "chat"), (second, "search"))
            for one_life in [both.submit(life_of, world, *pair) for pair in pairs]:
                one_life.result()
            for release, place in pairs:
                live = world.live(deployment_path("life", place))
                assert live["metadata"]["labels"]["overspill.dev/release"] == release.namespace
            assert world.document("life", "search", first.namespace) is None
            assert world.document("life", "chat", second.namespace) is None
            nothing_refused(one)
            nothing_refused(other)

        assert world.document("life", "search", second.namespace) is None
        assert made(world, "search") == {"claim", "key"}  # they go with the route, which stays
        assert world.document("life", "chat", first.namespace) is not None
        assert made(world, "chat") == EVERYTHING

        world.delete(route_path("life", "chat"))
        wait_for("nothing of it", lambda: made(world, "chat") <= {"key"})  # which Kubernetes collects
        nothing_refused(one)
    assert not made(world, "open")


def test_a_release_with_a_cluster_role_does_all_of_its_work(world: Rig) -> None:
    """As it comes: all namespaces, one ClusterRole and one Role."""
    release = Release(world)
    with leading(release, "everywhere") as operator:
        wait_for("all that is made of it", lambda: made(world, "open") == EVERYTHING)
        world.gateway.say("open/life", held=1, wants_replica=True, last_arrival_unix_seconds=time.time())
        wait_for("a replica is asked for", lambda: world.replicas("life", "open") == 1)
        wait_for("an Event", lambda: [e for e in world.events("life", "open") if e["reason"] == "ScaledUp"])
        world.delete(route_path("life", "open"))
        wait_for("nothing of it", lambda: made(world, "open") <= {"key"})
        nothing_refused(operator)


def test_two_processes_of_one_pod_name_never_both_lead(world: Rig) -> None:
    """A pod that was made again by force while the former one still runs: it waits until that lets go."""
    release = Release(world)
    with leading(release, "same") as former:
        latter = release.operator("same")
        try:
            wait_for("it stands by", lambda: latter.get("/readyz")[0] == 200)
            holder = world.live(LEASE)["spec"]["holderIdentity"]
            since = world.live(LEASE)["spec"]["renewTime"]
            wait_for("a renewal", lambda: world.live(LEASE)["spec"]["renewTime"] != since)
            assert world.live(LEASE)["spec"]["holderIdentity"] == holder
            assert former.leads
            assert "overspill_operator_leader 0.0" in latter.get("/metrics")[1]

            assert former.stop() == 0
            wait_for("it leads", lambda: latter.leads, 5)
            assert world.live(LEASE)["spec"]["holderIdentity"].rpartition("_")[0] == "same"
            assert world.live(LEASE)["spec"]["holderIdentity"] != holder
        finally:
            latter.stop()


def test_who_takes_the_rights_away_in_one_namespace_decides_about_that_one_only(world: Rig) -> None:
    """Gone before the operator starts, or while it runs: the others' routes go on, and this one's stay as they are."""
    binding = "/apis/rbac.authorization.k8s.io/v1/namespaces/search/rolebindings/overspill-operator-routes"
    release = Release(world, {"operator": {"watchNamespaces": ["chat", "search"]}})
    for place in ("chat", "search"):
        world.route("kept", {"model": f"kept-{place}", "selfHosted": ENGINE}, place)
    with leading(release, "both") as operator:
        for place in ("chat", "search"):
            wait_for("the document", partial(world.document, "kept", place))
        granted = world.live(binding)
        world.delete(binding)
        assert operator.stop() == 0

        again = release.operator("again")
        try:
            wait_for("it leads", lambda: "overspill_operator_leader 1.0" in again.get("/metrics")[1])
            world.route("new", {"model": "new-chat", "selfHosted": ENGINE}, "chat")
            world.wait_condition("new", "Ready", "True", "ScaledToZero", "chat")
            status, said = again.get("/readyz")
            assert (status, "Grant the operator's account" in said) == (503, True)
            assert world.document("kept", "search") is not None
            assert world.get(deployment_path("kept", "search")) is not None

            world.api.request("POST", binding.rpartition("/")[0], bare(granted))
            world.route("new", {"model": "new-search", "selfHosted": ENGINE}, "search")
            world.wait_condition("new", "Ready", "True", "ScaledToZero", "search")
        finally:
            again.stop()
    for place in ("chat", "search"):
        for name in ("kept", "new"):
            world.delete(route_path(name, place))


def bare(live: Json) -> Json:
    """An object as a person writes it."""
    meta = {name: live["metadata"][name] for name in ("name", "namespace")}
    return {**live, "metadata": meta}


def test_the_page_on_rights_is_what_the_chart_grants() -> None:
    """Each row of operator/README.md is a rule of a role, and no rule is missing there."""
    page = (CHECKOUT / "operator" / "README.md").read_text()
    for heading, kind in (("`run`, cluster-wide", "ClusterRole"), ("`run`, in the release's namespace", "Role")):
        told = {
            right for line in page.partition(heading)[2].split("\n\n")[1].splitlines()[2:] for right in rights(line)
        }
        role = next(
            item for item in render() if (item["kind"], item["metadata"]["name"]) == (kind, "overspill-operator")
        )
        granted = {
            (group, resource, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        assert told == granted


def rights(row: str) -> set[tuple[str, str, str]]:
    """Group, resource and verb of a row of the page's tables."""
    group, resources, verbs = (cell.strip() for cell in row.strip("|").split("|"))
    named = "" if group == "core" else group.strip("`")
    found = verbs.partition("(")[0].split(",")
    return {(named, resource, verb.strip()) for resource in re.findall("`([^`]+)`", resources) for verb in found}

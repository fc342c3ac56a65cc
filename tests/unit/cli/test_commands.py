"""``overspill keys``: what is stored, what is printed and where, over a cluster in memory."""

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from overspill_api.keys import key_hash, parse_key
from overspill_cli import commands, main
from overspill_cli.errors import CommandError

PEPPER = b"pepper"


class MemoryCluster:
    """Consumers in a dictionary."""

    namespace = "chat"

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.namespaces = {"chat", "other"}
        self.routes: dict[str, frozenset[str]] = {}
        self.may_look = True

    def has_namespace(self, name: str) -> bool | None:
        """As Kubernetes knows them."""
        return name in self.namespaces if self.may_look else None

    def create_namespace(self, name: str) -> None:
        """One more."""
        self.namespaces.add(name)

    def route_names(self, namespace: str) -> frozenset[str] | None:
        """None of a namespace that is not listed here."""
        return self.routes.get(namespace, frozenset()) if self.may_look else None

    def pepper(self, namespace: str, secret: str) -> bytes | None:
        """Only where the release is."""
        return PEPPER if (namespace, secret) == ("overspill-system", "overspill-key-pepper") else None

    def consumer(self, namespace: str, name: str) -> dict[str, Any] | None:
        """One object."""
        return self.objects.get((namespace, name))

    def consumers(self, namespace: str | None) -> list[dict[str, Any]]:
        """Objects of one or all namespaces."""
        return [item for (place, _), item in self.objects.items() if namespace in (None, place)]

    def create(self, consumer: dict[str, Any]) -> None:
        """Store it."""
        self.objects[consumer["metadata"]["namespace"], consumer["metadata"]["name"]] = consumer

    def change(self, namespace: str, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Merge the change."""
        found = self.objects.get((namespace, name))
        if found is None:
            raise CommandError(f"there is no Consumer {name} in namespace {namespace}")
        found["spec"] |= change(found)


@pytest.fixture
def cluster() -> MemoryCluster:
    """An empty one."""
    return MemoryCluster()


def create(cluster: MemoryCluster, name: str = "team", *routes: str, seed: int = 1) -> None:
    """Make a key with a known random source."""
    commands.create_key(
        cluster,
        name=name,
        namespace="chat",
        routes=routes,
        release_namespace="overspill-system",
        pepper_secret="overspill-key-pepper",
        random=random.Random(seed),
    )


def test_the_key_is_all_that_goes_to_standard_output(
    cluster: MemoryCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """``KEY=$(overspill keys create team)`` holds the key; the hint goes to standard error and does not repeat it."""
    create(cluster)

    printed = capsys.readouterr()
    key = parse_key(printed.out.removesuffix("\n"))
    assert key is not None
    assert key.id in printed.err
    assert key.text not in printed.err


def test_only_the_hash_is_stored(cluster: MemoryCluster, capsys: pytest.CaptureFixture[str]) -> None:
    """The Consumer holds the key's id and its hash under the release's pepper, and nothing of the secret."""
    create(cluster)
    key = capsys.readouterr().out.strip()

    (stored,) = cluster.objects["chat", "team"]["spec"]["keys"]

    assert key_hash(PEPPER, key) == stored["hash"]
    assert key.split("-")[2] not in str(cluster.objects)


def test_a_second_key_extends_the_consumer(cluster: MemoryCluster) -> None:
    """Both keys are there afterwards."""
    create(cluster)
    create(cluster, "team", "other/llama", seed=2)
    spec = cluster.objects["chat", "team"]["spec"]
    assert len(spec["keys"]) == 2
    assert spec["routes"] == [{"name": "*"}, {"namespace": "other", "name": "llama"}]


def test_a_suspended_consumer_is_pointed_out(cluster: MemoryCluster, capsys: pytest.CaptureFixture[str]) -> None:
    """A new key that cannot work is not given out without a word."""
    create(cluster)
    cluster.objects["chat", "team"]["spec"]["suspended"] = True
    create(cluster, seed=2)
    assert "suspended" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "routes"), [("Team", ()), ("team", ("Llama",)), ("team", ("a.b/llama",)), ("", ())])
def test_bad_names_are_refused_before_a_key_is_made(
    cluster: MemoryCluster, capsys: pytest.CaptureFixture[str], name: str, routes: tuple[str, ...]
) -> None:
    """Nothing is printed and nothing is stored."""
    with pytest.raises(CommandError, match=r"does not do as the name|is not"):
        create(cluster, name, *routes)
    assert capsys.readouterr().out == ""
    assert not cluster.objects


def test_a_key_is_revoked_by_id_or_by_itself(cluster: MemoryCluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever finds a leaked key can paste it."""
    create(cluster)
    key = capsys.readouterr().out.strip()

    commands.revoke_key(cluster, name="team", namespace="chat", key=key)

    assert cluster.objects["chat", "team"]["spec"]["keys"] == []
    assert key not in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``overspill version`` prints the version and touches no cluster."""
    assert main.main(["version"]) == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_without_a_cluster_the_message_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback: exit code 1 and one line."""
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main.main(["keys", "list"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("overspill: no cluster to talk to")
    assert "set KUBECONFIG or --context" in printed.err


def test_the_release_is_found_from_inside_its_own_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """``kubectl exec deploy/overspill-operator -- overspill keys create`` needs no flags: the pod says where it is."""
    monkeypatch.setenv("POD_NAMESPACE", "ai")
    monkeypatch.setenv("OVERSPILL_KEY_PEPPER_SECRET", "ai-key-pepper")
    options = main.parser().parse_args(["keys", "create", "team"])
    assert (options.release_namespace, options.pepper_secret) == ("ai", "ai-key-pepper")


def create_in(cluster: MemoryCluster, namespace: str, *routes: str, create_namespace: bool = False) -> None:
    """Make a key for a Consumer of a namespace."""
    commands.create_key(
        cluster,
        name="team",
        namespace=namespace,
        routes=routes,
        release_namespace="overspill-system",
        pepper_secret="overspill-key-pepper",
        create_namespace=create_namespace,
    )


def test_a_namespace_that_is_not_there_is_offered_to_be_made(cluster: MemoryCluster) -> None:
    """The API server would say only that it is not found; with the option it is made."""
    with pytest.raises(CommandError, match=r"no namespace new: .*kubectl create namespace new.*--create-namespace"):
        create_in(cluster, "new")
    assert not cluster.objects

    create_in(cluster, "new", create_namespace=True)
    assert "new" in cluster.namespaces
    assert ("new", "team") in cluster.objects


def test_a_route_that_is_not_there_is_said(cluster: MemoryCluster, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is made all the same: the route may come later."""
    cluster.routes["chat"] = frozenset({"llama-8b", "small"})
    create_in(cluster, "chat", "lama-8b", "small", "other/nosuch", "other/*")

    said = capsys.readouterr().err
    assert "There is no ModelRoute lama-8b in namespace chat" in said
    assert "ModelRoutes there: llama-8b, small." in said
    assert "There is no ModelRoute nosuch in namespace other" in said
    assert "ModelRoutes there: none." in said
    assert "small in namespace" not in said


def test_who_may_not_look_gets_the_key_without_hints(
    cluster: MemoryCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """A right that only a courtesy needs is not asked for."""
    cluster.may_look = False
    create_in(cluster, "new", "nosuch")

    printed = capsys.readouterr()
    assert parse_key(printed.out.strip()) is not None
    assert "no ModelRoute" not in printed.err


@pytest.mark.parametrize("text", ["..", "../other", "a/b", "a?b", "A", ""])
def test_no_name_leads_elsewhere_in_the_api(text: str) -> None:
    """Namespaces and the pepper's Secret become parts of paths; nothing is asked for one that is no name."""
    cluster = MemoryCluster()
    usual: dict[str, Any] = {"name": "team", "namespace": "chat", "release_namespace": "r", "pepper_secret": "p"}
    for field in ("namespace", "release_namespace", "pepper_secret"):
        with pytest.raises(CommandError, match="is not"):
            commands.create_key(cluster, **{**usual, field: text}, routes=())
    with pytest.raises(CommandError, match="is not"):
        commands.list_keys(cluster, text)
    for place in ({"name": "team", "namespace": text}, {"name": text, "namespace": "chat"}):
        with pytest.raises(CommandError, match=r"is not|does not do"):
            commands.revoke_key(cluster, **place, key="abcdefghijkl")

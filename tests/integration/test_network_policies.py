"""Who reaches engines, gateways and the operator, by the policies as they are rendered and by labels as pods have them.

Judged by an evaluator of its own, after the definition of NetworkPolicy: nothing here looks at how a policy is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from chart_rig import render, workload
from operator_rig import RELEASE, Json
from overspill_api.modelroute import SelfHosted
from overspill_api.profile import Profile
from overspill_operator.core.engine_access import EngineAccess
from overspill_operator.core.manifests import deployment, network_policy
from overspill_operator.core.objects import Metadata
from overspill_operator.core.plan import EngineSpec
from overspill_operator.settings import Settings

pytestmark = [pytest.mark.integration]

ENGINE_PORT = 8000
NAMESPACES = (RELEASE, "chat", "other", "monitoring", "staging")


@dataclass(frozen=True)
class Pod:
    """As much of a pod as policies look at."""

    namespace: str
    labels: Mapping[str, str]


def selects(selector: Json, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches all."""
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], expression.get("values") or ()
        holds = {
            "In": labels.get(key) in values,
            "NotIn": key not in labels or labels[key] not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[expression["operator"]]
        if not holds:
            return False
    return (selector.get("matchLabels") or {}).items() <= labels.items()


def is_peer(peer: Json, source: Pod, home: str) -> bool:
    """Whether a pod is one that a rule of a policy in ``home`` lets in."""
    assert peer.keys() <= {"namespaceSelector", "podSelector"}, "an evaluator of addresses is missing"
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": source.namespace}):
            return False
    elif source.namespace != home:
        return False
    return selects(peer.get("podSelector") or {}, source.labels)


def reaches(policies: list[dict[str, Any]], source: Pod, target: Pod, port: int) -> bool:
    """Whether a connection is let in: none selects its target, or a rule of one that does has its source and port."""
    chosen = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == target.namespace
        and selects(policy["spec"]["podSelector"], target.labels)
        and "Ingress" in (policy["spec"].get("policyTypes") or ["Ingress"])
    ]
    return not chosen or any(lets_in(policy, rule, source, port) for policy in chosen for rule in rules(policy))


def rules(policy: Json) -> list[Json]:
    """What a policy lets in."""
    found: list[Json] = policy["spec"].get("ingress") or []
    return found


def lets_in(policy: Json, rule: Json, source: Pod, port: int) -> bool:
    """Whether a rule has a port and a source; where it names none of a kind it has all."""
    ports, peers = rule.get("ports") or [{}], rule.get("from")
    has_port = any(entry.get("port", port) == port for entry in ports)
    return has_port and (not peers or any(is_peer(peer, source, policy["metadata"]["namespace"]) for peer in peers))


class World:
    """Pods and policies of a release with these values, and of engines in two namespaces."""

    def __init__(self, values: Json) -> None:
        documents = render(values)
        self.policies = [document for document in documents if document["kind"] == "NetworkPolicy"]
        self.operator, self.gateway = (
            Pod(RELEASE, workload(documents, name)["spec"]["template"]["metadata"]["labels"])
            for name in ("operator", "gateway")
        )
        container = workload(documents, "operator")["spec"]["template"]["spec"]["containers"][0]
        given = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        settings = Settings.from_environment(given | {"POD_NAMESPACE": RELEASE})
        assert settings.engine_network_policies
        self.access = EngineAccess(settings.namespace, settings.engine_metrics_from)
        self.engines = [self.engine("chat", "a"), self.engine("chat", "b"), self.engine(RELEASE, "a")]

    def engine(self, namespace: str, name: str) -> Pod:
        """A pod of a route's engine, which comes with its policy."""
        meta = Metadata(namespace, name, "u", 1, "", "1", deleting=False)
        self.policies.append(network_policy(meta, self.access))
        hosted = SelfHosted.model_validate({"source": "hf://org/model", "profile": "cpu"})
        profile = Profile.model_validate({"image": "i"})
        engine = EngineSpec(hosted, profile, 1, model=name, served=name, replicas=1, api_key="k")
        made = deployment(meta, engine)
        return Pod(namespace, made["spec"]["template"]["metadata"]["labels"])

    def strangers(self) -> list[Pod]:
        """Pods that are not this release's, with every label that its own have."""
        dressed = [Pod(name, self.gateway.labels) for name in NAMESPACES if name != RELEASE]
        return [*dressed, *(Pod(name, {}) for name in NAMESPACES), *self.engines]


def test_an_engine_is_reached_by_its_releases_gateways_alone() -> None:
    """Across namespaces, and by nobody else: the operator, another engine, who wears a gateway's labels elsewhere."""
    world = World({})
    for engine in world.engines:
        assert reaches(world.policies, world.gateway, engine, ENGINE_PORT)
        assert not reaches(world.policies, world.operator, engine, ENGINE_PORT)
        assert not reaches(world.policies, world.gateway, engine, 22)
        for stranger in world.strangers():
            assert not reaches(world.policies, stranger, engine, ENGINE_PORT), stranger


def test_namespaces_that_were_named_reach_engines_as_well() -> None:
    """Such as Prometheus' own; the others still do not."""
    named = {"kubernetes.io/metadata.name": "monitoring"}
    world = World({"networkPolicy": {"engines": {"from": [named]}}})
    for engine in world.engines:
        reached = {pod.namespace for pod in world.strangers() if reaches(world.policies, pod, engine, ENGINE_PORT)}
        assert reached == {"monitoring"}


def test_the_charts_own_policies_leave_the_api_open_and_nothing_else() -> None:
    """Demand, metrics and health only from the release and where metrics are scraped; clients reach the API."""
    world = World({"networkPolicy": {"enabled": True}})
    outside = [pod for pod in world.strangers() if pod.namespace not in (RELEASE, "monitoring")]
    assert outside
    for pod in outside:
        assert reaches(world.policies, pod, world.gateway, 8080)
        assert not reaches(world.policies, pod, world.gateway, 9090)
        assert not reaches(world.policies, pod, world.operator, 8081)
    for pod in (world.operator, Pod("monitoring", {})):
        assert reaches(world.policies, pod, world.gateway, 9090)
        assert reaches(world.policies, pod, world.operator, 8081)


def test_the_evaluator_refuses_what_it_should() -> None:
    """By hand: no policy lets all in, one without rules nobody, a bare podSelector only its own namespace's pods."""
    target, near, far = Pod("a", {"x": "1"}), Pod("a", {"y": "1"}), Pod("b", {"y": "1"})
    policy: Json = {"metadata": {"namespace": "a"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    assert reaches([], far, target, 1)
    assert not reaches([dict(policy)], near, target, 1)
    rule = {"from": [{"podSelector": {"matchExpressions": [{"key": "y", "operator": "In", "values": ["1"]}]}}]}
    own = {**policy, "spec": {**policy["spec"], "ingress": [rule]}}
    assert reaches([own], near, target, 1)
    assert not reaches([own], far, target, 1)
    assert not reaches([own], target, target, 1)

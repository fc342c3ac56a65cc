"""Who reaches engines: the release's own pods, and namespaces that were named."""

from overspill_operator.core.engine_access import EngineAccess


def test_only_the_releases_pods_reach_an_engine() -> None:
    """By their namespace's name and their label, on the engine's port alone."""
    spec = EngineAccess("overspill-system").spec({"overspill.dev/route": "a"})
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["podSelector"] == {"matchLabels": {"overspill.dev/route": "a"}}
    (rule,) = spec["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "overspill-system"}
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/part-of": "overspill"}
    assert rule["ports"] == [{"port": 8000, "protocol": "TCP"}]


def test_further_namespaces_are_let_in_by_label() -> None:
    """Such as Prometheus' own."""
    spec = EngineAccess("overspill-system", ({"team": "ops"},)).spec({"a": "b"})
    assert {"namespaceSelector": {"matchLabels": {"team": "ops"}}} in spec["ingress"][0]["from"]

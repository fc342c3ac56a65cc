"""Who reaches engines: the release's own pods, and namespaces that were named."""

import pytest

from overspill_operator.core.engine_access import EngineAccess, KeySenders, asks_for_key
from overspill_operator.core.plan import plan_route
from unit.operator_.core.builders import Json, objects, route, world

ENGINE = "selfHosted: {source: hf://a/b, profile: cpu}"


def engine(*, has_key: bool) -> Json:
    """The route's Deployment as an operator has made it, of a version with keys or from before."""
    plan = plan_route(route(ENGINE), world(engine_keys=("key",) if has_key else ()))
    deployment = objects(plan).deployment
    assert deployment is not None
    return deployment


@pytest.mark.parametrize("senders", KeySenders)
def test_an_engine_that_asks_for_its_key_goes_on_doing_so(senders: KeySenders) -> None:
    """Whoever comes: taking the key away would roll it and open it."""
    assert asks_for_key(engine(has_key=True), senders)


def test_an_engine_from_before_keys_asks_once_every_gateway_sends_them() -> None:
    """Until then an upgrade's old gateways would get 401 from it."""
    asks = {senders for senders in KeySenders if asks_for_key(engine(has_key=False), senders)}
    assert asks == {KeySenders.ALL}


def test_a_new_engine_asks_from_the_start_unless_an_old_gateway_is_there() -> None:
    """One that is not heard, or not there yet, is no reason: it is of this version."""
    assert {senders for senders in KeySenders if asks_for_key(None, senders)} == {KeySenders.ALL, KeySenders.UNKNOWN}


def test_gateways_are_given_the_key_before_an_engine_asks_for_it() -> None:
    """So that those of the new version have it by the time the last old one has gone."""
    before = engine(has_key=False)
    seen = world(engine_keys=("key",), live_engine=before, key_senders=KeySenders.NOT_ALL)
    plan = plan_route(route(ENGINE), seen)
    deployment = objects(plan).deployment
    assert deployment is not None
    assert deployment["spec"]["template"] == before["spec"]["template"]
    assert plan.document is not None
    assert b'"api_keys":["key"]' in plan.document


def test_only_the_releases_pods_reach_an_engine() -> None:
    """By their namespace's name and their label, on the engine's port alone."""
    spec = EngineAccess("overspill-system").spec({"overspill.dev/route": "a"})
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["podSelector"] == {"matchLabels": {"overspill.dev/route": "a"}}
    (rule,) = spec["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "overspill-system"}
    assert peer["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/part-of": "overspill",
        "app.kubernetes.io/component": "gateway",
    }
    assert rule["ports"] == [{"port": 8000, "protocol": "TCP"}]


def test_further_namespaces_are_let_in_by_label() -> None:
    """Such as Prometheus' own."""
    spec = EngineAccess("overspill-system", ({"team": "ops"},)).spec({"a": "b"})
    assert {"namespaceSelector": {"matchLabels": {"team": "ops"}}} in spec["ingress"][0]["from"]

"""The spec in force is what was kept, for the route that it was kept for."""

import pytest

from overspill_operator.core.in_force import accepted_spec, last_good
from unit.operator_.core.builders import raw_route, route

FULL = """
model: m
selfHosted: {source: hf://a/b, profile: cpu, podTemplate: {spec: {nodeSelector: {a: b}}}, cache: {size: 1Gi}}
scaling: {minReplicas: 1, maxReplicas: 3, idleAfter: 7m, windows: [{name: w, from: "00:00", to: "01:00", timeZone: UTC,
  minReplicas: 2}]}
hosted: [{name: a, baseURL: "https://x.test", model: m, price: {input: "1", output: "2"}}]
"""


def test_a_spec_comes_back_as_it_was() -> None:
    """Every field, with the generation that it was in force at."""
    good, broken = route(FULL), route("{selfHosted: {source: ftp://x, profile: cpu}}")
    back = last_good(broken, accepted_spec(good))
    assert back is not None
    assert back.spec == good.spec
    assert back.meta.generation == good.meta.generation
    assert accepted_spec(back) == accepted_spec(good)


def test_a_spec_of_a_deleted_route_is_not_in_force() -> None:
    """A route made again under the same name begins anew."""
    kept = accepted_spec(route(FULL, namespace="elsewhere"))
    assert last_good(route(FULL), kept) is None


@pytest.mark.parametrize("kept", [None, b"", b"{", b"[]", b"{}", b'{"uid": "uid-of-chat-tiny"}', b"\xff"])
def test_what_cannot_be_read_is_not_in_force(kept: bytes | None) -> None:
    """Whoever wrote it."""
    assert last_good(route(FULL), kept) is None


def test_a_spec_whose_rules_have_changed_is_not_in_force() -> None:
    """A newer version may refuse what an older one took."""
    kept = accepted_spec(route(FULL)).replace(b"hf://a/b", b"ftp://a/b")
    assert raw_route(FULL)["spec"]["selfHosted"]["source"] == "hf://a/b"
    assert last_good(route(FULL), kept) is None

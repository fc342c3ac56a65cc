"""One model name, one route."""

from overspill_operator.core.conflicts import lost_names, owner
from unit.operator_.core.builders import route

SPEC = "{model: shared, aliases: [a, b], hosted: [{name: x, baseURL: 'https://x.test', model: m}]}"


def test_the_oldest_keeps_the_name() -> None:
    """Then the namespace, then the name decides, so that every look finds the same owner."""
    young = route(SPEC, name="aa", created="2026-02-01T00:00:00Z")
    old = route(SPEC, name="zz", created="2026-01-01T00:00:00Z")
    twin = route(SPEC, name="yy", created="2026-01-01T00:00:00Z")
    elsewhere = route(SPEC, name="zzz", namespace="alpha", created="2026-01-01T00:00:00Z")
    assert owner([young, old]) is old
    assert owner([old, twin]) is twin
    assert owner([old, twin, elsewhere]) is elsewhere


def test_only_names_that_another_keeps_are_lost() -> None:
    """Names nobody else claims are kept."""
    old = route("{model: b, hosted: [{name: x, baseURL: 'https://x.test', model: m}]}", name="old")
    young = route(SPEC, name="young", created="2026-02-01T00:00:00Z")
    claims = {"shared": [young], "a": [young], "b": [old, young]}
    assert lost_names(young, claims) == {"b": old}
    assert lost_names(old, claims) == {}

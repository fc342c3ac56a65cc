"""A consumer of another namespace needs the consent of the route that it names, and is told where that is missing."""

import pytest

from overspill_operator.core.compile import compile_route
from overspill_operator.core.consent import allows, namespaces_named, refused_references, statement
from overspill_operator.core.objects import ConsumerObject, RouteObject, read_consumer
from unit.operator_.core.builders import raw_route, route

HOSTED = "hosted: [{name: o, baseURL: 'https://x.test/v1', model: m}]"


def theirs(allowed: str = "[]", name: str = "a") -> RouteObject:
    """A route of team-a."""
    return route(f"{{{HOSTED}, allowedConsumers: {allowed}}}", namespace="team-a", name=name)


def ours(routes: str) -> ConsumerObject:
    """A consumer ``b`` of team-b."""
    return read_consumer(raw_route(f"{{routes: {routes}}}", name="b", namespace="team-b"))


@pytest.mark.parametrize(
    ("allowed", "may"),
    [
        ("[]", False),
        ("[{namespace: team-b}]", True),
        ("[{namespace: team-b, name: b}]", True),
        ("[{namespace: '*'}]", True),
        ("[{namespace: '*', name: b}]", True),
        ("[{namespace: team-b, name: c}, {namespace: team, name: b}]", False),
    ],
)
@pytest.mark.parametrize("named", ["[{name: '*', namespace: team-a}]", "[{name: a, namespace: team-a}]"])
def test_consent(allowed: str, may: object, named: str) -> None:
    """By namespace, by name, for everybody; a consumer that names all routes of a namespace needs it as well."""
    consumer, owned = ours(named), theirs(allowed)
    assert consumer.spec is not None
    assert allows(owned, "team-b", "b") is may
    refused = refused_references(consumer, consumer.spec, lambda _: [owned])
    assert bool(refused) is not may
    said = statement(consumer, refused)
    assert said is not None
    assert said.status.value == str(may)
    if not may:
        assert "team-a/" in said.message
        assert "{namespace: team-b, name: b}" in said.message


def test_what_is_missing_is_told_alike_whether_the_route_is_there() -> None:
    """Nobody learns by it what other namespaces hold."""
    consumer = ours("[{name: a, namespace: team-a}]")
    assert consumer.spec is not None
    without = statement(consumer, refused_references(consumer, consumer.spec, lambda _: []))
    assert without == statement(consumer, refused_references(consumer, consumer.spec, lambda _: [theirs()]))


def test_the_own_namespace_needs_no_consent() -> None:
    """Nor is anything said of it."""
    consumer = ours("[{name: '*'}, {name: x, namespace: team-b}]")
    assert consumer.spec is not None
    assert namespaces_named(consumer) == frozenset()
    assert refused_references(consumer, consumer.spec, lambda _: []) == []
    assert statement(consumer, []) is None


def test_the_routes_document_carries_its_consent() -> None:
    """So that whichever comes first, the gateways let nobody in whom the route does not allow."""
    for allowed, compiled in (("[]", ()), ("[{namespace: team-b}, {namespace: c, name: d}]", ("team-b/*", "c/d"))):
        owned = theirs(allowed)
        assert owned.spec is not None
        document = compile_route(owned.meta, owned.spec, api_keys={"o": None}, may_wake=True)
        assert document.allowed_consumers == compiled

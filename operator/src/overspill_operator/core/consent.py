"""Consumers that name routes of other namespaces: which of these allow it, and how that is told.

The gateways hold to it by the route's own document, so nothing here is a matter of time. What is told does not say
whether a route of another namespace exists.
"""

from collections.abc import Callable, Iterable

from overspill_api.access import AllowedConsumer
from overspill_api.consumer import ConsumerSpec, RouteReference
from overspill_api.status import ConditionType
from overspill_operator.core.conditions import Statement, false, true
from overspill_operator.core.objects import ConsumerObject, RouteObject

ANY = "*"


def allows(route: RouteObject, consumer_namespace: str, consumer_name: str) -> bool:
    """Whether a route lets a consumer call it that names it."""
    if route.meta.namespace == consumer_namespace:
        return True
    allowed: list[AllowedConsumer] = route.spec.allowed_consumers if route.spec else []
    return any(entry.namespace in (ANY, consumer_namespace) and entry.name in (ANY, consumer_name) for entry in allowed)


def namespaces_named(consumer: ConsumerObject) -> frozenset[str]:
    """Other namespaces whose routes it names."""
    if consumer.spec is None:
        return frozenset()
    return frozenset(
        reference.namespace
        for reference in consumer.spec.routes
        if reference.namespace and reference.namespace != consumer.meta.namespace
    )


def refused_references(
    consumer: ConsumerObject, spec: ConsumerSpec, routes_of: Callable[[str], Iterable[RouteObject]]
) -> list[RouteReference]:
    """References to other namespaces that no route there allows. ``routes_of``: the routes of a namespace."""
    meta, elsewhere = consumer.meta, namespaces_named(consumer)
    allowing = {
        namespace: {route.meta.name for route in routes_of(namespace) if allows(route, meta.namespace, meta.name)}
        for namespace in elsewhere
    }
    return [
        reference
        for reference in spec.routes
        if reference.namespace in elsewhere
        and not (
            allowing[reference.namespace] if reference.name == ANY else {reference.name} & allowing[reference.namespace]
        )
    ]


def statement(consumer: ConsumerObject, refused: list[RouteReference]) -> Statement | None:
    """RoutesAllowed; None where the consumer names its own namespace's routes only."""
    if not namespaces_named(consumer):
        return None
    kind, meta = ConditionType.ROUTES_ALLOWED, consumer.meta
    if not refused:
        return true(kind, "Allowed", "Routes of other namespaces that spec.routes names allow this consumer.")
    named = ", ".join(f"{reference.namespace}/{reference.name}" for reference in refused)
    return false(
        kind,
        "NotAllowed",
        f"spec.routes names {named}, and no ModelRoute there allows this consumer. Ask whoever owns it to add "
        f"{{namespace: {meta.namespace}, name: {meta.name}}} to its spec.allowedConsumers, or take it off spec.routes.",
    )

"""ModelRoutes and Consumers that exist, as Kopf reports them, and who claims which model name."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from overspill_operator.core.conflicts import lost_names
from overspill_operator.core.consent import namespaces_named
from overspill_operator.core.json_object import Json
from overspill_operator.core.objects import ConsumerObject, RouteObject, read_consumer, read_route

logger = logging.getLogger(__name__)


KIND = "ModelRoute"


class Routes:
    """All ModelRoutes."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        """``on_change`` gets the keys of routes that must be reconciled: the one that changed and its rivals."""
        self._on_change = on_change
        self._routes: dict[str, RouteObject] = {}
        self._claims: dict[str, dict[str, RouteObject]] = {}
        self._claimed: dict[str, frozenset[str]] = {}
        self._in_force: dict[str, frozenset[str]] = {}
        self._leaving: set[str] = set()
        self._writing: set[str] = set()
        self._uids: set[str] = set()
        self.unread: frozenset[str] = frozenset()
        """Namespaces whose routes may not be listed now: what was made of them stays as it is."""

    def get(self, key: str) -> RouteObject | None:
        """The route, or None where there is none (any more)."""
        return self._routes.get(key)

    def __iter__(self) -> Iterator[RouteObject]:
        """All routes, as they are now."""
        return iter(tuple(self._routes.values()))

    def of(self, namespace: str) -> list[RouteObject]:
        """The routes of a namespace."""
        return [route for route in self._routes.values() if route.meta.namespace == namespace]

    def uids(self) -> set[str]:
        """Identities of all routes."""
        return self._uids

    def put(self, raw: Json) -> None:
        """A route is there, new or changed. Echoes of what was written here are not news."""
        key = f"{raw['metadata'].get('namespace', '')}/{raw['metadata']['name']}"
        before = self._routes.get(key)
        route = read_route(raw, before)
        if route.meta.deleting:
            # Whether it takes its engine along is Kubernetes' to say, until it is really gone.
            self.remove(key, route.meta.uid)
            self._leaving.add(route.meta.uid)
            return
        self._routes[key] = route
        if before is not None:
            self._uids.discard(before.meta.uid)
        self._uids.add(route.meta.uid)
        if before is None or before.meta.uid != route.meta.uid or before.meta.generation != route.meta.generation:
            self._claim(key, route)
            self._on_change(key)
        elif before.status != route.status and key not in self._writing:
            self._on_change(key)

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:
        """While a status is written here: Kopf often tells of it before the write's own answer is there."""
        self._writing.add(key)
        try:
            yield
        finally:
            self._writing.discard(key)

    def wrote(self, raw: Json) -> None:
        """Take the API server's answer to a write of status."""
        key = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
        before = self._routes.get(key)
        if before is not None and before.meta.uid == raw["metadata"]["uid"]:
            route = read_route(raw, before)
            if route.meta.generation == before.meta.generation:
                self._routes[key] = route

    def remove(self, key: str, uid: str) -> None:
        """A route is gone."""
        route = self._routes.get(key)
        if route is not None and route.meta.uid == uid:
            del self._routes[key]
            self._uids.discard(uid)
            self._claim(key, None)
        self._leaving.discard(uid)
        self._on_change(key)

    def is_orphan(self, live: Json | None) -> bool:
        """Whether an object was made of a route that is gone; one that was let go of its owner is nobody's."""
        owners = [o["uid"] for o in (live or {}).get("metadata", {}).get("ownerReferences") or () if o["kind"] == KIND]
        return bool(owners) and not any(uid in self._uids or uid in self._leaving for uid in owners)

    def lost_names(self, route: RouteObject) -> dict[str, RouteObject]:
        """Names that ``route`` claims and an older one keeps, because it wants them or its document has them still."""
        return lost_names(route, {name: self._claims.get(name, {}).values() for name in route.names})

    def note_in_force(self, key: str, names: frozenset[str]) -> None:
        """Take note of the model names in a route's compiled document: it holds them, whatever its spec says now."""
        if names == self._in_force.get(key, frozenset()):
            return
        self._in_force[key] = names
        if not names:
            del self._in_force[key]
        if key in self._routes:
            self._claim(key, self._routes[key])

    def _claim(self, key: str, route: RouteObject | None) -> None:
        """Put down what a route claims, and tell the rivals; None: it is gone."""
        before = self._claimed.pop(key, frozenset())
        names = frozenset(route.names) | self._in_force.get(key, frozenset()) if route else frozenset()
        for name in before | names:
            claimants = self._claims.setdefault(name, {})
            claimants.pop(key, None)
            for rival in claimants:
                self._on_change(rival)
            if route and name in names:
                claimants[key] = route
            if not claimants:
                del self._claims[name]
        if names:
            self._claimed[key] = names


class Consumers:
    """All Consumers."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        """``on_change`` gets the keys of consumers that must be reconciled."""
        self._on_change = on_change
        self._consumers: dict[str, ConsumerObject] = {}
        self._naming: dict[str, set[str]] = {}
        self.unread: frozenset[str] = frozenset()
        """Namespaces whose consumers may not be listed now: what was made of them stays as it is."""

    def get(self, key: str) -> ConsumerObject | None:
        """The consumer, or None where there is none (any more)."""
        return self._consumers.get(key)

    def __iter__(self) -> Iterator[ConsumerObject]:
        """All consumers, as they are now."""
        return iter(tuple(self._consumers.values()))

    def naming(self, namespace: str) -> tuple[str, ...]:
        """Keys of consumers of other namespaces that name routes of this one."""
        return tuple(self._naming.get(namespace, ()))

    def uids(self) -> set[str]:
        """Identities of all consumers."""
        return {consumer.meta.uid for consumer in self._consumers.values()}

    def put(self, raw: Json) -> None:
        """A consumer is there, new or changed."""
        key = f"{raw['metadata'].get('namespace', '')}/{raw['metadata']['name']}"
        before = self._consumers.get(key)
        consumer = read_consumer(raw, before)
        if consumer.meta.deleting:
            self.remove(key, consumer.meta.uid)
            return
        self._consumers[key] = consumer
        self._index(before, consumer)
        if before is None or (before.meta.uid, before.meta.generation, before.status) != (
            consumer.meta.uid,
            consumer.meta.generation,
            consumer.status,
        ):
            self._on_change(key)

    def wrote(self, raw: Json) -> None:
        """Take the API server's answer to a write of status."""
        key = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
        before = self._consumers.get(key)
        if before is not None and before.meta.generation == raw["metadata"]["generation"]:
            self._consumers[key] = read_consumer(raw, before)

    def remove(self, key: str, uid: str) -> None:
        """A consumer is gone."""
        consumer = self._consumers.get(key)
        if consumer is not None and consumer.meta.uid == uid:
            del self._consumers[key]
            self._index(consumer, None)
        self._on_change(key)

    def _index(self, before: ConsumerObject | None, after: ConsumerObject | None) -> None:
        for namespace in namespaces_named(before) if before else ():
            self._naming.get(namespace, set()).discard(before.key if before else "")
        for namespace in namespaces_named(after) if after else ():
            self._naming.setdefault(namespace, set()).add(after.key if after else "")

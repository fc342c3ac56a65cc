"""Who may call what: API keys to consumers, consumers to routes. Not here: where documents come from."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from overspill_api.compiled import CompiledConsumer, ConsumerLimitRules
from overspill_api.keys import ID_LENGTH, KEY_PREFIX, SECRET_LENGTH_MAX, SECRET_LENGTH_MIN

_ID_START: Final = len(KEY_PREFIX) + 1
_ID_END: Final = _ID_START + ID_LENGTH
_KEY_BYTES_MIN: Final = _ID_END + 1 + SECRET_LENGTH_MIN
_KEY_BYTES_MAX: Final = _ID_END + 1 + SECRET_LENGTH_MAX
_NO_HASH: Final = "0" * 64
_NO_LIMITS: Final = ConsumerLimitRules()


@dataclass(frozen=True, slots=True)
class Grant:
    """What one consumer may call."""

    consumer: str
    """``namespace/name`` of the Consumer."""
    routes: frozenset[str]
    """Routes by ``namespace/name``."""
    namespaces: frozenset[str]
    """Namespaces of which it may call every route."""
    limits: ConsumerLimitRules = _NO_LIMITS
    """Of this consumer, over all routes together."""
    priority: int = 0
    """A higher one leaves the waiting queue first."""

    def allows(self, route_key: str, route_namespace: str) -> bool:
        """Whether this consumer may call a route."""
        return route_namespace in self.namespaces or route_key in self.routes


class KeyRing:
    """All keys that let someone in. Immutable: a change of consumers makes a new ring."""

    def __init__(self, pepper: bytes, consumers: Iterable[CompiledConsumer]) -> None:
        self._keyed = hmac.new(pepper, digestmod=sha256)
        self._grants: dict[bytes, tuple[str, Grant]] = {}
        for consumer in consumers:
            grant = grant_of(consumer)
            for key in consumer.keys:
                self._grants[key.id.encode()] = (key.hash, grant)
        self._nobody = Grant("", frozenset(), frozenset())

    def check(self, authorization: bytes) -> Grant | None:
        """The grant of an Authorization header, or None: one path and one comparison whatever is wrong with it."""
        scheme, _, key = authorization.partition(b" ")
        key = key.strip()
        key_id = key[_ID_START:_ID_END]
        expected, grant = self._grants.get(key_id, (_NO_HASH, self._nobody))
        keyed = self._keyed.copy()
        keyed.update(key)
        right = hmac.compare_digest(keyed.hexdigest(), expected)
        formed = scheme.lower() == b"bearer" and _KEY_BYTES_MIN <= len(key) <= _KEY_BYTES_MAX
        return grant if right and formed and grant is not self._nobody else None


def grant_of(consumer: CompiledConsumer) -> Grant:
    """What a compiled consumer may call."""
    exact = frozenset(route for route in consumer.routes if not route.endswith("/*"))
    namespaces = frozenset(route[:-2] for route in consumer.routes if route.endswith("/*"))
    name = f"{consumer.namespace}/{consumer.name}"
    return Grant(name, exact, namespaces, consumer.limits, consumer.priority)

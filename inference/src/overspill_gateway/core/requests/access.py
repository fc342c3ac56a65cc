"""Who may call what: API keys to consumers, consumers to routes. Not here: where documents come from."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from overspill_api.compiled import CompiledConsumer, ConsumerLimitRules
from overspill_api.keys import ID_LENGTH, KEY_PREFIX, SECRET_LENGTH_MAX, SECRET_LENGTH_MIN
from overspill_gateway.core.http.head import Head

_ID_START: Final = len(KEY_PREFIX) + 1
_ID_END: Final = _ID_START + ID_LENGTH
_KEY_BYTES_MIN: Final = _ID_END + 1 + SECRET_LENGTH_MIN
_KEY_BYTES_MAX: Final = _ID_END + 1 + SECRET_LENGTH_MAX
KEY_FIELDS: Final = frozenset({b"x-api-key", b"api-key"})
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
    opens_all: bool = False
    """Whether it may call every route there is: where no key is asked for."""

    def allows(self, route_key: str, route_namespace: str, allowed: tuple[str, ...] | None = None) -> bool:
        """Whether this consumer may call a route; of another namespace only where the route allows it.

        ``allowed``: see ``CompiledRoute.allowed_consumers``.
        """
        if self.opens_all:
            return True
        if route_namespace not in self.namespaces and route_key not in self.routes:
            return False
        if allowed is None or self.consumer.startswith(f"{route_namespace}/"):
            return True
        home = self.consumer.partition("/")[0]
        return self.consumer in allowed or f"{home}/*" in allowed or "*/*" in allowed


class KeyRing:
    """All keys that let someone in. Immutable: a change of consumers makes a new ring."""

    def __init__(self, pepper: bytes, consumers: Iterable[CompiledConsumer], without_key: Grant | None = None) -> None:
        """``without_key``: what a request with no known key opens; None: nothing."""
        self._without_key = without_key
        self._keyed = hmac.new(pepper, digestmod=sha256)
        self._grants: dict[bytes, list[tuple[str, Grant]]] = {}
        # The oldest first: whoever writes another's key into a Consumer of their own later gets nothing by it.
        for consumer in sorted(consumers, key=lambda owner: (owner.created, owner.namespace, owner.name)):
            grant = grant_of(consumer)
            for key in consumer.keys:
                self._grants.setdefault(key.id.encode(), []).append((key.hash, grant))
        self._unknown = [(_NO_HASH, Grant("", frozenset(), frozenset()))]

    def check(self, authorization: bytes) -> Grant | None:
        """The grant of an Authorization header, or what is open without a key: one path, whatever is wrong with it.

        Where several consumers have keys of one id, which anyone may write, each is compared: none hides another.
        """
        scheme, _, key = authorization.partition(b" ")
        key = key.strip()
        key_id = key[_ID_START:_ID_END]
        keyed = self._keyed.copy()
        keyed.update(key)
        digest = keyed.hexdigest()
        grants = self._grants.get(key_id, self._unknown)
        right = [grant for expected, grant in grants if hmac.compare_digest(digest, expected)]
        formed = scheme.lower() == b"bearer" and _KEY_BYTES_MIN <= len(key) <= _KEY_BYTES_MAX
        return right[0] if right and formed and grants is not self._unknown else self._without_key


def credential_of(head: Head) -> bytes | None:
    """The key that a request came with, as in Authorization: ``Bearer ...``; empty: none, None: different ones.

    Anthropic's clients and Azure's send it in fields of their own. Two keys are a way to be two people.
    """
    authorization = head.authorization
    fields = [header for header in head.headers if header[0] in KEY_FIELDS and header[1]]
    if not fields:
        return authorization
    keys = {value for _, value in fields}
    if authorization:
        scheme, _, key = authorization.partition(b" ")
        keys.add(key.strip() if scheme.lower() == b"bearer" else authorization)
    same_field_twice = len({name for name, _ in fields}) < len(fields)
    return b"Bearer " + fields[0][1] if len(keys) == 1 and not same_field_twice else None


def grant_of(consumer: CompiledConsumer) -> Grant:
    """What a compiled consumer may call."""
    exact = frozenset(route for route in consumer.routes if not route.endswith("/*"))
    namespaces = frozenset(route[:-2] for route in consumer.routes if route.endswith("/*"))
    name = f"{consumer.namespace}/{consumer.name}"
    return Grant(name, exact, namespaces, consumer.limits, consumer.priority)

"""Consumers as the commands change them: pure functions from one object to the next, and what they say about it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from overspill_api.names import API_VERSION
from overspill_cli.errors import CommandError

KEYS_MAX: Final = 16
"""Keys that one Consumer may hold; the CRD says the same."""
EVERY_ROUTE: Final = {"name": "*"}

Object = Mapping[str, Any]
Spec = dict[str, Any]


def new_consumer(name: str, namespace: str, key: Mapping[str, str], routes: Iterable[str]) -> dict[str, Any]:
    """Make a Consumer with one key. Without routes it may call every route of its namespace."""
    spec: Spec = {"keys": [dict(key)]}
    references = [reference(route) for route in routes]
    if references:
        spec["routes"] = references
    return {
        "apiVersion": API_VERSION,
        "kind": "Consumer",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def reference(route: str) -> dict[str, str]:
    """Read ``NAME`` or ``NAMESPACE/NAME`` as a reference to a route."""
    namespace, slash, name = route.rpartition("/")
    return {"namespace": namespace, "name": name} if slash else {"name": name}


def with_key(consumer: Object, key: Mapping[str, str], routes: Iterable[str]) -> Spec:
    """Add a key, and routes that the consumer may not call yet; gives the part of the spec that changes."""
    spec = consumer.get("spec", {})
    keys = [*spec.get("keys", []), dict(key)]
    if len(keys) > KEYS_MAX:
        name = consumer["metadata"]["name"]
        raise CommandError(f"Consumer {name} has {KEYS_MAX} keys, the most there may be: revoke one of them first")
    change: Spec = {"keys": keys}
    present = spec.get("routes", [EVERY_ROUTE])
    added = [
        wanted for wanted in map(reference, routes) if not may_call(present, wanted, consumer["metadata"]["namespace"])
    ]
    if added:
        change["routes"] = [*present, *added]
    return change


def may_call(routes: Iterable[Mapping[str, str]], wanted: Mapping[str, str], home: str) -> bool:
    """Whether the routes of a consumer in namespace ``home`` cover this one."""
    namespace = wanted.get("namespace", home)
    return any(route.get("namespace", home) == namespace and route["name"] in ("*", wanted["name"]) for route in routes)


def without_key(consumer: Object, key_id: str) -> Spec:
    """Take a key away; gives the part of the spec that changes."""
    keys = consumer.get("spec", {}).get("keys", [])
    rest = [key for key in keys if key["id"] != key_id]
    if len(rest) == len(keys):
        name = consumer["metadata"]["name"]
        ids = ", ".join(key["id"] for key in keys) or "none"
        raise CommandError(f"Consumer {name} has no key {key_id}; its keys: {ids}")
    return {"keys": rest}


def as_table(consumers: Iterable[Object]) -> list[str]:
    """Write one line for each key, for people."""
    rows = [("NAMESPACE", "CONSUMER", "KEY", "ROUTES", "SUSPENDED")]
    for consumer in consumers:
        metadata, spec = consumer["metadata"], consumer.get("spec", {})
        routes = ",".join(
            f"{route['namespace']}/{route['name']}" if "namespace" in route else route["name"]
            for route in spec.get("routes", [EVERY_ROUTE])
        )
        suspended = "yes" if spec.get("suspended") else "no"
        ids = [key["id"] for key in spec.get("keys", [])] or ["-"]
        rows += [(metadata["namespace"], metadata["name"], key_id, routes, suspended) for key_id in ids]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

"""What ``overspill keys`` does, over any cluster. Results go to standard output, hints to standard error."""

import secrets
import sys
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from overspill_api.consumer import RouteReference
from overspill_api.keys import RandomSource, key_hash, new_key, parse_key
from overspill_api.quantities import ConsumerName, DnsLabel, ObjectName
from overspill_cli import consumers
from overspill_cli.cluster import Cluster
from overspill_cli.errors import CommandError
from overspill_cli.pepper import WAIT_SECONDS, read_pepper

ROUTES_NAMED_MAX = 12


def create_key(
    cluster: Cluster,
    *,
    name: str,
    namespace: str,
    routes: Sequence[str],
    release_namespace: str,
    pepper_secret: str,
    create_namespace: bool = False,
    wait_seconds: float = WAIT_SECONDS,
    random: RandomSource | None = None,
) -> None:
    """Make a key for a Consumer, which is created if there is none, and print the key."""
    check_names(name, routes)
    check_places(namespace, release_namespace, secret=pepper_secret)
    need_namespace(cluster, namespace, create=create_namespace)
    key = new_key(random or secrets.SystemRandom())
    parsed = parse_key(key)
    if parsed is None:
        raise AssertionError("a new key has the form of a key")
    pepper = read_pepper(cluster, release_namespace, pepper_secret, wait_seconds=wait_seconds)
    entry = {"id": parsed.id, "hash": key_hash(pepper, key)}
    present = cluster.consumer(namespace, name)
    if present is None:
        cluster.create(consumers.new_consumer(name, namespace, entry, routes))
    else:
        cluster.change(namespace, name, lambda consumer: consumers.with_key(consumer, entry, routes))
    print(key)
    did = "Created" if present is None else "Added the key to"
    hint(f"{did} Consumer {name} in namespace {namespace}. The key is shown this once; its id is {parsed.id}.")
    for text in missing_routes(cluster, namespace, routes):
        hint(text)
    if present is not None and present.get("spec", {}).get("suspended"):
        hint("The Consumer is suspended: its keys are refused until spec.suspended is false.")


def need_namespace(cluster: Cluster, namespace: str, *, create: bool) -> None:
    """Make a namespace that is not there, or say how it is made. Raises CommandError."""
    if cluster.has_namespace(namespace) is not False:
        return
    if not create:
        raise CommandError(
            f"there is no namespace {namespace}: make it with kubectl create namespace {namespace}, or say "
            "--create-namespace; with --namespace another one is taken"
        )
    cluster.create_namespace(namespace)
    hint(f"Created namespace {namespace}.")


def missing_routes(cluster: Cluster, home: str, routes: Sequence[str]) -> list[str]:
    """A hint for each route that is named and is not there: a slip of the finger, or one that is made later."""
    hints = []
    for route in routes:
        reference = consumers.reference(route)
        namespace = reference.get("namespace", home)
        there = cluster.route_names(namespace)
        if there is None or reference["name"] == "*" or reference["name"] in there:
            continue
        names = ", ".join(sorted(there)[:ROUTES_NAMED_MAX]) or "none"
        hints.append(
            f"There is no ModelRoute {reference['name']} in namespace {namespace}: the key opens it once there is. "
            f"ModelRoutes there: {names}."
        )
    return hints


def list_keys(cluster: Cluster, namespace: str | None) -> None:
    """Print Consumers and the ids of their keys."""
    check_places(namespace)
    for line in consumers.as_table(cluster.consumers(namespace)):
        print(line)


def revoke_key(cluster: Cluster, *, name: str, namespace: str, key: str) -> None:
    """Take a key away from a Consumer."""
    check_names(name, ())
    check_places(namespace)
    parsed = parse_key(key)
    key_id = parsed.id if parsed else key
    cluster.change(namespace, name, lambda consumer: consumers.without_key(consumer, key_id))
    hint(f"Revoked key {key_id} of Consumer {name} in namespace {namespace}.")


def check_names(name: str, routes: Sequence[str]) -> None:
    """Refuse names that the API server would refuse, in fewer words."""
    try:
        TypeAdapter[str](ConsumerName).validate_python(name)
        for route in routes:
            RouteReference.model_validate(consumers.reference(route))
    except ValidationError as error:
        raise CommandError("; ".join(detail["msg"] for detail in error.errors())) from error


def check_places(*namespaces: str | None, secret: str | None = None) -> None:
    """Refuse what would lead elsewhere as part of a path in the API."""
    try:
        for namespace in namespaces:
            if namespace is not None:
                TypeAdapter[str](DnsLabel).validate_python(namespace)
        if secret is not None:
            TypeAdapter[str](ObjectName).validate_python(secret)
    except ValidationError as error:
        raise CommandError("; ".join(detail["msg"] for detail in error.errors())) from error


def hint(text: str) -> None:
    """Say something that is no result."""
    print(text, file=sys.stderr)

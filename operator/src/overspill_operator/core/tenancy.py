"""Whose a namespace is, where several releases are in one cluster. Not how that is written down.

A release is known by its own namespace. It has all namespaces, or those that it was given. Of two releases that want
the same, the one whose Lease was made first has it, however long it has been away: a release that is only slow, or
scaled to zero for a night, must not come back to find its engines changed by another one. Deleting its Lease, as
uninstalling does, gives its namespaces up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from overspill_api.names import GROUP

LEASE_NAME = "overspill-operator"
"""The Lease in a release's own namespace by which its operators elect their leader."""

CLAIM_NAME = "overspill-release"
"""The Lease in a namespace with ModelRoutes that says which release's they are."""

ANNOTATION_WATCHED = f"{GROUP}/watched-namespaces"
"""On the first: namespaces of the release, comma-separated; without it all."""

NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class Release:
    """A release as its Lease tells of it."""

    namespace: str
    """The release's own namespace."""
    watched: tuple[str, ...]
    """Namespaces that are its; none: all."""
    since: str
    """When its Lease was made, RFC 3339 in UTC; empty: it has none yet."""


def read_release(lease: Mapping[str, Any]) -> Release:
    """The release whose leader's Lease this is."""
    meta = lease["metadata"]
    watched = ((meta.get("annotations") or {}).get(ANNOTATION_WATCHED) or "").split(",")
    return Release(meta["namespace"], tuple(filter(None, watched)), meta.get("creationTimestamp") or "")


def shared(one: Release, other: Release) -> str:
    """What both want, for a person; empty: nothing."""
    if not one.watched and not other.watched:
        return "all namespaces"
    both = set(one.watched) & set(other.watched) if one.watched and other.watched else {*one.watched, *other.watched}
    names = sorted(both)
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return f"namespace {', '.join(names[:NAMED_MAX])}{more}" if names else ""


def hindrance(own: Release, leases: Iterable[Mapping[str, Any]]) -> str:
    """Why ``own`` must not lead, judged by the leaders' Leases of all releases; empty: it may."""
    for lease in leases:
        other = read_release(lease)
        if other.namespace == own.namespace or (own.since and _age(own) < _age(other)):
            continue
        what = shared(own, other)
        if what:
            return (
                f"the release in namespace {other.namespace} has {what}, and was there first: give each release "
                "namespaces of its own (operator.watchNamespaces), or uninstall one of them. If that one is gone for "
                f"good: kubectl -n {other.namespace} delete lease {LEASE_NAME}"
            )
    return ""


def holder(claim: Mapping[str, Any] | None) -> str:
    """The release that a namespace's claim names by its own namespace; empty: none."""
    return ((claim or {}).get("spec") or {}).get("holderIdentity") or ""


def claimed_by(namespace: str, release: str) -> str:
    """Why a namespace is left alone, for a person."""
    return (
        f"namespace {namespace} belongs to the release in namespace {release}: its ModelRoutes and Consumers are left "
        f"alone here. If that release is gone for good: kubectl -n {namespace} delete lease {CLAIM_NAME}"
    )


def _age(release: Release) -> tuple[str, str]:
    return release.since, release.namespace

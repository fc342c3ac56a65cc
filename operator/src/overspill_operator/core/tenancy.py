"""Whose a namespace is, where several releases are in one cluster. Not how that is written down.

A release is known by its own namespace. A namespace belongs to the release that has claimed it first, by a Lease in it,
however long that release has been away: one that is only slow, or scaled to zero for a night, must not come back to
find its engines changed by another one. Deleting the claim, as uninstalling does, gives the namespace up.

A release over all namespaces claims ``kube-system`` before it leads. Nothing else is asked: whoever has rights in a
namespace of his own writes there what he likes, and with it decides about that namespace alone.
"""

from collections.abc import Mapping
from typing import Any

LEASE_NAME = "overspill-operator"
"""The Lease in a release's own namespace by which its operators elect their leader."""

CLAIM_NAME = "overspill-release"
"""The Lease in a namespace that says which release's it is."""

EVERYWHERE = "kube-system"
"""Whose this namespace is, his are all that nobody else has claimed: no team has rights in it."""


def holder(claim: Mapping[str, Any] | None) -> str:
    """The release that a namespace's claim names by its own namespace; empty: none."""
    return ((claim or {}).get("spec") or {}).get("holderIdentity") or ""


def claimed_by(namespace: str, release: str) -> str:
    """Why a namespace is left alone, for a person."""
    return (
        f"namespace {namespace} belongs to the release in namespace {release}: its ModelRoutes and Consumers are left "
        f"alone here. If that release is gone for good: kubectl -n {namespace} delete lease {CLAIM_NAME}"
    )


def all_claimed_by(release: str) -> str:
    """Why a release over all namespaces must not lead, for a person."""
    return (
        f"the release in namespace {release} has all namespaces, and was there first: give each release namespaces of "
        "its own (operator.watchNamespaces), or uninstall one of them. If that one is gone for good: "
        f"kubectl -n {EVERYWHERE} delete lease {CLAIM_NAME}"
    )


def not_allowed(namespace: str, error: str) -> str:
    """Why a namespace that the release was given is left alone, for a person."""
    return (
        f"namespace {namespace} is left alone: {error}. Is it there, and does the operator's account have the chart's "
        "Role in it? Else take it out of operator.watchNamespaces"
    )

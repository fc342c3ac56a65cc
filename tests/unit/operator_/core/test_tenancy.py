"""Whose namespaces are: the release that was there first has them, and the other one is told why it must not lead."""

from typing import Any

import pytest

from overspill_operator.core.tenancy import ANNOTATION_WATCHED, Release, hindrance, holder, shared


def lease(namespace: str, since: str, watched: str = "") -> dict[str, Any]:
    """A leader's Lease."""
    annotations = {ANNOTATION_WATCHED: watched} if watched else {}
    return {"metadata": {"namespace": namespace, "creationTimestamp": since, "annotations": annotations}}


@pytest.mark.parametrize(
    ("own", "other", "what"),
    [
        ((), (), "all namespaces"),
        ((), ("chat",), "namespace chat"),
        (("chat",), (), "namespace chat"),
        (("a", "chat"), ("chat", "b"), "namespace chat"),
        (("a",), ("b",), ""),
        ((), tuple("abcdefg"), "namespace a, b, c, d, e and 2 more"),
    ],
)
def test_what_two_releases_share(own: tuple[str, ...], other: tuple[str, ...], what: str) -> None:
    """All and anything overlap; lists where they have a name in common."""
    assert shared(Release("x", own, ""), Release("y", other, "")) == what


def test_the_first_release_leads_and_the_second_says_why_not() -> None:
    """However often either starts anew: the age of its Lease decides, and one without a Lease is the youngest."""
    leases = [lease("first", "2026-01-01T00:00:00Z"), lease("second", "2026-01-02T00:00:00Z")]

    assert hindrance(Release("first", (), "2026-01-01T00:00:00Z"), leases) == ""
    for since in ("", "2026-01-02T00:00:00Z"):
        reason = hindrance(Release("second", (), since), leases)
        assert "the release in namespace first has all namespaces" in reason
        assert "operator.watchNamespaces" in reason
        assert "kubectl -n first delete lease overspill-operator" in reason


def test_leases_of_one_second_have_one_winner() -> None:
    """The API server tells seconds only: the namespace's name decides among equals, on both sides alike."""
    leases = [lease("a", "2026-01-01T00:00:00Z"), lease("b", "2026-01-01T00:00:00Z")]
    reasons = [hindrance(Release(name, (), "2026-01-01T00:00:00Z"), leases) for name in "ab"]
    assert [bool(reason) for reason in reasons] == [False, True]


def test_releases_with_namespaces_of_their_own_do_not_meet() -> None:
    """Neither hinders the other."""
    leases = [lease("first", "2026-01-01T00:00:00Z", "chat"), lease("second", "2026-01-02T00:00:00Z", "search,mail")]
    assert hindrance(Release("second", ("search", "mail"), "2026-01-02T00:00:00Z"), leases) == ""


def test_the_holder_of_a_claim() -> None:
    """A claim names a release; none, or an empty one, names nobody."""
    assert holder({"spec": {"holderIdentity": "first"}}) == "first"
    assert holder({"spec": {}}) == holder(None) == ""

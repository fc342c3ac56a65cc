"""Whose namespaces are: what a claim says, and what a person is told."""

from overspill_operator.core.tenancy import all_claimed_by, claimed_by, holder, not_allowed


def test_the_holder_of_a_claim() -> None:
    """A claim names a release; none, or an empty one, names nobody."""
    assert holder({"spec": {"holderIdentity": "first"}}) == "first"
    assert holder({"spec": {}}) == holder(None) == ""


def test_who_is_kept_off_is_told_by_whom_and_what_mends_it() -> None:
    """The other release, and the command for one that is gone for good."""
    assert "belongs to the release in namespace first" in claimed_by("chat", "first")
    assert "kubectl -n chat delete lease overspill-release" in claimed_by("chat", "first")
    assert "the release in namespace first has all namespaces" in all_claimed_by("first")
    assert "kubectl -n kube-system delete lease overspill-release" in all_claimed_by("first")
    assert "operator.watchNamespaces" in all_claimed_by("first")
    assert "take it out of operator.watchNamespaces" in not_allowed("gone", "403")

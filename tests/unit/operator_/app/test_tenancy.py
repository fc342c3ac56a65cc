"""Claims on namespaces: nothing is changed where another release was first."""

import pytest

from overspill_operator.app.tenancy import Tenancy
from overspill_operator.ports import ClusterError
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

CLAIM = "/apis/coordination.k8s.io/v1/namespaces/chat/leases/overspill-release"


async def test_a_namespace_belongs_to_who_claims_it_first() -> None:
    """The second release hears whose it is; the first one goes on having it after a restart."""
    cluster = FakeCluster()
    assert await Tenancy(cluster, VirtualClock(), "first", ()).other_holder("chat") == ""
    assert cluster.objects[CLAIM]["spec"] == {"holderIdentity": "first"}

    assert await Tenancy(cluster, VirtualClock(), "second", ()).other_holder("chat") == "first"
    assert await Tenancy(cluster, VirtualClock(), "first", ()).other_holder("chat") == ""


async def test_a_claim_is_asked_for_once() -> None:
    """Of 500 routes in one namespace, one asks the API server."""
    cluster = FakeCluster()
    tenancy = Tenancy(cluster, VirtualClock(), "first", ())
    for _ in range(500):
        await tenancy.other_holder("chat")
    assert len(cluster.calls) <= 2


async def test_a_release_over_anothers_namespace_must_not_lead() -> None:
    """Said by the claim in the namespace, which is all that a release with namespaces of its own may see."""
    cluster = FakeCluster()
    await Tenancy(cluster, VirtualClock(), "first", ()).other_holder("chat")

    reason = await Tenancy(cluster, VirtualClock(), "second", ("chat",)).hindrance()

    assert "namespace chat belongs to the release in namespace first" in reason
    assert await Tenancy(cluster, VirtualClock(), "second", ("search",)).hindrance() == ""


async def test_one_namespace_of_several_keeps_a_release_from_that_one_only(caplog: pytest.LogCaptureFixture) -> None:
    """Another's claim, or rights that somebody has taken away there, are told; the release leads for the others."""
    cluster = FakeCluster()
    await Tenancy(cluster, VirtualClock(), "first", ()).other_holder("chat")

    second = Tenancy(cluster, VirtualClock(), "second", ("chat", "search"))
    assert await second.hindrance() == ""
    assert await second.claim_own() == ""
    assert await second.other_holder("chat") == "first"
    assert await second.other_holder("search") == ""
    assert "namespace chat belongs to the release in namespace first" in caplog.text

    cluster.errors = [ClusterError(403, "Forbidden", "leases is forbidden")]
    assert await Tenancy(cluster, VirtualClock(), "second", ("gone", "search")).hindrance() == ""
    assert "namespace gone is left alone: 403 Forbidden: leases is forbidden" in caplog.text


async def test_a_release_that_gets_none_of_its_namespaces_does_not_lead() -> None:
    """And says why of the first one; what may pass by itself is no reason."""
    cluster = FakeCluster()
    forbidden = ClusterError(403, "Forbidden", "leases is forbidden")
    cluster.errors = [forbidden, forbidden]
    assert "namespace a is left alone" in await Tenancy(cluster, VirtualClock(), "second", ("a", "b")).hindrance()
    cluster.errors = [ClusterError(500, "InternalError", "x")]
    with pytest.raises(ClusterError):
        await Tenancy(cluster, VirtualClock(), "second", ("a", "b")).hindrance()


async def test_two_releases_over_everything_cannot_both_lead() -> None:
    """Said by the claim on kube-system, also where no namespace has a ModelRoute yet, and if the first is away."""
    cluster = FakeCluster()
    first, second = Tenancy(cluster, VirtualClock(), "first", ()), Tenancy(cluster, VirtualClock(), "second", ())
    assert await first.hindrance() == await second.hindrance() == ""
    assert await first.claim_own() == ""
    assert "the release in namespace first has all namespaces" in await second.claim_own()
    assert (
        "the release in namespace first has all namespaces"
        in await Tenancy(cluster, VirtualClock(), "second", ()).hindrance()
    )
    assert await Tenancy(cluster, VirtualClock(), "first", ()).hindrance() == ""


async def test_what_people_write_into_namespaces_of_their_own_keeps_no_release_from_leading() -> None:
    """Leases of the leaders' name and claims, older than the release: they decide about that namespace alone."""
    cluster = FakeCluster()
    old = {"metadata": {"creationTimestamp": "2000-01-01T00:00:00Z"}, "spec": {"holderIdentity": "evil"}}
    for name in ("overspill-operator", "overspill-release"):
        cluster.put(f"/apis/coordination.k8s.io/v1/namespaces/evil/leases/{name}", old)
    release = Tenancy(cluster, VirtualClock(), "first", ())
    assert await release.hindrance() == ""
    assert await release.claim_own() == ""
    assert await release.other_holder("chat") == ""
    assert await release.other_holder("evil") == "evil"


async def test_where_nobody_may_write_into_kube_system_a_release_leads(caplog: pytest.LogCaptureFixture) -> None:
    """As some providers have it: each namespace's own claim still holds."""
    cluster = FakeCluster()
    release = Tenancy(cluster, VirtualClock(), "first", ())
    cluster.errors = [ClusterError(403, "Forbidden", "the namespace is managed")]
    assert await release.claim_own() == ""
    assert "is not kept off: 403 Forbidden: the namespace is managed" in caplog.text

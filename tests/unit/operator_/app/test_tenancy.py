"""Claims on namespaces: nothing is changed where another release was first."""

from overspill_operator.app.tenancy import Tenancy
from overspill_operator.ports import Listing
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

CLAIM = "/apis/coordination.k8s.io/v1/namespaces/chat/leases/overspill-release"
LEADER = "/apis/coordination.k8s.io/v1/namespaces/first/leases/overspill-operator"


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


async def test_two_releases_over_everything_cannot_both_lead() -> None:
    """Said by the other one's leader's Lease, also where no namespace has a ModelRoute yet, and if it has no leader."""
    cluster = FakeCluster()
    cluster.put(LEADER, {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"holderIdentity": ""}})
    for key in cluster.objects:
        cluster.objects[key]["metadata"]["namespace"] = "first"

    assert "the release in namespace first" in await _hindrance(cluster, "second")
    assert await _hindrance(cluster, "first") == ""


async def _hindrance(cluster: FakeCluster, release: str) -> str:
    tenancy = Tenancy(_EverywhereCluster(cluster), VirtualClock(), release, ())  # type: ignore[arg-type]
    return await tenancy.hindrance()


class _EverywhereCluster:
    """Lists all namespaces as the API server does, which the memory below cannot."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    async def list(self, path: str, **_: object) -> object:
        """Every object."""
        assert path.endswith("/leases")
        return Listing(tuple(self._cluster.objects.values()), "1")

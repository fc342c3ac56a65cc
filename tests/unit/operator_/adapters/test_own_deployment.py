"""Events on the operator's own Deployment."""

from overspill_operator.adapters.own_deployment import OwnDeployment
from overspill_operator.app.tenancy import Tenancy
from overspill_operator.ports import ClusterError, Json
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

DEPLOYMENT = "/apis/apps/v1/namespaces/staging/deployments/overspill-operator"
EVENTS = "/apis/events.k8s.io/v1/namespaces/staging/events"


class Events(FakeCluster):
    """An API server that refuses a second Event of the same name."""

    async def create(self, path: str, manifest: Json) -> Json:
        """See ``ports.Cluster``."""
        if f"{path}/{manifest['metadata']['name']}" in self.objects:
            raise ClusterError(409, "AlreadyExists", "")
        return await super().create(path, manifest)

    @property
    def notes(self) -> list[str]:
        """What has been told."""
        return [live["note"] for path, live in self.objects.items() if path.startswith(EVENTS)]


def own(cluster: FakeCluster, name: str = "overspill-operator") -> OwnDeployment:
    """As one process sees it."""
    return OwnDeployment(cluster, "staging", name, "pod", VirtualClock())


def with_deployment() -> Events:
    """A release that is installed."""
    cluster = Events()
    cluster.put(DEPLOYMENT, {})
    return cluster


async def test_a_thing_is_told_once_also_by_the_next_process() -> None:
    """An operator that is refused is asked again every two seconds, and started anew every two minutes."""
    cluster = with_deployment()
    for _ in range(3):
        process = own(cluster)
        await process.warn("NotLeading", "first has all namespaces")
        calls = len(cluster.calls)
        await process.warn("NotLeading", "first has all namespaces")
        assert len(cluster.calls) == calls
    await own(cluster).warn("NotLeading", "third has all namespaces")
    assert cluster.notes == ["first has all namespaces", "third has all namespaces"]
    (event, *_) = [live for path, live in cluster.objects.items() if path.startswith(EVENTS)]
    assert event["regarding"]["uid"] == "uid-overspill-operator"
    assert (event["type"], event["reason"]) == ("Warning", "NotLeading")


async def test_it_is_told_again_only_where_the_answer_may_change() -> None:
    """A server that does not answer is asked again; one that refuses is not."""
    cluster = with_deployment()
    process = own(cluster)
    cluster.errors = [ClusterError(0, "Unreachable", "")]
    await process.warn("NotLeading", "a")
    await process.warn("NotLeading", "a")
    assert cluster.notes == ["a"]

    cluster.errors = [ClusterError(403, "Forbidden", "")]
    await process.warn("NotLeading", "b")
    calls = len(cluster.calls)
    await process.warn("NotLeading", "b")
    assert len(cluster.calls) == calls


async def test_an_operator_without_a_deployment_tells_nobody() -> None:
    """One on a workstation."""
    cluster = Events()
    await own(cluster, "").warn("NotLeading", "a")
    assert cluster.calls == []


async def test_a_namespace_that_another_release_owns_is_told_there() -> None:
    """Once, however many routes are in it."""
    cluster = with_deployment()
    await Tenancy(cluster, VirtualClock(), "first", ()).other_holder("chat")
    second = Tenancy(cluster, VirtualClock(), "staging", (), own(cluster))
    for _ in range(3):
        assert await second.other_holder("chat") == "first"
    (note,) = cluster.notes
    assert "namespace chat belongs to the release in namespace first" in note

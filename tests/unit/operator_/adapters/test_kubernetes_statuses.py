"""Status as it is written to Kubernetes: whole where it is taken, short where it is not."""

from typing import Any

import pytest

from overspill_operator.adapters.kubernetes_statuses import SHORT_LENGTH_MAX, KubernetesStatuses
from overspill_operator.ports import ClusterError, Json
from unit.operator_.core.builders import route
from unit.operator_.fakes import FakeCluster

META = route({"hosted": [{"name": "a", "baseURL": "https://x.test/v1", "model": "m"}]}).meta
PATH = "/apis/overspill.dev/v1alpha1/namespaces/chat/modelroutes/tiny/status"
CONDITION = {
    "type": "Ready",
    "status": "False",
    "reason": "R",
    "message": "m" * 1000,
    "observedGeneration": 1,
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
STATUS: dict[str, Any] = {"observedGeneration": 1, "conditions": [CONDITION], "model": "tiny"}


def statuses(cluster: FakeCluster) -> tuple[KubernetesStatuses, list[Json]]:
    """The subject, and what it hands over."""
    wrote: list[Json] = []
    return KubernetesStatuses(cluster, {"ModelRoute": wrote.append, "Consumer": wrote.append}), wrote


async def test_a_status_is_written_and_its_answer_handed_over() -> None:
    """So that its echo is no news."""
    cluster = FakeCluster()
    subject, wrote = statuses(cluster)

    written = await subject.report("ModelRoute", META, STATUS)

    assert written == STATUS
    assert cluster.calls == [("PATCH", PATH)]
    assert wrote == [cluster.objects[PATH]]


async def test_each_kind_has_its_place() -> None:
    """A Consumer's is not a route's."""
    cluster = FakeCluster()
    subject, _ = statuses(cluster)

    await subject.report("Consumer", META, {"observedGeneration": 1, "conditions": [CONDITION]})

    assert cluster.calls == [("PATCH", PATH.replace("modelroutes", "consumers"))]


async def test_an_object_that_is_gone_has_no_status() -> None:
    """That is no error: its reconcile comes, and finds it gone."""
    cluster = FakeCluster()
    subject, wrote = statuses(cluster)
    cluster.errors.append(ClusterError(404, "NotFound", ""))

    assert await subject.report("ModelRoute", META, STATUS) is None
    assert wrote == []


async def test_a_refused_status_is_followed_by_a_shorter_one(caplog: pytest.LogCaptureFixture) -> None:
    """What matters most is still told, and the log says why."""
    cluster = FakeCluster()
    subject, _ = statuses(cluster)
    cluster.errors.append(ClusterError(422, "Invalid", "status.model is bad"))

    written = await subject.report("ModelRoute", META, STATUS)

    assert written is not None
    assert written.keys() == {"observedGeneration", "conditions"}
    assert len(written["conditions"][0]["message"]) == SHORT_LENGTH_MAX
    assert "status.model is bad" in caplog.text


async def test_what_may_pass_is_left_to_who_asked() -> None:
    """The queue tries again."""
    cluster = FakeCluster()
    subject, _ = statuses(cluster)
    cluster.errors.append(ClusterError(0, "Unreachable", ""))

    with pytest.raises(ClusterError):
        await subject.report("ModelRoute", META, STATUS)

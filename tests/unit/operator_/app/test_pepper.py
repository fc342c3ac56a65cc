"""The pepper is made once and never changed."""

import asyncio
from base64 import b64decode

import pytest

from overspill_operator.app.pepper import RETRY_SECONDS, ensure_pepper, keep_pepper
from overspill_operator.ports import ClusterError
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

PATH = "/api/v1/namespaces/overspill-system/secrets/overspill-key-pepper"


async def test_it_is_made_where_there_is_none_and_then_stays() -> None:
    """64 characters, another one for each release; a second look changes nothing."""
    cluster, other = FakeCluster(), FakeCluster()
    assert await ensure_pepper(cluster, "overspill-system", "overspill-key-pepper")
    made = cluster.objects[PATH]["data"]["pepper"]
    assert len(b64decode(made)) == 64

    assert not await ensure_pepper(cluster, "overspill-system", "overspill-key-pepper")
    assert cluster.objects[PATH]["data"]["pepper"] == made
    await ensure_pepper(other, "overspill-system", "overspill-key-pepper")
    assert other.objects[PATH]["data"]["pepper"] != made


async def test_one_that_is_there_is_never_overwritten() -> None:
    """Whoever made it, and whatever it holds."""
    cluster = FakeCluster()
    cluster.put(PATH, {"data": {"other": "eA=="}})
    assert not await ensure_pepper(cluster, "overspill-system", "overspill-key-pepper")
    assert cluster.objects[PATH]["data"] == {"other": "eA=="}


async def test_what_keeps_it_from_being_made_is_logged_once(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again every two seconds, and said again only when it is something else."""
    cluster = FakeCluster()
    cluster.errors = [ClusterError(403, "Forbidden", "no")] * 5 + [ClusterError(0, "Unreachable", "gone")]
    task = asyncio.create_task(keep_pepper(cluster, clock, "overspill-system", "overspill-key-pepper"))
    await clock.until(lambda: PATH in cluster.objects)
    task.cancel()
    assert clock.pauses[:6] == [RETRY_SECONDS] * 6
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [warning.rpartition(": ")[2] for warning in warnings] == ["no", "gone"]

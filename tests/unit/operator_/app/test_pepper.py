"""The pepper is made once and never changed."""

from base64 import b64decode

from overspill_operator.app.pepper import ensure_pepper
from unit.operator_.fakes import FakeCluster

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

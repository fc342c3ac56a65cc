"""The cache: listed, watched, corrected by what is written, and right again after every break."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from overspill_operator.adapters import watch_cache
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.ports import SERVICES, ClusterError, Json, Listing, WatchEvent
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import BEGIN_UNIX, VirtualClock

PATH = SERVICES.path("chat", "s")


@asynccontextmanager
async def running(
    clock: VirtualClock, cluster: FakeCluster, heard: list[tuple[str, bool]]
) -> AsyncIterator[WatchCache]:
    """A cache at work; ``heard`` gets keys and whether there is an object."""

    def on_change(key: str, live: Json | None) -> None:
        heard.append((key, live is not None))

    cache = WatchCache(cluster, SERVICES, clock=clock, namespace="chat", labels="x", on_change=on_change)
    task = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(5):
            await cache.synced.wait()
        yield cache
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_read(clock: VirtualClock, cluster: FakeCluster) -> None:
    """Wait until the watch has taken all that was given to it."""
    await clock.until(cluster.watches.empty)
    for _ in range(5):
        await asyncio.sleep(0)


def event(kind: str, live: dict[str, Any]) -> WatchEvent:
    """A change."""
    return WatchEvent(kind, live)


async def test_it_knows_what_is_and_hears_what_changes(clock: VirtualClock) -> None:
    """List, then watch."""
    cluster = FakeCluster()
    heard: list[tuple[str, bool]] = []
    cluster.put(PATH, {})
    async with running(clock, cluster, heard) as cache:
        assert cache.get("chat", "s") is not None
        cluster.watches.put_nowait(event("MODIFIED", cluster.put(PATH, {"spec": 1})))
        cluster.watches.put_nowait(event("DELETED", cluster.put(PATH, {})))
        await until_read(clock, cluster)
        assert cache.get("chat", "s") is None
    assert heard == [("chat/s", True), ("chat/s", True), ("chat/s", False)]


async def test_what_was_written_here_is_known_at_once_and_its_echo_is_no_news(clock: VirtualClock) -> None:
    """Nor does an older state from the watch undo it."""
    cluster = FakeCluster()
    heard: list[tuple[str, bool]] = []
    old = cluster.put(PATH, {"spec": "old"})
    async with running(clock, cluster, heard) as cache:
        new = cluster.put(PATH, {"spec": "new"})
        cache.wrote(new)
        cluster.watches.put_nowait(event("MODIFIED", old))
        cluster.watches.put_nowait(event("MODIFIED", new))
        await until_read(clock, cluster)
        live = cache.get("chat", "s")
        assert live is not None
        assert live["spec"] == "new"
    assert heard == [("chat/s", True)]


async def test_what_vanished_while_the_watch_was_broken_is_found(clock: VirtualClock) -> None:
    """A gone version means a new list."""
    cluster = FakeCluster()
    heard: list[tuple[str, bool]] = []
    cluster.put(PATH, {})
    async with running(clock, cluster, heard) as cache:
        del cluster.objects[PATH]
        cluster.put(SERVICES.path("chat", "t"), {})
        cluster.watches.put_nowait(ClusterError(410, "Expired", "too old"))
        await clock.until(lambda: cache.get("chat", "t"))
        assert cache.get("chat", "s") is None
    assert ("chat/s", False) in heard


async def test_a_watch_that_ends_in_order_goes_on_without_a_list(clock: VirtualClock) -> None:
    """The server ends each after a while."""
    cluster = FakeCluster()
    heard: list[tuple[str, bool]] = []
    async with running(clock, cluster, heard):
        cluster.watches.put_nowait(None)
        await clock.until(lambda: len(cluster.calls) == 3)
    assert [verb for verb, _ in cluster.calls] == ["LIST", "WATCH", "WATCH"]


async def test_the_watch_may_tell_of_a_write_before_its_answer_is_there(clock: VirtualClock) -> None:
    """That is no news; what somebody else wrote meanwhile is, once the answer has come."""
    cluster = FakeCluster()
    heard: list[tuple[str, bool]] = []
    async with running(clock, cluster, heard) as cache:
        with cache.writing("chat", "s"):
            ours = cluster.put(PATH, {"spec": "ours"})
            cluster.watches.put_nowait(event("ADDED", ours))
            await until_read(clock, cluster)
            cache.wrote(ours)
        assert heard == []

        with cache.writing("chat", "s"):
            ours = cluster.put(PATH, {"spec": "ours again"})
            cluster.watches.put_nowait(event("MODIFIED", ours))
            cluster.watches.put_nowait(event("MODIFIED", cluster.put(PATH, {"spec": "theirs"})))
            await until_read(clock, cluster)
            cache.wrote(ours)
        assert heard == [("chat/s", True)]
        live = cache.get("chat", "s")
        assert live is not None
        assert live["spec"] == "theirs"


async def test_a_missing_right_is_named_once_and_asked_for_ever_more_seldom(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A watch that is forbidden although lists are not: pauses grow, the trouble says what mends it, the log once."""
    cluster = FakeCluster()
    for _ in range(12):
        cluster.watches.put_nowait(ClusterError(403, "Forbidden", "account may not watch services"))
    cache = WatchCache(cluster, SERVICES, clock=clock, labels="")
    task = asyncio.create_task(cache.run())
    await clock.until(lambda: len(clock.pauses) == 12)
    task.cancel()
    assert "services can't be listed or watched: 403 Forbidden" in cache.trouble
    assert "ClusterRole" in cache.trouble
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert clock.pauses[-1] >= watch_cache.PAUSES.most_seconds / 2 > clock.pauses[0]


class OneForbidden(FakeCluster):
    """Nothing may be listed in some namespaces."""

    forbidden: tuple[str, ...] = ()

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", metadata_only: bool = False, fresh: bool = False
    ) -> Listing:
        """See ``ports.Cluster``."""
        if any(f"/{name}/" in path for name in self.forbidden):
            raise ClusterError(403, "Forbidden", "account may not list services")
        return await super().list(path, labels=labels, fields=fields, metadata_only=metadata_only, fresh=fresh)


@pytest.mark.parametrize(("forbidden", "is_synced"), [(("gone",), True), (("gone", "chat"), False)])
async def test_a_namespace_whose_rights_are_missing_holds_up_no_other(
    clock: VirtualClock,
    forbidden: tuple[str, ...],
    is_synced: bool,  # noqa: FBT001
) -> None:
    """Whoever takes them away in one decides about that one; where nothing can be listed nothing is known."""
    cluster = OneForbidden()
    cluster.forbidden = forbidden
    cluster.put(PATH, {})
    cache = WatchCache(cluster, SERVICES, clock=clock, labels="x", namespaces=("chat", "gone"))
    task = asyncio.create_task(cache.run())
    troubles: list[str] = []

    def has_passed() -> bool:
        troubles.append(cache.trouble)
        return clock.now - BEGIN_UNIX > 3 * watch_cache.PAUSES.healthy_seconds

    await clock.until(has_passed)
    task.cancel()
    assert cache.synced.is_set() is is_synced
    assert "services can't be listed" in cache.trouble
    assert not any(then and not later for then, later in pairwise(troubles)), "another's good watch says it is mended"


@pytest.mark.parametrize("end", [None, ClusterError(410, "Expired", "too old")])
async def test_a_watch_that_ends_at_once_is_not_opened_again_at_once(
    clock: VirtualClock, end: ClusterError | None
) -> None:
    """Neither in order nor as too old: a server in trouble is not asked without a pause."""
    cluster = FakeCluster()
    for _ in range(8):
        cluster.watches.put_nowait(end)
    task = asyncio.create_task(WatchCache(cluster, SERVICES, clock=clock, labels="").run())
    await clock.until(lambda: len(clock.pauses) == 8)
    task.cancel()
    assert len([call for call in cluster.calls if call[0] == "WATCH"]) == 8
    assert clock.pauses[-1] > 5.0


async def test_a_server_that_tells_something_and_ends_again_and_again_is_not_asked_without_pause(
    clock: VirtualClock,
) -> None:
    """A bookmark before each end is no sign of health."""
    cluster = FakeCluster()
    for version in range(10, 18):
        cluster.watches.put_nowait(event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}}))
        cluster.watches.put_nowait(None)
    task = asyncio.create_task(WatchCache(cluster, SERVICES, clock=clock, labels="").run())
    await clock.until(lambda: len(clock.pauses) == 8)
    task.cancel()
    assert len([call for call in cluster.calls if call[0] == "WATCH"]) == 8
    assert clock.pauses[-1] > 5.0


async def test_a_change_that_is_not_understood_is_not_the_end_of_the_watch(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What people of one namespace write concerns that alone: the cache knows it, says so, and hears of the next."""
    cluster = FakeCluster()
    heard: list[str] = []

    def on_change(key: str, live: Json | None) -> None:
        if key == "chat/odd":
            raise KeyError(key)
        heard.append(f"{key} {live is not None}")

    cache = WatchCache(cluster, SERVICES, clock=clock, labels="x", on_change=on_change)
    cluster.put(SERVICES.path("chat", "odd"), {})
    task = asyncio.create_task(cache.run())
    await clock.until(cache.synced.is_set)
    cluster.watches.put_nowait(event("MODIFIED", cluster.put(SERVICES.path("chat", "odd"), {"spec": 1})))
    cluster.watches.put_nowait(event("ADDED", cluster.put(SERVICES.path("other", "s"), {})))
    await clock.until(lambda: heard)
    task.cancel()
    assert heard == ["other/s True"]
    assert "a change was not acted upon" in caplog.text

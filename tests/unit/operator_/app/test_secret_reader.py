"""Secrets: read once in a while, and soon again where something is missing."""

import asyncio
from base64 import b64encode

import pytest

from overspill_operator.app.secret_reader import (
    AGAIN_SECONDS,
    KEEP_SECONDS,
    MISSING_SECONDS,
    READ_PAUSE_SECONDS,
    UNUSED_SECONDS,
    SecretReader,
)
from overspill_operator.ports import SECRETS, ClusterError
from unit.operator_.core.builders import route
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

PATH = SECRETS.path("chat", "s")
ROUTE_HOSTED = [{"name": "a", "baseURL": "https://x.test/v1", "model": "m", "credentials": {"secretName": "s"}}]
ROUTE = route({"hosted": ROUTE_HOSTED})


def text(value: str) -> str:
    """As a Secret holds it."""
    return b64encode(value.encode()).decode()


async def test_a_secret_is_remembered_for_a_while(clock: VirtualClock) -> None:
    """A thousand routes with one Secret cost one call a minute."""
    cluster = FakeCluster()
    cluster.put(PATH, {"data": {"api-key": text("k")}})
    reader = SecretReader(cluster, clock, lambda: 0.5)
    for _ in range(3):
        assert await reader.read(ROUTE, "s", "api-key") == {"api-key": text("k")}
    assert len(cluster.calls) == 1
    clock.now += KEEP_SECONDS + 1
    await reader.read(ROUTE, "s", "api-key")
    assert len(cluster.calls) == 2


async def test_a_renewed_key_is_found_without_being_asked_for(clock: VirtualClock) -> None:
    """Those that use it are told, and read the new one; what is as it was is no news."""
    cluster = FakeCluster()
    cluster.put(PATH, {"data": {"api-key": text("old")}})
    told: list[str] = []
    reader = SecretReader(cluster, clock, lambda: 0.5, told.append)
    await reader.read(ROUTE, "s", "api-key")
    task = asyncio.create_task(reader.run())
    await clock.until(lambda: len(cluster.calls) > 5)
    assert told == []
    cluster.errors.append(ClusterError(500, "InternalError", "etcd"))
    await clock.until(lambda: not cluster.errors)
    cluster.put(PATH, {"data": {"api-key": text("new")}})
    await clock.until(lambda: told)
    task.cancel()
    assert set(told) == {ROUTE.key}
    assert await reader.read(ROUTE, "s", "api-key") == {"api-key": text("new")}


async def test_none_waits_for_ever_and_what_nobody_uses_is_forgotten(clock: VirtualClock) -> None:
    """The one that was read longest ago comes first; after a while without a question a Secret is let go."""
    cluster = FakeCluster()
    names = [f"s{number}" for number in range(20)]
    hosted = [
        {"name": name, "baseURL": "https://x.test/v1", "model": "m", "credentials": {"secretName": name}}
        for name in names[:16]
    ]
    many = route({"hosted": hosted})
    reader = SecretReader(cluster, clock, lambda: 0.5)
    for name in names[:16]:
        await reader.read(many, name)
    cluster.calls.clear()
    clock.now += AGAIN_SECONDS
    task = asyncio.create_task(reader.run())
    await clock.until(lambda: len(cluster.calls) >= 16)
    assert len({path for _, path in cluster.calls}) == 16
    clock.now += UNUSED_SECONDS + 1
    await clock.until(lambda: reader.seconds_until_due(many, "s0") == 0.0)
    task.cancel()


async def test_what_no_route_names_any_more_is_not_read_again(clock: VirtualClock) -> None:
    """The right to read a Secret ends with the last route that names it."""
    cluster = FakeCluster()
    second = route({"hosted": ROUTE_HOSTED}, name="second")
    reader = SecretReader(cluster, clock, lambda: 0.5)
    for user in (ROUTE, second):
        await reader.read(user, "s")
        reader.retain(user.key, frozenset({"s"}))
    reader.retain(ROUTE.key, frozenset())
    task = asyncio.create_task(reader.run())
    await clock.until(lambda: len(cluster.calls) > 3)
    other = [{**ROUTE_HOSTED[0], "credentials": {"secretName": "t"}}]
    await reader.read(route({"hosted": other}, name="third"), "t")
    reader.retain(second.key, frozenset({"other"}))
    cluster.calls.clear()
    await clock.until(lambda: len(cluster.calls) > 5)
    task.cancel()
    assert [path for _, path in cluster.calls].count(PATH) <= 1  # it may have been under way


async def test_a_missing_one_is_looked_for_soon_and_then_less_often(clock: VirtualClock) -> None:
    """2 s, 4 s, 8 s; and what comes is found."""
    cluster = FakeCluster()
    reader = SecretReader(cluster, clock, lambda: 0.5)
    pauses = []
    for _ in range(3):
        assert await reader.read(ROUTE, "s", "api-key") is None
        pauses.append(reader.seconds_until_due(ROUTE, "s"))
        clock.now += pauses[-1]
    assert pauses == pytest.approx([MISSING_SECONDS, 2 * MISSING_SECONDS, 4 * MISSING_SECONDS], abs=0.1)
    cluster.put(PATH, {"data": {"api-key": text("k")}})
    assert await reader.read(ROUTE, "s", "api-key") is not None


async def test_one_without_the_key_counts_as_missing(clock: VirtualClock) -> None:
    """A person who adds the key need not wait a minute."""
    cluster = FakeCluster()
    cluster.put(PATH, {"data": {"other": text("k")}})
    reader = SecretReader(cluster, clock, lambda: 0.5)
    assert await reader.read(ROUTE, "s", "api-key") == {"other": text("k")}
    assert reader.seconds_until_due(ROUTE, "s") < MISSING_SECONDS + 1
    clock.now += MISSING_SECONDS + 0.1
    cluster.put(PATH, {"data": {"api-key": text("k")}})
    assert await reader.read(ROUTE, "s", "api-key") == {"api-key": text("k")}


async def test_only_what_the_route_names_is_read(clock: VirtualClock) -> None:
    """Whatever asks: another Secret of the namespace is not the route's, and one of elsewhere has no name here."""
    cluster = FakeCluster()
    cluster.put(SECRETS.path("chat", "other"), {"data": {"api-key": text("k")}})
    cluster.put(SECRETS.path("team-a", "bank"), {"data": {"api-key": text("k")}})
    reader = SecretReader(cluster, clock, lambda: 0.5)
    for name in ("other", "bank", "../../team-a/secrets/bank", ""):
        with pytest.raises(ValueError, match="does not name a Secret"):
            await reader.read(ROUTE, name, "api-key")
    assert cluster.calls == []


async def test_one_that_is_created_late_is_found_within_ten_seconds(clock: VirtualClock) -> None:
    """Also where hundreds of others are read in turn, and however long it has been missing."""
    cluster, told = FakeCluster(), list[tuple[str, float]]()
    reader = SecretReader(cluster, clock, lambda: 0.5, lambda key: told.append((key, clock.now)))
    for number in range(40):
        names = [f"s{number}-{place}" for place in range(16)]
        for name in names:
            cluster.put(SECRETS.path("chat", name), {"data": {"api-key": text("k")}})
        hosted = [{**ROUTE_HOSTED[0], "name": name, "credentials": {"secretName": name}} for name in names]
        crowd = route({"hosted": hosted}, name=f"crowd{number}")
        for name in names:
            await reader.read(crowd, name, "api-key")
    assert await reader.read(ROUTE, "s", "api-key") is None
    task = asyncio.create_task(reader.run())

    async def pass_time(seconds: float) -> None:
        for _ in range(round(seconds / READ_PAUSE_SECONDS)):
            for _ in range(5):
                await asyncio.sleep(0)
            clock.advance(READ_PAUSE_SECONDS)

    await pass_time(120)
    assert told == []
    created = clock.now
    cluster.put(PATH, {"data": {"api-key": text("k")}})
    await pass_time(30)
    task.cancel()
    assert told[0][0] == ROUTE.key
    assert told[0][1] - created < 10
    assert await reader.read(ROUTE, "s", "api-key") == {"api-key": text("k")}

"""The scraper: asks the replicas that are ready, and says when none answers."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from overspill_operator.adapters import engine_scraper
from overspill_operator.adapters.engine_scraper import FRESH_SECONDS, ROUNDS_MISSED, EngineScraper, in_turn
from overspill_operator.core.autoscaler import QueueDepth
from overspill_operator.ports import ENDPOINT_SLICES
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

KEY = "chat/tiny"
SLICE = ENDPOINT_SLICES.path("chat", "tiny-engine-x")


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, str]]:
    """An engine on loopback whose /metrics the test writes."""
    page = {"text": 'vllm:num_requests_waiting{engine="0"} 9.0\n'}

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text=page["text"])

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    monkeypatch.setattr(engine_scraper, "ENGINE_PORT", site._server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
    yield page
    await runner.cleanup()


def cluster_with(*endpoints: tuple[str, bool]) -> FakeCluster:
    """A cluster whose Service has these endpoints: address and whether it is ready."""
    cluster = FakeCluster()
    listed = [{"addresses": [address], "conditions": {"ready": ready}} for address, ready in endpoints]
    cluster.put(SLICE, {"addressType": "IPv4", "endpoints": listed})
    return cluster


async def one_round(clock: VirtualClock, cluster: FakeCluster, scraper_rounds: int = 1) -> EngineScraper:
    """A scraper after so many rounds."""
    scraper = EngineScraper(cluster, clock, lambda: [KEY], lambda _key: None)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session:
        for _ in range(scraper_rounds):
            await scraper._read(session, KEY)
    return scraper


async def test_ready_replicas_are_asked(clock: VirtualClock, engine: dict[str, str]) -> None:
    """One that is not ready is not, and its silence is none."""
    scraper = await one_round(clock, cluster_with(("127.0.0.1", True), ("127.0.0.2", False)))
    assert scraper.queue(KEY, clock.now) == QueueDepth(9)
    assert scraper.unread(KEY) == ""
    assert engine


async def test_an_old_reading_is_none(clock: VirtualClock, engine: dict[str, str]) -> None:
    """It says nothing about now."""
    scraper = await one_round(clock, cluster_with(("127.0.0.1", True)))
    assert scraper.queue(KEY, clock.now + FRESH_SECONDS + 1) is None
    assert engine


async def test_an_engine_that_says_nothing_of_it_is_told_after_some_rounds(
    clock: VirtualClock, engine: dict[str, str]
) -> None:
    """Another server, NaN, or no answer: scaling goes on without, and status says so."""
    engine["text"] = 'vllm:num_requests_waiting{engine="0"} NaN\n'
    once = await one_round(clock, cluster_with(("127.0.0.1", True)))
    assert (once.queue(KEY, clock.now), once.unread(KEY)) == (None, "")
    often = await one_round(clock, cluster_with(("127.0.0.1", True)), ROUNDS_MISSED)
    assert "vllm:num_requests_waiting" in often.unread(KEY)


async def test_routes_that_are_not_asked_for_are_forgotten(clock: VirtualClock, engine: dict[str, str]) -> None:
    """What was read of a route that idles now has no say."""
    wanted, read = [KEY], asyncio.Event()
    scraper = EngineScraper(cluster_with(("127.0.0.1", True)), clock, lambda: list(wanted), lambda _key: read.set())
    task = asyncio.create_task(scraper.run())
    await clock.until(read.is_set)
    assert scraper.queue(KEY, clock.now) == QueueDepth(9)
    wanted.clear()
    await clock.until(lambda: scraper.queue(KEY, clock.now) is None)
    task.cancel()
    assert engine


async def test_a_page_without_end_is_no_metrics(
    clock: VirtualClock, engine: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read no further than metrics are long."""
    monkeypatch.setattr(engine_scraper, "BODY_BYTES_MAX", 1000)
    engine["text"] += "#" * 100_000
    scraper = await one_round(clock, cluster_with(("127.0.0.1", True)), ROUNDS_MISSED)
    assert scraper.queue(KEY, clock.now) is None
    assert scraper.unread(KEY)


@pytest.mark.parametrize("number", ["1e308", "1e9", "-1"])
async def test_a_number_that_cannot_be_is_none(clock: VirtualClock, engine: dict[str, str], number: str) -> None:
    """No engine holds a billion requests."""
    engine["text"] = f"vllm:num_requests_waiting {number}\n"
    assert (await one_round(clock, cluster_with(("127.0.0.1", True)))).queue(KEY, clock.now) is None


def test_each_route_has_its_turn_before_any_has_another() -> None:
    """Also while routes come and go."""
    every = [f"ns/r{number:03}" for number in range(250)]
    asked: list[str] = []
    last = ""
    for _ in range(3):
        turn, last = in_turn(every, last, 100)
        asked += turn
    assert set(asked) == set(every)
    assert in_turn(["a", "c"], "b", 5) == (["c", "a"], "a")
    assert in_turn([], "b", 5) == ([], "")


async def test_what_nobody_expected_of_one_route_ends_no_other_reading(
    clock: VirtualClock, engine: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """EndpointSlices are people's to write: a fault in reading those of one route leaves the rounds of all going."""
    cluster = cluster_with(("127.0.0.1", True))
    cluster.put(SLICE.replace("/chat/", "/odd/"), {"endpoints": [{"conditions": {"ready": True}, "addresses": 7}]})
    read: list[str] = []
    scraper = EngineScraper(cluster, clock, lambda: [KEY, "odd/r"], read.append)
    task = asyncio.create_task(scraper.run())
    await clock.until(lambda: len(read) >= 3)
    assert not task.done()
    task.cancel()
    assert engine
    assert set(read) == {KEY}
    assert "a queue was not read" in caplog.text

"""A thousand routes: what is asked of all of them at once is answered in slices, between which requests are served."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from typing import Any, Self

import pytest

from overspill_api.demand import FIRST_TOKEN_BOUNDS
from overspill_gateway.gateway import is_compiled
from unit.gateway.harness import Client, running_gateway, soon

ROUTES = 1000
SLICE_SECONDS_MAX = 0.010
HOSTED: dict[str, Any] = {
    "name": "api",
    "base_url": "https://api.example.test/v1",
    "model": "m",
    "input_nano_usd_per_million": 1,
    "output_nano_usd_per_million": 1,
}
BUDGET = {"limit_nano_usd": 10**9}


class LongestTurn:
    """Measures the longest time of CPU that anybody kept the event loop: load of other processes does not count."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        gc.collect()
        gc.freeze()  # what tests before this one have left is no matter of the loop's
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        gc.unfreeze()

    async def _watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.seconds = max(self.seconds, time.thread_time() - before)


@pytest.mark.exhaustive
async def test_scrapes_and_demand_of_a_thousand_routes_keep_nobody() -> None:
    """/metrics and /demand, asked together: no turn of the event loop is long, and both are whole."""
    async with running_gateway() as running:
        for number in range(ROUTES):
            running.route(f"r{number}", hosted=[HOSTED], budget=BUDGET)
        await asyncio.sleep(0)
        seconds = []
        for _ in range(2):  # the better of two: what is slow in itself is slow twice
            async with LongestTurn() as longest:
                metrics, again, demand = [await Client.connect(running.gateway.admin_port) for _ in range(3)]
                demand.send("GET", "/demand")
                metrics.send("GET", "/metrics")
                again.send("GET", "/metrics")
                text = (await asyncio.wait_for(metrics.answer(), 30)).body.decode()
                same = (await asyncio.wait_for(again.answer(), 30)).body.decode()
                await soon(demand.head())
                line = json.loads(await soon(demand.chunk()))
            seconds.append(longest.seconds)
            for client in (metrics, again, demand):
                client.close()

    assert same == text, "whoever asks meanwhile gets the same text"
    assert text.count("# TYPE overspill_held_requests gauge") == 1
    assert sum(line.startswith("overspill_held_requests{") for line in text.splitlines()) == ROUTES
    assert sum(line.startswith("overspill_budget_limit_nano_usd{") for line in text.splitlines()) == ROUTES
    assert len(line["routes"]) == ROUTES
    bound = SLICE_SECONDS_MAX if is_compiled() else 3 * SLICE_SECONDS_MAX
    assert min(seconds) < bound, f"somebody kept the event loop for {min(seconds) * 1000:.1f} ms"


@pytest.mark.exhaustive
async def test_lines_of_a_thousand_busy_routes_keep_nobody() -> None:
    """All of them change each second: they are told a few at a time, and one that wants a replica goes before them."""
    async with running_gateway() as running:
        for number in range(ROUTES):
            running.route(f"r{number}", hosted=[HOSTED], budget=BUDGET)
        for route in running.gateway.catalog.routes.values():
            for bound in FIRST_TOKEN_BOUNDS[:-1]:
                route.tally.local.first_token.observe(bound)
            route.counters("local").served = 1
        reader = await Client.connect(running.gateway.admin_port)
        reader.send("GET", "/demand")
        await soon(reader.head())
        await soon(reader.chunk())
        seconds = []
        for _ in range(2):
            async with LongestTurn() as longest:
                for route in running.gateway.catalog.routes.values():
                    route.demand_changed()
                urgent = running.gateway.catalog.routes["ns/r500"]
                urgent.demand_changed(urgent=True)
                first = json.loads(await soon(reader.chunk()))
                told: list[str] = []
                while len(told) < ROUTES - 1:
                    told += [route["route"] for route in json.loads(await soon(reader.chunk()))["routes"]]
            seconds.append(longest.seconds)
        reader.close()

    assert [route["route"] for route in first["routes"]] == ["ns/r500"]
    assert len(set(told)) == ROUTES - 1, "each once"
    bound = SLICE_SECONDS_MAX if is_compiled() else 3 * SLICE_SECONDS_MAX
    assert min(seconds) < bound, f"somebody kept the event loop for {min(seconds) * 1000:.1f} ms"


async def test_a_scraper_that_goes_leaves_the_next_one_whole() -> None:
    """The text is made to its end for whoever still waits."""
    async with running_gateway() as running:
        for number in range(50):
            running.route(f"r{number}")
        gone = await Client.connect(running.gateway.admin_port)
        gone.send("GET", "/metrics")
        await asyncio.sleep(0)
        gone.reset()
        answer = await running.admin("/metrics")

    assert answer.status == 200
    assert answer.body.count(b"\noverspill_held_requests{") == 50

"""A whole gateway whose replica can't begin everything in time: what stays, spills, waits, and is told to come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from unit.gateway.backends import Backend, Received, Script, Wire, answers, backend, streams
from unit.gateway.harness import Answer, GatewayUnderTest, eventually, soon

if TYPE_CHECKING:
    from overspill_gateway.routes.route import Route

READING_SECONDS = 0.03


def reads_one_at_a_time(most: list[int] | None = None) -> Script:
    """Stream an answer after reading the prompt; prompts are read one after the other. ``most``: how many waited."""
    reading = asyncio.Lock()
    waiting = 0

    async def script(received: Received, wire: Wire) -> None:
        nonlocal waiting
        waiting += 1
        if most is not None:
            most.append(waiting)
        async with reading:
            await asyncio.sleep(READING_SECONDS)
        waiting -= 1
        await streams(usage=True)(received, wire)

    return script


def overflow(**changes: object) -> dict[str, object]:
    """A target that ten requests at a time would miss."""
    return {"on_cold_start": "Hold", "time_to_first_token_seconds": 10 * READING_SECONDS} | changes


async def learns(gateway: GatewayUnderTest, engine: Backend) -> None:
    """Let the gateway see how fast the engine is: alone, and with others before it, which no look at one tells."""
    gateway.endpoints(engine.fact())
    for count in (1, 2, 4, 8, 8, 8):
        await at_once(gateway, count)


async def at_once(gateway: GatewayUnderTest, count: int) -> list[Answer]:
    """So many requests."""
    return list(await soon(asyncio.gather(*(gateway.post(stream=True) for _ in range(count)))))


async def test_what_would_be_late_goes_to_a_hosted_api(gateway: GatewayUnderTest) -> None:
    """Of forty at once the engine gets about as many as it begins in time; each answer says who served and why."""
    async with backend(reads_one_at_a_time()) as engine, backend(answers()) as api:
        route = gateway.route(hosted=[api.hosted()], overflow=overflow())
        await learns(gateway, engine)
        before = route.pool.spilled
        seen = Counter((answer.served_by, answer.reason) for answer in await at_once(gateway, 40))

    assert set(seen) == {("local/tiny-0", "Preferred"), ("hosted/openai", "PredictedLatency")}
    assert 2 <= seen["local/tiny-0", "Preferred"] <= 20
    assert route.pool.spilled - before >= seen["hosted/openai", "PredictedLatency"]


async def test_with_nobody_else_they_wait_in_the_gateway(gateway: GatewayUnderTest) -> None:
    """All are served by the replica, and no more are in it than it begins in time."""
    most: list[int] = []
    async with backend(reads_one_at_a_time(most)) as engine:
        gateway.route(overflow=overflow())
        await learns(gateway, engine)
        seen = Counter((answer.status, answer.served_by) for answer in await at_once(gateway, 40))

    assert seen == {(200, "local/tiny-0"): 40}
    assert max(most) <= 20


async def test_a_full_queue_says_when_to_come_back(gateway: GatewayUnderTest) -> None:
    """The time follows from what the engine does: some places in a second are worth a second's wait or two."""
    async with backend(reads_one_at_a_time()) as engine:
        gateway.route(overflow=overflow(hold_requests_max=3))
        await learns(gateway, engine)
        refused = [answer for answer in await at_once(gateway, 40) if answer.status == 429]

    assert refused
    assert {answer.reason for answer in refused} == {"QueueFull"}
    assert all(1 <= int(answer.headers["retry-after"]) <= 5 for answer in refused)


async def test_many_that_wait_for_a_cold_replica_do_not_fall_upon_it(gateway: GatewayUnderTest) -> None:
    """They go as it begins them, and all are served."""
    most: list[int] = []

    def holds(route: Route, count: int) -> bool:
        return len(route.pool.queue) == count

    async with backend(reads_one_at_a_time(most)) as engine:
        route = gateway.route()
        waiting = asyncio.gather(*(gateway.post(stream=True) for _ in range(60)))
        await eventually(lambda: holds(route, 60))
        gateway.endpoints(engine.fact())
        seen = Counter((answer.status, answer.reason) for answer in await soon(waiting))

    assert seen == {(200, "Held"): 60}
    assert max(most[:10]) <= 8
    assert max(most) <= 40

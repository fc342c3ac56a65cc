"""An engine that says that it is full: its request spills or waits, and the engine is not blamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.dialects.engine_full import says_full
from overspill_gateway.core.prediction.tuning import TUNING
from unit.gateway import fault_scripts as scripts
from unit.gateway.backends import Received, Script, Wire, backend, plain_head
from unit.gateway.harness import GatewayUnderTest, eventually, soon

QUEUE = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
)
TOKENS = "The engine has reached its prefill token backlog limit. Please try again later or on a different instance."


def refusal(message: str, status: int = 503) -> Script:
    """VLLM's answer where its bounds refuse a request."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001 - whatever was asked
        error = {"message": message, "type": "Service Unavailable", "param": None, "code": status}
        body = json.dumps({"error": error}).encode()
        await wire.write(plain_head(status, len(body)) + body)

    return script


def slow(script: Script, seconds: float) -> Script:
    """After so long."""

    async def later(received: Received, wire: Wire) -> None:
        await asyncio.sleep(seconds)
        await script(received, wire)

    return later


def in_turn(*turns: Script) -> Script:
    """One after the other; the last one from then on."""
    rest: Sequence[Script] = turns

    async def script(received: Received, wire: Wire) -> None:
        nonlocal rest
        now, rest = rest[0], rest[1:] or rest
        await now(received, wire)

    return script


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("message", [QUEUE, TOKENS])
async def test_its_request_spills(gateway: GatewayUnderTest, message: str, *, stream: bool) -> None:
    """As if it had been predicted to be late: no retry is used up, no ejection, no problem is told of the replica."""
    async with backend(refusal(message)) as engine, backend(scripts.good) as hosted:
        overflow = {"on_cold_start": "Hold", "time_to_first_token_seconds": 2.0}
        route = gateway.route(hosted=[hosted.hosted()], overflow=overflow, retry_attempts=0)
        gateway.endpoints(engine.fact())

        served = [await gateway.post(stream=stream) for _ in range(20)]

        replica = next(iter(route.replicas.values()))
        assert {(answer.status, answer.served_by) for answer in served} == {(200, "hosted/openai")}
        assert {answer.reason for answer in served} == {"PredictedLatency"}
        assert replica.outlier.ejections_total == 0
        assert replica.problems.problem is None
        assert set(route.backends["local"].failures) == {"full"}


async def test_it_is_not_asked_again_at_once(gateway: GatewayUnderTest) -> None:
    """Who comes while it is known to be full spills without asking it; a quarter of a second later it is asked."""
    async with backend(refusal(QUEUE)) as engine, backend(scripts.good) as hosted:
        overflow = {"on_cold_start": "Hold", "time_to_first_token_seconds": 2.0}
        gateway.route(hosted=[hosted.hosted()], overflow=overflow)
        gateway.endpoints(engine.fact())
        loop = asyncio.get_running_loop()

        began = loop.time()
        for _ in range(10):
            await gateway.post()
        looks = 1 + (loop.time() - began) / TUNING.full_seconds

        assert len(engine.requests) <= looks


async def test_without_a_hosted_api_its_request_waits(gateway: GatewayUnderTest) -> None:
    """And gets the replica when it takes requests again, however often it has said no."""
    async with backend(in_turn(refusal(QUEUE), refusal(TOKENS), refusal(QUEUE), scripts.good)) as engine:
        route = gateway.route(retry_attempts=0)
        gateway.endpoints(engine.fact())

        waiting = asyncio.ensure_future(gateway.post())
        await eventually(lambda: len(route.pool.queue) == 1)
        answer = await soon(waiting)

        assert (answer.status, answer.served_by, answer.reason) == (200, "local/tiny-0", "Held")
        assert route.backends["local"].failures == {"full": 3}


async def test_another_replica_takes_it(gateway: GatewayUnderTest) -> None:
    """One that has room goes before every hosted API."""
    async with backend(refusal(QUEUE)) as full, backend(scripts.good) as free, backend(scripts.good) as hosted:
        overflow = {"on_cold_start": "Hold", "time_to_first_token_seconds": 2.0}
        gateway.route(hosted=[hosted.hosted()], overflow=overflow, retry_attempts=0)
        gateway.endpoints(full.fact("tiny-0"), free.fact("tiny-1"))

        served = {(await gateway.post()).served_by for _ in range(8)}

        assert served == {"local/tiny-1"}


async def test_replicas_that_take_long_to_say_so_are_asked_once_each(gateway: GatewayUnderTest) -> None:
    """By the time that the second has refused the first may be asked again: the request spills all the same."""
    late = slow(refusal(QUEUE), 1.2 * TUNING.full_seconds)
    async with backend(late) as first, backend(late) as second, backend(scripts.good) as hosted:
        overflow = {"on_cold_start": "Hold", "time_to_first_token_seconds": 2.0}
        gateway.route(hosted=[hosted.hosted()], overflow=overflow, retry_attempts=0)
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))

        answer = await soon(gateway.post())

        assert (answer.status, answer.served_by, answer.reason) == (200, "hosted/openai", "PredictedLatency")
        assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_with_nobody_else_and_no_place_the_refusal_is_the_gateways_own(gateway: GatewayUnderTest) -> None:
    """429 with Retry-After, which every SDK knows; not the engine's words."""
    async with backend(refusal(QUEUE)) as engine:
        gateway.route(overflow={"on_cold_start": "Hold", "hold_requests_max": 0})
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

    assert (answer.status, answer.error["code"]) == (429, "hold_queue_full")
    assert int(answer.headers["retry-after"]) > 0


async def test_another_503_of_an_engine_is_a_fault(gateway: GatewayUnderTest) -> None:
    """Its words reach whoever runs the gateway."""
    async with backend(refusal("the engine died")) as engine, backend(scripts.good) as hosted:
        route = gateway.route(hosted=[hosted.hosted()])
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

        assert (answer.served_by, answer.reason) == ("hosted/openai", "ReplicaFailed")
        assert route.backends["local"].failures == {FailureKind.STATUS.value: 1}
        problem = next(iter(route.replicas.values())).problems.problem
        assert problem is not None
        assert "the engine died" in problem.message


async def test_a_hosted_api_cant_say_so(gateway: GatewayUnderTest) -> None:
    """The words are an engine's of our own; a provider that uses them has refused like any other."""
    async with backend(refusal(QUEUE)) as first, backend(scripts.good) as second:
        route = gateway.route(local=None, hosted=[first.hosted("first"), second.hosted("second")])

        answer = await gateway.post()

        assert answer.served_by == "hosted/second"
        assert route.backends["hosted/first"].failures == {FailureKind.STATUS.value: 1}


@pytest.mark.parametrize(
    ("status", "message", "full"),
    [
        (503, QUEUE, True),
        (503, TOKENS, True),
        (429, "Model is overloaded", True),
        (503, "The request queue is full.", True),
        (503, "Service Unavailable", False),
        (503, f"upstream said: {QUEUE}", False),
        (500, QUEUE, False),
        (400, QUEUE, False),
    ],
)
def test_words_and_status_say_so_together(status: int, message: str, *, full: bool) -> None:
    """One of them alone may mean anything."""
    error: dict[str, Any] = {"error": {"message": message, "type": "Service Unavailable", "code": status}}
    assert says_full(status, json.dumps(error).encode()) is full


def test_no_words_say_nothing() -> None:
    """An empty or broken body is a fault."""
    assert not says_full(503, b"")
    assert not says_full(503, b"{")

"""Checks of answers against schemas: off the event loop, within a bound, one consumer after the other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from overspill_gateway.workers.schema_checker import SchemaChecker
from overspill_gateway.workers.verdict_fields import Verdict
from overspill_gateway.workers.worker_pool import WORKERS_MAX
from unit.gateway.backends import answers, backend
from unit.gateway.harness import eventually, pid_of, running_gateway

LEVELS = 40
"""Of references that double at each: 2^40 checks."""


def dear_schema(levels: int = LEVELS) -> dict[str, Any]:
    """Two kilobytes that take for ever."""
    definitions: dict[str, Any] = {
        f"d{level}": {"anyOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(levels)
    }
    definitions[f"d{levels}"] = {"type": "string"}
    return {"$defs": definitions, "$ref": "#/$defs/d0"}


def answer(text: str) -> bytes:
    """A plain answer of chat completions."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice]}).encode()


def asked(schema: object) -> dict[str, Any]:
    """Fields of a request that sets a schema."""
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


async def verdicts(checker: SchemaChecker, *checks: tuple[str, object, bytes]) -> list[Verdict]:
    """What comes of checks by consumer, schema and answer, in the order in which they end."""
    done: list[Verdict] = []
    for consumer, schema, body in checks:
        checker.check(consumer, json.dumps(schema).encode(), [body], done.append)
    await eventually(lambda: len(done) == len(checks), 30)
    return done


async def test_answers_are_checked_elsewhere() -> None:
    """Good, bad and useless schemas; the same process takes one after the other."""
    checker = SchemaChecker()
    try:
        [good] = await verdicts(checker, ("a", {"type": "integer"}, answer("3")))
        [bad] = await verdicts(checker, ("a", {"type": "integer"}, answer('"x"')))
        [useless] = await verdicts(checker, ("a", {"type": 7}, answer("3")))
        [nothing] = await verdicts(checker, ("a", {"type": "integer"}, b"no answer at all"))
        assert len(checker.pool.workers) == 1
    finally:
        await checker.close()

    assert (good.usable, good.why, good.unchecked) == (True, None, None)
    assert bad.why is not None
    assert useless.usable is False
    assert nothing.why is not None


async def test_a_schema_that_takes_for_ever_is_ended_and_keeps_nobody() -> None:
    """The loop goes on meanwhile; others' checks come through; the process is gone and another one takes over."""
    checker = SchemaChecker()
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)

    ticking = asyncio.create_task(tick())
    checker.pool.seconds_max = 0.3
    try:
        await verdicts(checker, ("warm", {}, answer("3")), ("warmer", {}, answer("3")))
        assert len(checker.pool.workers) == WORKERS_MAX, "none has to be started for the first bad ones"
        dear = [("bad", dear_schema() | {"title": str(number)}, answer("3")) for number in range(2 * WORKERS_MAX)]
        done = await verdicts(checker, *dear, ("good", {"type": "integer"}, answer("3")))
    finally:
        ticking.cancel()
        await checker.close()

    assert [verdict.unchecked is None for verdict in done].count(True) == 1
    assert done[-1].unchecked is not None, "the good one did not have to wait for all of the bad ones"
    assert all("1 s" in verdict.unchecked for verdict in done if verdict.unchecked)
    assert longest < 0.05


async def test_a_request_with_such_a_schema_hears_of_it_and_the_next_one_is_not_even_sent() -> None:
    """An error that says what is wrong; no second call of the model is paid for the same schema."""
    async with backend(answers("3")) as engine, running_gateway() as running:
        running.route(validate_structured_output=True)
        running.endpoints(engine.fact())
        first = await asyncio.wait_for(running.post(**asked(dear_schema())), 30)
        second = await running.post(**asked(dear_schema()))
        fine = await running.post(**asked({"type": "integer"}))
        received = len(engine.requests)

    for refused in (first, second):
        assert refused.status == 400
        assert refused.error["code"] == "structured_output_not_checked"
        assert "longer than the 1 s" in refused.error["message"]
    assert fine.status == 200
    assert received == 2


async def test_a_client_that_goes_while_its_answer_is_checked_leaves_nothing() -> None:
    """The verdict comes to nobody."""
    async with backend(answers("3")) as engine, running_gateway() as running:
        route = running.route(validate_structured_output=True)
        running.endpoints(engine.fact())
        client = await running.client()
        running.send(client, **asked(dear_schema()))
        checker = running.gateway.shared.checker
        await eventually(lambda: any(worker.current for worker in checker.pool.workers), 10)
        client.reset()
        await eventually(lambda: not running.gateway.exchanges)
        assert route.in_flight_local == 0
        await eventually(lambda: not any(worker.current for worker in checker.pool.workers), 30)
        assert (await running.post(**asked({"type": "integer"}))).status == 200


async def test_a_process_that_dies_is_replaced() -> None:
    """Killed from outside in the middle: the answer is not called good, and the next check works."""
    checker = SchemaChecker()
    try:
        await verdicts(checker, ("a", {}, answer("3")))
        [worker] = checker.pool.workers
        os.kill(pid_of(worker), signal.SIGKILL)
        [verdict] = await verdicts(checker, ("a", {"type": "integer"}, answer("3")))
        after = await verdicts(checker, ("a", {"type": "integer"}, answer("3")))
    finally:
        await checker.close()

    assert verdict.unchecked is not None or verdict.why is None
    assert after == [Verdict(usable=True, why=None)]

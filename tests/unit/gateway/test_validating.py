"""A whole gateway whose routes say validate: true: a faulty answer is asked for again, then refused."""

from __future__ import annotations

import json
from typing import Any

from unit.gateway.backends import USAGE, Received, Script, Wire, answers, backend, plain_head, then
from unit.gateway.harness import GatewayUnderTest

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
CHECKS: dict[str, Any] = {"validate_structured_output": True}


def says(text: str | None, reason: str = "stop", **message: Any) -> Script:
    """Answer with this text."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        choice = {"index": 0, "message": {"content": text} | message, "finish_reason": reason}
        body = json.dumps({"choices": [choice], "usage": USAGE}).encode()
        await wire.write(plain_head(200, len(body)) + body)

    return script


GOOD, BAD = says('{"age": 36}'), says('{"age": "36"}')


async def test_an_answer_that_holds_passes(gateway: GatewayUnderTest) -> None:
    """As it came, asked for once."""
    async with backend(GOOD) as engine:
        gateway.route(**CHECKS)
        gateway.endpoints(engine.fact())

        answer = await gateway.post(response_format=FORMAT)

        assert len(engine.requests) == 1
    assert answer.json["choices"][0]["message"]["content"] == '{"age": 36}'


async def test_one_that_does_not_is_asked_for_once_more(gateway: GatewayUnderTest) -> None:
    """The client sees the second answer only."""
    async with backend(then(BAD, GOOD)) as engine:
        gateway.route(**CHECKS)
        gateway.endpoints(engine.fact())

        answer = await gateway.post(response_format=FORMAT)

        assert len(engine.requests) == 2
    assert answer.json["choices"][0]["message"]["content"] == '{"age": 36}'


async def test_then_another_backend_is_asked(gateway: GatewayUnderTest) -> None:
    """A model that fails twice may never do it."""
    async with backend(BAD) as engine, backend(GOOD) as hosted:
        gateway.route(hosted=[hosted.hosted()], **CHECKS)
        gateway.endpoints(engine.fact())

        answer = await gateway.post(response_format=FORMAT)

        assert (len(engine.requests), len(hosted.requests)) == (2, 1)
    assert (answer.status, answer.served_by) == (200, "hosted/openai")


async def test_at_last_the_client_is_told(gateway: GatewayUnderTest) -> None:
    """By an error that programs can switch on, and that says where the answer was wrong."""
    async with backend(BAD) as engine:
        gateway.route(**CHECKS)
        gateway.endpoints(engine.fact())

        answer = await gateway.post(response_format=FORMAT)

        assert len(engine.requests) == 2
    assert answer.status >= 500
    assert answer.error["code"] == "invalid_structured_output"
    assert "$.age" in answer.error["message"]


async def test_a_refusal_and_a_cut_answer_pass(gateway: GatewayUnderTest) -> None:
    """They could not have kept to the schema: asking again would change nothing."""
    async with backend(then(says(None, refusal="no"), says('{"ag', "length"))) as engine:
        gateway.route(**CHECKS)
        gateway.endpoints(engine.fact())

        seen = [await gateway.post(response_format=FORMAT) for _ in range(2)]

        assert len(engine.requests) == 2
    assert [answer.status for answer in seen] == [200, 200]


async def test_only_routes_that_say_so_check(gateway: GatewayUnderTest) -> None:
    """And only requests with a schema; one that can't be checked against passes."""
    broken = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "file:///etc/hostname"}}}
    async with backend(BAD) as engine:
        gateway.endpoints(engine.fact())
        gateway.route()
        unchecked = await gateway.post(response_format=FORMAT)
        gateway.route(**CHECKS)
        without = await gateway.post()
        unknown = await gateway.post(response_format=broken)

        assert len(engine.requests) == 3
    assert {answer.status for answer in (unchecked, without, unknown)} == {200}


async def test_without_budget_for_a_second_answer_it_says_so(gateway: GatewayUnderTest) -> None:
    """The first answer was no failure of a backend: the error names the schema, not backends that nobody asked."""
    async with backend(answers("no JSON")) as engine:
        gateway.route(validate_structured_output=True)
        gateway.endpoints(engine.fact())
        gateway.gateway.shared.retries.active = 10**6

        shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
        answer = await gateway.post(response_format=shape)

    assert (answer.status, answer.error["code"]) == (502, "invalid_structured_output")
    assert "was not asked again" in answer.error["message"]

"""A client gets the form that it asked for, a stream or a plain answer, whichever a backend makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI

from overspill_gateway.core.dialects.endpoints import Dialect
from unit.gateway import fault_scripts as scripts
from unit.gateway.backends import USAGE, Received, Script, Wire, answers, backend, plain_head, stream_head
from unit.gateway.generated import STREAMS
from unit.gateway.harness import KEY, GatewayUnderTest

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
CHAT = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "x", "choices": [CHOICE], "usage": USAGE}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TOOLS = {"choices": [{"index": 0, "message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}]}
TEXT = {"choices": [{"index": 0, "text": "Hello", "finish_reason": "length"}], "usage": USAGE}


def says(document: Any, *, space: bytes = b"", **headers: str) -> Script:
    """Answer with a document whatever was asked."""
    return scripts.says(space + json.dumps(document).encode(), **headers)


def streams(*events: bytes, content_type: str = "text/event-stream") -> Script:
    """Answer with these events whatever was asked."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(stream_head().replace(b"text/event-stream; charset=utf-8", content_type.encode()))
        for event in events:
            await wire.chunk(event)
        await wire.write(b"0\r\n\r\n")

    return script


async def asked(gateway: GatewayUnderTest, script: Script, path: str = "/v1/chat/completions", **fields: Any) -> Any:
    """One request to a route of such a replica alone."""
    async with backend(script) as engine:
        gateway.route(retry_attempts=0)
        gateway.endpoints(engine.fact())
        return await gateway.post(path=path, **fields)


def events_of(body: bytes) -> list[Any]:
    """Documents of a stream, which ends properly."""
    *events, done, rest = body.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.mark.parametrize("space", [b"", b"\n\n   "])
@pytest.mark.parametrize("usage", [False, True])
async def test_a_plain_answer_becomes_a_stream(gateway: GatewayUnderTest, space: bytes, *, usage: bool) -> None:
    """The whole message, its reason, usage where it was asked for, the end: never an empty stream."""
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}

    answer = await asked(gateway, says(CHAT, space=space), stream=True, **options)

    events = events_of(answer.body)
    deltas = [choice for event in events for choice in event["choices"]]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    assert deltas[0]["delta"] == {"role": "assistant", "content": "Hello"}
    assert deltas[-1]["finish_reason"] == "stop"
    assert {event["id"] for event in events} == {"c-1"}
    assert [event["usage"] for event in events if "usage" in event] == ([USAGE] if usage else [])


async def test_the_sdk_reads_it(gateway: GatewayUnderTest) -> None:
    """Text and tool calls, as from a backend that streams."""
    async with backend(says(TOOLS)) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        async with AsyncOpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=KEY) as client:
            stream = await client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": "x"}], stream=True
            )
            chunks = [chunk async for chunk in stream]

    calls = chunks[0].choices[0].delta.tool_calls
    assert calls is not None
    assert (calls[0].index, calls[0].function and calls[0].function.arguments) == (0, '{"a": 1}')
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_completions_too(gateway: GatewayUnderTest) -> None:
    """The text stands where that dialect has it."""
    answer = await asked(gateway, says(TEXT), "/v1/completions", prompt="x", stream=True)

    (event,) = events_of(answer.body)
    assert event["object"] == "text_completion"
    assert event["choices"] == TEXT["choices"]


async def test_for_anthropics_clients_it_is_told_in_their_words(gateway: GatewayUnderTest) -> None:
    """A hosted API that does not stream, asked by /v1/messages."""
    async with backend(says(CHAT)) as hosted:
        gateway.route(local=None, hosted=[hosted.hosted()])

        answer = await gateway.post(path="/v1/messages", stream=True, max_tokens=5)

    assert b'"text":"Hello"' in answer.body
    assert answer.body.endswith(b'data: {"type":"message_stop"}\n\n')


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
async def test_where_no_stream_can_be_made_of_it_it_is_a_failure(gateway: GatewayUnderTest, path: str) -> None:
    """It names what is wrong, and another backend would be asked."""
    document = {"output": [{"type": "message"}], "content": [{"type": "text", "text": "x"}], "status": "completed"}

    answer = await asked(gateway, says(document), path, stream=True, input="x", max_tokens=5)

    assert answer.status == 502
    assert b"it answered with no stream" in answer.body


async def test_an_error_in_place_of_a_stream_is_one(gateway: GatewayUnderTest) -> None:
    """The next backend answers; the error is not told as a stream."""
    async with backend(says({"error": {"message": "no"}})) as first, backend(scripts.good) as second:
        gateway.route(hosted=[second.hosted()])
        gateway.endpoints(first.fact())

        answer = await gateway.post(stream=True)

    assert answer.served_by == "hosted/openai"
    assert answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream"])
async def test_a_stream_by_another_name_is_one(gateway: GatewayUnderTest, content_type: str) -> None:
    """Some servers forget to say that they stream; what comes shows it, and it passes as it comes."""
    start, output, end = STREAMS[Dialect.CHAT]

    answer = await asked(gateway, streams(*start, *output, end, content_type=content_type), stream=True)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body == b"".join([*start, *output, end])


async def test_an_unasked_stream_becomes_a_plain_answer(gateway: GatewayUnderTest) -> None:
    """Text in pieces and in parts, three tool calls of one index, reasoning, usage: one answer."""
    calls = [{"index": 0, "id": f"c{number}", "function": {"name": "f", "arguments": "{}"}} for number in range(3)]
    events = [
        scripts.chat_event({"role": "assistant", "content": "Hel"}),
        scripts.chat_event({"content": [{"type": "text", "text": "lo"}], "reasoning_content": "hm"}),
        *[scripts.chat_event({"tool_calls": [call]}) for call in calls],
        *scripts.CHAT_END,
    ]

    answer = await asked(gateway, streams(*events))

    choice = answer.json["choices"][0]
    assert answer.headers["content-type"] == "application/json"
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ("Hello", "hm")
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["c0", "c1", "c2"]
    assert (choice["finish_reason"], answer.json["usage"]) == ("stop", USAGE)
    assert answer.json["object"] == "chat.completion"


@pytest.mark.parametrize(
    "events",
    [
        [scripts.ROLE],
        [],
        [scripts.data({"error": {"message": "no"}})],
        [scripts.ROLE, scripts.CHAT_TOKENS[0], scripts.data({"error": {"message": "no"}})],
        [scripts.ROLE, scripts.CHAT_TOKENS[0]],
    ],
)
async def test_a_broken_unasked_stream_is_a_failure(gateway: GatewayUnderTest, events: list[bytes]) -> None:
    """Also behind its first token: nothing of it has reached the client, so that another backend answers."""
    async with backend(streams(*events)) as first, backend(answers("other")) as second:
        gateway.route(hosted=[second.hosted()])
        gateway.endpoints(first.fact())

        answer = await gateway.post()

    assert answer.json["choices"][0]["message"]["content"] == "other"


async def test_half_a_character_in_a_plain_answer(gateway: GatewayUnderTest) -> None:
    """Whole characters reach everybody, with the length that they have."""
    body = rb'{"choices":[{"message":{"content":"x\ud83d"},"finish_reason":"stop"}]}'

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(plain_head(200, len(body)) + body)

    answer = await asked(gateway, script)

    assert answer.whole
    assert answer.json["choices"][0]["message"]["content"] == "x\ufffd"

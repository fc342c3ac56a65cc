"""The anthropic SDK as a client: of replicas, whose own Messages API passes, and of hosted APIs, told as chats."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from unit.gateway import backends
from unit.gateway.backends import Backend, Received, Script, Wire, backend, plain_head, stream_head
from unit.gateway.harness import KEY, GatewayUnderTest

HELLO: list[MessageParam] = [{"role": "user", "content": "Hello"}]
WEATHER: ToolParam = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
USAGE = {"prompt_tokens": 17, "completion_tokens": 4, "total_tokens": 21, "prompt_tokens_details": {"cached_tokens": 0}}

VLLM_MESSAGE = {
    "id": "chatcmpl-a5", "type": "message", "role": "assistant", "content": [{"type": "text", "text": " dog1"}],
    "model": "tiny", "stop_reason": "max_tokens",
    "usage": {"input_tokens": 17, "output_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
}  # fmt: skip
VLLM_EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": VLLM_MESSAGE | {"content": [], "stop_reason": None, "stop_sequence": None,
                                                         "usage": {"input_tokens": 17, "output_tokens": 0}}},
    {"type": "content_block_start", "content_block": {"type": "text", "text": ""}, "index": 0},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": " dog"}, "index": 0},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "1"}, "index": 0},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
     "usage": VLLM_MESSAGE["usage"]},
    {"type": "message_stop"},
]  # fmt: skip
"""What vLLM 0.32 answers, field for field."""


@contextlib.asynccontextmanager
async def sdk(gateway: GatewayUnderTest, key: str = KEY) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """A client of the SDK that tries once."""
    url = f"http://127.0.0.1:{gateway.port}"
    async with anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as client:
        yield client


def events(documents: Iterable[dict[str, Any]], *, done: bool) -> Script:
    """Answer with a stream: Anthropic's form where the events have types of their own, else OpenAI's."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(stream_head())
        for document in documents:
            name = f"event: {document['type']}\n" if "type" in document else ""
            await wire.chunk(f"{name}data: {json.dumps(document)}\n\n".encode())
        if done:
            await wire.chunk(b"data: [DONE]\n\n")
        await wire.write(b"0\r\n\r\n")

    return script


def plain(document: dict[str, Any], status: int = 200) -> Script:
    """Answer with a JSON document."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        body = json.dumps(document).encode()
        await wire.write(plain_head(status, len(body)) + body)

    return script


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    """One chunk of a chat's stream."""
    return {"id": "c-1", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def completion(message: dict[str, Any], reason: str = "stop") -> dict[str, Any]:
    """A plain chat answer."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": reason}
    return {"id": "c-1", "object": "chat.completion", "choices": [choice], "usage": USAGE}


@pytest.fixture
async def engine(gateway: GatewayUnderTest) -> AsyncIterator[Backend]:
    """A replica of route tiny."""
    async with backend(plain(VLLM_MESSAGE)) as made:
        gateway.route()
        gateway.endpoints(made.fact())
        yield made


@pytest.fixture
async def api(gateway: GatewayUnderTest) -> AsyncIterator[Backend]:
    """A hosted API that serves route tiny alone."""
    async with backend(plain(completion({"content": "Hi!"}))) as made:
        gateway.route(local=None, hosted=[made.hosted()], overflow={"on_cold_start": "Hosted"})
        yield made


async def test_a_replicas_message_passes(gateway: GatewayUnderTest, engine: Backend) -> None:
    """Plain: what vLLM says is what the SDK reads."""
    async with sdk(gateway) as client:
        message = await client.messages.create(model="tiny", max_tokens=4, messages=HELLO)

    assert message.content[0].type == "text"
    assert message.content[0].text == " dog1"
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 4)
    assert engine.requests[0].line == "POST /v1/messages HTTP/1.1"
    assert "stream_options" not in engine.requests[0].json


async def test_a_replicas_stream_passes(gateway: GatewayUnderTest, engine: Backend) -> None:
    """Streamed: event for event."""
    engine.script = events(VLLM_EVENTS, done=False)
    async with (
        sdk(gateway) as client,
        client.messages.stream(model="tiny", max_tokens=4, messages=HELLO) as stream,
    ):
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()

    assert [kind for kind in kinds if kind != "text"] == [event["type"] for event in VLLM_EVENTS]
    assert message.content[0].type == "text"
    assert message.content[0].text == " dog1"


async def test_counting_tokens(gateway: GatewayUnderTest, engine: Backend) -> None:
    """A replica counts; a model without replicas says why it can't be done."""
    engine.script = plain({"input_tokens": 9})
    async with sdk(gateway) as client:
        assert (await client.messages.count_tokens(model="tiny", messages=HELLO)).input_tokens == 9
        gateway.route("far", local=None, hosted=[engine.hosted()], overflow={"on_cold_start": "Hosted"})
        with pytest.raises(anthropic.NotFoundError, match="vLLM replicas only"):
            await client.messages.count_tokens(model="far", messages=HELLO)


async def test_a_replicas_error_has_anthropics_shape(gateway: GatewayUnderTest, engine: Backend) -> None:
    """Also where the engine's own has not."""
    engine.script = plain(
        {"error": {"message": "max_tokens is too large", "type": "BadRequestError", "code": 400}}, 400
    )
    async with sdk(gateway) as client:
        with pytest.raises(anthropic.BadRequestError, match="max_tokens is too large") as caught:
            await client.messages.create(model="tiny", max_tokens=4, messages=HELLO)

    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "invalid_request_error"


async def test_a_wrong_key(gateway: GatewayUnderTest) -> None:
    """The SDK's own exception for it."""
    async with sdk(gateway, KEY[:-1] + "x") as client:
        with pytest.raises(anthropic.AuthenticationError, match="No valid API key"):
            await client.messages.create(model="tiny", max_tokens=4, messages=HELLO)


async def test_models(gateway: GatewayUnderTest) -> None:
    """The SDK pages through the list."""
    gateway.route()
    async with sdk(gateway) as client:
        assert [model.id async for model in client.models.list()] == ["tiny"]
        assert (await client.models.retrieve("tiny")).display_name == "tiny"


async def test_a_hosted_apis_answer_is_told_as_a_message(gateway: GatewayUnderTest, api: Backend) -> None:
    """The request arrives as a chat with the API's own key and model, the answer as a message with usage."""
    async with sdk(gateway) as client:
        raw = await client.messages.with_raw_response.create(
            model="tiny", max_tokens=4, system="Be brief", messages=HELLO, extra_body={"temperature": 0.5}
        )
    message = await raw.parse()

    assert message.content[0].type == "text"
    assert (message.content[0].text, message.model, message.stop_reason) == ("Hi!", "tiny", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (17, 4)
    assert raw.headers["x-overspill-served-by"] == "hosted/openai"
    (received,) = api.requests
    assert received.line == "POST /prefix/v1/chat/completions HTTP/1.1"
    assert received.headers["authorization"] == "Bearer sk-openai"
    assert not {"x-api-key", "anthropic-version"} & set(received.headers)
    assert [one["role"] for one in received.json["messages"]] == ["system", "user"]
    assert (received.json["model"], received.json["temperature"]) == ("openai-model", 0.5)


async def test_a_hosted_apis_stream_is_told_as_events(gateway: GatewayUnderTest, api: Backend) -> None:
    """In the order of Anthropic's own servers, with usage at the end."""
    chunks = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hi"}), chunk({"content": "!"}),
              chunk({}, "length"), {"id": "c-1", "choices": [], "usage": USAGE}]  # fmt: skip
    api.script = events(chunks, done=True)
    async with (
        sdk(gateway) as client,
        client.messages.stream(model="tiny", max_tokens=4, messages=HELLO) as stream,
    ):
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()

    assert [kind for kind in kinds if kind != "text"] == [event["type"] for event in VLLM_EVENTS]
    assert message.content[0].type == "text"
    assert (message.content[0].text, message.stop_reason, message.usage.output_tokens) == ("Hi!", "max_tokens", 4)
    assert api.requests[0].json["stream_options"] == {"include_usage": True}


async def test_tools_at_a_hosted_api(gateway: GatewayUnderTest, api: Backend) -> None:
    """Called in a stream, answered in the next request: names, ids and JSON survive both ways."""

    def call(arguments: str, **fields: Any) -> dict[str, Any]:
        name = {"name": fields.pop("name")} if "name" in fields else {}
        return chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments} | name} | fields]})

    api.script = backends.then(
        events([call("", id="call_1", name="weather"), call('{"city": "K'), call('öln"}'), chunk({}, "tool_calls"),
                {"id": "c-1", "choices": [], "usage": USAGE}], done=True),
        plain(completion({"content": "Sunny."})),
    )  # fmt: skip
    async with sdk(gateway) as client:
        async with client.messages.stream(model="tiny", max_tokens=64, messages=HELLO, tools=[WEATHER]) as stream:
            pieces = [event.partial_json async for event in stream if event.type == "input_json"]
            called = await stream.get_final_message()
        use = called.content[0]
        assert use.type == "tool_use"
        result: MessageParam = {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sun"}],
        }
        turn: MessageParam = {"role": "assistant", "content": [use]}
        answer = await client.messages.create(
            model="tiny", max_tokens=64, messages=[*HELLO, turn, result], tools=[WEATHER]
        )

    assert (use.name, use.input, called.stop_reason) == ("weather", {"city": "Köln"}, "tool_use")
    assert "".join(pieces) == '{"city": "Köln"}'
    assert answer.content[0].type == "text"
    told = api.requests[1].json["messages"]
    assert [one["role"] for one in told] == ["user", "assistant", "tool"]
    assert told[1]["tool_calls"][0]["id"] == told[2]["tool_call_id"] == "call_1"
    assert json.loads(told[1]["tool_calls"][0]["function"]["arguments"]) == {"city": "Köln"}


async def test_pictures_at_a_hosted_api(gateway: GatewayUnderTest, api: Backend) -> None:
    """Base64 becomes a data URL."""
    content: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    ]
    async with sdk(gateway) as client:
        await client.messages.create(model="tiny", max_tokens=4, messages=[{"role": "user", "content": content}])

    parts = api.requests[0].json["messages"][0]["content"]
    assert parts[1]["image_url"]["url"] == "data:image/png;base64,aGk="


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, anthropic.BadRequestError), (404, anthropic.NotFoundError), (422, anthropic.UnprocessableEntityError)],
)
async def test_a_hosted_apis_refusals(
    gateway: GatewayUnderTest, api: Backend, status: int, error: type[anthropic.APIStatusError]
) -> None:
    """They raise the SDK's exceptions, with the API's message."""
    api.script = plain({"error": {"message": "context too long", "type": "invalid_request_error"}}, status)
    async with sdk(gateway) as client:
        with pytest.raises(error, match="context too long") as caught:
            await client.messages.create(model="tiny", max_tokens=4, messages=HELLO)

    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "error"


async def test_a_hosted_api_that_breaks_off_raises(gateway: GatewayUnderTest, api: Backend) -> None:
    """What came is seen, then the SDK raises: no message_stop, so that nobody takes half an answer for a whole."""
    api.script = events([chunk({"content": "Hi"})], done=False)
    seen: list[str] = []

    async def read(stream: anthropic.AsyncMessageStream[None]) -> None:
        async for event in stream:
            seen.append(event.type)  # noqa: PERF401 - kept although the loop ends with an exception

    async with (
        sdk(gateway) as client,
        client.messages.stream(model="tiny", max_tokens=4, messages=HELLO) as stream,
    ):
        with pytest.raises(anthropic.APIStatusError):
            await read(stream)

    assert "content_block_delta" in seen
    assert "message_stop" not in seen

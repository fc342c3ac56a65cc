"""The openai SDK as a client: what its users see of answers, streams and errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from unit.gateway import backends
from unit.gateway.backends import Backend, backend, stream_head
from unit.gateway.harness import KEY, GatewayUnderTest

CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"tiny","choices":'
    b'[{"index":0,"delta":{"content":" world"},"finish_reason":null}]}\n\n'
)


@contextlib.asynccontextmanager
async def sdk(gateway: GatewayUnderTest, key: str = KEY) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of the SDK that tries once."""
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
async def engine(gateway: GatewayUnderTest) -> AsyncIterator[Backend]:
    """A replica of route tiny."""
    async with backend(backends.answers("hello")) as made:
        gateway.route()
        gateway.endpoints(made.fact())
        yield made


@pytest.mark.usefixtures("engine")
async def test_a_chat(gateway: GatewayUnderTest) -> None:
    """An answer with its usage; the raw response tells who served it."""
    async with sdk(gateway) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="tiny", messages=[{"role": "user", "content": "Hi"}]
        )

    completion = raw.parse()
    assert completion.choices[0].message.content == "hello"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 8
    assert raw.headers["x-overspill-served-by"] == "local/tiny-0"


async def test_a_broken_stream_raises(gateway: GatewayUnderTest, engine: Backend) -> None:
    """The tokens that came are seen, then the SDK raises with our message: nobody takes half an answer for a whole."""

    async def breaks(received: backends.Received, wire: backends.Wire) -> None:  # noqa: ARG001
        await wire.write(stream_head())
        await wire.chunk(CHUNK + CHUNK + CHUNK[:30])
        await asyncio.sleep(0.02)
        wire.reset()

    engine.script = breaks
    seen: list[str | None] = []

    async def read(stream: openai.AsyncStream[ChatCompletionChunk]) -> None:
        async for chunk in stream:
            seen.append(chunk.choices[0].delta.content)  # noqa: PERF401 - what came before the error counts

    async with sdk(gateway) as client:
        stream = await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with pytest.raises(openai.APIError, match="broke off in the middle"):
            await read(stream)

    assert seen == [" world", " world"]


@pytest.mark.usefixtures("engine")
async def test_errors_are_the_sdks_own(gateway: GatewayUnderTest) -> None:
    """Each refusal becomes the SDK's exception of that kind, with our message."""
    async with sdk(gateway) as client:
        assert [model.id async for model in client.models.list()] == ["tiny"]
        with pytest.raises(openai.NotFoundError, match="This key may call: tiny"):
            await client.embeddings.create(model="nope", input="x")
    async with sdk(gateway, "sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError, match="overspill keys create"):
            await client.models.list()
    gateway.route(overflow={"on_cold_start": "Hold", "hold_requests_max": 0})
    gateway.endpoints()
    async with sdk(gateway) as client:
        with pytest.raises(openai.RateLimitError, match="waiting for a replica"):
            await client.completions.create(model="tiny", prompt="x")

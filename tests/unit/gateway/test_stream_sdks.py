"""The openai and anthropic SDKs read what relays write: heartbeats are skipped, errors inside a stream raise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.head import Header
from overspill_gateway.proxy.early_stream import EarlyStream
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.rewriting import answer_lines
from unit.gateway.client_double import ClientDouble
from unit.gateway.generated import DONE, STREAMS, data_event, said, usage_chunk

pytestmark = pytest.mark.interpreted  # its client is a double

STREAM: list[Header] = [(b"content-type", b"text/event-stream")]
BROKEN = errors.stream_broken("local/tiny-0", "reset")
MESSAGES: Any = [{"role": "user", "content": "Hi"}]


def answer(dialect: Dialect, *, broken: bool = False, refused: bool = False) -> ClientDouble:
    """A stream behind two heartbeats, with one more in its middle."""
    client = ClientDouble()
    opening = EarlyStream(client.connection, dialect, b"req-1")
    opening.heartbeat()
    opening.heartbeat()
    lines = answer_lines("local/tiny-0", ServedReason.NOT_SERVED, b"req-1")
    if refused:
        opening.refuse(errors.SHUTTING_DOWN, lines)
        return client
    relay = Relay(client.connection, 200, AnswerHead(STREAM), lines, dialect=dialect, opening=opening)
    start, output, end = STREAMS[dialect]
    for event in [*start, *output[:2]]:
        relay.feed(event)
    opening.heartbeat()
    if broken:
        relay.break_off(BROKEN)
        return client
    for event in [*output[2:], end]:
        relay.feed(event)
    assert relay.finish()
    client.end()
    return client


@contextlib.asynccontextmanager
async def serving(client: ClientDouble) -> AsyncIterator[str]:
    """A server that gives this answer to every request; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        status, lines, _ = client.heads[0]
        writer.write(b"HTTP/1.1 %d OK\r\n%bconnection: close\r\n\r\n" % (status, lines))
        for piece in client.pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def openai_at(url: str) -> openai.AsyncOpenAI:
    """A client that tries once."""
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)


def anthropic_at(url: str) -> anthropic.AsyncAnthropic:
    """A client that tries once."""
    return anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0)


async def chat_text(url: str, seen: list[str]) -> None:
    """Read a chat stream."""
    async with openai_at(url) as client:
        async for chunk in await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True):
            seen.extend(choice.delta.content or "" for choice in chunk.choices)


async def completion_text(url: str, seen: list[str]) -> None:
    """Read a stream of a plain completion."""
    async with openai_at(url) as client:
        async for chunk in await client.completions.create(model="tiny", prompt="Hi", stream=True):
            seen.extend(choice.text for choice in chunk.choices)


async def response_text(url: str, seen: list[str]) -> None:
    """Read a stream of /v1/responses."""
    async with openai_at(url) as client:
        async for event in await client.responses.create(model="tiny", input="Hi", stream=True):
            if event.type == "response.output_text.delta":
                seen.append(event.delta)  # noqa: PERF401  -- what came before an error counts


async def message_text(url: str, seen: list[str]) -> None:
    """Read a stream of /v1/messages."""
    async with anthropic_at(url) as client:
        stream = await client.messages.create(model="tiny", max_tokens=9, messages=MESSAGES, stream=True)
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                seen.append(event.delta.text)  # noqa: PERF401  -- what came before an error counts


READERS = {
    Dialect.CHAT: (chat_text, "Grüß dich 👋", openai.APIError),
    Dialect.COMPLETIONS: (completion_text, "one two", openai.APIError),
    Dialect.RESPONSES: (response_text, "one two", openai.APIError),
    Dialect.MESSAGES: (message_text, "one two", anthropic.APIStatusError),
}


@pytest.mark.parametrize("dialect", list(READERS))
async def test_heartbeats_and_comments_are_skipped(dialect: Dialect) -> None:
    """The SDK sees the answer, and nothing of what kept it alive."""
    read, text, _ = READERS[dialect]
    seen: list[str] = []

    async with serving(answer(dialect)) as url:
        await read(url, seen)

    assert "".join(seen) == text


@pytest.mark.parametrize("dialect", list(READERS))
async def test_a_broken_stream_raises(dialect: Dialect) -> None:
    """Behind the tokens that came, with our message: nobody takes half an answer for a whole one."""
    read, text, raised = READERS[dialect]
    seen: list[str] = []

    async with serving(answer(dialect, broken=True)) as url:
        with pytest.raises(raised, match="broke off in the middle"):
            await read(url, seen)

    assert text.startswith("".join(seen))
    assert seen


@pytest.mark.parametrize("dialect", list(READERS))
async def test_a_refusal_behind_heartbeats_raises(dialect: Dialect) -> None:
    """The status was 200 by then; the error is raised all the same."""
    read, _, raised = READERS[dialect]
    seen: list[str] = []

    async with serving(answer(dialect, refused=True)) as url:
        with pytest.raises(raised, match="is going away"):
            await read(url, seen)

    assert seen == []


async def test_an_answer_that_went_on_elsewhere_is_one_to_the_sdk() -> None:
    """One id, one text, token counts added up; the mark is there for whoever looks."""
    client = ClientDouble()
    relay = Relay(client.connection, 200, AnswerHead(STREAM), b"", dialect=Dialect.CHAT, keep=True)
    relay.feed(said("The sky"))
    partial = relay.partial()
    assert partial is not None
    relay.continue_with(200, AnswerHead(STREAM), partial, served_by="hosted/openai", may_echo=True)
    other = {"id": "other", "object": "chat.completion.chunk", "created": 5, "model": "other"}
    for text, reason in ((" is", None), (" blue.", "stop")):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
        relay.feed(data_event(other | {"choices": [choice]}))
    relay.feed(usage_chunk(18, 2) + DONE)
    assert relay.finish()

    async with serving(client) as url, openai_at(url) as sdk:
        stream = await sdk.chat.completions.create(
            model="tiny", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    assert {chunk.id for chunk in chunks} == {"chatcmpl-1"}
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "The sky is blue."
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (17, 3)
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["overspill"]["continued"] == [{"served_by": "hosted/openai", "after_tokens": 1}]

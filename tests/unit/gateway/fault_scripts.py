"""Backends' faults as scripts over raw TCP, in each dialect, and the answers that they spoil. Not: what follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from unit.gateway.backends import USAGE, Received, Script, Wire, plain_head, stream_head

TOKENS = ("Once", " upon", " a", " time")
PAUSE_SECONDS = 0.02
"""Between what is sent and the end of the connection: long enough for both to be read apart."""
BROKEN = {"message": "the engine died", "type": "InternalServerError", "param": None, "code": 500}


def chat_event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One chunk of a streamed chat."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [choice]}
    return data(chunk)


def data(document: object) -> bytes:
    """One event."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def chunked(content: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def named(name: str, **fields: Any) -> bytes:
    """One event with a name."""
    return b"event: " + name.encode() + b"\n" + data({"type": name, **fields})


DONE = b"data: [DONE]\n\n"
ROLE = chat_event({"role": "assistant", "content": ""})
CHAT_TOKENS = [chat_event({"content": token}) for token in TOKENS]
CHAT_END = [chat_event({}, "stop"), data({"id": "c-1", "choices": [], "usage": USAGE}), DONE]

_RESPONSES_USAGE = {"input_tokens": 17, "output_tokens": 8, "total_tokens": 25}
_RESPONSE: dict[str, Any] = {
    "id": "r-1",
    "object": "response",
    "model": "tiny",
    "status": "in_progress",
    "output": [],
    "usage": None,
}
RESPONSES_START = named("response.created", response=_RESPONSE) + named("response.in_progress", response=_RESPONSE)
RESPONSES_TOKENS = [named("response.output_text.delta", delta=token, output_index=0) for token in TOKENS]
RESPONSES_END = [named("response.completed", response=_RESPONSE | {"status": "completed", "usage": _RESPONSES_USAGE})]

_MESSAGE = {"id": "m-1", "type": "message", "role": "assistant", "content": [], "model": "tiny"}
MESSAGES_START = named("message_start", message=_MESSAGE | {"usage": {"input_tokens": 17, "output_tokens": 0}}) + named(
    "content_block_start", index=0, content_block={"type": "text", "text": ""}
)
MESSAGES_TOKENS = [
    named("content_block_delta", index=0, delta={"type": "text_delta", "text": token}) for token in TOKENS
]
MESSAGES_END = [
    named("content_block_stop", index=0),
    named("message_delta", delta={"stop_reason": "end_turn"}, usage={"input_tokens": 17, "output_tokens": 8}),
    named("message_stop"),
]


def stream_of(path: str) -> tuple[bytes, list[bytes], list[bytes]]:
    """Start-up events, tokens and ending of a stream, by the path that was asked."""
    if path.endswith("/responses"):
        return RESPONSES_START, RESPONSES_TOKENS, RESPONSES_END
    if path.endswith("/messages"):
        return MESSAGES_START, MESSAGES_TOKENS, MESSAGES_END
    return ROLE, CHAT_TOKENS, CHAT_END


def plain_of(path: str) -> bytes:
    """A whole plain answer, by the path that was asked."""
    text = "".join(TOKENS)
    if path.endswith("/responses"):
        output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]
        return json.dumps(_RESPONSE | {"status": "completed", "output": output, "usage": _RESPONSES_USAGE}).encode()
    if path.endswith("/messages"):
        usage = {"input_tokens": 17, "output_tokens": 8}
        return json.dumps(_MESSAGE | {"content": [{"type": "text", "text": text}], "usage": usage}).encode()
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "c-1", "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()


def path_of(received: Received) -> str:
    """The path that was asked."""
    return received.line.split(" ")[1]


async def good(received: Received, wire: Wire) -> None:
    """Answer as a good backend does, in the dialect and form that are asked for."""
    if wants_stream(received):
        start, tokens, end = stream_of(path_of(received))
        await wire.write(stream_head())
        for piece in (start, *tokens, *end):
            await wire.chunk(piece)
        await wire.write(b"0\r\n\r\n")
    else:
        body = plain_of(path_of(received))
        await wire.write(plain_head(200, len(body)) + body)


def wants_stream(received: Received) -> bool:
    """Whether the request asks for a stream; one that was answered early has not been read."""
    try:
        return bool(received.json.get("stream"))
    except json.JSONDecodeError:
        return b'"stream": true' in received.body


Ending = Callable[[Wire], Awaitable[None]]


async def resets(wire: Wire) -> None:
    """The connection is reset."""
    await asyncio.sleep(PAUSE_SECONDS)
    wire.reset()


async def closes(wire: Wire) -> None:
    """The connection is closed in an orderly way, short of the answer's framing."""
    await asyncio.sleep(PAUSE_SECONDS)
    wire.close()


async def stalls(wire: Wire) -> None:
    """Nothing comes any more."""
    await wire.gone.wait()


async def ends_cleanly(wire: Wire) -> None:
    """The last chunk: HTTP's own proper end."""
    await wire.write(b"0\r\n\r\n")


def raw(*pieces: bytes, ending: Ending = closes) -> Script:
    """Send these bytes whatever was asked."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        for piece in pieces:
            await wire.write(piece)
        await ending(wire)

    return script


def breaks(tokens: int, ending: Ending, *, extra: bytes = b"", head_only: bool = False) -> Script:
    """Send a stream's start, some tokens and something extra, or half of a plain answer; then end in this way."""

    async def script(received: Received, wire: Wire) -> None:
        path = path_of(received)
        if wants_stream(received):
            start, all_tokens, _ = stream_of(path)
            await wire.write(stream_head())
            if not head_only:
                for piece in (start, *all_tokens[:tokens]):
                    await wire.chunk(piece)
                if extra:
                    await wire.chunk(extra)
        else:
            body = plain_of(path)
            await wire.write(plain_head(200, len(body)) + (b"" if head_only else body[: len(body) // 2]))
        await ending(wire)

    return script


def says(plain: bytes, **headers: str) -> Script:
    """Answer 200 with this body."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(plain_head(200, len(plain), **headers) + plain)

    return script


def status(code: int, *, said: str = "the backend's own words", **headers: str) -> Script:
    """Refuse with a status and an error in OpenAI's shape."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        body = json.dumps({"error": BROKEN | {"message": said, "code": code}}).encode()
        await wire.write(plain_head(code, len(body), **headers) + body)

    return script


async def drips_its_head(received: Received, wire: Wire) -> None:  # noqa: ARG001
    """A header field each moment, and never an end."""
    await wire.write(b"HTTP/1.1 200 OK\r\n")
    while not wire.gone.is_set():
        await wire.write(b"x-pad: y\r\n")
        await asyncio.sleep(PAUSE_SECONDS)


async def promises_too_little(received: Received, wire: Wire) -> None:
    """A Content-Length ten bytes short of the body."""
    path = path_of(received)
    if wants_stream(received):
        start, tokens, end = stream_of(path)
        body = b"".join((start, *tokens, *end))
        head = plain_head(200, len(body) - 10).replace(b"application/json", b"text/event-stream")
    else:
        body = plain_of(path)
        head = plain_head(200, len(body) - 10)
    await wire.write(head + body)


async def promises_too_much(received: Received, wire: Wire) -> None:
    """A Content-Length ten bytes beyond the body, then the connection's end."""
    path = path_of(received)
    if wants_stream(received):
        start, tokens, end = stream_of(path)
        body = b"".join((start, *tokens, *end))
        await wire.write(plain_head(200, len(body) + 10).replace(b"application/json", b"text/event-stream") + body)
    else:
        body = plain_of(path)
        await wire.write(plain_head(200, len(body) + 10) + body)
    await closes(wire)


async def answers_at_length(received: Received, wire: Wire) -> None:
    """A plain answer of 4 MiB, or a stream with an event of 512 KiB in it."""
    path = path_of(received)
    if wants_stream(received):
        start, tokens, end = stream_of(path)
        await wire.write(stream_head())
        for piece in (start, chat_event({"content": "x" * (512 << 10)}), *tokens, *end):
            await wire.chunk(piece)
        await wire.write(b"0\r\n\r\n")
    else:
        body = plain_of(path).replace(b"Once", b"x" * (4 << 20))
        await wire.write(plain_head(200, len(body)) + body)


async def ends_with_its_connection(received: Received, wire: Wire) -> None:
    """An answer without framing, as of HTTP/1.0: whole, and over when the connection is."""
    path = path_of(received)
    streamed = wants_stream(received)
    start, tokens, end = stream_of(path)
    body = b"".join((start, *tokens, *end)) if streamed else plain_of(path)
    kind = b"text/event-stream" if streamed else b"application/json"
    await wire.write(b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\nconnection: close\r\n\r\n" + body)
    await closes(wire)


async def hints_first(received: Received, wire: Wire) -> None:
    """Interim answers, then the answer."""
    await wire.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    await good(received, wire)


async def chunks_garbage(received: Received, wire: Wire) -> None:
    """Two tokens, or half of a plain answer, then a chunk size that is none."""
    path = path_of(received)
    if wants_stream(received):
        start, tokens, _ = stream_of(path)
        await wire.write(stream_head())
        for piece in (start, *tokens[:2]):
            await wire.chunk(piece)
    else:
        body = plain_of(path)
        await wire.write(stream_head().replace(b"text/event-stream; charset=utf-8", b"application/json"))
        await wire.chunk(body[: len(body) // 2])
    await asyncio.sleep(PAUSE_SECONDS)
    await wire.write(b"zz\r\ngarbage\r\n")


async def frames_twice(received: Received, wire: Wire) -> None:
    """A chunked answer that also has a Content-Length: where it ends depends on who reads it."""
    path = path_of(received)
    if wants_stream(received):
        start, tokens, end = stream_of(path)
        body, kind = b"".join((start, *tokens, *end)), b"text/event-stream"
    else:
        body, kind = plain_of(path), b"application/json"
    await wire.write(b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\ncontent-length: 30\r\n")
    await wire.write(b"transfer-encoding: chunked\r\n\r\n")
    await wire.chunk(body)
    await wire.write(b"0\r\n\r\n")


async def dies_behind_its_end(received: Received, wire: Wire) -> None:
    """A stream cut behind its last event; a plain answer cut behind its last byte."""
    if wants_stream(received):
        start, tokens, end = stream_of(path_of(received))
        await wire.write(stream_head())
        for piece in (start, *tokens, *end):
            await wire.chunk(piece)
    else:
        await good(received, wire)
    await resets(wire)


async def closes_when_used(received: Received, wire: Wire) -> None:
    """The second request of a connection finds it closed."""
    if wire.answered:
        wire.close()
    else:
        wire.answered = True
        await good(received, wire)


async def refuses_early(received: Received, wire: Wire) -> None:
    """413 before the body was read, then the connection's end, by whom it was told of.

    A backend that closed while the body still comes would have the system reset the connection, and whoever is late to
    read the answer may find the reset instead: careful servers wait, as RFC 9112 9.6 asks.
    """
    await status(413, connection="close")(received, wire)
    await wire.gone.wait()


async def answers_early(received: Received, wire: Wire) -> None:
    """A whole answer before the body was read."""
    assert len(received.body) < int(received.headers.pop("content-length"))
    body = plain_of(path_of(received))
    await wire.write(plain_head(200, len(body)) + body)

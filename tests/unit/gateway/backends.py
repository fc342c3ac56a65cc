"""A backend that speaks raw TCP and does what a test's script says: answers, faults, silence."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from overspill_gateway.core.backends.rotation import EndpointFact

USAGE = {"prompt_tokens": 17, "completion_tokens": 8, "total_tokens": 25, "prompt_tokens_details": {"cached_tokens": 4}}
METRICS = (
    b'vllm:num_requests_running{engine="0",model_name="tiny"} 0.0\n'
    b'vllm:num_requests_waiting{engine="0",model_name="tiny"} 0.0\n'
    b'vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.0\n'
)
"""What an idle vLLM says of its load."""


@dataclass
class Received:
    """One request as the backend saw it."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        document: dict[str, Any] = json.loads(self.body)
        return document


class Wire(asyncio.Protocol):
    """The backend's end of a connection: reads requests, lets the script answer them one after the other."""

    def __init__(self, backend: Backend) -> None:
        self.gone = asyncio.Event()
        """Set when the connection has ended."""
        self.answered = False
        """For scripts: whether they have answered on it."""
        self._backend = backend
        self._buffer = b""
        self._unread = 0
        """Bytes of a body that will come after its answer."""
        self._running: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's are transports of their own
        self._backend.connections += 1
        self._backend.wires.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End."""
        self._backend.wires.discard(self)
        self.gone.set()
        self._may_write.set()

    def pause_writing(self) -> None:
        """Too much is waiting to be written."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Enough has been written."""
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        """Gather requests."""
        unread = data[: self._unread]
        self._unread -= len(unread)
        self._buffer += data[len(unread) :]
        self._next()

    def _next(self, finished: asyncio.Task[None] | None = None) -> None:
        if finished is not None:
            finished.result()
            self._running = None
        if self._running is not None:
            return
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        received = _read_head(head.decode("latin-1"))
        length = int(received.headers.get("content-length", "0"))
        if len(rest) < length and not self._backend.answers_early:
            return
        self._unread = max(length - len(rest), 0)
        received.body, self._buffer = rest[:length], rest[length:]
        self._running = asyncio.ensure_future(self._backend.answer(received, self))
        self._running.add_done_callback(self._next)

    @property
    def waits_to_write(self) -> bool:
        """Whether the other side takes nothing more for now."""
        return not self._may_write.is_set()

    async def write(self, data: bytes) -> None:
        """Write bytes, as fast as they are taken."""
        if not self._transport.is_closing():
            self._transport.write(data)
        await self._may_write.wait()
        if self._backend.write_pause_seconds:
            await asyncio.sleep(self._backend.write_pause_seconds)

    async def chunk(self, data: bytes) -> None:
        """Write one chunk."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def close(self) -> None:
        """Close in an orderly way."""
        self._transport.close()

    def reset(self) -> None:
        """Close so that the other side sees a reset."""
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


Script = Callable[[Received, Wire], Awaitable[None]]


class Backend:
    """A listening backend."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.health = 200
        """Status of /health."""
        self.write_pause_seconds = 0.0
        """After each write, so that what was written is read by itself."""
        self.answers_early = False
        """Whether it answers as soon as it has read a request's head."""
        self.requests: list[Received] = []
        self.health_checks = 0
        self.counts_asked = 0
        """Questions for a number of tokens that the gateway has asked by itself."""
        self.connections = 0
        self.port = 0
        self.wires: set[Wire] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, tls: ssl.SSLContext | None = None) -> None:
        """Begin to listen, on the port it had before if it had one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Wire(self), "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def answer(self, received: Received, wire: Wire) -> None:
        """Let the script answer; what a gateway asks beside requests is answered as vLLM does."""
        if received.line.startswith("GET /health "):
            self.health_checks += 1
            await wire.write(b"HTTP/1.1 %d OK\r\ncontent-length: 0\r\n\r\n" % self.health)
        elif received.line.startswith("GET /metrics "):
            await wire.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(METRICS), METRICS))
        elif received.line.startswith("POST /tokenize ") and "x-request-id" not in received.headers:
            self.counts_asked += 1
            prompt = received.json.get("prompt")  # the gateway's own question: a client's would carry an id
            count = USAGE["prompt_tokens"] if prompt is None else len(prompt.split())
            body = json.dumps({"count": count, "max_model_len": 8192, "tokens": []}).encode()
            await wire.write(plain_head(200, len(body)) + body)
        else:
            self.requests.append(received)
            await self.script(received, wire)

    def stop_listening(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()

    def kill(self) -> None:
        """End as a killed process does: no listener, every connection reset."""
        self.stop_listening()
        for wire in list(self.wires):
            wire.reset()

    def fact(self, pod: str = "tiny-0", **changes: Any) -> EndpointFact:
        """This backend as an endpoint."""
        known: dict[str, Any] = {
            "address": "127.0.0.1",
            "port": self.port,
            "pod": pod,
            "uid": f"uid-{pod}",
            "ready": True,
        }
        return EndpointFact(**(known | {"terminating": False} | changes))

    def hosted(self, name: str = "openai", **changes: Any) -> dict[str, Any]:
        """This backend as a hosted API."""
        url = f"http://127.0.0.1:{self.port}/prefix/v1"
        return {"name": name, "base_url": url, "model": f"{name}-model", "api_key": f"sk-{name}"} | changes


def _read_head(text: str) -> Received:
    line, *fields = text.split("\r\n")
    headers = {}
    for one in fields:
        name, _, value = one.partition(": ")
        assert name not in headers, f"{name} came twice"
        headers[name] = value
    return Received(line, headers, b"")


@contextlib.asynccontextmanager
async def backend(script: Script) -> AsyncIterator[Backend]:
    """A backend that listens as long as the block lasts."""
    made = Backend(script)
    await made.listen()
    try:
        yield made
    finally:
        made.kill()


# -- scripts -------------------------------------------------------------------------------------------------------


def answers(text: str = "hi", status: int = 200, **headers: str) -> Script:
    """Answer whole, with usage."""

    async def script(received: Received, wire: Wire) -> None:
        document = {"choices": [{"message": {"content": text}}], "usage": USAGE, "path": received.line}
        body = json.dumps(document).encode()
        await wire.write(plain_head(status, len(body), **headers) + body)

    return script


def streams(count: int = 3, *, usage: bool = False, gate: asyncio.Event | None = None) -> Script:
    """Answer with events, the last of them [DONE]; ``gate`` holds back all but the first."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(stream_head())
        for number in range(count):
            await wire.chunk(event(number))
            if gate is not None:
                await gate.wait()
        if usage:
            await wire.chunk(b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n")
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.write(b"0\r\n\r\n")

    return script


def then(*scripts: Script) -> Script:
    """Do these one after the other, a request each; the last one from then on."""
    left = list(scripts)

    async def script(received: Received, wire: Wire) -> None:
        one = left.pop(0) if len(left) > 1 else left[0]
        await one(received, wire)

    return script


async def resets_before_head(received: Received, wire: Wire) -> None:  # noqa: ARG001
    """Reset the connection without an answer."""
    wire.reset()


async def closes_before_head(received: Received, wire: Wire) -> None:  # noqa: ARG001
    """Close the connection without an answer."""
    wire.close()


async def resets_after_head(received: Received, wire: Wire) -> None:  # noqa: ARG001
    """Send the head of an answer, then reset."""
    await wire.write(plain_head(200, 100))
    await asyncio.sleep(0.02)
    wire.reset()


async def breaks_off_plain(received: Received, wire: Wire) -> None:  # noqa: ARG001
    """Send half an answer, then close."""
    await wire.write(plain_head(200, 100) + b'{"choices": [')
    await asyncio.sleep(0.02)
    wire.close()


async def breaks_off_stream(received: Received, wire: Wire) -> None:  # noqa: ARG001
    """Send two events and half of a third, then reset."""
    await wire.write(stream_head())
    await wire.chunk(event(0) + event(1) + event(2)[:20])
    await asyncio.sleep(0.02)
    wire.reset()


async def speaks_no_http(received: Received, wire: Wire) -> None:  # noqa: ARG001
    """Answer with something that is not HTTP."""
    await wire.write(b"SSH-2.0-OpenSSH_9.2\r\n")


async def says_nothing(received: Received, wire: Wire) -> None:  # noqa: ARG001
    """Take the request and say nothing until the gateway gives up."""
    await wire.gone.wait()


async def stalls_stream(received: Received, wire: Wire) -> None:  # noqa: ARG001
    """Send one event and then nothing."""
    await wire.write(stream_head())
    await wire.chunk(event(0))
    await wire.gone.wait()


def plain_head(status: int, length: int, **headers: str) -> bytes:
    """Head of a plain answer, as vLLM sends it."""
    fields = {"content-length": str(length), "content-type": "application/json"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\nserver: uvicorn\r\n{lines}\r\n".encode()


def stream_head() -> bytes:
    """Head of a stream, as vLLM sends it."""
    return (
        b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )


def event(number: int) -> bytes:
    """One event of a stream."""
    document = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": f"w{number}"}}]}
    return b"data: " + json.dumps(document).encode() + b"\n\n"

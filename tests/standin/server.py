"""The stand-in's HTTP server: OpenAI's endpoints, vLLM's /health and /metrics, and /standin for tests.

``GET /standin`` tells what was seen, ``POST /standin`` sets what the next requests get:
``{"fail": {"status": 503, "count": 2}}``, ``{"reset": 2}`` (connections closed without an answer),
``{"forget": true}`` (the record starts anew), ``{"die": true}`` (the process ends at once, as if killed).
"""

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from standin import answers
from standin.settings import Settings

RECORD_LENGTH = 1000
HEADER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class Request:
    """One HTTP request, read whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> answers.Json:
        """The body as a mapping; ValueError where it is not one."""
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise ValueError("the body is not a JSON object")  # noqa: TRY004 - as json.loads does
        return value


@dataclass
class Standin:
    """One server with its counters."""

    settings: Settings
    """How it behaves."""
    listening_unix: float = 0.0
    """When it began to listen, Unix seconds; sent with each answer, so that a client can tell what it waited for."""
    running: int = 0
    """Requests that run now."""
    waiting: int = 0
    """Requests that wait for a slot now."""
    prompt_tokens: int = 0
    """Prompt tokens of all requests."""
    output_tokens: int = 0
    """Output tokens of all requests."""
    answered: int = 0
    """Requests that were answered in full."""
    seen: deque[answers.Json] = field(default_factory=lambda: deque(maxlen=RECORD_LENGTH))
    """The newest requests: path, model, stream, authorization."""
    fail_status: int = 0
    """Status of the requests that are to fail."""
    fail_count: int = 0
    """How many more are to fail."""
    reset_count: int = 0
    """How many more connections are to be closed without an answer."""

    def __post_init__(self) -> None:
        limit = self.settings.concurrency
        self._slots = asyncio.Semaphore(limit) if limit else None
        self._connections: set[asyncio.Task[None]] = set()
        self._ending = False

    async def start(self) -> asyncio.Server:
        """Wait for the start-up delay, then listen."""
        await asyncio.sleep(self.settings.startup_delay_seconds)
        server = await asyncio.start_server(
            self._connection, self.settings.host, self.settings.port, limit=HEADER_BYTES_MAX, backlog=1024
        )
        self.listening_unix = time.time()
        return server

    async def drain(self, seconds: float) -> None:
        """Let what runs end, for at most so long; idle connections are closed."""
        self._ending = True
        deadline = time.monotonic() + seconds
        while self.running + self.waiting and time.monotonic() < deadline:  # noqa: ASYNC110 - few looks, at the end
            await asyncio.sleep(0.02)
        for task in self._connections:
            task.cancel()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await _read_request(reader, writer)) is not None:
                await self._answer(request, writer)
                if self._ending or request.headers.get("connection", "").lower() == "close":
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the client is gone, or this server is going
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.path == "/health":
            await self._send(writer, HTTPStatus.OK, b"")
        elif request.path == "/v1/models":
            await self._send_json(writer, HTTPStatus.OK, answers.models(self.settings.models))
        elif request.path == "/metrics":
            model = self.settings.models[0] if self.settings.models else self.settings.name
            text = answers.metrics(
                model, self.running, self.waiting, self.prompt_tokens, self.output_tokens, self.answered
            )
            await self._send(writer, HTTPStatus.OK, text.encode(), "text/plain; version=0.0.4")
        elif request.path == "/standin":
            await self._control(request, writer)
        elif request.path in (answers.CHAT, answers.COMPLETION, answers.EMBEDDINGS, answers.TOKENIZE):
            await self._serve(request, writer)
        else:
            await self._send_json(writer, HTTPStatus.NOT_FOUND, {"detail": "Not Found"})

    async def _control(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.method == "POST":
            order = request.json
            if order.get("die"):
                os._exit(137)  # as a killed process ends: sockets are closed by the kernel, nothing is finished
            if order.get("forget"):
                self.seen.clear()
            if "fail" in order:
                self.fail_status, self.fail_count = int(order["fail"]["status"]), int(order["fail"]["count"])
            self.reset_count = int(order.get("reset", self.reset_count))
        record = {"name": self.settings.name, "running": self.running, "requests": list(self.seen)}
        await self._send_json(writer, HTTPStatus.OK, record)

    async def _serve(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            body = request.json
        except ValueError as error:
            await self._refuse(writer, HTTPStatus.BAD_REQUEST, "Bad Request", f"JSON decode error: {error}")
            return
        self.seen.append(
            {
                "path": request.path,
                "model": body.get("model"),
                "stream": bool(body.get("stream")),
                "authorization": request.headers.get("authorization"),
            }
        )
        if self.reset_count > 0:
            self.reset_count -= 1
            writer.transport.abort()
            return
        if self.fail_count > 0:
            self.fail_count -= 1
            await self._refuse(writer, HTTPStatus(self.fail_status), "Error", "told to fail by a test")
            return
        key = self.settings.api_key
        if key and request.headers.get("authorization") != f"Bearer {key}":
            await self._refuse(writer, HTTPStatus.UNAUTHORIZED, "invalid_request_error", "Incorrect API key provided")
            return
        if self.settings.models and body.get("model") not in self.settings.models:
            message = f"The model `{body.get('model')}` does not exist. Valid: {', '.join(self.settings.models)}."
            await self._refuse(writer, HTTPStatus.NOT_FOUND, "NotFoundError", message)
            return
        await self._run(request.path, body, writer)

    async def _run(self, path: str, body: answers.Json, writer: asyncio.StreamWriter) -> None:
        if self._slots:
            self.waiting += 1
            try:
                await self._slots.acquire()
            finally:
                self.waiting -= 1
        self.running += 1
        try:
            await asyncio.sleep(self.settings.answer_delay_seconds)
            await self._generate(path, body, writer)
            self.answered += 1
        finally:
            self.running -= 1
            if self._slots:
                self._slots.release()

    async def _generate(self, path: str, body: answers.Json, writer: asyncio.StreamWriter) -> None:
        if path == answers.EMBEDDINGS:
            await self._send_json(writer, HTTPStatus.OK, answers.embeddings(body))
            return
        if path == answers.TOKENIZE:
            count = len(answers.words_of(body))
            await self._send_json(writer, HTTPStatus.OK, {"count": count, "tokens": list(range(count))})
            return
        wanted = body.get("max_completion_tokens") or body.get("max_tokens") or self.settings.tokens
        words = answers.answer_words(self.settings.name, min(int(wanted), self.settings.tokens))
        self.prompt_tokens += len(answers.words_of(body))
        self.output_tokens += len(words)
        identity, created = f"cmpl-{os.getpid()}-{self.answered}", int(time.time())
        if body.get("stream"):
            await self._send_stream(writer, answers.stream(path, body, words, identity, created))
        else:
            await asyncio.sleep(self.settings.token_delay_seconds * (len(words) - 1))
            await self._send_json(writer, HTTPStatus.OK, answers.plain(path, body, words, identity, created))

    async def _send_stream(self, writer: asyncio.StreamWriter, events: Any) -> None:
        head = f"content-type: text/event-stream; charset=utf-8\r\n{self._own_header()}transfer-encoding: chunked\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
        async for event in _paced(events, self.settings.token_delay_seconds):
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _refuse(self, writer: asyncio.StreamWriter, status: HTTPStatus, kind: str, message: str) -> None:
        await self._send_json(writer, status, answers.error(status, kind, message))

    async def _send_json(self, writer: asyncio.StreamWriter, status: HTTPStatus, body: answers.Json) -> None:
        await self._send(writer, status, json.dumps(body).encode())

    async def _send(
        self, writer: asyncio.StreamWriter, status: HTTPStatus, body: bytes, kind: str = "application/json"
    ) -> None:
        head = f"content-type: {kind}\r\n{self._own_header()}content-length: {len(body)}\r\n"
        writer.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + body)
        await writer.drain()

    def _own_header(self) -> str:
        return f"x-standin-listening-unix: {self.listening_unix:.6f}\r\n"


async def _paced(events: Any, delay_seconds: float) -> AsyncIterator[bytes]:
    for position, event in enumerate(events):
        if position and delay_seconds:
            await asyncio.sleep(delay_seconds)
        yield event


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request of a connection; None where the client has closed it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target.partition("?")[0], headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body

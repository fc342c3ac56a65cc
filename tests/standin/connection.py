"""HTTP/1.1 on one connection: requests in, answers out, in order, kept alive. It knows nothing of models.

The standard library's own servers either block a thread per connection or do not speak HTTP; this one reads
what clients and gateways send (content-length and chunked bodies, Expect, pipelining) and no more.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

HEAD_BYTES_MAX = 65_536
BODY_BYTES_MAX = 64 * 2**20
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
REASONS |= {405: "Method Not Allowed", 413: "Content Too Large", 500: "Internal Server Error"}
REASONS |= {503: "Service Unavailable"}


class BadRequestError(Exception):
    """What came is not HTTP that this server reads; the connection ends."""


@dataclass(frozen=True)
class Request:
    """One whole request."""

    method: str
    """As sent: GET, POST."""
    path: str
    """Without the query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    """Decoded when it came chunked."""
    keep_alive: bool
    """Whether the client wants to send another."""


def parse(buffer: bytearray) -> Request | None:
    """Take one whole request off the buffer's front; None when more must come."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > HEAD_BYTES_MAX:
            raise BadRequestError
        return None
    lines = buffer[:end].decode("latin-1").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        if "chunked" in headers.get("transfer-encoding", "").lower():
            taken = _chunked(buffer, end + 4)
        else:
            length = int(headers.get("content-length", "0"))
            if not 0 <= length <= BODY_BYTES_MAX:
                raise BadRequestError
            stop = end + 4 + length
            taken = (bytes(buffer[end + 4 : stop]), stop) if len(buffer) >= stop else None
    except ValueError:
        raise BadRequestError from None
    if taken is None:
        return None
    body, stop = taken
    del buffer[:stop]
    options = headers.get("connection", "").lower()
    keep_alive = "close" not in options if version == "HTTP/1.1" else "keep-alive" in options
    return Request(method, target.partition("?")[0], headers, body, keep_alive)


def _chunked(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    body = bytearray()
    while (line_end := buffer.find(b"\r\n", start)) >= 0:
        size = int(bytes(buffer[start:line_end]).partition(b";")[0], 16)
        start = line_end + 2
        if len(body) + size > BODY_BYTES_MAX:
            raise BadRequestError
        if size == 0:
            while (line_end := buffer.find(b"\r\n", start)) > start:  # trailers, unread
                start = line_end + 2
            return (bytes(body), start + 2) if line_end == start else None
        if len(buffer) < start + size + 2:
            return None
        body += buffer[start : start + size]
        start += size + 2
    return None


Handler = Callable[[Request, "Connection"], Coroutine[None, None, None]]
"""Answers one request through its connection."""


class Connection(asyncio.Protocol):
    """One client's connection; `handle` answers each request through it."""

    def __init__(
        self,
        handle: Handler,
        opened: Callable[[Connection], None],
        closed: Callable[[Connection], None],
        headers: bytes,
    ) -> None:
        self._handle = handle
        self._opened = opened
        self._closed = closed
        self._headers = headers
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._close_after = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start: asyncio hands over the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._writable.set()
        self._opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client went away: what it asked for is no longer wanted."""
        self._closed(self)
        self._transport = None
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client reads slower than the answer is made."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Bytes of one or more requests, or of a part of one."""
        self._buffer += data
        if self._task is None:
            self._next()
        elif self._transport is not None and len(self._buffer) > HEAD_BYTES_MAX:
            self._transport.pause_reading()

    def _next(self) -> None:
        if self._transport is None or self._close_after:
            return
        try:
            request = parse(self._buffer)
        except BadRequestError:
            self._close_after = True
            self.send_json(400, {"error": {"message": "not a request that this server reads"}})
            self._transport.close()
            return
        if request is None:
            if b"100-continue" in self._buffer[:HEAD_BYTES_MAX].lower() and self._buffer.endswith(b"\r\n\r\n"):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._close_after = not request.keep_alive
        self._task = asyncio.get_running_loop().create_task(self._handle(request, self))
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            traceback.print_exception(error)
        if self._transport is None:
            return
        if error is not None or task.cancelled() or self._close_after:
            self._transport.close()
            return
        self._transport.resume_reading()
        self._next()

    def _head(self, status: int, content_type: str, more: bytes) -> bytes:
        close = b"connection: close\r\n" if self._close_after else b""
        reason = REASONS.get(status, "Status")
        first = f"HTTP/1.1 {status} {reason}\r\nserver: standin\r\ncontent-type: {content_type}\r\n".encode()
        return first + self._headers + close + more + b"\r\n"

    def send(self, status: int, body: bytes, content_type: str, headers: bytes = b"") -> None:
        """A whole answer."""
        if self._transport is not None:
            length = b"content-length: %d\r\n" % len(body)
            self._transport.write(self._head(status, content_type, length + headers) + body)

    def send_json(self, status: int, body: object, headers: bytes = b"") -> None:
        """A whole answer in JSON."""
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        self.send(status, text, "application/json", headers)

    def start_stream(self, content_type: str) -> None:
        """The head of an answer that comes in pieces."""
        if self._transport is not None:
            self._transport.write(self._head(200, content_type, b"transfer-encoding: chunked\r\n"))

    async def send_piece(self, piece: bytes) -> None:
        """One piece, once the client can take it."""
        await self._writable.wait()
        if self._transport is not None:
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def end_stream(self) -> None:
        """The regular end; without it the client sees a cut answer."""
        if self._transport is not None:
            self._transport.write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Drop the connection at once, as the kernel does for a killed process: the client sees a cut answer."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Drop the connection so that the client sees a reset."""
        if self._transport is not None:
            linger_zero_seconds = struct.pack("ii", 1, 0)
            peer = self._transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero_seconds)
            self._transport.abort()

    def finish(self) -> None:
        """Close once the answer on its way is sent; at once when there is none."""
        self._close_after = True
        if self._task is None and self._transport is not None:
            self._transport.close()

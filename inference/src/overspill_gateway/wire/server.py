"""The server's side of HTTP/1.1: one connection, its requests in their order, its limits and its deadlines.

It hands each request that ``reader`` has read to the handler, and gives the handler the means to answer. It knows
nothing of models.
"""

import asyncio
import math
from http import HTTPStatus
from typing import Final, Protocol

from overspill_gateway.core.errors import ApiError, error_body, malformed
from overspill_gateway.core.head import Head
from overspill_gateway.wire.limits import Limits
from overspill_gateway.wire.reader import Incoming, RequestReader
from overspill_gateway.wire.sweep import Sweeper

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS: Final = frozenset({204, 304})
_LINGER_SECONDS: Final = 2.0
_WAITING_INPUT_BYTES_MAX: Final = 64 * 1024
"""Bytes that a client may send ahead while it is being answered."""


class Answerer(Protocol):
    """Whoever answers a request, and needs to know how its client is doing."""

    def client_gone(self) -> None:
        """Nobody wants the answer any more."""
        ...

    def client_slow(self) -> None:
        """The client takes less than it is given: give no more."""
        ...

    def client_ready(self) -> None:
        """The client takes more again."""
        ...


class Handler(Protocol):
    """What a server serves."""

    def admit(self, head: Head) -> ApiError | None:
        """Refuse a request by its head, before its body is read; None lets it in."""
        ...

    def serve(self, connection: "ServerConnection", head: Head, body: bytes) -> None:
        """Answer a request, now or later, by the connection's methods."""
        ...

    def refusal_lines(self, head: Head | None) -> bytes:
        """Header lines of the answers that the server itself gives."""
        ...


class ServerConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, handler: Handler, limits: Limits, sweeper: Sweeper, peers: "set[ServerConnection]") -> None:
        self.deadline = math.inf
        self.answerer: Answerer | None = None
        self.answering = False
        self._handler = handler
        self._limits = limits
        self._sweeper = sweeper
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made
        self._reader = RequestReader(limits, handler.admit, self._say_continue)
        self._input: list[bytes] = []
        self._out: list[bytes] = []
        self._reading_paused = False
        self._pumping = False
        self._draining = False
        self._stalled = False
        # of the answer being written
        self._chunked = False
        self._bodiless = False
        self._close_after = False
        self._answer_head: Head | None = None

    # -- transport ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A transport is there."""
        self._transport = transport  # type: ignore[assignment]
        if len(self._peers) >= self._limits.connections_max:
            transport.close()
            return
        self._peers.add(self)
        self.deadline = self._loop.time() + self._limits.head_seconds
        self._sweeper.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The transport is gone."""
        self._reader.stopped = True
        self._peers.discard(self)
        self._sweeper.discard(self)
        self._reader.ready.clear()
        self._input.clear()
        answerer, self.answerer = self.answerer, None
        if answerer is not None:
            answerer.client_gone()

    def pause_writing(self) -> None:
        """The transport has enough to write."""
        self._stalled = True
        self.deadline = self._loop.time() + self._limits.write_stall_seconds
        if self.answerer is not None:
            self.answerer.client_slow()

    def resume_writing(self) -> None:
        """The transport can take more."""
        self._stalled = False
        self.deadline = math.inf if self.answering else self._loop.time() + self._limits.keep_alive_seconds
        if self.answerer is not None:
            self.answerer.client_ready()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._reader.stopped:
            return
        if self.answering or self._reader.ready:
            self._input.append(data)
            if not self._reading_paused and sum(map(len, self._input)) > _WAITING_INPUT_BYTES_MAX:
                self._reading_paused = True
                self._transport.pause_reading()
            return
        self._read(data)
        self._pump()

    def expire(self, now: float) -> None:  # noqa: ARG002
        """A deadline has passed: tell a client that is halfway through a request, close on any other."""
        self.deadline = math.inf
        if self._reader.stopped or self._stalled or not self._reader.in_message:
            self._abort()
            return
        self._reader.stop(malformed("The request did not come in time.", status=408, code="request_timeout"))
        self._pump()

    def _read(self, data: bytes) -> None:
        reader, limits = self._reader, self._limits
        if not reader.in_message:
            self.deadline = self._loop.time() + limits.head_seconds
        reader.feed(data)
        if reader.in_body:
            self.deadline = self._loop.time() + limits.body_idle_seconds

    def _say_continue(self) -> None:
        if not self.answering:
            self._transport.write(_CONTINUE)

    # -- answering ---------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Serve what has been read, one after the other, as long as nobody is being answered."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self.answering and not self._transport.is_closing():
                if self._reader.ready:
                    self._serve_next(self._reader.ready.popleft())
                elif self._input and not self._reader.stopped:
                    data = b"".join(self._input)
                    self._input.clear()
                    if self._reading_paused:
                        self._reading_paused = False
                        self._transport.resume_reading()
                    self._read(data)
                else:
                    break
        finally:
            self._pumping = False

    def _serve_next(self, incoming: Incoming) -> None:
        head, refusal = incoming.head, incoming.refusal
        self.answering = True
        self.deadline = math.inf
        self._answer_head = head
        self._close_after = not incoming.keep_alive or self._draining or head is None or head.http_1_0
        if refusal is not None or head is None:
            self.refuse(refusal or malformed("The request can't be read."), self._handler.refusal_lines(head))
        else:
            self._handler.serve(self, head, incoming.body)

    def send_head(self, status: int, lines: bytes, length: int | None) -> None:
        """Begin an answer; ``length`` None: it shows at its end. Nothing is written before ``flush``."""
        out = self._out
        out.append(_STATUS_LINES.get(status) or b"HTTP/1.1 %d\r\n" % status)
        out.append(lines)
        head = self._answer_head
        self._bodiless = status in _BODILESS or (head is not None and head.method == b"HEAD")
        self._chunked = False
        if status in _BODILESS:
            pass
        elif length is not None:
            out.append(b"content-length: %d\r\n" % length)
        elif head is not None and head.http_1_0:
            self._close_after = True
        else:
            self._chunked = True
            out.append(b"transfer-encoding: chunked\r\n")
        if self._draining:
            self._close_after = True
        out.append(b"connection: close\r\n\r\n" if self._close_after else b"\r\n")

    def send(self, data: bytes) -> None:
        """A piece of the answer's body; nothing is written before ``flush``."""
        if self._bodiless or not data:
            return
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def flush(self) -> None:
        """Write what was sent."""
        out = self._out
        if out:
            self._transport.write(b"".join(out) if len(out) > 1 else out[0])
            self._out = []

    def end(self) -> None:
        """The answer is whole; the next request has its turn."""
        if self._chunked and not self._bodiless:
            self._out.append(b"0\r\n\r\n")
        self.flush()
        self.answering = False
        self.answerer = None
        self._answer_head = None
        if self._close_after or self._draining:
            self._close()
            return
        self.deadline = self._loop.time() + (
            self._limits.write_stall_seconds if self._stalled else self._limits.keep_alive_seconds
        )
        if self._reader.ready or self._input:
            self._pump()

    def cut(self) -> None:
        """Break the answer off so that the client sees that it is not whole."""
        self.answerer = None
        self._out = []
        self._abort()

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """A whole answer at once."""
        self.send_head(status, lines, len(body))
        self.send(body)
        self.end()

    def refuse(self, error: ApiError, lines: bytes = b"") -> None:
        """Answer with an error in OpenAI's shape."""
        extra = [lines, b"content-type: application/json\r\n"]
        if error.retry_after_seconds is not None:
            extra.append(b"retry-after: %d\r\n" % error.retry_after_seconds)
        if error.allow is not None:
            extra.append(b"allow: %b\r\n" % error.allow.encode())
        self._close_after = self._close_after or error.close
        self.answer(error.status, b"".join(extra), error_body(error))

    # -- ending ------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """No further request: close now, or when the answer that is under way is whole."""
        self._draining = True
        if not self.answering and not self._reader.ready and not self._reader.in_message:
            self._close()

    def _close(self) -> None:
        """Close so that what was written arrives: data that nobody reads would reset it away."""
        unread = self._reader.stopped or self._reader.in_message or bool(self._input)
        self._reader.stopped = True
        self._reader.ready.clear()
        self._input.clear()
        if unread and self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
            self._stalled = True  # the deadline aborts
            self.deadline = self._loop.time() + _LINGER_SECONDS
            if self._reading_paused:
                self._reading_paused = False
                self._transport.resume_reading()
        else:
            self._transport.close()

    def _abort(self) -> None:
        self._reader.stopped = True
        self._transport.abort()

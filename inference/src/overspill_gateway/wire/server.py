"""The server's side of HTTP/1.1: one connection, its requests in their order, its limits and its deadlines.

It hands each request that ``reader`` has read to the handler, and gives the handler the means to answer. It knows
nothing of models.
"""

import asyncio
import logging
import math
import select
from http import HTTPStatus
from typing import Final, Protocol

from overspill_gateway.clock import Clock
from overspill_gateway.core.http.cors import CorsPolicy, is_preflight
from overspill_gateway.core.http.errors import ApiError, malformed, refusal_body, refusal_lines
from overspill_gateway.core.http.head import Head
from overspill_gateway.wire.body_room import BodyRoom
from overspill_gateway.wire.date import DateLine
from overspill_gateway.wire.limits import Limits
from overspill_gateway.wire.reader import Incoming, RequestReader
from overspill_gateway.wire.sweep import Sweeper
from overspill_gateway.wire.time_slice import TimeSlice

logger = logging.getLogger(__name__)

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS: Final = frozenset({204, 304})
INTERNAL_ERROR: Final = ApiError(
    500,
    "server_error",
    "internal_error",
    "The gateway failed to serve this request; its log says why. Nothing else is known to be wrong with the request.",
    close=True,
)
_LINGER_SECONDS: Final = 2.0
_DRAIN_IDLE_SECONDS: Final = 1.0
"""While draining, a connection is closed when it was idle for so long: most clients in use send again sooner."""
_READY_MAX: Final = 16
"""Requests that are read ahead: what one read holds of them could keep the event loop busy."""
_SLICE_BYTES: Final = 8 * 1024
"""Of what a client sent at once; the dearest take some 2 ms."""
_PUMP_SECONDS_MAX: Final = 0.002
"""For so long one client's pipelined requests are answered at a stretch."""
_WAITING_INPUT_BYTES_MAX: Final = 64 * 1024
"""Bytes that a client may send ahead while it is being answered."""
_JOINED_PARTS_MAX: Final = 16
_JOINED_BYTES_MAX: Final = 256 * 1024
"""What is longer is written in its parts: copying it takes a while."""


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

    def serve_long(self, connection: "ServerConnection", head: Head, parts: list[bytes]) -> None:
        """The same, of one whose body is long: it comes in parts."""
        ...

    def refusal_lines(self, head: Head | None) -> bytes:
        """Header lines of the answers that the server itself gives."""
        ...


class PortState:
    """What all connections of one listening port share."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        sweeper: Sweeper,
        cors: CorsPolicy | None,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.room = BodyRoom(limits.bodies_bytes_max)
        self.sweeper = sweeper
        self.cors = cors
        self.date = DateLine(clock)
        self.loop = loop
        self.connections: set[ServerConnection] = set()
        """All open connections of clients."""
        self.draining = False
        """Whether every answer from now on is the last one of its connection."""

    def admit(self, head: Head) -> ApiError | None:
        """Refuse by the head; a browser's preflight needs no key and no known path."""
        if self.cors is not None and is_preflight(head):
            return None
        return self.handler.admit(head)


class ServerConnection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_answer_head", "_begun", "_bodiless", "_chunked", "_close_after", "_input", "_out", "_port", "_pumping",
        "_reader", "_reading_paused", "_received", "_room_bytes", "_room_owner", "_since", "_stalled", "_transport",
        "answerer", "answering", "deadline",
    )  # fmt: skip

    def __init__(self, port: "PortState") -> None:
        self.deadline = math.inf
        self.answerer: Answerer | None = None
        self.answering = False
        self._port = port
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made
        admit = port.handler.admit if port.cors is None else port.admit
        self._reader = RequestReader(port.limits, admit, self._say_continue, port.room, ready_max=_READY_MAX)
        self._input = b""
        self._out: list[bytes] = []
        self._reading_paused = False
        self._pumping = False
        self._stalled = False
        # of the request being read: since when, and how many bytes of it have come
        self._since = 0.0
        self._received = 0
        # of the answer being written
        self._begun = False
        self._chunked = False
        self._bodiless = False
        self._close_after = False
        self._answer_head: Head | None = None
        # what the body of the request being answered has taken of the room for bodies
        self._room_bytes = 0
        self._room_owner = ""

    @property
    def is_receiving(self) -> bool:
        """Whether the head of a request is there and its body is still coming."""
        return self._reader.head is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A transport is there."""
        self._transport = transport  # type: ignore[assignment]
        port = self._port
        if len(port.connections) >= port.limits.connections_max:
            transport.close()
            return
        port.connections.add(self)
        self.deadline = port.loop.time() + port.limits.head_seconds
        port.sweeper.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The transport is gone."""
        self._reader.forget()
        self._port.connections.discard(self)
        self._port.sweeper.discard(self)
        self._input = b""
        answerer, self.answerer = self.answerer, None
        if answerer is not None:
            answerer.client_gone()
        self.body_done()

    def body_done(self) -> None:
        """Nobody needs the body of the request that is being answered any more."""
        if self._room_bytes:
            self._port.room.give_back(self._room_owner, self._room_bytes)
            self._room_bytes = 0

    def pause_writing(self) -> None:
        """The transport has enough to write."""
        self._stalled = True
        self.deadline = self._port.loop.time() + self._port.limits.write_stall_seconds
        if self.answerer is not None:
            self.answerer.client_slow()

    def resume_writing(self) -> None:
        """The transport can take more."""
        self._stalled = False
        self.deadline = math.inf if self.answering else self._port.loop.time() + self._port.limits.keep_alive_seconds
        if self.answerer is not None:
            self.answerer.client_ready()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._reader.stopped:
            return
        if self.answering or self._reader.ready or self._input:
            self._input += data
            if not self._reading_paused and len(self._input) > _WAITING_INPUT_BYTES_MAX:
                self._reading_paused = True
                self._transport.pause_reading()
            return
        self._read(data)
        self._pump()

    def expire(self, now: float) -> None:
        """A deadline has passed: tell a client that is halfway through a request, close on any other."""
        self.deadline = math.inf
        reader = self._reader
        if reader.stopped or self._stalled:
            self._abort()
        elif reader.in_message:
            reader.stop(malformed("The request did not come in time.", status=408, code="request_timeout"))
            self._pump()
        elif self._has_unread_input():
            self.deadline = now + _DRAIN_IDLE_SECONDS
        else:
            self._close()

    def _read(self, data: bytes) -> None:
        reader, limits = self._reader, self._port.limits
        now = self._port.loop.time()
        if reader.head is None and not reader.pending:
            self._since = now
            self._received = 0
            self.deadline = now + limits.head_seconds
        rest = b""
        if len(data) > _SLICE_BYTES and len(data) > reader.body_left:  # framing may be dear
            data, rest = data[:_SLICE_BYTES], data[_SLICE_BYTES:]
        self._received += len(data)
        self._input = reader.feed(data) + rest + self._input
        if reader.head is not None:
            idle = limits.body_idle_seconds
            slowest = self._since + idle + self._received / limits.body_bytes_per_second_min
            self.deadline = min(now + idle, slowest)

    def _say_continue(self) -> None:
        if not self.answering:
            self._transport.write(_CONTINUE)

    # -- answering ---------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Serve what has been read, one after the other, as long as nobody is being answered."""
        if self._pumping:
            return
        self._pumping = True
        several = bool(self._input) or len(self._reader.ready) > 1  # most have one request on its way
        turn = TimeSlice(_PUMP_SECONDS_MAX) if several else None
        done = 0
        try:
            while not self.answering and not self._transport.is_closing():
                if done and turn is not None and turn.is_over:  # others have their turn
                    self._port.loop.call_soon(self._pump)
                    break
                done += 1
                if self._reader.ready:
                    self._serve_next(self._reader.ready.pop(0))
                elif self._input and not self._reader.stopped:
                    data, self._input = self._input, b""
                    self._read(data)
                    if self._reading_paused and len(self._input) <= _WAITING_INPUT_BYTES_MAX:
                        self._reading_paused = False
                        self._transport.resume_reading()
                else:
                    break
        finally:
            self._pumping = False

    def _serve_next(self, incoming: Incoming) -> None:
        head, refusal = incoming.head, incoming.refusal
        if incoming.room_bytes and head is not None:
            self._room_bytes, self._room_owner = incoming.room_bytes, head.owner
        self.answering = True
        self._begun = False
        self.deadline = math.inf
        self._answer_head = head
        self._close_after = not incoming.keep_alive or head is None or head.http_1_0
        port = self._port
        if refusal is not None or head is None:
            self.refuse(refusal or malformed("The request can't be read."), port.handler.refusal_lines(head))
        elif port.cors is not None and is_preflight(head):
            self.answer(204, port.cors.preflight_lines(head), b"")
        else:
            try:
                if incoming.parts:
                    port.handler.serve_long(self, head, incoming.parts)
                else:
                    port.handler.serve(self, head, incoming.body)
            except Exception:
                logger.exception("a request could not be served", extra={"path": head.path.decode("latin-1")})
                self._give_up()

    def _give_up(self) -> None:
        """The handler broke: the client is told where nothing has been said yet, and cut off where it has."""
        answerer, self.answerer = self.answerer, None
        if answerer is not None:
            answerer.client_gone()
        if self._begun or not self.answering:
            self.cut()
        else:
            self.refuse(INTERNAL_ERROR, self._port.handler.refusal_lines(self._answer_head))

    def fail(self, head: Head) -> None:
        """The answerer of a request broke: end it in the same way, if nobody has ended it yet."""
        if not self.answering or self._answer_head is not head or self._transport.is_closing():
            return
        self.answerer = None
        try:
            self._give_up()
        except Exception:
            self.cut()
            raise

    def send_head(self, status: int, lines: bytes, length: int | None, *, dated: bool = False) -> None:
        """Begin an answer; ``length`` None: it shows at its end. Nothing is written before ``flush``.

        ``dated``: the lines have a backend's date, which is passed on.
        """
        out, port = self._out, self._port
        self._begun = True
        out.append(_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status)
        out.append(lines)
        if not dated:
            out.append(port.date.line())
        head = self._answer_head
        if port.cors is not None:
            out.append(port.cors.answer_lines(head))
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
        if port.draining:
            self._close_after = True
        out.append(b"connection: close\r\n\r\n" if self._close_after else b"\r\n")

    def send(self, data: bytes, chunk: bytes = b"") -> None:
        """A piece of the answer's body; nothing is written before ``flush``.

        ``chunk``: the piece with its framing, where that is known.
        """
        if self._bodiless or not data:
            return
        if not self._chunked:
            self._out.append(data)
        elif chunk:
            self._out.append(chunk)
        else:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")

    def flush(self) -> None:
        """Write what was sent."""
        out = self._out
        if out:
            if len(out) > _JOINED_PARTS_MAX and sum([len(part) for part in out]) > _JOINED_BYTES_MAX:
                self._transport.writelines(out)
            else:
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
        self.body_done()
        if self._close_after:
            self._close()
            return
        self.deadline = self._port.loop.time() + (
            self._port.limits.write_stall_seconds if self._stalled else self._port.limits.keep_alive_seconds
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
        """Answer with an error, in the words of the path that was called."""
        head = self._answer_head
        body = refusal_body(error, head.path if head is not None else b"", lines)
        self._close_after = self._close_after or error.close
        self.answer(error.status, lines + refusal_lines(error), body)

    # -- ending ------------------------------------------------------------------------------------------------

    def drain(self, *, at_once: bool = False) -> None:
        """The port ends: close as soon as this is idle for a moment, after an answer that is under way.

        A client may be sending its next request just now: what has reached this machine is still answered. Only
        ``at_once`` does not wait for the moment.
        """
        if self.answering or self._reader.ready or self._reader.in_message:
            return
        if at_once and not self._has_unread_input():
            self._close()
        else:
            self.deadline = min(self.deadline, self._port.loop.time() + _DRAIN_IDLE_SECONDS)

    def _has_unread_input(self) -> bool:
        """Whether bytes have arrived that the loop has not handed over yet."""
        endpoint = self._transport.get_extra_info("socket")
        if endpoint is None or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(endpoint.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _close(self) -> None:
        """Close so that what was written arrives: data that nobody reads would reset it away."""
        unread = self._reader.stopped or self._reader.in_message or bool(self._input)
        self._reader.forget()
        self._input = b""
        now, transport = self._port.loop.time(), self._transport
        if unread and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
            self._stalled = True  # the deadline aborts
            self.deadline = now + _LINGER_SECONDS
            if self._reading_paused:
                self._reading_paused = False
                transport.resume_reading()
        else:
            transport.close()
            self.deadline = now + self._port.limits.write_stall_seconds  # for a client that takes nothing more

    def _abort(self) -> None:
        self._reader.stopped = True
        self._transport.abort()

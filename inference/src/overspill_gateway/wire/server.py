"""The server's side of HTTP/1.1: one connection, its requests in their order, its limits and its deadlines.

It reads whole requests, hands each to the handler, and gives the handler the means to answer. It knows nothing of
models. A body is never handed over before the framing of its whole message was found good.
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

import httptools

from overspill_gateway.core.errors import ApiError, error_body, malformed
from overspill_gateway.core.head import Head, Header, read_head
from overspill_gateway.wire.sweep import Sweeper

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS: Final = frozenset({204, 304})
_LINGER_SECONDS: Final = 2.0
_SWALLOWED_BYTES_MAX: Final = 256 * 1024
"""A refused request's body up to this long is read away, so that the connection can be used again."""
_WAITING_INPUT_BYTES_MAX: Final = 64 * 1024
"""Bytes that a client may send ahead while it is being answered."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may cost."""

    head_bytes_max: int = 64 * 1024
    """Bytes of a request's head."""
    header_fields_max: int = 128
    """Header fields of a request."""
    target_bytes_max: int = 8 * 1024
    """Bytes of a request's target."""
    body_bytes_max: int = 64 * 1024 * 1024
    """Bytes of a request's body: images come in it."""
    head_seconds: float = 10.0
    """From a request's first byte to the end of its head."""
    body_idle_seconds: float = 30.0
    """Between two pieces of a request's body."""
    keep_alive_seconds: float = 75.0
    """Between two requests."""
    write_stall_seconds: float = 60.0
    """The longest that a client may take nothing of what is ready for it."""
    connections_max: int = 20_000
    """Open connections; further ones are closed at once."""


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


class _Stop(Exception):  # noqa: N818 - it stops the parser, which is no error
    """Raised inside a parser's callback: read no further."""


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
        self._parser = httptools.HttpRequestParser(self)
        self._ready: deque[tuple[Head | None, bytes, ApiError | None, bool]] = deque()
        self._input: list[bytes] = []
        self._out: list[bytes] = []
        self._reading_paused = False
        self._pumping = False
        self._ended = False
        self._draining = False
        self._stalled = False
        # of the message being read
        self._reading_message = False
        self._target = b""
        self._headers: list[Header] = []
        self._head: Head | None = None
        self._refusal: ApiError | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._wire_bytes = 0
        self._raw_bytes_left = -1
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
        self._ended = True
        self._peers.discard(self)
        self._sweeper.discard(self)
        self._ready.clear()
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
        if self._ended:
            return
        if self.answering or self._ready:
            self._input.append(data)
            if not self._reading_paused and sum(map(len, self._input)) > _WAITING_INPUT_BYTES_MAX:
                self._reading_paused = True
                self._transport.pause_reading()
            return
        self._feed(data)
        self._pump()

    def expire(self, now: float) -> None:  # noqa: ARG002
        """A deadline has passed: tell a client that is halfway through a request, close on any other."""
        self.deadline = math.inf
        if self._ended or self._stalled or not self._reading_message:
            self._abort()
            return
        slow = ApiError(
            408, "invalid_request_error", "request_timeout", "The request did not come in time.", close=True
        )
        self._stop_reading(slow)
        self._pump()

    # -- reading -----------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        if self._raw_bytes_left >= 0:
            self._feed_raw(data)
            return
        if not self._reading_message:
            self.deadline = self._loop.time() + self._limits.head_seconds
        elif self._head is not None:
            self.deadline = self._loop.time() + self._limits.body_idle_seconds
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            if self._refusal is None:
                raise
            self._stop_reading(self._refusal)
        except httptools.HttpParserError as error:
            self._stop_reading(_not_http(error, data))
        else:
            self._check_sizes()

    def _check_sizes(self) -> None:
        if not self._reading_message and not self._wire_bytes:
            return
        limits = self._limits
        if self._head is None:
            if len(self._target) > limits.target_bytes_max:
                self._stop_reading(malformed("The request's target is too long.", status=414, code="target_too_long"))
            elif self._wire_bytes > limits.head_bytes_max:
                self._stop_reading(malformed("The request's head is too long.", status=431, code="head_too_long"))
        elif self._wire_bytes - self._body_bytes > limits.head_bytes_max * 2 + 8 * self._body_bytes:
            self._stop_reading(malformed("The body's chunks carry more than their content."))

    def _stop_reading(self, error: ApiError) -> None:
        """The rest of this connection's input has no meaning; what was read before it is still answered."""
        if self._ended:
            return
        self._ended = True
        self._reading_message = False
        self._ready.append((self._head, b"", error, False))

    def on_message_begin(self) -> None:
        """A message begins."""
        self._reading_message = True
        self._target = b""
        self._headers = []
        self._head = None
        self._refusal = None
        self._body = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer."""
        if self._head is None:  # trailers come through here as well; they are dropped
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        parser, limits = self._parser, self._limits
        if len(self._target) > limits.target_bytes_max:
            self._refuse(malformed("The request's target is too long.", status=414, code="target_too_long"))
        if len(self._headers) > limits.header_fields_max or (
            self._wire_bytes > limits.head_bytes_max
            and sum(len(name) + len(value) + 4 for name, value in self._headers) > limits.head_bytes_max
        ):
            self._refuse(malformed("The request's head is too long.", status=431, code="head_too_long"))
        head = read_head(parser.get_method(), self._target, parser.get_http_version(), self._headers)
        if isinstance(head, ApiError):
            self._refuse(head)
            return
        self._head = head
        length = head.content_length or 0
        if length > limits.body_bytes_max:
            self._refuse(self._too_large())
        if parser.should_upgrade():
            # Nothing is upgraded here. The parser reads no body then, so it is counted by hand (see _feed_raw).
            if head.chunked:
                self._refuse(malformed("A request that asks for an upgrade can't come in chunks."))
            self._raw_bytes_left = length
        refusal = self._handler.admit(head)
        if refusal is not None:
            if head.expects_continue or head.chunked or length > _SWALLOWED_BYTES_MAX or refusal.close:
                self._refuse(refusal)
            self._refusal = refusal
        elif head.expects_continue and not self.answering and not self._ready:
            self._transport.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > self._limits.body_bytes_max:
            self._refuse(self._too_large())

    def on_message_complete(self) -> None:
        """The message is whole."""
        if self._raw_bytes_left < 0:
            self._message_complete(keep_alive=self._parser.should_keep_alive())

    def _message_complete(self, *, keep_alive: bool) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._ready.append((self._head, body, self._refusal, keep_alive))
        self._reading_message = False
        self._head = None
        self._body = []
        self._wire_bytes = self._body_bytes = 0
        self.deadline = math.inf

    def _refuse(self, error: ApiError) -> None:
        self._refusal = error
        raise _Stop

    def _too_large(self) -> ApiError:
        mib = self._limits.body_bytes_max / 2**20
        return malformed(f"The body is longer than {mib:g} MiB.", status=413, code="body_too_large")

    def _after_upgrade(self, rest: bytes) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._feed_raw(rest)

    def _feed_raw(self, data: bytes) -> None:
        piece, rest = data[: self._raw_bytes_left], data[self._raw_bytes_left :]
        self._body.append(piece)
        self._raw_bytes_left -= len(piece)
        self.deadline = self._loop.time() + self._limits.body_idle_seconds
        if self._raw_bytes_left == 0:
            self._raw_bytes_left = -1
            self._message_complete(keep_alive=True)
            if rest:
                self._feed(rest)

    # -- answering ---------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Serve what has been read, one after the other, as long as nobody is being answered."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self.answering and not self._transport.is_closing():
                if self._ready:
                    self._serve_next(*self._ready.popleft())
                elif self._input and not self._ended:
                    data = b"".join(self._input)
                    self._input.clear()
                    if self._reading_paused:
                        self._reading_paused = False
                        self._transport.resume_reading()
                    self._feed(data)
                else:
                    break
        finally:
            self._pumping = False

    def _serve_next(self, head: Head | None, body: bytes, refusal: ApiError | None, keep_alive: bool) -> None:  # noqa: FBT001
        self.answering = True
        self.deadline = math.inf
        self._answer_head = head
        self._close_after = not keep_alive or self._draining or head is None or head.http_1_0
        if refusal is not None or head is None:
            self.refuse(refusal or malformed("The request can't be read."), self._handler.refusal_lines(head))
        else:
            self._handler.serve(self, head, body)

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
        if self._ready or self._input:
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
        if not self.answering and not self._ready and not self._reading_message:
            self._close()

    def _close(self) -> None:
        """Close so that what was written arrives: data that nobody reads would reset it away."""
        unread = self._ended or self._reading_message or bool(self._input)
        self._ended = True
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
        self._ended = True
        self._transport.abort()


def _not_http(error: httptools.HttpParserError, data: bytes) -> ApiError:
    """What to say to bytes that the parser refuses."""
    if not isinstance(error, httptools.HttpParserInvalidMethodError):
        return malformed(f"This is not HTTP/1.1: {error}.")
    if not data.isascii() or data[:1] < b" ":
        return malformed("This is not HTTP/1.1; if it is TLS, use http:// here.")
    return malformed("The request's method is not known here.", status=501, code="method_not_implemented")

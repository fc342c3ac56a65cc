"""The client's side of HTTP/1.1: one connection to a backend, one request at a time on it."""

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import httptools

from overspill_gateway.core.head import Header
from overspill_gateway.core.outcome import FailureKind

if TYPE_CHECKING:
    from overspill_gateway.wire.pool import Pool

_HEAD_BYTES_MAX: Final = 256 * 1024


class _Unasked(Exception):  # noqa: N818 - it stops the parser, which is no error of ours
    """The backend changes to a protocol that nobody has asked for."""


class Receiver(Protocol):
    """Whoever sent a request and receives its answer."""

    def answer_head(self, status: int, headers: list[Header]) -> None:
        """Status and header fields, names in lower case."""
        ...

    def answer_body(self, data: bytes) -> None:
        """A piece of the body."""
        ...

    def answer_pause(self) -> None:
        """All that has arrived so far has been handed over: write it on."""
        ...

    def answer_end(self) -> None:
        """The answer is whole."""
        ...

    def answer_lost(self, kind: FailureKind, detail: str) -> None:
        """The answer will not come, or not whole."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """One connection to a backend."""

    def __init__(self, pool: "Pool") -> None:
        self.idle_since = 0.0
        self.used = False
        """Whether it has carried an answer before: then the backend may have closed it under us."""
        self._pool = pool
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._headers: list[Header] = []
        self._head_done = False
        self._head_bytes = 0
        self._interim = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A transport is there."""
        self._transport = transport  # type: ignore[assignment]

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent on it any more."""
        return self._transport.is_closing()

    def send(self, receiver: Receiver, head: bytes, body: bytes) -> None:
        """Send a request; its answer goes to the receiver."""
        self._receiver = receiver
        self._headers = []
        self._head_done = False
        self._head_bytes = 0
        if len(body) < 65536:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def abandon(self) -> None:
        """Nobody wants the answer: close, which tells the backend to stop."""
        self._receiver = None
        self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self._receiver = None
        self._transport.close()

    def pause(self) -> None:
        """Read no more for now."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        receiver = self._receiver
        if receiver is None:  # an idle connection has nothing to say: it can't be trusted with a request
            self._transport.abort()
            return
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Unasked):
                raise error.__context__ or error from None
            self._fail(FailureKind.PROTOCOL, "it wants to speak another protocol")
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(FailureKind.PROTOCOL, f"it did not answer in HTTP/1.1 ({error})")
            return
        if self._receiver is receiver:
            if not self._head_done and self._head_bytes > _HEAD_BYTES_MAX:
                self._fail(FailureKind.PROTOCOL, "the head of its answer is too long")
            else:
                receiver.answer_pause()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._pool.lost(self)
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        framing = {b"content-length", b"transfer-encoding"}
        if self._head_done and exc is None and not any(name in framing for name, _ in self._headers):
            receiver.answer_end()  # an answer without framing ends with its connection
            return
        where = "in the middle of its answer" if self._head_done else "before it answered"
        receiver.answer_lost(FailureKind.RESET, f"it closed the connection {where}")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer."""
        if not self._head_done:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                raise _Unasked
            self._interim = True
            return
        self._head_done = True
        if self._receiver is not None:
            self._receiver.answer_head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._receiver is not None:
            self._receiver.answer_body(data)

    def on_message_complete(self) -> None:
        """The message is whole."""
        if self._interim:
            self._interim = False
            self._headers = []
            return
        receiver, self._receiver = self._receiver, None
        self.used = True
        if receiver is None or not self._parser.should_keep_alive():
            self._transport.close()
        else:
            self._pool.put(self)
        if receiver is not None:
            receiver.answer_end()

    def _fail(self, kind: FailureKind, detail: str) -> None:
        receiver, self._receiver = self._receiver, None
        self._transport.abort()
        if receiver is not None:
            receiver.answer_lost(kind, detail)

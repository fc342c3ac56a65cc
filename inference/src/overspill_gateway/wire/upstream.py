"""The client's side of HTTP/1.1: one connection to a backend, one request at a time on it.

llhttp parses what comes back and refuses most of what is ambiguous; the rest is refused here, so that no backend can
make two answers of one, or one of two: framing by anything but one length, chunks, or the connection's end.
"""

import asyncio
import math
from typing import Final, Protocol

import httptools

from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.http.answer_head import NO_HEAD, AnswerHead
from overspill_gateway.core.http.head import Header
from overspill_gateway.core.text.rope import Buffer
from overspill_gateway.wire.answer_memory import AnswerMemory
from overspill_gateway.wire.chunk_frame import content_start
from overspill_gateway.wire.paced import PacedWriter
from overspill_gateway.wire.stream_reads import StreamReads
from overspill_gateway.wire.time_slice import TimeSlice

_HEAD_BYTES_MAX: Final = 256 * 1024
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_SLICE_BYTES: Final = 4 * 1024
"""Of what has come at once; the dearest take some 2 ms."""
_SLICES_SECONDS: Final = 0.002
"""For so long slices are taken at a stretch."""
_VERSIONS: Final = frozenset({"1.1", "1.0"})


class _Refused(Exception):  # noqa: N818 - it stops the parser, which is no error of ours
    """The answer's head is not one to go by; the text says why."""


class Receiver(Protocol):
    """Whoever sent a request and receives its answer."""

    def answer_head(self, status: int, head: AnswerHead) -> None:
        """Status and header fields."""
        ...

    def answer_body(self, data: bytes, chunk: bytes = b"") -> None:
        """A piece of the body; ``chunk``: it with its framing, where it is the whole content of one chunk."""
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


class ConnectionOwner:
    """Where a connection comes from and goes back to: the connections to one backend."""

    def __init__(self, reads: StreamReads | None) -> None:
        self.reads = reads
        """Reads the streams that are under way, if not the event loop does."""

    def put(self, connection: "UpstreamConnection") -> None:
        """It can take another request."""
        raise NotImplementedError

    def lost(self, connection: "UpstreamConnection") -> None:
        """It has ended."""
        raise NotImplementedError


class UpstreamConnection(asyncio.Protocol):
    """One connection to a backend."""

    __slots__ = (
        "_answer",
        "_apart",
        "_between",
        "_between_chunks",
        "_head_bytes",
        "_head_done",
        "_headers",
        "_held",
        "_interim",
        "_made",
        "_memory",
        "_more_follows",
        "_owner",
        "_parser",
        "_reads_on",
        "_receiver",
        "_spoke_first",
        "_status",
        "_transport",
        "_writer",
        "flowing",
        "idle_since",
        "retires_at",
        "unread",
        "used",
    )  # fmt: skip

    def __init__(self, owner: ConnectionOwner) -> None:
        self.idle_since = 0.0
        self.retires_at = math.inf
        """From then on it gets no further request, time of the loop's clock."""
        self.used = False
        """Whether it has carried an answer before: then the backend may have closed it under us."""
        self.flowing = False
        """Whether nobody waits for the answer to begin any more, as its receiver says."""
        self._owner = owner
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._headers: list[Header] = []
        self._answer = NO_HEAD
        self._head_done = False
        self._head_bytes = 0
        self._interim = False
        self._between = True
        self._between_chunks = False
        self._apart = -1  # the socket's number, while not the event loop reads it but StreamReads
        self._memory = AnswerMemory()
        self._status = 0
        self._held = False  # as its receiver has asked
        self.unread = b""
        """What has come and waits for its turn."""
        self._reads_on = self._more_follows = False
        self._writer: PacedWriter | None = None  # of a long body, until all of it is written
        self._made = self._spoke_first = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A transport is there."""
        self._transport = transport  # type: ignore[assignment]
        self._made = True
        if self._spoke_first:
            self._transport.abort()

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent on it any more."""
        return self._transport.is_closing()

    def send(self, receiver: Receiver, head: bytes, body: bytes, parts: "list[Buffer] | None" = None) -> None:
        """Send a request, HEAD excepted; its answer goes to the receiver. ``parts``: of a long body, instead of it."""
        self._receiver = receiver
        self._held = self.flowing = False
        self._headers = []
        self._head_done = False
        self._head_bytes = 0
        if parts:
            self._writer = PacedWriter(self._transport, [head, *parts])
            self._writer.go_on()
        elif len(body) < 65536:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def pause_writing(self) -> None:
        """The transport has enough to write."""
        if self._writer is not None:
            self._writer.pause()

    def resume_writing(self) -> None:
        """The transport can take more."""
        if self._writer is not None:
            self._writer.resume()

    def abandon(self) -> None:
        """Nobody wants the answer: close, which tells the backend to stop."""
        self._receiver = None
        self._abort()

    def hand_over(self, receiver: Receiver) -> None:
        """Somebody else receives the rest of the answer."""
        self._receiver = receiver
        self.resume()

    def close(self) -> None:
        """Close an idle connection."""
        self._receiver = None
        self._transport.close()

    def pause(self) -> None:
        """Read no more for now."""
        self._held = True
        self._stop_reading()

    def resume(self) -> None:
        """Read on."""
        self._held = False
        if self.unread:
            self._read_on_soon()
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _stop_reading(self) -> None:
        if self._apart >= 0:
            self._leave()
        elif not self._transport.is_closing():
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes have come: many are taken in slices, between which others have their turn."""
        if self.unread:
            self.unread += data
        elif len(data) <= _SLICE_BYTES or self._receiver is None or (self._between and self._memory.body_start(data)):
            self._take(data)
        elif self._take_slices(data):
            self._stop_reading()

    def _take_slices(self, data: bytes) -> bool:
        """Take as many slices as there is time for; whether some are left."""
        at, turn = 0, TimeSlice(_SLICES_SECONDS)
        while at < len(data):
            piece = data[at : at + _SLICE_BYTES]
            at += len(piece)
            self._more_follows = at < len(data)
            self._take(piece)
            if self._receiver is None:  # nobody wants the rest, and a connection that has one can't be used again
                self.unread = b""
                return False
            if self._held or turn.is_over:
                break
        self.unread, self._more_follows = data[at:], False
        if self.unread and not self._held:
            self._read_on_soon()
        return bool(self.unread)

    def _read_on_soon(self) -> None:
        if not self._reads_on:
            self._reads_on = True
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        self._reads_on = False
        data = self.unread
        if self._held or not data or self._transport.is_closing():
            return
        if not self._take_slices(data):
            self._start_reading()

    def _start_reading(self) -> None:
        if not self._held and not self._transport.is_closing():
            self._transport.resume_reading()

    def _take(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:  # an idle connection has nothing to say: it can't be trusted with a request
            if self._made:
                self._transport.abort()
            else:  # in a tunnel, before its TLS handshake was over for us
                self._spoke_first = True
            return
        if self._between_chunks:
            start = content_start(data)
            if start:
                self._take_chunk(receiver, data, start)
                return
        self._take_any(receiver, data)

    def _take_chunk(self, receiver: Receiver, data: bytes, start: int) -> None:
        """One chunk has come in one read, as nearly all of a stream does: the parser need not see it."""
        receiver.answer_body(data[start:-2], data)
        if self._receiver is receiver:
            receiver.answer_pause()
            if self._apart < 0 and self.flowing:
                self._read_apart()

    def _take_any(self, receiver: Receiver, data: bytes) -> None:
        between, self._between = self._between, False
        if between:
            start = self._memory.body_start(data)
            if start:
                self._take_whole(receiver, data[start:])
                return
        self._head_bytes += len(data)
        refused = self._parse(data)
        if refused is not None:
            self._fail(FailureKind.PROTOCOL, refused)
            return
        if between and self._between:
            self._memory.remember(data, self._status, self._answer)
        if self._receiver is receiver:
            if self._head_bytes > _HEAD_BYTES_MAX:
                where = "framing" if self._head_done else "head"
                self._fail(FailureKind.PROTOCOL, f"the {where} of its answer is too long")
            else:
                receiver.answer_pause()

    def _parse(self, data: bytes) -> str | None:
        """Hand on what the parser makes of bytes; why it refuses them."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Refused):
                raise error.__context__ or error from None
            return str(error.__context__)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            return f"it did not answer in HTTP/1.1 ({error})"
        return None

    def _take_whole(self, receiver: Receiver, body: bytes) -> None:
        """An answer has come, in one read, whose head is the last one's."""
        self._head_done = True
        memory = self._memory
        head = memory.head
        self._headers = head.headers
        receiver.answer_head(memory.status, head)
        rest = self._receiver  # it may have been handed over to somebody else
        if body and rest is not None:
            rest.answer_body(body)
        if rest is not None and self._receiver is rest:
            self._end(keep=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._leave()
        self._writer = None
        self._owner.lost(self)
        self.unread = b""
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._head_done and exc is None and not any(name in _FRAMING for name, _ in self._headers):
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
        status, version = self._parser.get_status_code(), self._parser.get_http_version()
        if version not in _VERSIONS or not 100 <= status <= 599:
            raise _Refused(f"it answered HTTP/{version} {status}")
        if status < 200:
            if status == 101:
                raise _Refused("it wants to speak another protocol")
            if any(name in _FRAMING for name, _ in self._headers):
                raise _Refused(f"its interim answer {status} has a body")
            self._interim = True
            return
        self._check_framing(version)
        self._head_done = True
        self._status = status
        self._answer = AnswerHead(self._headers)
        if self._receiver is not None:
            self._receiver.answer_head(status, self._answer)

    def _check_framing(self, version: str) -> None:
        """Chunks, once, spelled plainly: llhttp reads other codings until the connection's end."""
        chunked = False
        for name, value in self._headers:
            if name == b"transfer-encoding":
                if chunked or version == "1.0" or value.strip(b" \t").lower() != b"chunked":
                    raise _Refused("it answered in a transfer encoding other than chunked")
                chunked = True

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._head_bytes = 0  # from here on: of extensions and trailers
        if self._receiver is not None:
            self._receiver.answer_body(data)

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        """A chunk has come, its line end included."""
        self._between_chunks = True

    def on_message_complete(self) -> None:
        """The message is whole."""
        self._between_chunks = False
        if self._interim:
            self._interim = False
            self._headers = []
            return
        self._end(keep=self._parser.should_keep_alive())

    def _end(self, *, keep: bool) -> None:
        """The answer is whole; the connection is kept where another request can follow on it."""
        receiver, self._receiver = self._receiver, None
        self.used = self._between = True
        self._between_chunks = False
        if self._apart >= 0:
            self._leave()
            self.resume()
        # An answer may come before its request has gone out whole: the rest of that would precede the next request.
        writer, self._writer = self._writer, None
        unwritten = writer is not None and not writer.done
        if receiver is None or not keep or unwritten or self._more_follows or self._transport.get_write_buffer_size():
            self._stop(writer)
            self._transport.close()
        else:
            if self._held:  # whoever held it back has all of the answer, and need not say so
                self.resume()
            self._owner.put(self)
        if receiver is not None:
            receiver.answer_end()

    def _fail(self, kind: FailureKind, detail: str) -> None:
        receiver, self._receiver = self._receiver, None
        self._abort()
        if receiver is not None:
            receiver.answer_lost(kind, detail)

    def _abort(self) -> None:
        self._leave()
        self._stop(self._writer)
        self._transport.abort()

    def _stop(self, writer: PacedWriter | None) -> None:
        """Nobody wants the rest of a long body."""
        if writer is not None:
            writer.stop()

    # -- being read together with others ---------------------------------------------------------------------------

    def _read_apart(self) -> None:
        """Have the rest of a stream read together with others, if that pays now and it comes in the open."""
        reads = self._owner.reads
        if reads is None:
            return
        reads.chunk_came()
        transport = self._transport
        if not reads.together or not transport.is_reading() or transport.get_extra_info("ssl_object") is not None:
            return
        self._apart = transport.get_extra_info("socket").fileno()
        transport.pause_reading()
        reads.take(self._apart, self)

    def _leave(self) -> None:
        """Nobody reads it for now."""
        reads = self._owner.reads
        if self._apart >= 0 and reads is not None:
            reads.release(self._apart, self)
            self._apart = -1

    def returned(self) -> None:
        """The event loop reads it again."""
        self._apart = -1
        self.resume()

    def broken(self) -> None:
        """A fault of ours: end it."""
        self._fail(FailureKind.PROTOCOL, "its answer could not be read")

"""Reads requests out of a client's bytes: framing, limits, refusals. It answers nothing and knows no deadline.

``head`` and ``chunks`` decide what is accepted. A request is ready when its whole message was found good,
so that nothing of an ambiguous one ever goes on. The same bytes mean the same however they are split.
"""

from collections.abc import Callable
from typing import Final

from overspill_gateway.core.http.chunks import ChunkedBody
from overspill_gateway.core.http.errors import ApiError, malformed
from overspill_gateway.core.http.head import Head, bad_request_line, head_too_long, read_head, target_too_long
from overspill_gateway.core.http.pieces import Pieces
from overspill_gateway.core.requests.head_memory import HeadMemory
from overspill_gateway.wire.body_room import STEP_BYTES, BodyRoom
from overspill_gateway.wire.limits import Limits

_SWALLOWED_BYTES_MAX: Final = 256 * 1024
"""A refused request's body up to this long is read away, so that the connection can be used again."""
_HEAD_END: Final = b"\r\n\r\n"
_CR: Final = 13
_REQUEST_LINE_REST: Final = 48
"""Bytes of a request line besides its target: the longest method, the version, spaces."""
_FIELD_BYTES: Final = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))


class Incoming:
    """One request that was read, or why it is refused."""

    __slots__ = ("body", "head", "keep_alive", "parts", "refusal", "room_bytes")

    def __init__(
        self, head: Head | None, body: bytes, refusal: ApiError | None, *, keep_alive: bool, parts: list[bytes]
    ) -> None:
        self.head = head
        self.body = body
        self.parts = parts
        """Of a long body, which is not joined; ``body`` is empty then."""
        self.refusal = refusal
        self.keep_alive = keep_alive
        self.room_bytes = 0
        """What its body has taken of the room for bodies."""


class RequestReader:
    """Reads the requests of one connection."""

    __slots__ = (
        "_admit", "_chunks", "_left", "_limits", "_memory", "_new", "_pieces", "_ready_max", "_refusal",
        "_room", "_say_continue", "head", "pending", "ready", "room_bytes", "stopped",
    )  # fmt: skip

    def __init__(
        self,
        limits: Limits,
        admit: Callable[[Head], ApiError | None],
        say_continue: Callable[[], None],
        room: BodyRoom | None = None,
        *,
        ready_max: int = 1 << 30,
    ) -> None:
        """``room``: for long bodies, shared with others. ``ready_max``: requests that are read ahead of answers."""
        self.ready: list[Incoming] = []
        """Requests that wait to be answered, in their order."""
        self.stopped = False
        """Whether further bytes have no meaning."""
        self.head: Head | None = None
        """The head of the request whose body is being read."""
        self.pending = b""
        """The part of a head that has come."""
        self.room_bytes = 0
        """What the body that is being read has taken of the room for bodies."""
        self._room = room
        self._ready_max = ready_max
        self._limits = limits
        self._admit = admit
        self._say_continue = say_continue
        self._memory = HeadMemory()
        self._new = True
        self._refusal: ApiError | None = None
        self._chunks: ChunkedBody | None = None
        self._pieces: Pieces | None = None
        self._left = 0

    @property
    def body_left(self) -> int:
        """Bytes to come of a body whose length is known."""
        return self._left

    @property
    def in_message(self) -> bool:
        """Whether a request has begun and not ended."""
        return bool(self.pending) or self.head is not None

    def feed(self, data: bytes) -> bytes:
        """Read bytes; whole requests then stand in ``ready``. What is left is for later: enough of them are ready."""
        while data and not self.stopped and len(self.ready) < self._ready_max:
            if self.head is None:
                data = self._feed_head(data)
            elif self._chunks is not None:
                data = self._feed_chunks(data, self._chunks)
            else:
                data = self._feed_body(data)
        return b"" if self.stopped else data

    def stop(self, error: ApiError) -> None:
        """The rest of this connection's input has no meaning; what was read before it is still answered."""
        if self.stopped:
            return
        self.stopped = True
        head = self.head
        self._give_room_back()
        self._next_message()
        self.pending = b""
        self.ready.append(Incoming(head, b"", error, keep_alive=False, parts=[]))

    def _feed_head(self, data: bytes) -> bytes:
        buffer = self.pending
        searched = 0
        if buffer:
            searched = max(len(buffer) - 3, 0)
            data = buffer + data
        if data[0] < 32:
            # An empty line before a request: one is ignored, as RFC 9112 asks for; a second one is no HTTP.
            if self._new and data[:2] == b"\r\n":
                self._new = False
                self.pending = b""
                return data[2:]
            if self._new and data == b"\r":
                self.pending = data
                return b""
        end = data.find(_HEAD_END, searched)
        if end < 0:
            self._unfinished_head(data)
            return b""
        self.pending = b""
        self._new = False
        limits = self._limits
        raw = data[:end]
        head = self._memory.recall(raw)
        if head is None:
            read = read_head(raw, target_bytes_max=limits.target_bytes_max, fields_max=limits.header_fields_max)
            if isinstance(read, ApiError):
                self.stop(read)
                return b""
            head = read
            self._memory.remember(raw, head)
        if end > limits.head_bytes_max:
            self.stop(head_too_long())
        else:
            self._begin(head, body_follows=len(data) > end + 4)
            return data[end + 4 :]
        return b""

    def _unfinished_head(self, data: bytes) -> None:
        """Keep what has come, unless nothing that could still come would make it a good head.

        Only what is new is looked at: a head that comes byte by byte would else be read as often as it has bytes.
        """
        seen = len(self.pending)
        new_from = seen - 1 if seen and data[seen - 1] == _CR else seen  # its line feed may be new
        self.pending = data
        limits = self._limits
        new = data[new_from:]
        line_end = data.find(b"\r\n", 0, limits.target_bytes_max + _REQUEST_LINE_REST + 2)
        controls = len(new.translate(None, _FIELD_BYTES))
        if controls != 2 * new.count(b"\r\n") + new.endswith(b"\r"):
            self.stop(malformed("This is not HTTP/1.1; if it is TLS, use http:// here."))
        elif line_end < 0 and len(data) > limits.target_bytes_max + _REQUEST_LINE_REST:
            self.stop(target_too_long() if data.find(b" ", 0, _REQUEST_LINE_REST) > 0 else _no_request_line())
        elif len(data) >= limits.head_bytes_max + len(_HEAD_END):  # of a head within the limit, all would be here
            self.stop(head_too_long())
        elif line_end >= new_from and (refused := bad_request_line(data[:line_end])) is not None:
            self.stop(refused)

    def _begin(self, head: Head, *, body_follows: bool) -> None:
        """A head is whole: let its request in, or refuse it."""
        self.head = head
        length = head.content_length or 0
        refusal = self._admit(head)
        limit = self._body_bytes_max(head)
        if length > limit:
            self.stop(_too_large(limit))
            return
        if refusal is not None:
            if head.expects_continue or head.chunked or length > _SWALLOWED_BYTES_MAX or refusal.close:
                self.stop(refusal)
                return
            self._refusal = refusal
        elif head.expects_continue and not body_follows and not self.ready and (length or head.chunked):
            self._say_continue()
        if head.chunked:
            self._chunks = ChunkedBody(limit)
        elif length:
            self._left = length
        else:
            self._message_complete(b"")

    def _body_bytes_max(self, head: Head) -> int:
        own, limit = head.body_bytes_max, self._limits.body_bytes_max
        return limit if own is None or own > limit else own

    def _feed_body(self, data: bytes) -> bytes:
        left, pieces = self._left, self._pieces
        rest = b""
        if len(data) > left:
            data, rest = data[:left], data[left:]
        self._left = left = left - len(data)
        if self._refusal is not None:  # nobody wants it
            data = b""
        elif pieces is not None or left:
            if pieces is None:
                pieces = self._pieces = Pieces()
            pieces.add(data)
            if not self._has_room(pieces.length):
                return b""
        if not left:
            self._message_complete(data, pieces)
        return rest

    def _has_room(self, length: int) -> bool:
        """Take what a body of this length needs of the room that all share; False: the request was refused."""
        head, room = self.head, self._room
        while room is not None and length > self.room_bytes + STEP_BYTES:
            if head is None or not room.take(head.owner):
                self.stop(_NO_ROOM)
                return False
            self.room_bytes += STEP_BYTES
        return True

    def _give_room_back(self) -> None:
        if self.room_bytes and self.head is not None and self._room is not None:
            self._room.give_back(self.head.owner, self.room_bytes)
        self.room_bytes = 0

    def forget(self) -> None:
        """The connection is gone: nobody wants what was read."""
        self.stopped = True
        self._give_room_back()
        for incoming in self.ready:
            if incoming.room_bytes and incoming.head is not None and self._room is not None:
                self._room.give_back(incoming.head.owner, incoming.room_bytes)
        self.ready.clear()

    def _feed_chunks(self, data: bytes, chunks: ChunkedBody) -> bytes:
        rest = chunks.feed(data)
        if isinstance(rest, ApiError):
            head = self.head
            self.stop(_too_large(self._body_bytes_max(head)) if head is not None and chunks.too_long else rest)
            return b""
        if not self._has_room(chunks.content.length):
            return b""
        if chunks.whole:
            self._message_complete(b"", chunks.content)
        return rest

    def _message_complete(self, body: bytes, pieces: Pieces | None = None) -> None:
        """``body``: where it came in one piece."""
        head, joined_max = self.head, self._limits.joined_bytes_max
        parts: list[bytes] = []
        if pieces is not None and pieces.length > joined_max:
            body, parts = b"", pieces.parts()
        elif pieces is not None:
            body = pieces.joined()
        elif len(body) > joined_max:
            body, parts = b"", [body]
        keep_alive = head is None or head.keep_alive
        incoming = Incoming(head, body, self._refusal, keep_alive=keep_alive, parts=parts)
        incoming.room_bytes, self.room_bytes = self.room_bytes, 0
        self.ready.append(incoming)
        self._next_message()

    def _next_message(self) -> None:
        self.head = self._refusal = self._chunks = self._pieces = None
        self._left = 0
        self._new = True


_NO_ROOM: Final = ApiError(
    503,
    "server_error",
    "too_many_bodies",
    "The gateway receives as many long bodies as it has memory for, or this key has sent its half of them. Send the "
    "request again when others are answered, or a shorter one.",
    retry_after_seconds=2,
    close=True,
)


def _no_request_line() -> ApiError:
    return malformed("This is not HTTP/1.1; if it is TLS, use http:// here.")


def _too_large(limit: int) -> ApiError:
    return malformed(f"The body is longer than {limit / 2**20:g} MiB.", status=413, code="body_too_large")

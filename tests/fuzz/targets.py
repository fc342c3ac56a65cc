"""What must hold for any bytes at all, as functions that raise AssertionError where it does not."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Final, cast

import httptools

from overspill_gateway.core.answers.events import EventAligner
from overspill_gateway.core.answers.stream import StreamReader
from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.http.forwarding import to_client
from overspill_gateway.core.http.head import Head, Header
from overspill_gateway.wire.limits import Limits
from overspill_gateway.wire.pool import Pool
from overspill_gateway.wire.reader import RequestReader
from overspill_gateway.wire.upstream import UpstreamConnection

_EVENT_START: Final = re.compile(rb"(?<=\n\n)(?!\n)")
_CHUNK_START: Final = re.compile(rb"(?<=\r\n)(?=[0-9a-f]+\r\n)")
LIMITS: Final = Limits(head_bytes_max=1024, header_fields_max=16, target_bytes_max=256, body_bytes_max=512)

Message = tuple[bytes, bytes, tuple[Header, ...], bytes]
"""Method, target's path and query, header fields, body."""


def readings(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes in several reads: in two parts, one by one where that is quick, by chunks, by events."""
    size = len(data)
    seed = zlib.crc32(data)
    cuts = range(1, size) if size <= 24 else sorted({1 + (seed >> shift) % (size - 1) for shift in (0, 5, 11, 17)})
    for cut in cuts:
        yield [data[:cut], data[cut:]]
    if 2 < size <= 400:
        yield [data[at : at + 1] for at in range(size)]
    yield _CHUNK_START.split(data)
    yield _EVENT_START.split(data)


# -- requests ------------------------------------------------------------------------------------------------------


def read_requests(reads: list[bytes]) -> tuple[list[Message], bool, bool]:
    """The requests that were found good, whether a refusal follows them, and whether one of them ends all."""
    said: list[int] = []

    def admit(head: Head) -> ApiError | None:
        assert head.path[:1] in {b"/", b"*"}
        assert not (head.chunked and head.content_length is not None)
        return None

    reader = RequestReader(LIMITS, admit, lambda: said.append(1))
    for data in reads:
        reader.feed(data)
    messages: list[Message] = []
    last = False
    for incoming in reader.ready:
        if incoming.refusal is not None:
            assert incoming is reader.ready[-1]
            assert incoming.refusal.status >= 400
            return messages, True, last
        head = incoming.head
        assert head is not None
        if not last:
            messages.append((head.method, head.path + head.query, tuple(head.headers), incoming.body))
            last = not incoming.keep_alive or head.http_1_0
    assert len(said) <= len(messages) + 1
    return messages, False, last


class Llhttp:
    """What another parser makes of the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.messages: list[Message] = []
        self.ended = False
        """Whether it reads something else from here on, such as an upgraded protocol."""
        self._target = b""
        self._headers: list[Header] = []
        self._body = b""
        self._in_body = False
        self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.ended = True
        except httptools.HttpParserError:
            pass

    def on_message_begin(self) -> None:
        """Forget the one before."""
        self._target, self._headers, self._body, self._in_body = b"", [], b"", False

    def on_url(self, url: bytes) -> None:
        """Gather."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Gather, but no trailers."""
        if not self._in_body:
            self._headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """From here on trailers."""
        self._in_body = True

    def on_body(self, data: bytes) -> None:
        """Gather."""
        self._body += data

    def on_message_complete(self) -> None:
        """One more."""
        self.messages.append((self._parser.get_method(), self._target, tuple(self._headers), self._body))


def requests(data: bytes) -> None:
    """However split they mean the same, and nothing is understood otherwise than llhttp understands it."""
    whole = read_requests([data])
    for reads in readings(data):
        assert read_requests(reads) == whole, "another split, another meaning"
    data = re.sub(rb" HTTP/1\.[2-9]\r\n", b" HTTP/1.1\r\n", data)  # to llhttp a minor version of its own is wrong
    other = Llhttp(data)
    for index, message in enumerate(read_requests([data])[0]):
        names = {name for name, _ in message[2]}
        if other.ended and (index >= len(other.messages) or b"upgrade" in names):
            return
        assert index < len(other.messages), "good here, refused by llhttp"
        method, target, headers, body = other.messages[index]
        assert (method, headers, body) == (message[0], message[2], message[3]), "understood otherwise than by llhttp"
        assert target == message[1] or target.partition(b"://")[1]


# -- answers -------------------------------------------------------------------------------------------------------


class Receives:
    """A receiver of an answer."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self.body = b""
        self.outcome = ""

    def answer_head(self, status: int, head: AnswerHead) -> None:
        """Remember, once."""
        assert not self.status
        assert 200 <= status <= 599
        self.status, self.headers = status, head.headers

    def answer_body(self, data: bytes, chunk: bytes = b"") -> None:
        """Remember."""
        assert chunk in {b"", b"%x\r\n%b\r\n" % (len(data), data)}
        assert self.status
        assert not self.outcome
        self.body += data

    def answer_pause(self) -> None:
        """Nothing."""

    def answer_end(self) -> None:
        """Remember, once."""
        assert self.status
        assert not self.outcome
        self.outcome = "end"

    def answer_lost(self, kind: FailureKind, detail: str) -> None:
        """Remember, once."""
        assert detail
        assert not self.outcome
        self.outcome = f"lost: {kind.name}"


class Transport(asyncio.Transport):
    """A transport without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Forget."""

    def close(self) -> None:
        """Remember."""
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def get_write_buffer_size(self) -> int:
        """All has gone out."""
        return 0


class OnePool:
    """Where a connection goes that can be used again."""

    reads = None
    """Nobody but the event loop."""

    def __init__(self) -> None:
        self.kept = False

    def put(self, connection: UpstreamConnection) -> None:  # noqa: ARG002
        """Remember."""
        self.kept = True

    def lost(self, connection: UpstreamConnection) -> None:
        """Nothing."""


def read_answer(reads: list[bytes]) -> tuple[int, tuple[Header, ...], bytes, str, bool]:
    """Status, fields, body, how it ended when its connection did, and whether the connection was kept."""
    pool, receiver, transport = OnePool(), Receives(), Transport()
    connection = UpstreamConnection(cast(Pool, pool))
    connection.connection_made(transport)
    connection.send(receiver, b"GET / HTTP/1.1\r\n\r\n", b"")
    for data in reads:
        if not transport.closed:
            connection.data_received(data)
    kept = pool.kept and not transport.closed
    connection.connection_lost(None)
    assert receiver.outcome
    body = receiver.body if receiver.outcome == "end" else b""
    headers = tuple(receiver.headers) if receiver.outcome == "end" else ()
    return receiver.status if body or headers else 0, headers, body, receiver.outcome, kept


def answers(data: bytes) -> None:
    """However split it is the same answer, and what goes on of its head is one line a field."""
    whole = read_answer([data])
    for reads in readings(data):
        other = read_answer(reads)
        assert other[:4] == whole[:4], "another split, another answer"
    lengths = [value for name, value in whole[1] if name == b"content-length"]
    if whole[3] == "end" and lengths and whole[0] not in {204, 304}:
        assert len(whole[2]) == int(lengths[0])
    passed = to_client(list(whole[1]))
    for line in passed.lines.split(b"\r\n")[:-1]:
        name, separator, value = line.partition(b": ")
        assert name
        assert separator
        assert not set(name + value) & set(b"\r\n\0")
    assert passed.lines.count(b"\n") == passed.lines.count(b"\r") == passed.lines.count(b"\r\n")


# -- events --------------------------------------------------------------------------------------------------------

DIALECTS: Final = (Dialect.CHAT, Dialect.COMPLETIONS, Dialect.RESPONSES, Dialect.MESSAGES)


def read_events(
    dialect: Dialect, reads: list[bytes], *, strip_usage: bool, keep: bool = True
) -> tuple[bytes, bool, bool, bool]:
    """What went on, and what the stream was found to be."""
    reader = StreamReader(dialect, strip_usage=strip_usage, keep=keep)
    passed = b""
    for data in reads:
        passed += reader.feed(data)
        assert reader.committed or not passed, "something went on before the first token"
    passed += reader.rest()
    assert not (reader.ended and reader.fault), "whole and broken"
    assert reader.ended or reader.fault, "neither whole nor broken at its end"
    passed = re.sub(rb"(?:\r\n|\r|\n){2,}", b"\n\n", passed).strip(b"\n")  # empty lines are nothing
    return passed, reader.committed, reader.ended, bool(reader.fault)


def events(data: bytes) -> None:
    """However split the same goes on, nothing is invented, and every stream ends either whole or broken."""
    choice = data[0] if data else 0
    dialect, strip_usage = DIALECTS[choice % 4], bool(choice & 4)
    data = data[1:]
    whole = read_events(dialect, [data], strip_usage=strip_usage)
    for reads in readings(data):
        for keep in (True, False):
            other = read_events(dialect, reads, strip_usage=strip_usage, keep=keep)
            assert other == whole, "another split, another stream"
    for reads in ([data], *readings(data)):
        aligner = EventAligner()
        assert b"".join(map(aligner.feed, reads)) + aligner.rest() == data, "bytes lost or made up"


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"requests": requests, "answers": answers, "events": events}

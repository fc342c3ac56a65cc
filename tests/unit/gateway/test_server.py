"""The server's protocol over a transport without a socket: what is read, what is refused, what is written."""

from __future__ import annotations

import asyncio
import json
import re
import time
import tracemalloc
from typing import Self

import pytest

from overspill_gateway.clock import Clock
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.http.head import Head
from overspill_gateway.wire.limits import Limits
from overspill_gateway.wire.listener import Listener
from overspill_gateway.wire.reader import RequestReader
from overspill_gateway.wire.server import Answerer, ServerConnection
from overspill_gateway.wire.sweep import Sweeper
from unit.gateway.fake_transport import FakeTransport
from unit.gateway.harness import eventually

LIMITS = Limits(head_bytes_max=2048, header_fields_max=20, target_bytes_max=100, body_bytes_max=1000)
HOST = b"host: h\r\n"


class Echo:
    """Answers with what was understood of the request; refuses /refused by its head."""

    def __init__(self) -> None:
        self.served: list[tuple[Head, bytes]] = []
        self.waiting: list[ServerConnection] = []

    def admit(self, head: Head) -> ApiError | None:
        """Refuse one path."""
        return ApiError(401, "t", "c", "no") if head.path == b"/refused" else None

    def serve(self, connection: ServerConnection, head: Head, body: bytes) -> None:
        """Answer at once, or leave /later unanswered."""
        self.served.append((head, body))
        if head.path == b"/broken":
            raise ZeroDivisionError
        if head.path == b"/broken-later":
            connection.send_head(200, b"", None)
            connection.flush()
            raise ZeroDivisionError
        if head.path == b"/later":
            self.waiting.append(connection)
        else:
            connection.answer(200, b"", b"%b %b %b" % (head.method, head.path, body))

    def serve_long(self, connection: ServerConnection, head: Head, parts: list[bytes]) -> None:
        """The same."""
        self.serve(connection, head, b"".join(parts))

    def refusal_lines(self, head: Head | None) -> bytes:  # noqa: ARG002
        """One line."""
        return b"x-own: 1\r\n"


class Conversation:
    """One connection of a client."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.handler = Echo()
        self.transport = FakeTransport()
        self.sweeper = Sweeper(asyncio.get_running_loop(), 1000.0)
        self.listener = Listener(self.handler, limits, self.sweeper, Clock())
        self.connection = ServerConnection(self.listener.state)
        self.connection.connection_made(self.transport)

    def says(self, data: bytes) -> Self:
        """The client sends bytes."""
        self.connection.data_received(data)
        return self

    @property
    def written(self) -> bytes:
        """What the client has got, without the Date fields."""
        return re.sub(rb"date: [^\r]*\r\n", b"", self.transport.written)

    @property
    def statuses(self) -> list[int]:
        """Statuses of what has been answered."""
        return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d+) ", self.transport.written)]

    @property
    def bodies(self) -> list[bytes]:
        """Bodies of the echoes."""
        return [request[1] for request in self.handler.served]


@pytest.fixture
async def conversation() -> Conversation:
    """A connection that has just been made."""
    return Conversation()


GOOD: dict[str, tuple[bytes, list[bytes]]] = {
    "get": (b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n", [b""]),
    "post": (b"POST /a HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\nhello", [b"hello"]),
    "chunked": (
        b"POST /a HTTP/1.1\r\n"
        + HOST
        + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nhost: evil\r\n\r\n",
        [b"hello"],
    ),
    "pipelined": (
        (b"POST /a HTTP/1.1\r\n" + HOST + b"content-length: 1\r\n\r\n1")
        + (b"POST /b HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\n")
        + (b"GET /c HTTP/1.1\r\n" + HOST + b"\r\n"),
        [b"1", b"2", b""],
    ),
    "chunked upgrade": (
        b"POST /a HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n",
        [b"hello"],
    ),
    "upgrade": (
        b"POST /a HTTP/1.1\r\n" + HOST + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n"
        b"content-length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\n" + HOST + b"\r\n",
        [b"hello", b""],
    ),
}


@pytest.mark.parametrize("name", GOOD)
async def test_the_same_bytes_split_anywhere_mean_the_same(name: str) -> None:
    """Whatever the network does to the boundaries between reads, the requests are the same."""
    data, bodies = GOOD[name]
    whole = Conversation().says(data)
    await asyncio.sleep(0)
    assert whole.bodies == bodies
    assert whole.statuses == [200] * len(bodies)
    bytewise = Conversation()
    for position in range(len(data)):
        halves = Conversation().says(data[:position]).says(data[position:])
        await asyncio.sleep(0)  # on a busy machine the rest has its turn later
        assert halves.bodies == bodies, f"split at {position}"
        assert halves.written == whole.written
        bytewise.says(data[position : position + 1])
    await asyncio.sleep(0)
    assert bytewise.written == whole.written


REFUSED: dict[str, tuple[int, bytes]] = {
    "both lengths": (
        400,
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "two content-lengths": (400, b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 3\r\ncontent-length: 3\r\n\r\nabc"),
    "a list of lengths": (400, b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 3, 3\r\n\r\nabc"),
    "a signed length": (400, b"POST / HTTP/1.1\r\n" + HOST + b"content-length: +3\r\n\r\nabc"),
    "leading zeros": (400, b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 03\r\n\r\nabc"),
    "two encodings": (
        400,
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
    ),
    "gzip, chunked": (501, b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "unknown encoding": (501, b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "encoding in 1.0": (400, b"POST / HTTP/1.0\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    "bad chunk size": (400, b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\nxyz\r\n"),
    "negative chunk": (400, b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n"),
    "folded header": (400, b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n c\r\n\r\n"),
    "space before colon": (400, b"GET / HTTP/1.1\r\n" + HOST + b"content-length : 3\r\n\r\n"),
    "underscore": (400, b"GET / HTTP/1.1\r\n" + HOST + b"content_length: 3\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n"),
    "host with user": (400, b"GET / HTTP/1.1\r\nhost: a@b\r\n\r\n"),
    "host with path": (400, b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n"),
    "empty host": (400, b"GET / HTTP/1.1\r\nhost:\r\n\r\n"),
    "another host in the target": (400, b"GET http://x/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "star with get": (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
    "fragment": (400, b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "encoded newline": (400, b"GET /a%0d%0ab HTTP/1.1\r\n" + HOST + b"\r\n"),
    "encoded zero": (400, b"GET /a%00 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "backslash": (400, b"GET /a\\b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "trace": (501, b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "connect": (501, b"CONNECT h:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "unknown method": (501, b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
    "a bare CR in an endless head": (400, b"GET / HTTP/1.1\r\na: b\r\xf6\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00"),
    "other expectation": (417, b"POST / HTTP/1.1\r\n" + HOST + b"expect: tea\r\ncontent-length: 1\r\n\r\n"),
    "long target": (414, b"GET /" + b"a" * 200 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "endless target": (414, b"GET /" + b"a" * 4000),
    "long head": (431, b"GET / HTTP/1.1\r\n" + HOST + b"a: " + b"b" * 4000 + b"\r\n\r\n"),
    "endless head": (431, b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 1000),
    "many fields": (431, b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 30 + b"\r\n"),
    "long body": (413, b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 1001\r\n\r\n"),
    "long chunks": (413, b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n1000\r\n" + b"x" * 1100),
    "endless chunk extension": (
        400,
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n1;" + b"x" * 6000,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_ambiguous_or_too_much_is_refused(conversation: Conversation, name: str) -> None:
    """Refused with its status in OpenAI's shape, nothing served, connection ended, and what follows is not read."""
    status, data = REFUSED[name]

    conversation.says(data).says(b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")

    assert conversation.statuses == [status]
    assert not conversation.handler.served
    assert conversation.transport.ended
    body = conversation.transport.written.partition(b"\r\n\r\n")[2]
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert b"connection: close\r\n" in conversation.transport.written


@pytest.mark.parametrize("name", REFUSED)
async def test_refusals_do_not_depend_on_the_reads(name: str) -> None:
    """Byte by byte the same is refused with the same status."""
    status, data = REFUSED[name]
    conversation = Conversation()
    for position in range(len(data)):
        conversation.says(data[position : position + 1])

    assert conversation.statuses == [status]
    assert not conversation.handler.served


async def test_what_came_before_the_fault_is_still_answered(conversation: Conversation) -> None:
    """A good request followed by nonsense: the first is answered, then the refusal, then the end."""
    conversation.says(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\nnonsense\r\n\r\n")

    assert conversation.statuses == [200, 400]
    assert conversation.transport.ended


async def test_requests_behind_one_being_answered_wait(conversation: Conversation) -> None:
    """The second request is served when the first is answered; meanwhile too much of it is not even read."""
    conversation.says(b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n")
    conversation.says(b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n")
    assert len(conversation.handler.served) == 1
    conversation.says(b"POST /c HTTP/1.1\r\n" + HOST + b"content-length: 900\r\n\r\n" + b"x" * 900)
    for _ in range(80):
        conversation.says(b"GET /d HTTP/1.1\r\n" + HOST + b"a: " + b"b" * 900 + b"\r\n\r\n")
    assert not conversation.transport.reading

    conversation.handler.waiting[0].answer(200, b"", b"late")

    await eventually(lambda: len(conversation.handler.served) == 83)
    assert [head.path for head, _ in conversation.handler.served] == [b"/later", b"/b", b"/c"] + [b"/d"] * 80
    assert conversation.transport.reading


async def test_pipelined_requests_leave_the_loop_to_others() -> None:
    """Thousands of them come in one read; they are answered in their order, some milliseconds at a stretch."""
    conversation = Conversation()
    turns: list[int] = []

    def count(connection: ServerConnection, head: Head, body: bytes) -> None:  # noqa: ARG001
        until = time.perf_counter() + 0.001
        while time.perf_counter() < until:
            pass
        served.append(len(turns))
        connection.answer(200, b"", b"")

    served: list[int] = []
    conversation.handler.serve = count  # type: ignore[method-assign]
    conversation.says((b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n") * 100)
    while len(served) < 100:
        turns.append(len(served))
        await asyncio.sleep(0)
    assert len(conversation.statuses) == 100
    assert max(served.count(turn) for turn in set(served)) <= 10
    conversation.says(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n")
    assert len(served) == 101


async def test_a_head_that_comes_byte_by_byte_is_read_once() -> None:
    """Twice as many bytes take about twice as long, wherever they are; nothing of it is looked at again and again."""

    def seconds(length: int) -> float:
        reader = RequestReader(Limits(head_bytes_max=1 << 20), lambda _: None, lambda: None)
        data = b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"y" * length
        began = time.thread_time()
        for place in range(len(data)):
            reader.feed(data[place : place + 1])
        took = time.thread_time() - began
        assert not reader.stopped
        return took

    assert min(seconds(40_000) for _ in range(3)) < 8 * min(seconds(10_000) for _ in range(3))


async def test_tiny_pieces_of_a_body_cost_no_more_than_large_ones() -> None:
    """An object for two bytes takes twenty times as much: a body of 64 MiB in such chunks would take 2 GiB."""
    body = b"2\r\nxy\r\n" * 40_000 + b"0\r\n\r\n"
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n"
    reader = RequestReader(Limits(), lambda _: None, lambda: None)
    tracemalloc.start()
    reader.feed(head + body[: len(body) // 2])
    now, _ = tracemalloc.get_traced_memory()
    reader.feed(body[len(body) // 2 :])
    tracemalloc.stop()
    assert now < 300_000
    assert b"".join(reader.ready[0].parts) == b"xy" * 40_000


def test_the_body_of_a_refused_request_is_not_kept() -> None:
    """Nobody needs a key to have one refused."""
    length = 2**20
    reader = RequestReader(Limits(body_bytes_max=length), lambda _: ApiError(401, "t", "c", "no"), lambda: None)
    reader.feed(b"POST /refused HTTP/1.1\r\n" + HOST + b"content-length: %d\r\n\r\n" % length)
    tracemalloc.start()
    for _ in range(length // 1024 - 1):
        reader.feed(b"x" * 1024)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < length / 8
    reader.feed(b"x" * 1024)
    assert reader.ready[0].parts == []


async def test_a_refused_head_keeps_the_connection_where_the_body_is_short(conversation: Conversation) -> None:
    """A short body of a refused request is read away; the next request on the connection is served."""
    conversation.says(b"POST /refused HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\nhello")
    conversation.says(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n")

    assert conversation.statuses == [401, 200]
    assert not conversation.transport.ended


async def test_a_client_that_waits_for_100_gets_it_or_the_refusal() -> None:
    """Expect: 100-continue: a head that is let in gets 100 at once, a refused one its refusal instead of the body."""
    welcome = Conversation().says(b"POST /a HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert welcome.statuses == [100]
    assert welcome.says(b"ab").statuses == [100, 200]

    refused = Conversation().says(
        b"POST /refused HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    )
    assert refused.statuses == [401]
    assert refused.transport.ended

    old = Conversation().says(b"POST /a HTTP/1.0\r\n" + HOST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert old.statuses == []


async def test_http_1_0_gets_no_chunks_and_no_second_request(conversation: Conversation) -> None:
    """An answer of unknown length ends with the connection."""
    conversation.says(b"GET /later HTTP/1.0\r\n\r\n")
    connection = conversation.handler.waiting[0]
    connection.send_head(200, b"", None)
    connection.send(b"hello")
    connection.end()

    assert conversation.written == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"
    assert conversation.transport.ended


async def test_head_has_the_length_but_no_body(conversation: Conversation) -> None:
    """HEAD is answered as GET would be, without the body."""
    conversation.says(b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n")

    assert conversation.written == b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"


async def test_an_absolute_target_of_this_host_is_its_path(conversation: Conversation) -> None:
    """GET http://host/path is understood as its path."""
    conversation.says(b"GET http://h/a?b=c HTTP/1.1\r\n" + HOST + b"\r\n")

    head = conversation.handler.served[0][0]
    assert (head.path, head.query) == (b"/a", b"?b=c")


async def test_trailers_do_not_replace_headers(conversation: Conversation) -> None:
    """An Authorization in the trailer is not one in the head."""
    conversation.says(
        b"POST /a HTTP/1.1\r\n" + HOST + b"authorization: real\r\ntransfer-encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\nauthorization: forged\r\n\r\n"
    )

    assert conversation.handler.served[0][0].authorization == b"real"


async def test_connection_close_is_honoured(conversation: Conversation) -> None:
    """The answer says close too, and what comes behind it is not served."""
    conversation.says(b"GET /a HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")

    assert b"connection: close\r\n" in conversation.transport.written
    assert conversation.transport.ended


async def test_a_slow_head_and_a_slow_body_time_out() -> None:
    """A client that is halfway through a request is told 408; one that is silent between requests is just closed."""
    for sent in (b"GET / HT", b"POST /a HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\nhe"):
        slow = Conversation().says(sent)
        assert slow.connection.deadline < float("inf")
        slow.connection.expire(slow.connection.deadline)
        assert slow.statuses == [408]
        assert slow.transport.ended

    idle = Conversation().says(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n")
    idle.connection.expire(idle.connection.deadline)
    assert idle.statuses == [200]
    assert idle.transport.closed


async def test_deadlines_follow_the_state(conversation: Conversation) -> None:
    """Reading has a deadline, being answered has none, a stalled client has one again."""
    conversation.says(b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n")
    assert conversation.connection.deadline == float("inf")
    conversation.connection.pause_writing()
    assert conversation.connection.deadline < float("inf")
    conversation.connection.resume_writing()
    assert conversation.connection.deadline == float("inf")


class Listens:
    """An answerer that remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def client_gone(self) -> None:
        """Remember."""
        self.told.append("gone")

    def client_slow(self) -> None:
        """Remember."""
        self.told.append("slow")

    def client_ready(self) -> None:
        """Remember."""
        self.told.append("ready")


async def test_the_answerer_hears_of_its_client(conversation: Conversation) -> None:
    """Slow, ready again, gone: in that order, once each; nobody is told of a client that was answered."""
    conversation.says(b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n")
    listener: Answerer = Listens()
    conversation.connection.answerer = listener
    conversation.connection.pause_writing()
    conversation.connection.resume_writing()
    conversation.connection.connection_lost(None)

    assert isinstance(listener, Listens)
    assert listener.told == ["slow", "ready", "gone"]
    assert not conversation.listener.state.connections
    assert len(conversation.sweeper) == 0


async def test_draining_closes_idle_connections_and_finishes_the_others() -> None:
    """An idle connection is closed after a moment; one that is answered after its answer, which says close."""
    idle = Conversation()
    idle.listener.close_connections()
    assert not idle.transport.closed
    idle.connection.expire(idle.connection.deadline)
    assert idle.transport.closed

    used = Conversation()
    used.listener.close_connections()
    used.says(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n")
    assert used.statuses == [200]
    assert b"connection: close\r\n" in used.transport.written
    assert used.transport.ended

    busy = Conversation().says(b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n")
    busy.listener.close_connections(at_once=True)
    assert not busy.transport.ended
    busy.handler.waiting[0].answer(200, b"", b"x")
    assert b"connection: close\r\n" in busy.transport.written
    assert busy.transport.ended


async def test_a_handler_that_breaks_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """500 where nothing was said yet, a cut where something was; other connections go on."""
    broken = Conversation().says(b"GET /broken HTTP/1.1\r\n" + HOST + b"\r\n")
    assert broken.statuses == [500]
    assert b'"code":"internal_error"' in broken.transport.written
    assert broken.transport.ended

    begun = Conversation().says(b"GET /broken-later HTTP/1.1\r\n" + HOST + b"\r\n")
    assert begun.statuses == [200]
    assert begun.transport.aborted
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_one_broken_deadline_does_not_take_the_others() -> None:
    """The sweep goes on, without the item that failed."""

    class Item:
        """Expires, or breaks."""

        def __init__(self, *, breaks: bool) -> None:
            self.deadline = 0.0
            self.breaks = breaks
            self.expired = asyncio.Event()

        def expire(self, now: float) -> None:
            """Break, or remember."""
            if self.breaks:
                raise ZeroDivisionError
            self.deadline = now + 3600
            self.expired.set()

    sweeper = Sweeper(asyncio.get_running_loop(), 0.001)
    sweeper.add(Item(breaks=True))
    first, second = Item(breaks=False), Item(breaks=False)
    sweeper.add(first)
    await asyncio.wait_for(first.expired.wait(), 5)
    sweeper.add(second)
    await asyncio.wait_for(second.expired.wait(), 5)
    assert len(sweeper) == 2
    sweeper.discard(first)
    sweeper.discard(second)


async def test_too_many_connections_are_closed() -> None:
    """Beyond the limit a connection is closed at once."""
    conversation = Conversation(Limits(connections_max=0))

    assert conversation.transport.closed
    assert not conversation.listener.state.connections

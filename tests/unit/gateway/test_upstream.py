"""The client's protocol over a transport without a socket: answers in every framing, split anywhere, and faults."""

from __future__ import annotations

import asyncio

import pytest

from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.forwarding import to_client
from overspill_gateway.wire.pool import Address, Pool
from overspill_gateway.wire.upstream import UpstreamConnection
from unit.gateway.fake_transport import FakeTransport


class Remembers:
    """A receiver."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.ends = 0
        self.pauses = 0
        self.lost: FailureKind | None = None

    def answer_head(self, status: int, head: AnswerHead) -> None:
        """Remember."""
        assert not self.status
        self.status, self.headers = status, dict(head.headers)

    def answer_body(self, data: bytes, chunk: bytes = b"") -> None:
        """Remember."""
        assert chunk in {b"", b"%x\r\n%b\r\n" % (len(data), data)}
        self.body += data

    def answer_pause(self) -> None:
        """Remember."""
        self.pauses += 1

    def answer_end(self) -> None:
        """Remember."""
        self.ends += 1

    def answer_lost(self, kind: FailureKind, detail: str) -> None:
        """Remember."""
        assert detail
        assert self.lost is None
        self.lost = kind


class Exchange:
    """One request on a connection."""

    def __init__(self) -> None:
        self.pool = Pool(Address("h", 1), idle_seconds=5, connect_seconds=1)
        self.connection = UpstreamConnection(self.pool)
        self.transport = FakeTransport()
        self.connection.connection_made(self.transport)
        self.receiver = Remembers()
        self.connection.send(self.receiver, b"HEAD\r\n\r\n", b"body")

    def gets(self, data: bytes) -> Exchange:
        """The backend sends bytes."""
        self.connection.data_received(data)
        return self

    async def takes_all(self) -> None:
        """Let it take what has come: many bytes are taken in slices."""
        while self.connection.unread:  # noqa: ASYNC110 - a turn of the loop is what it waits for
            await asyncio.sleep(0)

    def ends(self, error: Exception | None = None) -> Exchange:
        """The connection ends."""
        self.connection.connection_lost(error)
        return self


HEAD = b"HTTP/1.1 200 OK\r\n"
WHOLE = {
    "length": (HEAD + b"content-length: 5\r\n\r\nhello", b"hello"),
    "chunks": (HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
    "trailers": (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nstatus: 500\r\n\r\n", b"x"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "interim": (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HEAD + b"content-length: 2\r\n\r\nok", b"ok"),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_an_answer_is_the_same_however_it_is_split(name: str) -> None:
    """Status, body and end are the same for every boundary between reads, and the connection can be used again."""
    data, body = WHOLE[name]
    for position in range(len(data)):
        exchange = Exchange().gets(data[:position]).gets(data[position:]) if position else Exchange().gets(data)
        receiver = exchange.receiver
        assert (receiver.body, receiver.ends, receiver.lost) == (body, 1, None)
        assert b"status" not in receiver.headers
        assert b"link" not in receiver.headers
        assert exchange.pool.idle_count == 1
        assert exchange.connection.used
        exchange.pool.close()


async def test_an_answer_without_framing_ends_with_its_connection() -> None:
    """Neither length nor chunks: an orderly end is the end, a reset is a loss."""
    orderly = Exchange().gets(HEAD + b"\r\nhello").ends()
    assert (orderly.receiver.body, orderly.receiver.ends) == (b"hello", 1)

    reset = Exchange().gets(HEAD + b"\r\nhello").ends(ConnectionResetError())
    assert reset.receiver.lost is FailureKind.RESET


async def test_an_answer_that_says_close_is_not_used_again() -> None:
    """Connection: close, and HTTP/1.0, leave nothing in the pool."""
    for head in (HEAD + b"connection: close\r\n", b"HTTP/1.0 200 OK\r\n"):
        exchange = Exchange().gets(head + b"content-length: 2\r\n\r\nok")
        assert exchange.receiver.ends == 1
        assert exchange.pool.idle_count == 0
        assert exchange.transport.closed


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        HEAD + b"a: " + b"b" * 300_000,
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n1\r\na\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: identity\r\n\r\nabc",
        HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: +3\r\n\r\nabc",
        HEAD + b"content-length: 3, 3\r\n\r\nabc",
        HEAD + b"content-length: 99999999999999999999\r\n\r\nabc",
        HEAD + b"a: b\rset-cookie: c\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"a: b\nset-cookie: c\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"a: b\r\n c\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"a: b\0c\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"a : b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 999 OK\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 12_000,
        b"HTTP/1.1 199 Interim\r\ncontent-length: 2\r\n\r\nok" + HEAD + b"content-length: 4\r\n\r\nevil",
    ],
)
async def test_nonsense_is_a_protocol_failure(data: bytes) -> None:
    """What is not HTTP, or ambiguous, or endless, ends the connection and is told once."""
    exchange = Exchange().gets(data)
    await exchange.takes_all()
    exchange.ends()

    assert exchange.receiver.lost is FailureKind.PROTOCOL
    assert exchange.transport.aborted
    assert exchange.receiver.ends == 0


@pytest.mark.parametrize("data", [b"", HEAD, HEAD + b"content-length: 5\r\n\r\nhel"])
async def test_an_end_before_the_answers_end_is_a_loss(data: bytes) -> None:
    """Before the head, within it, within the body: never a clean end."""
    exchange = Exchange()
    if data:
        exchange.gets(data)
    exchange.ends()

    assert exchange.receiver.lost is FailureKind.RESET
    assert exchange.receiver.ends == 0


async def test_an_idle_connection_that_speaks_is_dropped() -> None:
    """Bytes that nobody asked for could be taken for the next answer."""
    exchange = Exchange().gets(HEAD + b"content-length: 2\r\n\r\nok")
    exchange.gets(HEAD + b"content-length: 4\r\n\r\nevil").ends()

    assert exchange.transport.aborted
    assert exchange.pool.take() is None


async def test_bytes_behind_an_answer_are_not_the_next_one() -> None:
    """A second answer in the same read reaches nobody."""
    exchange = Exchange().gets(HEAD + b"content-length: 2\r\n\r\nok" + HEAD + b"content-length: 4\r\n\r\nevil")

    assert (exchange.receiver.body, exchange.receiver.ends) == (b"ok", 1)
    assert exchange.pool.take() is None or exchange.transport.closed


async def test_a_connection_with_a_request_still_going_out_is_not_used_again() -> None:
    """An answer before the end of its request: the rest of that request would stand before the next one."""
    exchange = Exchange()
    exchange.transport.waiting = 10
    exchange.gets(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")

    assert (exchange.receiver.status, exchange.receiver.ends) == (413, 1)
    assert exchange.transport.closed
    assert exchange.pool.idle_count == 0


async def test_abandoning_ends_the_connection_without_a_word() -> None:
    """The backend is to stop; nobody is told of an answer that nobody wants."""
    exchange = Exchange()
    exchange.connection.abandon()
    exchange.ends()

    assert exchange.transport.aborted
    assert exchange.receiver.lost is None


ENDLESS = {
    "trailer": HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nt: ",
    "trailers": HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
    "extension": HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n2;e=",
    "head": HEAD + b"x: ",
    "interim answers": b"",
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_framing_without_end_is_a_failure(name: str) -> None:
    """A provider that never comes to the point takes neither memory nor the request's whole time."""
    exchange = Exchange().gets(ENDLESS[name])
    piece = {"trailers": b"t: y\r\n" * 1000, "interim answers": b"HTTP/1.1 102 P\r\n\r\n" * 1000}.get(name, b"y" * 8192)
    for _ in range(100):
        if exchange.receiver.lost is None:
            exchange.gets(piece)
            await exchange.takes_all()
    assert exchange.receiver.lost is FailureKind.PROTOCOL
    assert exchange.transport.ended


async def test_a_long_body_in_small_chunks_is_no_framing_without_end() -> None:
    """Framing is counted between pieces of a body only."""
    exchange = Exchange().gets(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    for _ in range(300):
        exchange.gets(b"1;" + b"e" * 2000 + b"\r\nx\r\n")
    exchange.gets(b"0\r\n\r\n")
    assert (exchange.receiver.body, exchange.receiver.ends) == (b"x" * 300, 1)


@pytest.mark.parametrize("byte", [*range(32), 127])
async def test_no_control_character_of_a_provider_reaches_a_client(byte: int) -> None:
    """In a header's value it is refused, or it is white space around the value."""
    exchange = Exchange().gets(HEAD + b"x-a: b" + bytes([byte]) + b"c\r\ncontent-length: 0\r\n\r\n")
    value = exchange.receiver.headers.get(b"x-a", b"")
    assert exchange.receiver.lost is FailureKind.PROTOCOL or not set(value) - set(range(32, 127)) - {9}
    lines = to_client(list(exchange.receiver.headers.items())).lines
    assert lines.count(b"\r\n") == lines.count(b"\n") == lines.count(b"\r")


def test_what_a_provider_says_of_its_host_is_not_said_of_the_gateways() -> None:
    """Browsers would keep to it for the gateway's name."""
    fields = [
        b"strict-transport-security",
        b"clear-site-data",
        b"nel",
        b"report-to",
        b"set-cookie",
        b"alt-svc",
        b"server",
    ]
    assert to_client([(name, b"x") for name in fields]).lines == b""


async def test_what_comes_at_once_is_taken_in_slices() -> None:
    """Between slices others have their turn, and nothing more is read meanwhile; in the end all of it is there."""
    exchange = Exchange()
    events = b"data: {}\n\n" * 100_000
    exchange.gets(HEAD + b"content-length: %d\r\n\r\n" % len(events) + events)
    first = len(exchange.receiver.body)
    reading = exchange.transport.reading
    await exchange.takes_all()

    assert 0 < first < len(events)
    assert not reading
    assert exchange.receiver.body == events
    assert exchange.receiver.ends == 1
    assert exchange.transport.reading


async def test_a_receiver_that_pauses_gets_no_further_slice() -> None:
    """What has come waits until it wants more."""
    exchange = Exchange()

    class Pauses(Remembers):
        def answer_pause(self) -> None:
            """Want no more for now."""
            exchange.connection.pause()

    pausing = Pauses()
    exchange.connection.hand_over(pausing)
    exchange.gets(HEAD + b"content-length: 100000\r\n\r\n" + b"x" * 50_000)
    lengths = []
    for _ in range(3):
        await asyncio.sleep(0)
        lengths.append(len(pausing.body))
    exchange.connection.resume()
    await asyncio.sleep(0)

    assert 0 < lengths[0] == lengths[-1] < 10_000
    assert lengths[0] < len(pausing.body) < 20_000


async def test_a_connection_whose_answer_ended_while_it_was_held_back_can_carry_another() -> None:
    """Nobody tells it to go on: whoever held it back has all of the answer."""
    exchange = Exchange()
    exchange.gets(HEAD + b"content-length: 4\r\n\r\nab")
    exchange.connection.pause()
    stopped = exchange.transport.reading
    exchange.gets(b"cd")

    assert not stopped
    assert exchange.receiver.ends == 1
    assert exchange.transport.reading


async def test_bytes_behind_an_answer_that_came_with_it_end_the_connection() -> None:
    """In another slice or not: it gets no further request."""
    exchange = Exchange()
    exchange.gets(HEAD + b"content-length: 100000\r\n\r\n" + b"x" * 100_000 + b"HTTP/1.1 200 OK\r\n" * 900)
    await exchange.takes_all()

    assert exchange.receiver.ends == 1
    assert exchange.transport.ended
    assert exchange.pool.idle_count == 0

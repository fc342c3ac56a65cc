"""Streams that are read together: when, and that nothing else changes: whole, in order, ended, stopped as before."""

from __future__ import annotations

import asyncio
import fcntl
import select
import socket
import struct
import termios
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest

from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.wire.pool import Address, Pool
from overspill_gateway.wire.stream_reads import StreamReads
from overspill_gateway.wire.upstream import UpstreamConnection
from unit.gateway.backends import Backend, Received, Wire, backend
from unit.gateway.generated import DONE, ROLE, said
from unit.gateway.harness import GatewayUnderTest, eventually, running_gateway, soon

INTERVAL = 0.002
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Clock:
    """A loop's time, and what is to be called."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due = 0

    def time(self) -> float:
        """Now."""
        return self.now

    def call_later(self, *_: object) -> Clock:
        """Remember that."""
        self.due += 1
        return self

    def cancel(self) -> None:
        """Forget it."""
        self.due -= 1


def passes(reads: StreamReads, clock: Clock, chunks: int, seconds: float) -> None:
    """So many chunks are read as they come, over this time."""
    for _ in range(chunks):
        clock.now += seconds / chunks
        reads.chunk_came()


def test_reading_together_begins_where_several_chunks_wait() -> None:
    """Three in an interval: not below, at once above, and not after a pause either."""
    clock = Clock()
    reads = StreamReads(cast(asyncio.AbstractEventLoop, clock), INTERVAL)
    passes(reads, clock, 2000, seconds=2000 / 1400)
    assert not reads.together
    passes(reads, clock, 200, seconds=200 / 1600)
    assert reads.together
    clock.now += 5
    passes(reads, clock, 64, seconds=64 / 5000)
    assert not reads.together
    reads.close()
    passes(reads, clock, 1000, seconds=0.1)
    assert not reads.together


class Stream:
    """One end of a pair of sockets, read together with others."""

    def __init__(self, reads: StreamReads) -> None:
        self.reads = reads
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.data: list[bytes] = []
        self.back = 0
        self.ended = 0
        self.fault: Exception | None = None
        self.number = self.ours.fileno()
        reads.take(self.number, self)

    def data_received(self, data: bytes) -> None:
        """Remember."""
        self.data.append(data)
        if self.fault is not None:
            raise self.fault

    def returned(self) -> None:
        """Count."""
        self.back += 1

    def broken(self) -> None:
        """Count."""
        self.ended += 1

    def close(self) -> None:
        """Both ends."""
        self.reads.release(self.number, self)
        self.ours.close()
        self.theirs.close()


class StandingTime:
    """The running loop, at one moment: on a busy machine time goes on while nobody reads, and streams become few."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.call_later = loop.call_later
        self.add_reader = loop.add_reader
        self.remove_reader = loop.remove_reader

    def time(self) -> float:
        """That moment."""
        return 1000.0


@pytest.fixture
async def reads() -> AsyncIterator[StreamReads]:
    """On the running loop, whose time stands."""
    made = StreamReads(cast(asyncio.AbstractEventLoop, StandingTime(asyncio.get_running_loop())), INTERVAL)
    yield made
    made.close()


async def test_each_interval_what_has_come_is_read(reads: StreamReads) -> None:
    """Of every stream; a long piece in several turns."""
    streams = [Stream(reads) for _ in range(5)]
    for number, stream in enumerate(streams):
        stream.theirs.sendall(b"%d" % number * (1 + number * 20_000))
    await eventually(lambda: all(len(b"".join(s.data)) == 1 + n * 20_000 for n, s in enumerate(streams)))
    for stream in streams:
        assert (stream.back, stream.ended) == (0, 0)
        stream.close()
    assert len(reads) == 0


async def test_the_end_of_a_stream_is_left_to_the_loop(reads: StreamReads) -> None:
    """Closed, or reset: what came before it can still be read."""
    for reset in (False, True):
        stream = Stream(reads)
        stream.theirs.sendall(b"last")
        if reset:
            stream.theirs.close()
        else:
            stream.theirs.shutdown(socket.SHUT_WR)
        await eventually(lambda stream=stream: stream.back == 1)  # type: ignore[misc]
        assert stream.data == []
        assert stream.ours.recv(100) == b"last"
        stream.close()


async def test_a_fault_in_one_stream_ends_that_one_alone(reads: StreamReads, caplog: pytest.LogCaptureFixture) -> None:
    """The others are read on; the log says what happened."""
    faulty, other = Stream(reads), Stream(reads)
    faulty.fault = RuntimeError("ours")
    faulty.theirs.sendall(b"x")
    await eventually(lambda: faulty.ended == 1)
    other.theirs.sendall(b"y")
    await eventually(lambda: other.data == [b"y"])
    assert "a stream's chunk could not be passed on" in caplog.text
    faulty.close()
    other.close()


async def test_streams_are_returned_when_they_have_become_few(reads: StreamReads) -> None:
    """The first chunk after a silence is left to the loop at once, and so is all that follows."""
    reads.together = True
    stream = Stream(reads)
    await eventually(lambda: reads.waits)
    assert reads.timer is None  # silence costs nothing, so there is nothing to end
    assert (stream.back, reads.together) == (0, True)
    reads.since -= 5.0  # so long was the silence
    stream.theirs.sendall(b"x")
    await eventually(lambda: stream.back == 1)
    assert not reads.together
    assert len(reads) == 0
    assert stream.data == []
    stream.close()


async def test_streams_that_speak_at_once_and_then_are_silent_are_read_in_few_turns(reads: StreamReads) -> None:
    """As an engine writes them, a step at a time: a few turns for each step, and then none."""
    streams = [Stream(reads) for _ in range(40)]
    turns = 0

    def poll(*_: object) -> list[tuple[int, int]]:
        nonlocal turns
        turns += 1
        return epoll.poll(0, 100)

    epoll = reads.epoll
    reads.epoll = cast(select.epoll, SimpleNamespace(poll=poll, fileno=epoll.fileno, unregister=epoll.unregister))
    for step in range(1, 6):
        for stream in streams:
            stream.theirs.sendall(b"x")
        await eventually(lambda step=step: all(len(stream.data) == step for stream in streams))  # type: ignore[misc]
        await eventually(lambda: reads.waits)
    reads.epoll = epoll
    assert [stream.data for stream in streams] == [[b"x"] * 5] * 40
    assert turns <= 5 * 5
    for stream in streams:
        stream.close()


async def test_a_socket_that_was_closed_is_released_all_the_same(reads: StreamReads) -> None:
    """And its number may be another stream's by then."""
    stream = Stream(reads)
    stream.ours.close()
    other = Stream(reads)
    reads.release(stream.number, stream)
    other.theirs.sendall(b"x")
    await eventually(lambda: other.data == [b"x"])
    stream.theirs.close()
    other.close()


async def test_an_end_for_all_returns_them(reads: StreamReads) -> None:
    """Twice is as good as once."""
    stream = Stream(reads)
    reads.close()
    reads.close()
    assert stream.back == 1
    stream.close()


# -- a connection ------------------------------------------------------------------------------------------------------


class Receiver:
    """Takes an answer; of a stream it says at once that nobody waits for its beginning any more."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self.body = b""
        self.outcome = ""

    def answer_head(self, status: int, head: AnswerHead) -> None:  # noqa: ARG002
        """Nobody waits."""
        self.connection.flowing = True

    def answer_body(self, data: bytes, chunk: bytes = b"") -> None:
        """Remember."""
        assert chunk.endswith(data + b"\r\n") or not chunk
        self.body += data

    def answer_pause(self) -> None:
        """Nothing."""

    def answer_end(self) -> None:
        """Remember."""
        self.outcome = "whole"

    def answer_lost(self, kind: FailureKind, detail: str) -> None:  # noqa: ARG002
        """Remember."""
        self.outcome = kind.name


class Conversation:
    """A connection, its backend's end of it, and a receiver."""

    def __init__(self, pool: Pool, connection: UpstreamConnection, theirs: socket.socket) -> None:
        self.pool = pool
        self.connection = connection
        self.theirs = theirs
        self.receiver = Receiver(connection)

    @classmethod
    async def begin(cls, reads: StreamReads) -> Conversation:
        """With the head of a stream and two chunks: from the second one on it is read together with others."""
        reads.together = True
        ours, theirs = socket.socketpair()
        pool = Pool(Address("h", 1), idle_seconds=5, connect_seconds=1, reads=reads)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(lambda: UpstreamConnection(pool), sock=ours)
        self = cls(pool, connection, theirs)
        self.connection.send(self.receiver, b"GET / HTTP/1.1\r\n\r\n", b"")
        await self.says(HEAD)
        await self.says(b"1\r\n<\r\n")
        await self.says(b"1\r\na\r\n")
        await eventually(lambda: len(reads) == 1)
        return self

    async def says(self, data: bytes) -> None:
        """The backend writes, and the gateway's end has read it before more comes."""
        self.theirs.sendall(data)
        await eventually(lambda: not self.unread())

    def unread(self) -> int:
        """How much of what the backend wrote has not been read, in the kernel's measure."""
        return int(struct.unpack("i", fcntl.ioctl(self.theirs, termios.TIOCOUTQ, b"\0\0\0\0"))[0])


@pytest.fixture
async def one(reads: StreamReads) -> AsyncIterator[Conversation]:
    """A stream that is under way."""
    made = await Conversation.begin(reads)
    yield made
    made.connection.abandon()
    made.theirs.close()


async def test_a_stream_goes_on_to_its_end_and_the_connection_is_kept(one: Conversation, reads: StreamReads) -> None:
    """The event loop has it back then: it sees when the backend closes it."""
    await one.says(b"1\r\nb\r\n1\r")
    await one.says(b"\nc\r\n")
    await one.says(b"1\r\nd\r\n")
    await one.says(b"0\r\n\r\n")
    await eventually(lambda: one.receiver.outcome == "whole")
    assert one.receiver.body == b"<abcd"
    assert (len(reads), one.pool.idle_count) == (0, 1)
    one.theirs.close()
    await eventually(lambda: one.pool.idle_count == 0)


async def test_a_stream_that_breaks_off_is_lost(one: Conversation, reads: StreamReads) -> None:
    """With all that came before."""
    one.theirs.sendall(b"1\r\nb\r\n")
    one.theirs.close()
    await eventually(lambda: one.receiver.outcome == "RESET")
    assert one.receiver.body == b"<ab"
    assert len(reads) == 0


async def test_a_paused_stream_is_not_read(one: Conversation, reads: StreamReads) -> None:
    """For a client that takes no more; afterwards it goes on."""
    one.connection.pause()
    one.theirs.sendall(b"1\r\nb\r\n")
    for _ in range(20):
        await asyncio.sleep(0)  # each turn of the loop would read what it watches
    assert one.unread()
    assert one.receiver.body == b"<a"
    assert len(reads) == 0
    one.connection.resume()
    await eventually(lambda: one.receiver.body == b"<ab")


async def test_a_stream_that_nobody_wants_is_closed(one: Conversation, reads: StreamReads) -> None:
    """At once, and nothing is read any more."""
    one.connection.abandon()
    assert len(reads) == 0
    assert await asyncio.to_thread(one.theirs.recv, 1000) == b"GET / HTTP/1.1\r\n\r\n"
    assert await asyncio.to_thread(one.theirs.recv, 1000) == b""


async def test_nonsense_in_a_stream_ends_it(one: Conversation, reads: StreamReads) -> None:
    """As it does when the event loop reads it."""
    await one.says(b"x\r\n")
    await eventually(lambda: one.receiver.outcome == "PROTOCOL")
    assert len(reads) == 0


# -- a gateway ---------------------------------------------------------------------------------------------------------

EVENTS = [ROLE, *(said(f" word{number}") for number in range(80)), said("", "stop"), DONE]


async def script(received: Received, wire: Wire) -> None:
    """Events a few milliseconds apart, the first one with the head, as engines write them."""
    del received
    await wire.write(HEAD)
    for event in EVENTS:
        await wire.chunk(event)
        await asyncio.sleep(0.003)
    await wire.write(b"0\r\n\r\n")


async def streamed(gateway: GatewayUnderTest) -> bytes:
    """The body of one streamed answer."""
    client = await gateway.client()
    gateway.send(client, stream=True)
    answer = await soon(client.answer())
    assert answer.status == 200
    assert answer.whole
    return cast(bytes, answer.body)


@pytest.fixture
async def served() -> AsyncIterator[tuple[GatewayUnderTest, StreamReads, Backend]]:
    """A gateway, what reads its streams together, and an engine that streams."""
    async with running_gateway(stream_interval_seconds=INTERVAL) as gateway, backend(script) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        reads = gateway.gateway.stream_reads
        assert reads is not None
        yield gateway, reads, engine


async def test_many_streams_through_a_gateway_arrive_as_they_were_sent(
    served: tuple[GatewayUnderTest, StreamReads, Backend],
) -> None:
    """They are read together meanwhile; a request that comes in between is not kept waiting; all ends tidily."""
    gateway, reads, _ = served
    running = [asyncio.ensure_future(streamed(gateway)) for _ in range(30)]
    await eventually(lambda: len(reads) > 20)
    assert await streamed(gateway) == b"".join(EVENTS)
    assert set(await soon(asyncio.gather(*running))) == {b"".join(EVENTS)}
    assert len(reads) == 0
    assert await streamed(gateway) == b"".join(EVENTS)


async def test_a_client_that_leaves_stops_its_backend(
    served: tuple[GatewayUnderTest, StreamReads, Backend],
) -> None:
    """While its stream is read together with others."""
    gateway, reads, engine = served
    reads.together = True
    client = await gateway.client()
    gateway.send(client, stream=True)
    await eventually(lambda: len(reads) == 1)
    client.close()
    await eventually(lambda: len(reads) == 0)
    await eventually(lambda: not engine.wires)

"""Clients that are slow, on purpose or not: what each may take, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Self, cast

import pytest

from overspill_gateway.wire.limits import Limits
from unit.gateway.test_server import HOST, Conversation, Listens

LIMITS = Limits(head_seconds=10, body_idle_seconds=30, body_bytes_per_second_min=1000, keep_alive_seconds=75)
POST = b"POST /a HTTP/1.1\r\n" + HOST


class Loop:
    """A loop's clock, and what is to be done at its next turn."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.soon: list[Callable[[], object]] = []

    def time(self) -> float:
        """Now."""
        return self.now

    def call_soon(self, callback: Callable[[], object]) -> None:
        """On a busy machine what came at once may take a connection more than one turn."""
        self.soon.append(callback)

    def turn(self) -> None:
        """Do what was left for later, and what is left then."""
        while self.soon:
            self.soon.pop(0)()


class Slow(Conversation):
    """A conversation whose time passes as the test says."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        super().__init__(limits)
        self.clock = Loop()
        self.listener.state.loop = cast(asyncio.AbstractEventLoop, self.clock)
        self.connection.deadline = self.clock.now + limits.head_seconds

    def says(self, data: bytes) -> Self:
        """The client sends bytes, which are dealt with before any time passes."""
        super().says(data)
        self.clock.turn()
        return self

    def waits(self, seconds: float) -> Self:
        """Time passes, and whoever is past its deadline is told, as the sweep does it."""
        self.clock.now += seconds
        if self.connection.deadline <= self.clock.now:
            self.connection.expire(self.clock.now)
        return self

    def drips(self, data: bytes, every_seconds: float) -> int:
        """Sends byte for byte until the other side ends it; how many went."""
        for count in range(len(data)):
            if self.transport.ended:
                return count
            self.says(data[count : count + 1])
            self.waits(every_seconds)
        return len(data)


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """After the time for a head, without an answer: there was no request."""
    silent = Slow().waits(9.9)
    assert not silent.transport.closed
    silent.waits(0.2)
    assert silent.transport.closed
    assert silent.transport.written == b""


async def test_bytes_do_not_prolong_a_head() -> None:
    """A head that comes byte by byte has its ten seconds, not ten for each byte."""
    slow = Slow()

    assert slow.drips(b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 500, 1.0) == 10
    assert slow.statuses == [408]


async def test_a_body_has_to_come_at_a_least_speed() -> None:
    """A byte every 20 s keeps no connection open for ever, with a length or in chunks."""
    for head in (b"content-length: 1000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n3e8\r\n"):
        slow = Slow(Limits(body_idle_seconds=30))
        slow.says(POST + head)
        assert slow.drips(b"x" * 1000, 20.0) <= 3
        assert slow.statuses == [408]
        assert not slow.handler.served


async def test_a_body_that_stalls_times_out() -> None:
    """Nothing for the idle time, after much of it came quickly."""
    slow = Slow()
    slow.says(POST + b"content-length: 900000\r\n\r\n" + b"x" * 800_000).waits(29.0)
    assert slow.statuses == []
    slow.waits(2.0)
    assert slow.statuses == [408]


async def test_a_slow_but_steady_upload_is_taken() -> None:
    """Four kilobytes a second for four minutes: the whole body arrives and is served."""
    slow = Slow()
    slow.says(POST + b"content-length: 960000\r\n\r\n")
    for _ in range(240):
        slow.says(b"x" * 4000).waits(1.0)

    assert slow.statuses == [200]
    assert len(slow.bodies[0]) == 960_000


async def test_time_for_an_answer_is_not_the_clients() -> None:
    """While it is answered a client has no deadline; between two requests it may be silent for a while."""
    slow = Slow()
    slow.says(b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n").waits(3600.0)
    assert not slow.transport.ended
    slow.handler.waiting[0].answer(200, b"", b"x")
    slow.waits(74.0)
    assert not slow.transport.ended
    slow.waits(2.0)
    assert slow.transport.closed
    assert slow.statuses == [200]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_client_that_takes_nothing_is_cut_off(*, ended: bool) -> None:
    """Whether its answer is under way or written already: after the stall time the connection is gone."""
    slow = Slow(Limits(write_stall_seconds=60))
    slow.says(b"GET /later HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
    connection = slow.connection
    listens = Listens()
    connection.answerer = listens
    connection.send_head(200, b"", None)
    connection.send(b"x" * 1000)
    connection.flush()
    connection.pause_writing()
    if ended:
        connection.end()
    slow.waits(59.0)
    assert not slow.transport.aborted
    slow.waits(2.0)
    assert slow.transport.aborted
    assert listens.told == ["slow"]


async def test_a_client_that_is_told_to_go_does_not_stay() -> None:
    """After a refusal the rest of what it sends is read away for two seconds, then it is cut."""
    slow = Slow()
    slow.says(POST + b"content-length: abc\r\n\r\n")
    assert (slow.statuses, slow.transport.eof_written, slow.transport.closed) == ([400], True, False)
    slow.says(b"x" * 1_000_000).waits(1.0)
    assert not slow.transport.aborted
    slow.waits(1.5)
    assert slow.transport.aborted


async def test_an_answer_nobody_reads_has_a_deadline_even_when_it_is_small() -> None:
    """The transport says nothing of a few bytes that are not taken: the closing connection has its own deadline."""
    slow = Slow()
    slow.says(b"GET /a HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")

    assert slow.transport.closed
    assert slow.connection.deadline < math.inf

"""What connections leave behind: nothing, however they end; and what an open one costs: little."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter

import pytest

from overspill_gateway.clock import Clock
from overspill_gateway.core.http.head import Head
from overspill_gateway.wire.limits import Limits
from overspill_gateway.wire.listener import Listener
from overspill_gateway.wire.reader import Incoming, RequestReader
from overspill_gateway.wire.server import ServerConnection
from overspill_gateway.wire.sweep import Sweeper
from overspill_gateway.wire.upstream import UpstreamConnection
from unit.gateway.backends import backend, streams
from unit.gateway.fake_transport import FakeTransport
from unit.gateway.harness import Client, GatewayUnderTest, eventually, soon
from unit.gateway.test_server import Echo

COUNTED = (ServerConnection, UpstreamConnection, RequestReader, Incoming, Head)
ROUNDS = 40
PAIRS = 200
PAIR_BYTES_MAX = 4096


def alive() -> Counter[str]:
    """How many objects of a connection there are now."""
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, COUNTED))


async def ends_in_every_way(gateway: GatewayUnderTest) -> None:
    """A client each that is served, goes away in the middle, is refused, or says nothing."""
    served, leaves, refused, halfway, silent = [await Client.connect(gateway.port) for _ in range(5)]
    gateway.send(served, stream=True)
    assert (await soon(served.answer())).whole
    gateway.send(leaves, stream=True)
    await soon(leaves.head())
    leaves.reset()
    refused.writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await soon(refused.answer())).status == 400
    halfway.writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel")
    for client in (served, refused, halfway, silent):
        client.close()


@pytest.mark.exhaustive
async def test_connections_leave_nothing_behind(gateway: GatewayUnderTest) -> None:
    """After many clients that ended in every way, no object of any connection is left."""
    async with backend(streams(2)) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        for _ in range(ROUNDS):
            await ends_in_every_way(gateway)
        await eventually(lambda: not gateway.gateway.connections)
        left = alive()
        assert left["ServerConnection"] == left["RequestReader"] == left["Incoming"] == 0
        assert left["UpstreamConnection"] <= 2, "one that is kept, one that a health check may use"
        assert left["Head"] == 0


@pytest.mark.exhaustive
async def test_a_long_connection_does_not_grow(gateway: GatewayUnderTest) -> None:
    """A thousand requests on one connection: as many objects and as much memory as after the first hundred."""
    client = await gateway.client()
    request = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"

    async def ask(count: int) -> None:
        for _ in range(count):
            client.writer.write(request)
            assert (await soon(client.answer())).status == 200

    await ask(100)
    objects = alive()
    tracemalloc.start()  # what counts the objects makes lists of all that the process has: not between these two
    try:
        before, _ = tracemalloc.get_traced_memory()
        await ask(1000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert alive() == objects
    assert after - before < 64 * 1024


@pytest.mark.interpreted  # its pool is a double
async def test_an_open_stream_costs_little() -> None:
    """The objects of a client's and a backend's connection, each in the middle of a stream, head and all."""

    class Pool:
        """Takes nothing."""

        reads = None

        def lost(self, connection: UpstreamConnection) -> None:
            """Nothing."""

    class Receiver:
        """Takes everything."""

        def answer_head(self, *_: object) -> None:
            """Nothing."""

        answer_body = answer_end = answer_lost = answer_pause = answer_head

    listener = Listener(Echo(), Limits(), Sweeper(asyncio.get_running_loop(), 1000.0), Clock())
    transport, pool, receiver = FakeTransport(), Pool(), Receiver()
    request = b"GET /later HTTP/1.1\r\nhost: a\r\naccept: */*\r\nuser-agent: a\r\nauthorization: Bearer a\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    kept: list[object] = []
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(PAIRS):
            server = ServerConnection(listener.state)
            server.connection_made(transport)
            server.data_received(request)
            upstream = UpstreamConnection(pool)  # type: ignore[arg-type]
            upstream.connection_made(transport)
            upstream.send(receiver, b"", b"")
            upstream.data_received(answer)
            kept += (server, upstream)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / PAIRS < PAIR_BYTES_MAX

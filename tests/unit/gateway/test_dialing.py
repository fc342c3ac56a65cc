"""Connections to hosted APIs: several addresses, ages, and names that move."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from overspill_gateway.core.backends.outcome import ConnectFault
from overspill_gateway.wire import dialing
from overspill_gateway.wire.dialing import DialError, connected_socket
from overspill_gateway.wire.outbound import Outbound
from overspill_gateway.wire.pool import Address, Pool
from overspill_gateway.wire.resolver import SocketAddress
from unit.gateway.backends import Backend, Received, Wire, answers, backend, streams
from unit.gateway.harness import GatewayUnderTest, eventually, running_gateway, soon
from unit.gateway.name_server import NameServer


@contextlib.asynccontextmanager
async def listening(address: str, port: int, script: Backend) -> AsyncIterator[None]:
    """The same API at another address of loopback."""
    with contextlib.closing(await asyncio.get_running_loop().create_server(lambda: Wire(script), address, port)):
        yield


@pytest.fixture
async def quick() -> AsyncIterator[GatewayUnderTest]:
    """A gateway whose connections to hosted APIs are old after a tenth of a second."""
    async with running_gateway(hosted_connection_seconds=0.1) as running:
        yield running


async def test_a_name_that_moves_is_followed(
    quick: GatewayUnderTest, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old address answers on, and is left once its connection is old; a stream ends where it began."""
    monkeypatch.setattr("overspill_gateway.wire.resolver.FRESH_SECONDS", 0.05)
    gate = asyncio.Event()
    new = Backend(answers("from the new address"))
    async with backend(streams(2, gate=gate)) as old, listening("127.0.0.2", old.port, new):
        names.addresses["api.test"] = ["127.0.0.1"]
        quick.route(local=None, hosted=[old.hosted(base_url=f"http://api.test:{old.port}/v1")])
        streaming = await quick.client()
        quick.send(streaming, stream=True)
        await soon(streaming.head())
        old.script = answers("from the old address")
        assert b"old" in (await quick.post()).body

        names.addresses["api.test"] = ["127.0.0.2"]

        until = asyncio.get_running_loop().time() + 5
        while b"new" not in (await quick.post()).body:
            assert asyncio.get_running_loop().time() < until, "the old address is used on"
        gate.set()
        body = b""
        while piece := await soon(streaming.chunk()):
            body += piece
        assert body.endswith(b"data: [DONE]\n\n")


async def test_a_young_connection_is_kept_and_an_old_one_is_not() -> None:
    """Between two requests; one that is old when its answer ends is closed then."""
    async with backend(answers()) as api:
        outbound = Outbound(connection_seconds=0.15)
        dialer = outbound.dialer("127.0.0.1", api.port, secure=False)
        address = Address("127.0.0.1", api.port)
        pool = Pool(address, idle_seconds=5, connect_seconds=1, dialer=dialer, connection_seconds=0.15)
        connection = await dialer.dial(pool.new_connection, 1, secure=False)
        pool.put(connection)
        assert pool.take() is connection
        pool.put(connection)
        await eventually(lambda: asyncio.get_running_loop().time() > connection.retires_at)
        assert pool.take() is None
        assert connection.closed
        late = await dialer.dial(pool.new_connection, 1, secure=False)
        await eventually(lambda: asyncio.get_running_loop().time() > late.retires_at)
        pool.put(late)
        assert (pool.idle_count, late.closed) == (0, True)
        pool.close()


async def test_connections_that_were_made_together_do_not_end_together() -> None:
    """Else a burst's hundred connections would be made anew all at once, each minute."""
    pool = Pool(Address("h", 1), idle_seconds=5, connect_seconds=1, connection_seconds=100)
    now = asyncio.get_running_loop().time()
    ages = sorted(pool.new_connection().retires_at - now for _ in range(50))
    assert 89 < ages[0] < ages[-1] <= 101
    assert max(after - before for before, after in pairwise(ages)) < 1


async def test_an_address_that_refuses_costs_nothing(gateway: GatewayUnderTest, names: NameServer) -> None:
    """Of several the next one is tried at once; no attempt of the request is lost over it."""
    async with backend(answers()) as api:
        names.addresses["api.test"] = ["127.0.0.9", "127.0.0.8", "127.0.0.1"]
        route = gateway.route(local=None, hosted=[api.hosted(base_url=f"http://api.test:{api.port}/v1")])
        answer = await gateway.post()
        assert answer.status == 200
        assert route.backends["hosted/openai"].errors == 0
        assert api.requests[0].headers["host"] == f"api.test:{api.port}"


async def test_an_address_that_is_silent_costs_a_quarter_of_a_second() -> None:
    """The next one is tried beside it, and the one that answers is used."""
    silent = socket.socket()
    with silent:
        silent.bind(("127.0.0.3", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        fill = [socket.socket() for _ in range(4)]
        for filling in fill:  # its queue is full: the kernel answers no more
            filling.setblocking(False)
            filling.connect_ex(("127.0.0.3", port))
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.4", port)
        addresses = tuple(SocketAddress(socket.AF_INET, (host, port)) for host in ("127.0.0.3", "127.0.0.4"))
        with contextlib.closing(server):
            began = asyncio.get_running_loop().time()
            endpoint, address = await soon(connected_socket(addresses))
            took = asyncio.get_running_loop().time() - began
        endpoint.close()
        for filling in fill:
            filling.close()
    assert address.parts[0] == "127.0.0.4"
    assert dialing.NEXT_ADDRESS_SECONDS <= took < 2


async def test_dead_names_hold_up_neither_hosted_apis_nor_replicas(
    gateway: GatewayUnderTest, names: NameServer
) -> None:
    """A folder may name replicas; probes and requests of theirs wait beside those of others."""
    async with backend(answers("local")) as engine, backend(answers("hosted")) as api:
        names.addresses["engine.test"] = names.addresses["api.test"] = ["127.0.0.1"]
        names.dead = {f"dead-{number}.test" for number in range(12)} | {
            f"dead-api-{number}.test" for number in range(12)
        }
        gateway.route()
        dead = [engine.fact(f"dead-{number}", address=f"dead-{number}.test", ready=False) for number in range(12)]
        gateway.endpoints(*dead, engine.fact(address="engine.test", ready=False))
        for number in range(12):
            url = f"http://dead-api-{number}.test/v1"
            gateway.route(f"r{number}", local=None, hosted=[{"name": "a", "base_url": url, "model": "m"}])
        waiting = [asyncio.ensure_future(gateway.post(f"r{number}")) for number in range(12)]
        gateway.route("good", local=None, hosted=[api.hosted(base_url=f"http://api.test:{api.port}/v1")])

        assert (await gateway.post("good")).served_by == "hosted/openai"
        answer = await gateway.post()
        assert answer.served_by == "local/tiny-0", answer.body
        names.release.set()
        for refused in await asyncio.gather(*waiting):
            assert refused.status == 502


@pytest.mark.parametrize(
    ("host", "fault", "told"),
    [
        ("nowhere.test", ConnectFault.NAME, "the name nowhere.test is not resolved: what the resolver says"),
        ("refuses.test", ConnectFault.UNREACHABLE, "Connection refused"),
    ],
)
async def test_why_there_is_no_connection(names: NameServer, host: str, fault: ConnectFault, told: str) -> None:
    """Told apart, in the system's words."""
    names.addresses["refuses.test"] = ["127.0.0.9", "127.0.0.8"]
    pool = Pool(Address(host, 1), idle_seconds=5, connect_seconds=1)
    with pytest.raises(DialError, match=told) as raised:
        await Outbound().dialer(host, 1, secure=False).dial(pool.new_connection, 1, secure=False)
    assert raised.value.fault is fault


async def test_an_error_that_nobody_expected_is_told_too(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits for a connection hears that there is none, and the log has the cause."""

    async def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(dialing.Dialer, "dial", breaks)
    gateway.route(local=None, hosted=[{"name": "a", "base_url": "http://api.test/v1", "model": "m"}])
    answer = await gateway.post()
    assert answer.status == 502
    assert "a connection could not be made" in caplog.text


async def test_a_provider_that_answers_twice_is_asked_on_another_connection(gateway: GatewayUnderTest) -> None:
    """What nobody asked for would be the answer to the next request."""

    async def twice(received: Received, wire: Wire) -> None:
        await answers("first")(received, wire)
        await answers("nobody asked for this")(received, wire)

    async with backend(twice) as api:
        gateway.route(local=None, hosted=[api.hosted()])
        assert b"first" in (await gateway.post()).body
        await eventually(lambda: not api.wires)
        assert b"first" in (await gateway.post()).body

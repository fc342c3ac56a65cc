"""A gateway that goes away while it is used: nothing that was sent to it is lost, and it does go."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from unit.gateway.backends import answers, backend, streams
from unit.gateway.harness import KEY, Client, GatewayUnderTest, eventually, running_gateway, soon

REQUEST = b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n"


async def keeps_asking(gateway: GatewayUnderTest, answered: list[int], gone: asyncio.Event) -> None:
    """A client with a pool of one: asks again and again, connects anew when told to, until nobody listens."""
    client: Client | None = None
    while not gone.is_set():
        if client is None:
            try:
                client = await gateway.client()
            except ConnectionError:
                return
        gateway.send(client)
        answer = await soon(client.answer())
        assert answer.whole
        answered.append(answer.status)
        if answer.headers.get("connection") == "close":
            assert await soon(client.at_end())
            client = None


async def test_clients_that_go_on_asking_lose_nothing() -> None:
    """From SIGTERM on each answer is the last of its connection; every request that was sent is answered."""
    async with running_gateway(drain_delay_seconds=0.3) as gateway, backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        answered: list[int] = []
        gone = asyncio.Event()
        clients = [asyncio.ensure_future(keeps_asking(gateway, answered, gone)) for _ in range(8)]
        await eventually(lambda: len(answered) > 50)

        draining = asyncio.ensure_future(gateway.gateway.drain())
        await asyncio.sleep(0)
        before = len(answered)
        await eventually(lambda: len(answered) > before + 50)
        gone.set()
        await asyncio.gather(*clients)
        await soon(draining)

    assert set(answered) == {200}
    assert len(engine.requests) == len(answered)


async def asks_until_refused(port: int, answered: list[bytes]) -> int:
    """A client that reconnects when it is told to, until nobody listens; how many of its requests were lost."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return 0
        closes = False
        while not closes:
            writer.write(REQUEST)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
            except (asyncio.IncompleteReadError, ConnectionError):
                return 1
            answered.append(head)
            closes = b"connection: close\r\n" in head
        writer.close()


async def test_a_process_told_to_end_loses_no_request(tmp_path: Path) -> None:
    """SIGTERM under load: every request that was sent is answered, then the port is closed and the process ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "overspill_gateway.main", "--folder", str(tmp_path)]
    command += ["--listen", f"127.0.0.1:{port}", "--admin-listen", "127.0.0.1:0", "--drain-delay-seconds", "0.5"]
    process = await asyncio.create_subprocess_exec(
        *command, stderr=asyncio.subprocess.PIPE, env=os.environ | {"OVERSPILL_KEY_PEPPER": "p"}
    )
    try:
        assert process.stderr is not None
        assert b"listening" in await asyncio.wait_for(process.stderr.readline(), 20)
        answered: list[bytes] = []
        clients = [asyncio.ensure_future(asks_until_refused(port, answered)) for _ in range(16)]
        await eventually(lambda: len(answered) > 200)
        process.send_signal(signal.SIGTERM)
        lost = await asyncio.wait_for(asyncio.gather(*clients), 20)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert sum(lost) == 0
    assert all(head.startswith(b"HTTP/1.1 200 OK") for head in answered)


async def test_answers_say_close_as_soon_as_it_drains() -> None:
    """Before the port closes already: clients move on to other gateways by themselves."""
    async with running_gateway(drain_delay_seconds=0.5) as gateway:
        client = await gateway.client()
        client.writer.write(REQUEST)
        assert "connection" not in (await soon(client.answer())).headers
        draining = asyncio.ensure_future(gateway.gateway.drain())
        await eventually(lambda: gateway.api_port.draining)
        client.writer.write(REQUEST)
        answer = await soon(client.answer())

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await soon(client.at_end())
        await soon(draining)


async def test_what_has_arrived_is_answered_before_an_idle_connection_ends() -> None:
    """A request that is in the machine but not read yet, at the moment of closing."""
    async with running_gateway() as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            await eventually(lambda: len(gateway.gateway.connections) == 1)
            client.sendall(REQUEST)  # nobody has read it: the loop has not had its turn
            gateway.gateway.public.close_connections(at_once=True)
            client.setblocking(False)
            answer = await soon(asyncio.get_running_loop().sock_recv(client, 4096))

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in answer


async def test_idle_connections_end_before_the_drain_time_is_over() -> None:
    """They are given a moment, not all of the time that answers may take."""
    async with running_gateway(drain_seconds=30.0) as gateway:
        client = await gateway.client()
        client.writer.write(REQUEST)
        await soon(client.answer())

        await asyncio.wait_for(gateway.gateway.drain(), 5.0)
        assert await soon(client.at_end())


async def test_held_requests_are_served_while_it_drains() -> None:
    """A request that waits for a replica is under way: the replica comes, and the stream goes to its end."""
    async with running_gateway() as gateway, backend(streams(2)) as engine:
        route = gateway.route()
        client = await gateway.client()
        gateway.send(client, stream=True)
        await eventually(lambda: len(route.pool.queue) == 1)
        draining = asyncio.ensure_future(gateway.gateway.drain())
        await eventually(lambda: gateway.api_port.draining)

        gateway.endpoints(engine.fact())
        answer = await soon(client.answer())
        await soon(draining)

    assert (answer.status, answer.whole) == (200, True)
    assert answer.headers["connection"] == "close"
    assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_a_request_that_is_arriving_is_served_while_it_drains() -> None:
    """Half a body at SIGTERM: the other half may come, and the answer follows."""
    body = b'{"model": "tiny", "messages": []}'
    async with running_gateway() as gateway, backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n"
        client.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:10])
        await eventually(lambda: any(connection.is_receiving for connection in gateway.gateway.connections))
        draining = asyncio.ensure_future(gateway.gateway.drain())
        await eventually(lambda: gateway.api_port.draining)
        await asyncio.sleep(0)
        client.writer.write(body[10:])

        answer = await soon(client.answer())
        await soon(draining)

    assert (answer.status, answer.headers["connection"]) == (200, "close")

"""How a gateway ends and what it costs: draining, back-pressure, bounds on memory."""

import asyncio
import json

import pytest

from overspill_gateway.proxy.attempt import Attempt
from overspill_gateway.routes.route import Route
from unit.gateway import backends
from unit.gateway.backends import Received, Wire, answers, backend, event, stream_head, streams
from unit.gateway.harness import KEY, GatewayUnderTest, eventually, running_gateway, settings, soon


def at_replicas(route: Route) -> list[Attempt]:
    """Requests at the replicas of a route."""
    found = [attempt for replica in route.replicas.values() for attempt in replica.attempts]
    return [attempt for attempt in found if isinstance(attempt, Attempt)]


@pytest.mark.exhaustive
async def test_draining_lets_streams_finish_and_takes_nobody_new() -> None:
    """Not ready at once; the stream goes on to its [DONE]; then the connection ends and nothing listens any more."""
    gate = asyncio.Event()
    async with running_gateway() as gateway, backend(streams(2, gate=gate)) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client, idle = await gateway.client(), await gateway.client()
        gateway.send(client, stream=True)
        await client.head()

        draining = asyncio.ensure_future(gateway.gateway.drain())
        await eventually(lambda: gateway.api_port.draining)
        assert (await gateway.admin("/readyz")).status == 503
        assert (await gateway.admin("/healthz")).status == 200
        assert await soon(idle.at_end())
        gate.set()
        body = b""
        while piece := await soon(client.chunk()):
            body += piece
        await soon(draining)

        assert body.endswith(b"data: [DONE]\n\n")
        assert await soon(client.at_end())
        try:
            await asyncio.open_connection("127.0.0.1", gateway.port)
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("it still listens")


async def test_what_does_not_finish_in_time_is_told_so() -> None:
    """After the drain time a stream gets an error event and a held request a 503, never a clean ending."""
    async with running_gateway(drain_seconds=0.2) as gateway, backend(streams(2, gate=asyncio.Event())) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        gateway.route("cold")
        streamed, held = await gateway.client(), await gateway.client()
        gateway.send(streamed, stream=True)
        gateway.send(held, "cold")
        await streamed.head()
        assert await streamed.chunk() == event(0)

        await soon(gateway.gateway.drain())
        last = await soon(streamed.chunk())
        answer = await soon(held.answer())

    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "shutting_down"
    assert (answer.status, answer.error["code"]) == (503, "shutting_down")


async def test_before_draining_new_connections_are_still_served() -> None:
    """Until the rest of the cluster has heard of it, SIGTERM refuses nobody."""
    async with running_gateway(drain_delay_seconds=1.0) as gateway, backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        draining = asyncio.ensure_future(gateway.gateway.drain())
        await eventually(lambda: gateway.api_port.draining)

        assert (await gateway.post()).status == 200
        await soon(draining)


def long_event() -> bytes:
    """A chunk of a stream with as much text as is read at once."""
    return b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 7_000 + b'"}}]}\n\n'


async def test_a_slow_client_slows_the_engine_down(gateway: GatewayUnderTest) -> None:
    """A client that does not read stops the reading from the engine: what is under way stays bounded."""
    sent = 0
    piece = long_event()

    async def endless(received: Received, wire: Wire) -> None:  # noqa: ARG001
        nonlocal sent
        await wire.write(stream_head())
        for _ in range(20_000):
            await wire.chunk(piece)
            sent += len(piece)
            if wire.gone.is_set():
                return

    async with backend(endless) as engine:
        route = gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        gateway.send(client, stream=True)

        def paused() -> bool:
            return any(one.relay is not None and not one.takes for one in at_replicas(route))

        await eventually(paused)
        await eventually(lambda: any(wire.waits_to_write for wire in engine.wires))  # one may ask for its health
        settled = sent
        assert sent < 32 * 2**20, "140 MB would have come without back-pressure"

        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while sent <= settled:
            assert await soon(client.reader.read(1 << 20)), "the stream goes on"


async def test_a_slow_client_does_not_run_into_the_idle_timeout(gateway: GatewayUnderTest) -> None:
    """While nothing is read from the engine because the client is slow, the engine is not to blame."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        engine.script = backends.stalls_stream
        await wire.write(stream_head())
        for _ in range(1900):
            await wire.chunk(long_event())
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.write(b"0\r\n\r\n")

    async with backend(script) as engine:
        route = gateway.route()
        gateway.endpoints(engine.fact())
        client, later = await gateway.client(), await gateway.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        gateway.send(client, stream=True)
        await eventually(lambda: any(one.relay is not None and not one.takes for one in at_replicas(route)))
        gateway.send(later, stream=True)
        await later.head()
        for _ in range(2):
            for attempt in at_replicas(route):
                attempt.expire(attempt.deadline)  # all that time nothing came
        interrupted = b""
        while piece := await soon(later.chunk()):
            interrupted += piece
        assert b"stream_interrupted" in interrupted, "a stream that stalled meanwhile has run into the timeout"
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answer = await asyncio.wait_for(client.answer(), 40)  # 13 MB, on whatever machine

    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b'"error"' not in answer.body


async def test_a_body_over_the_limit_is_413() -> None:
    """The limit is told, and the connection ends instead of reading on."""
    async with running_gateway(body_bytes_max=1 << 20) as gateway:
        gateway.route()
        client = await gateway.client()
        client.send("POST", "/v1/completions", b"x" * 10, authorization=f"Bearer {KEY}", x_pad="y")
        assert (await client.answer()).status == 400
        client.writer.write(
            b"POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 2000000\r\n"
            + f"authorization: Bearer {KEY}\r\n\r\n".encode()
        )
        answer = await soon(client.answer())

        assert (answer.status, answer.error["code"]) == (413, "body_too_large")
        assert "1 MiB" in answer.error["message"]


async def test_paths_and_methods_say_what_they_take(gateway: GatewayUnderTest) -> None:
    """An engine's controls are 404 with the known ones named, wrong methods 405 with Allow, OPTIONS 204."""
    client = await gateway.client()
    for method, path in (
        ("GET", "/metrics"),
        ("GET", "/v1/completions"),
        ("DELETE", "/v1/models"),
        ("OPTIONS", "/v1/models"),
    ):
        client.send(method, path)

    unknown, wrong, also_wrong, options = [await client.answer() for _ in range(4)]

    assert (unknown.status, unknown.error["code"]) == (404, "unknown_url")
    assert "POST /v1/chat/completions" in unknown.error["message"]
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST, OPTIONS")
    assert (also_wrong.status, also_wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_nothing_is_left_behind(gateway: GatewayUnderTest) -> None:
    """After many requests of every outcome no exchange, no waiting request and no connection stays."""
    async with backend(answers()) as engine:
        route = gateway.route()
        gateway.endpoints(engine.fact())
        await asyncio.gather(*(gateway.post() for _ in range(50)))
        await asyncio.gather(*(gateway.post("nope") for _ in range(50)))
        for client in gateway.clients:
            client.close()

        await eventually(lambda: not gateway.gateway.connections)
        assert len(gateway.gateway.exchanges) == 0
        assert not route.pool.queue
        assert route.in_flight_local == 0
        assert not at_replicas(route)


def test_the_test_settings_are_whole() -> None:
    """The harness gives every setting."""
    assert settings().namespace == "overspill"

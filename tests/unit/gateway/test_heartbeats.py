"""Clients that wait for a stream hear of it; what comes afterwards comes inside the same answer."""

from __future__ import annotations

import asyncio

import pytest

from overspill_gateway.proxy import waiting_client
from overspill_gateway.proxy.early_stream import KEEP_ALIVE
from unit.gateway.backends import answers, backend, event, streams
from unit.gateway.harness import Client, GatewayUnderTest, eventually, soon

pytestmark = pytest.mark.interpreted  # it changes a constant


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats come soon."""
    monkeypatch.setattr(waiting_client, "HEARTBEAT_SECONDS", 0.02)


async def client_that_waits(gateway: GatewayUnderTest, model: str = "tiny") -> Client:
    """A client that has asked for a stream and has heard two heartbeats."""
    client = await gateway.client()
    gateway.send(client, model, stream=True)
    status, headers = await soon(client.head())
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "x-request-id" in headers
    assert headers["x-accel-buffering"] == "no"
    assert await soon(client.chunk()) == KEEP_ALIVE
    assert await soon(client.chunk()) == KEEP_ALIVE
    return client


async def rest_of(client: Client) -> bytes:
    """All that still comes, heartbeats left out."""
    body = b""
    while piece := await soon(client.chunk()):
        body += piece
    return body.replace(KEEP_ALIVE, b"")


async def test_a_held_stream_goes_on_in_the_answer_that_has_begun(gateway: GatewayUnderTest) -> None:
    """Who serves it comes as a comment, since the header has gone; the events are the replica's."""
    async with backend(streams(2)) as engine:
        gateway.route()
        client = await client_that_waits(gateway)

        gateway.endpoints(engine.fact())
        body = await rest_of(client)

    comments, _, events = body.partition(b"\n\n")
    assert b": x-overspill-served-by: local/tiny-0" in comments.split(b"\n")
    assert b": x-overspill-reason: Held" in comments.split(b"\n")
    assert events == event(0) + event(1) + b"data: [DONE]\n\n"


async def test_a_held_stream_that_is_refused_says_so_inside(gateway: GatewayUnderTest) -> None:
    """Its status is 200 by then: the error is an event, there is no [DONE], and the connection stays usable."""
    route = gateway.route(overflow={"on_cold_start": "Hold", "hold_timeout_seconds": 0.3})
    client = await client_that_waits(gateway)

    body = await rest_of(client)

    assert b'"code":"no_replica"' in body
    assert b"[DONE]" not in body
    assert len(route.pool.queue) == 0
    async with backend(answers("hi")) as engine:
        gateway.endpoints(engine.fact())
        gateway.send(client)
        assert (await soon(client.answer())).status == 200


async def test_a_backends_refusal_comes_inside_as_well(gateway: GatewayUnderTest) -> None:
    """A bad request is still the client's to mend, and it is told what the engine said."""
    async with backend(answers("no", status=400)) as engine:
        gateway.route()
        client = await client_that_waits(gateway)

        gateway.endpoints(engine.fact())
        body = await rest_of(client)

    assert b"data: {" in body
    assert b'"error"' in body


async def test_a_client_that_waits_for_a_document_hears_nothing(gateway: GatewayUnderTest) -> None:
    """A plain answer has a status of its own: nothing is written before it."""
    async with backend(answers("hi")) as engine:
        route = gateway.route()
        waiting = asyncio.ensure_future(gateway.post())
        await eventually(lambda: len(route.pool.queue) == 1)
        streaming = await client_that_waits(gateway)  # by now the other one would have heard one as well

        gateway.endpoints(engine.fact())
        answer = await soon(waiting)
        streaming.close()

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.reason == "Held"


async def test_heartbeats_end_with_the_first_token(gateway: GatewayUnderTest) -> None:
    """From then on the stream keeps itself alive, or its idle timer ends it."""
    gate = asyncio.Event()
    async with backend(streams(2, gate=gate)) as engine:
        gateway.route()
        client = await client_that_waits(gateway)
        gateway.endpoints(engine.fact())
        body = b""
        while event(0) not in body:
            body += await soon(client.chunk())

        gateway.route("other")
        await client_that_waits(gateway, "other")  # two heartbeats' time
        gate.set()
        rest = b""
        while piece := await soon(client.chunk()):
            rest += piece

    assert rest == event(1) + b"data: [DONE]\n\n"

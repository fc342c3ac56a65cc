"""Memory for bodies: bounded over all connections, a half for one sender, given back when nobody needs them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from overspill_gateway.settings import SettingsError, read_settings
from overspill_gateway.wire.body_room import STEP_BYTES, BodyRoom
from unit.gateway.backends import answers, backend, streams
from unit.gateway.harness import KEY, Client, eventually, running_gateway, soon

MIB = 2**20
OTHER = "osk-otherother12-" + "T" * 40


def test_one_sender_has_a_half_at_most() -> None:
    """The rest is there for others, and what is given back is there again."""
    room = BodyRoom(8 * STEP_BYTES)
    assert [room.take("a") for _ in range(5)] == [True] * 4 + [False]
    assert [room.take("b") for _ in range(4)] == [True] * 4
    assert not room.take("c")
    room.give_back("a", 3 * STEP_BYTES)
    assert room.take("c")
    room.give_back("a", STEP_BYTES)
    room.give_back("b", 4 * STEP_BYTES)
    room.give_back("c", STEP_BYTES)
    assert (room.taken_bytes, room.senders) == (0, 0)


def begin(client: Client, length: int, sent: int, key: str = KEY) -> None:
    """Send the head of a request and a part of its body."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\ncontent-length: {length}"
    client.writer.write(head.encode() + b"\r\n\r\n" + b" " * sent)


def long_body(**fields: Any) -> bytes:
    """A good request of two MiB."""
    return json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "x" * 2 * MIB}]} | fields).encode()


async def test_a_sender_who_takes_too_much_is_told_and_harms_nobody() -> None:
    """Held open bodies of one key are bounded; small requests and another's long ones are served meanwhile."""
    async with (
        running_gateway(bodies_bytes_max=8 * MIB, body_bytes_max=4 * MIB) as gateway,
        backend(answers()) as engine,
    ):
        gateway.allow("ns/*", key=OTHER, name="other")
        gateway.route()
        gateway.endpoints(engine.fact())
        room = gateway.api_port.room
        greedy = [await gateway.client() for _ in range(2)]
        for client in greedy:
            begin(client, 4 * MIB, 3 * MIB)
        told = await soon(greedy[1].answer())
        assert (told.status, told.error["code"], told.headers["retry-after"]) == (503, "too_many_bodies", "2")
        assert (await gateway.post()).status == 200
        other = await gateway.client()
        body = long_body()
        other.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {OTHER}")
        assert (await soon(other.answer())).status == 200
        for client in greedy:
            client.reset()
        await eventually(lambda: room.taken_bytes == 0)


async def test_a_body_has_room_until_its_answer_begins() -> None:
    """Then nobody needs it: a long stream holds none."""
    gate = asyncio.Event()
    async with running_gateway(body_bytes_max=4 * MIB) as gateway, backend(streams(2, usage=True)) as engine:
        room = gateway.api_port.room
        route = gateway.route()
        client = await gateway.client()
        body = long_body(stream=True)
        client.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {KEY}")
        await eventually(lambda: len(route.pool.queue) == 1)
        assert room.taken_bytes >= len(body) - STEP_BYTES
        engine.script = streams(2, gate=gate)
        gateway.endpoints(engine.fact())
        await soon(client.head())
        await soon(client.chunk())
        assert room.taken_bytes == 0
        gate.set()


@pytest.mark.parametrize("framing", ["content-length: 3000000", "transfer-encoding: chunked"])
async def test_who_leaves_gives_it_back(framing: str) -> None:
    """In the middle of a body, in either framing."""
    async with running_gateway(body_bytes_max=4 * MIB) as gateway:
        room = gateway.api_port.room
        client = await gateway.client()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n{framing}\r\n\r\n"
        client.writer.write(head.encode() + (b"200000\r\n" if "chunked" in framing else b"") + b" " * MIB)
        await eventually(lambda: room.taken_bytes >= MIB - STEP_BYTES)
        client.reset()
        await eventually(lambda: room.taken_bytes == 0)


def test_the_room_is_for_several_bodies() -> None:
    """One that is less than two of the longest is a mistake."""
    with pytest.raises(SettingsError, match="--bodies-mib-max 100"):
        read_settings(["--bodies-mib-max", "100"], {"OVERSPILL_KEY_PEPPER": "p"})

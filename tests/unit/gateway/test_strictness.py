"""A whole gateway against everything that a strict HTTP/1.1 server refuses, and what it must not refuse."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime

import pytest

from unit.gateway.backends import answers, backend
from unit.gateway.harness import KEY, MESSAGES, Answer, Client, GatewayUnderTest, soon
from unit.gateway.strictness_cases import HOST, POISONED, TABLES, Case, get, post

SILENCE_SECONDS = 0.05
AT_ONCE = 16
"""Cases of one table that are tried side by side, each on a connection of its own."""


async def ask(gateway: GatewayUnderTest, data: bytes) -> tuple[Client, asyncio.Task[Answer]]:
    """Send bytes on a connection of their own."""
    client = await gateway.client()
    client.writer.write(data)
    method = data.partition(b" ")[0]
    return client, asyncio.ensure_future(client.answer(bodiless=method == b"HEAD"))


async def silent(answering: asyncio.Task[Answer]) -> bool:
    """Whether no answer comes while the request is unfinished."""
    await asyncio.wait({answering}, timeout=SILENCE_SECONDS)
    return answering.cancel()


async def try_all(cases: list[Case], check: Callable[[Case], Awaitable[None]]) -> None:
    """Check each case; all that fail are told, by their names."""
    room = asyncio.Semaphore(AT_ONCE)

    async def check_one(case: Case) -> None:
        async with room:
            await check(case)

    results = await asyncio.gather(*(check_one(case) for case in cases), return_exceptions=True)
    wrong = [f"{case.name}: {result!r}" for case, result in zip(cases, results, strict=True) if result is not None]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("table", TABLES)
async def test_the_root_answers_as_the_table_says(gateway: GatewayUnderTest, table: str) -> None:
    """One answer with a right status and a Date; a refusal in OpenAI's shape, and the connection ends with it."""

    async def check(case: Case) -> None:
        client, answering = await ask(gateway, case.data)
        if not case.statuses:
            assert await silent(answering)
            return

        answer = await soon(answering)
        assert answer.status in case.statuses
        assert answer.whole
        assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])
        if answer.status == 200 and not case.data.startswith(b"HEAD"):
            assert answer.body == b"OK"
        elif answer.status >= 400 and case.ends:
            assert answer.error["type"] == "invalid_request_error"
            assert answer.headers["connection"] == "close"
        if case.ends:
            assert await soon(client.at_end())
        else:
            client.writer.write(get())
            assert (await soon(client.answer())).status == 200

    await try_all(TABLES[table], check)


@pytest.mark.parametrize("table", ["length", "encoding", "chunk"])
async def test_the_api_is_framed_as_strictly(gateway: GatewayUnderTest, table: str) -> None:
    """With a key, on a path that goes to a backend: what is refused reaches none, what is served is whole."""
    async with backend(answers("hi")) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        async def check(case: Case) -> None:
            line, _, rest = case.data.partition(b"\r\n")
            line = line.replace(b" / ", b" /v1/chat/completions ")
            _, answering = await ask(gateway, line + b"\r\nauthorization: Bearer " + KEY.encode() + b"\r\n" + rest)
            if not case.statuses:
                assert await silent(answering)
                return
            answer = await soon(answering)
            allowed = case.statuses if case.ends else {204, 400, 405}  # 'hello' is no body that names a model
            assert answer.status in allowed

        await try_all(TABLES[table], check)
        assert not engine.requests


@pytest.mark.parametrize("name", POISONED)
async def test_a_hidden_request_is_not_served(gateway: GatewayUnderTest, name: str) -> None:
    """One refusal is all that comes back."""
    client = await gateway.client()
    client.writer.write(POISONED[name])
    everything = await soon(client.reader.read())

    assert re.findall(rb"HTTP/1\.1 (\d+)", everything) == [b"400"]


async def test_chunked_and_pipelined_requests_reach_the_model_in_their_order(gateway: GatewayUnderTest) -> None:
    """A body in chunks is the same body; requests sent ahead are answered one after the other."""
    body = json.dumps({"model": "tiny", "messages": MESSAGES}).encode()
    fields = (b"Authorization: Bearer " + KEY.encode(), b"Content-Type: application/json")
    line = b"POST /v1/chat/completions HTTP/1.1"
    parts = b"".join(b"%x;a=b\r\n%b\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7))
    chunked = post(*fields, b"Transfer-Encoding: chunked", body=parts + b"0\r\nX-Sum: 1\r\n\r\n", line=line)
    plain = post(*fields, b"Content-Length: %d" % len(body), body=body, line=line)
    async with backend(answers("hi")) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        client.writer.write(chunked + get() + plain + get(line=b"HEAD / HTTP/1.1") + get(b"Connection: close"))
        first, root, third = [await soon(client.answer()) for _ in range(3)]
        head = await soon(client.answer(bodiless=True))
        last = await soon(client.answer())

    assert [answer.status for answer in (first, root, third, head, last)] == [200] * 5
    assert (root.body, head.body, last.body) == (b"OK", b"", b"OK")
    assert [received.json["messages"] for received in engine.requests] == [MESSAGES] * 2
    assert await soon(client.at_end())


async def test_allow_and_content_are_named(gateway: GatewayUnderTest) -> None:
    """405 and OPTIONS carry Allow, 204 no length, an answer with content its type; HEAD the length of GET."""
    client = await gateway.client()
    lines = (b"DELETE / HTTP/1.1", b"OPTIONS / HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET / HTTP/1.1")
    client.writer.write(b"".join(get(line=line) for line in lines) + get(line=b"HEAD / HTTP/1.1"))
    wrong, options, star, root = [await soon(client.answer()) for _ in range(4)]
    head = await soon(client.answer(bodiless=True))

    for answer in (wrong, options, star):
        assert answer.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    assert "content-length" not in options.headers
    assert root.headers["content-type"].startswith("text/plain")
    assert head.headers["content-length"] == root.headers["content-length"] == "2"
    assert parsedate_to_datetime(root.headers["date"]).tzinfo is not None


async def test_a_backends_date_is_passed_on(gateway: GatewayUnderTest) -> None:
    """One Date in an answer: that of whoever made it."""
    async with backend(answers("hi", date="Sun, 06 Nov 1994 08:49:37 GMT")) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        assert (await gateway.post()).headers["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


async def test_the_roots_body_is_bounded(gateway: GatewayUnderTest) -> None:
    """Nobody without a key makes the gateway keep more than 64 KiB."""
    for framing in (b"Content-Length: 70000", b"Transfer-Encoding: chunked"):
        client = await gateway.client()
        client.writer.write(post(framing, body=b"11170\r\n" if framing.startswith(b"T") else b""))
        answer = await soon(client.answer())
        assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert HOST in get()

"""No answer holds the event loop: large and hostile ones of each kind, plain, streamed, packed, translated, refused."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import json
from dataclasses import dataclass
from typing import Any

import pytest

from overspill_gateway.core.answers.events import LONG_BYTES
from overspill_gateway.gateway import is_compiled
from overspill_gateway.proxy.gathered import READ_BYTES_MAX, STREAM_READ_BYTES_MAX
from unit.gateway.harness import KEY, GatewayUnderTest, running_gateway
from unit.gateway.measured_loop import MeasuredLoop
from unit.gateway.test_hostile_input import CALLBACK_SECONDS_MAX, INTERPRETED_FACTOR, Elsewhere, repeated

ROUNDS = 3
"""Each answer counts with its best round: what a neighbour on the processor adds is no fault of ours."""
LARGE = 1 << 19
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
USAGE = ',"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}'
CHOICE = '{"index":0,"message":{"content":"a"},"finish_reason":"stop"}'
CALL = '{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}'
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
JSON, EVENTS = b"application/json", b"text/event-stream"


@dataclass
class Case:
    """A request and what its backend answers."""

    path: str
    request: dict[str, Any]
    answer: bytes
    kind: bytes = JSON
    status: int = 200
    packed: bool = False


def plain(message: str = '{"content":"a"}', more: str = "", usage: str = USAGE) -> str:
    """A chat answer."""
    return f'{{"id":"x","choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]{more}{usage}'


def plain_answers(size: int) -> dict[str, bytes]:
    """Of about this size."""
    found = {
        "text": plain(f'{{"content":"{repeated("x", size)}"}}', usage="}"),
        "escapes": plain('{{"content":"{}"}}'.format(repeated('\\n\\"\\u00e9', size))),
        "halves": plain('{{"content":"{}"}}'.format(repeated("\\ud83d", size))),
        "parts": plain('{{"content":[{{}}{}]}}'.format(repeated(',{"type":"text","text":"a"}', size))),
        "calls": plain(f'{{"tool_calls":[{CALL}{repeated("," + CALL, size)}]}}'),
        "empty calls": plain('{{"tool_calls":[{{}}{}]}}'.format(repeated(",{}", size))),
        "deep": plain(more=',"x":' + repeated("[", size)),
        "objects": plain(more=',"x":[{{}}{}]'.format(repeated(',{"a":1}', size))),
        "keys": plain(more=',"x":{{{}}}'.format(",".join([f'"k{number}":1' for number in range(size // 10)]))),
        "marks": plain(more=',"x":[1{}]'.format(repeated(',{"usage":1}', size)), usage="}"),
        "choices": f'{{"choices":[{CHOICE}{repeated("," + CHOICE, size)}]{USAGE}',
        "no choices": '{{"choices":[{{}}{}]{}'.format(repeated(",{}", size), USAGE),
        "broken": plain(more=',"x":[1{}'.format(repeated(",{}", size)), usage=""),
        "error": f'{{"error":{{"message":"{repeated("x ", size)}"}}}}',
    }
    return {name: text.encode() for name, text in found.items()}


def chunk(delta: str, more: str = "") -> str:
    """An event."""
    return f'data: {{"id":"x","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]{more}}}\n\n'


def streams(size: int) -> dict[str, bytes]:
    """With one event of about this size, or with many tiny ones."""
    found = {
        "text": chunk('{{"content":"{}"}}'.format(repeated("x", size))),
        "halves": chunk('{{"content":"{}"}}'.format(repeated("\\ud83d", size))),
        "calls": chunk(f'{{"tool_calls":[{CALL}{repeated("," + CALL, size)}]}}'),
        "empty calls": chunk('{{"tool_calls":[{{}}{}]}}'.format(repeated(",{}", size))),
        "arguments": chunk(
            '{{"tool_calls":[{{"id":"a","function":{{"name":"f","arguments":"{}"}}}}]}}'.format(repeated("[", size))
        ),
        "objects": chunk('{"content":"a"}', ',"x":[{{}}{}]'.format(repeated(',{"a":1}', size))),
        "choices": 'data: {{"choices":[{{}}{}]}}\n\n'.format(repeated(",{}", size)),
        "lines": "data: {\r\n" + repeated("data: \r\n", size) + 'data: "choices":[]}\r\n\r\n',
        "fields": repeated("a\n", size) + 'data: {"choices":[]}\n\n',
        "strays": 'data: {"choices":[]}\n' + repeated("{\n", size) + "\n",
        "comment": ": " + repeated("x", size) + "\n\n",
        "no end": "data: " + repeated("x", size),
        "tiny events": repeated(": a\n\n", size),
        "line ends": repeated("\n", size),
        "pieces of calls": repeated(
            chunk('{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"[1,"}}]}'), size
        ),
    }
    last = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    return {name: (chunk('{"content":"hi"}') + text + last).encode() for name, text in found.items()}


def cases() -> dict[str, Case]:
    """By what they are."""
    found: dict[str, Case] = {}
    for size in (READ_BYTES_MAX - 500, LARGE):
        for name, answer in plain_answers(size).items():
            found[f"plain {name} {size}"] = Case(CHAT, {}, answer)
            found[f"checked {name} {size}"] = Case(CHAT, {"response_format": SCHEMA}, answer)
            found[f"translated {name} {size}"] = Case(MESSAGES, {}, answer)
            found[f"as a stream {name} {size}"] = Case(CHAT, {"stream": True}, answer)
            found[f"translated as a stream {name} {size}"] = Case(MESSAGES, {"stream": True}, answer)
            found[f"refused {name} {size}"] = Case(CHAT, {}, answer, status=400)
            found[f"translated refusal {name} {size}"] = Case(MESSAGES, {}, answer, status=404)
    for size in (LONG_BYTES - 500, LARGE):
        for name, answer in streams(size).items():
            found[f"stream {name} {size}"] = Case(CHAT, {"stream": True}, answer, EVENTS)
            found[f"translated stream {name} {size}"] = Case(MESSAGES, {"stream": True}, answer, EVENTS)
            found[f"packed stream {name} {size}"] = Case(CHAT, {"stream": True}, answer, EVENTS, packed=True)
    for size in (STREAM_READ_BYTES_MAX - 500, LARGE):
        for name, answer in streams(size).items():
            found[f"unasked stream {name} {size}"] = Case(CHAT, {}, answer, EVENTS)
    key = b'{"error":{"message":"%b sk-secret-secret"}}' % (b"sk-sec " * (200 << 10 >> 3))
    found["refused with the key"] = Case(CHAT, {}, key, status=400)
    return found


async def serve(case: list[Case], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A backend that gives the answer of the case that is the turn."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0"))
            given = case[0]
            answer = gzip.compress(given.answer, 1) if given.packed else given.answer
            lines = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\n" % (given.status, given.kind)
            lines += b"content-encoding: gzip\r\n" if given.packed else b""
            writer.write(lines + b"content-length: %d\r\n\r\n" % len(answer) + answer)
            await writer.drain()
    writer.close()


async def ask(port: int, case: Case) -> int:
    """The status that a client gets; it reads the whole answer."""
    document = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]} | case.request
    body = json.dumps(document).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST %b HTTP/1.1\r\nhost: g\r\nconnection: close\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
        % (case.path.encode(), KEY.encode(), len(body), body)
    )
    status = await reader.read(16)
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 20):
            pass
    writer.close()
    return int(status[9:12] or b"0")


async def measured(loop: MeasuredLoop) -> tuple[dict[str, float], dict[str, int]]:
    """The longest callback of each case, in its best round, and what its client got."""
    elsewhere, turn = Elsewhere(), [Case(CHAT, {}, b"")]
    server = await elsewhere.run(asyncio.start_server(lambda *ends: serve(turn, *ends), "127.0.0.1", 0))
    longest: dict[str, float] = {}
    statuses: dict[str, int] = {}
    try:
        async with running_gateway() as running:
            set_up(running, server.sockets[0].getsockname()[1])
            turn[0] = Case(CHAT, {}, plain_answers(LARGE)["text"])
            await elsewhere.run(ask(running.port, turn[0]))  # the process that reads has started
            gc.collect()
            gc.freeze()  # as the gateway's process does
            for name, case in cases().items():
                turn[0] = case
                best = 1e9
                for _ in range(ROUNDS):
                    loop.turns.forget()
                    statuses[name] = await elsewhere.run(asyncio.wait_for(ask(running.port, case), 60))
                    best = min(best, max(loop.turns.by_name.values()))
                    if best < CALLBACK_SECONDS_MAX / 2:
                        break
                longest[name] = best
    finally:
        gc.unfreeze()
        await elsewhere.close(server)
    return longest, statuses


def set_up(running: GatewayUnderTest, port: int) -> None:
    """A route whose backend is the provider that means harm."""
    api = {"name": "api", "base_url": f"http://127.0.0.1:{port}/v1", "model": "m", "api_key": "sk-secret-secret"}
    prices = {"input_nano_usd_per_million": 1, "output_nano_usd_per_million": 1}
    budget = {"limit_nano_usd": 10**15}
    running.route(hosted=[api | prices], budget=budget, local=None, validate_structured_output=True)


@pytest.mark.exhaustive
@pytest.mark.timeout(400)
def test_no_answer_holds_the_event_loop() -> None:
    """Whatever a provider answers, no callback takes 10 ms of CPU, and every client gets something."""
    with asyncio.Runner(loop_factory=MeasuredLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, MeasuredLoop)
        longest, statuses = runner.run(measured(loop))

    bound = CALLBACK_SECONDS_MAX * (1 if is_compiled() else INTERPRETED_FACTOR)
    slow = {name: f"{seconds * 1000:.1f} ms" for name, seconds in longest.items() if seconds > bound}
    assert not {name for name, status in statuses.items() if not status}
    assert not slow

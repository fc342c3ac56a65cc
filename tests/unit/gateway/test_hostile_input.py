"""No input holds the event loop: large and hostile bodies, answers and scrapes of a thousand routes, all at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sqlite3
import threading
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from overspill_gateway.gateway import is_compiled
from unit.gateway.harness import KEY, GatewayUnderTest, running_gateway
from unit.gateway.measured_loop import MeasuredLoop

CALLBACK_SECONDS_MAX = 0.010
"""Of CPU, on the compiled gateway."""
INTERPRETED_FACTOR = 6
ROUTES = 1000
ROUNDS = 3
"""Each callback counts with its best round: what a neighbour on the processor adds is no fault of ours."""
MANY = 300_000
BUDGET = {"limit_nano_usd": 10**12}
PRICES = {"input_nano_usd_per_million": 1, "output_nano_usd_per_million": 1}
TURN = '{"role":"user","content":[{"type":"text","text":"%s"}]}'


def chat(messages: str, more: str = "", model: str = "both") -> bytes:
    """A chat's body."""
    return f'{{"model":"{model}","messages":[{messages}]{more}}}'.encode()


def repeated(unit: str, size: int) -> str:
    """A text of about this size."""
    return unit * (size // len(unit))


def bodies() -> dict[str, tuple[str, bytes]]:
    """Path and body of requests."""
    schema = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(20_000)}}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    parts = {
        "texts": ',{"type":"text","text":"a"}',
        "data": ',{"data" : "a"}',
        "urls": ',{"type":"image_url","image_url":{"url":"data:image/png;base64,aa"}}',
        "nested": ",[[[[[[[[1]]]]]]]]",
    }
    first = '{"type":"text","text":"x"}'
    chats = {
        name: chat(f'{{"role":"user","content":[{first}{repeated(unit, 2 * MANY)}]}}') for name, unit in parts.items()
    }
    chats |= {f"{name} short": chat(f'{{"role":"user","content":[{first}{repeated(unit, 60_000)}]}}')
              for name, unit in parts.items()}  # fmt: skip
    chats |= {
        "messages": chat(",".join([TURN % "hello"] * (MANY // 60))),
        "escapes": chat(TURN % repeated('\\u00e9\\n\\"', MANY)),
        "16 MiB": chat(TURN % repeated("\\n;base64,", 16 << 20)),
        "keys": chat("", "".join([f',"k{number}":1' for number in range(MANY // 10)])),
        "deep": chat(repeated("[", MANY)),
        "schema": chat(TURN % "x", f',"response_format":{json.dumps(wanted)}', "local"),
        "stream": chat(TURN % repeated("x", MANY), ',"stream":true'),
    }
    found = {name: ("/v1/chat/completions", body) for name, body in chats.items()}
    turn = '{"role":"user","content":"a"}'
    found["translated"] = ("/v1/messages", chat(",".join([turn] * (MANY // 30)), ',"max_tokens":5', "hosted"))
    found["batch"] = ("/v1/embeddings", b'{"model":"embeds","input":["a"%b]}' % (b',"a"' * (MANY // 4)))
    found["prompts"] = ("/v1/completions", b'{"model":"both","prompt":["a"%b]}' % (b',"a"' * (60_000 // 4)))
    found["unknown"] = ("/v1/chat/completions", chat(TURN % "x", "", "nobodys"))
    for name in ANSWERS:
        streams = ',"stream":true' if name in STREAMS else ""
        path = "/v1/embeddings" if name == "embeddings" else "/v1/chat/completions"
        found[f"answer: {name}"] = (path, chat(TURN % name, streams, "embeds" if name == "embeddings" else "local"))
    return found


CHUNK = '{"id":"x","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}'
STREAMS = {
    "events": f"data: {CHUNK % 'a'}\n\n" * 1000,
    "comments": ": a\n\n" * 40_000,
    "line ends": "\n" * 200_000,
    "returns": "\r" * 200_000,
    "usage": 'data: {"usage":{"prompt_tokens":1}}\n\n' * 5000,
}
ANSWERS = {name: f"data: {CHUNK % 'a'}\n\n{text}data: [DONE]\n\n".encode() for name, text in STREAMS.items()}
ANSWERS["embeddings"] = b'{"data":[%b{}],"usage":{"prompt_tokens":5}}' % (b'{"embedding":[0.12345678]},' * (8 << 15))
ANSWERS["marks"] = b'{"choices":[{"message":{"content":"a"}}],"x":[1%b]}' % (b',{"usage":1}' * 60_000)
ANSWERS["bytes"] = b'{"choices":[{"message":{"content":"%b"}}]}' % (b"a" * 20_000)
"""By the word that its request says; each byte of the last in a chunk of its own."""


OK = b"HTTP/1.1 200 OK\r\n"


async def provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A backend: what it answers goes by the request."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
            body = await reader.readexactly(length)
            name = next((name for name in ANSWERS if b'"text":"%b"' % name.encode() in body), "")
            answer = ANSWERS.get(name) or b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":9}}'
            if name in STREAMS or b'"stream":true' in body:
                writer.write(OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                answer = ANSWERS.get(name) or ANSWERS["events"]
                writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer), answer))
            elif name == "bytes":
                writer.write(OK + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
                writer.write(b"".join([b"1\r\n%c\r\n" % byte for byte in answer]) + b"0\r\n\r\n")
            else:
                writer.write(OK + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer))
                writer.write(answer)
            await writer.drain()
    writer.close()


async def ask(port: int, path: str, body: bytes, *, method: bytes = b"POST", chunked: bool = False) -> int:
    """The status that a client gets; it reads the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = b"%b %b HTTP/1.1\r\nhost: g\r\nconnection: close\r\nauthorization: Bearer %b\r\n" % (
        method, path.encode(), KEY.encode(),
    )  # fmt: skip
    if chunked:
        framed = b"".join([b"1\r\n%c\r\n" % byte for byte in body]) + b"0\r\n\r\n"
        writer.write(lines + b"transfer-encoding: chunked\r\n\r\n" + framed)
    else:
        writer.write(lines + b"content-length: %d\r\n\r\n" % len(body) + body)
    with contextlib.suppress(ConnectionError):
        answer = await reader.read(16)
        while await reader.read(1 << 20):
            pass
        writer.close()
        return int(answer[9:12] or b"0")
    return 0


class Elsewhere:
    """An event loop in a thread of its own: what clients and providers do there is nobody's time here."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The result of something that runs there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def close(self, *servers: asyncio.Server) -> None:
        """End it, and its servers there: closed from this thread, one might be closed twice at once."""

        async def end() -> None:
            for server in servers:
                server.close()

        await self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def set_up(running: GatewayUnderTest, port: int) -> None:
    """A thousand routes, and those that are called."""
    url = f"http://127.0.0.1:{port}/v1"
    hosted = [{"name": "api", "base_url": url, "model": "m", "api_key": "sk-x"} | PRICES]
    for number in range(ROUTES):
        running.route(f"r{number}", hosted=hosted, budget=BUDGET)
    running.route("both", hosted=hosted, budget=BUDGET, local=None)
    running.route("hosted", hosted=hosted, budget=BUDGET, local=None)
    running.route("embeds", hosted=hosted, local=None)
    running.route("local", hosted=hosted, local=None, validate_structured_output=True)


async def everything(port: int, admin_port: int) -> dict[str, int]:
    """All of it at once; the statuses."""
    asked: dict[str, Awaitable[int]] = {name: ask(port, path, body) for name, (path, body) in bodies().items()}
    asked["chunks"] = ask(port, "/v1/chat/completions", chat(TURN % repeated("x", 20_000)), chunked=True)
    asked |= {f"scrape {number}": ask(admin_port, "/metrics", b"", method=b"GET") for number in range(3)}
    asked["health"] = ask(admin_port, "/healthz", b"", method=b"GET")
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(_of(one)) for name, one in asked.items()}
    return {name: task.result() for name, task in tasks.items()}


async def _of(one: Awaitable[int]) -> int:
    return await asyncio.wait_for(one, 60)


async def measured(loop: MeasuredLoop, ledger: Path) -> tuple[dict[str, float], list[dict[str, int]]]:
    """The longest time of each callback in its best round, and what clients got."""
    elsewhere = Elsewhere()
    server = await elsewhere.run(asyncio.start_server(provider, "127.0.0.1", 0, limit=1 << 26))
    statuses: list[dict[str, int]] = []
    best: dict[str, float] = {}
    disk = sqlite3.connect(ledger, timeout=5)
    try:
        async with running_gateway(ledger=ledger, body_bytes_max=64 << 20) as running:
            set_up(running, server.sockets[0].getsockname()[1])
            await elsewhere.run(everything(running.port, running.gateway.admin_port))
            disk.execute("BEGIN EXCLUSIVE")  # from now on the ledger's file hangs
            gc.collect()
            gc.freeze()  # as the gateway's process does
            for _ in range(ROUNDS):
                loop.turns.forget()
                statuses.append(await elsewhere.run(everything(running.port, running.gateway.admin_port)))
                for name, seconds in loop.turns.by_name.items():
                    best[name] = min(best.get(name, 1e9), seconds)
            disk.rollback()
    finally:
        disk.close()
        gc.unfreeze()
        await elsewhere.close(server)
    return best, statuses


@pytest.mark.exhaustive
@pytest.mark.timeout(240)
def test_no_input_holds_the_event_loop(tmp_path: Path) -> None:
    """A thousand routes, a disk that hangs, scrapes, hostile requests and answers: no callback takes 10 ms of CPU."""
    with asyncio.Runner(loop_factory=MeasuredLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, MeasuredLoop)
        longest, statuses = runner.run(measured(loop, tmp_path / "ledger.sqlite"))

    bound = CALLBACK_SECONDS_MAX * (1 if is_compiled() else INTERPRETED_FACTOR)
    slow = {name: f"{seconds * 1000:.1f} ms" for name, seconds in longest.items() if seconds > bound}
    unanswered = {name for round_ in statuses for name, status in round_.items() if not status}
    assert not unanswered
    assert statuses[-1]["health"] == 200
    assert not slow

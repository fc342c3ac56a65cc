"""Long answers are read in another process: by the same functions as short ones, and within a bound on time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from overspill_gateway.core.answers.tool_calls import CALLS_MAX, CallNumbers
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.translation.long_answer import answer_told, question, read_long
from overspill_gateway.core.translation.whole_answer import OUTPUT_BYTES_MAX, Wish, read_counted
from overspill_gateway.proxy.gathered import GATHERED_BYTES_MAX, READ_BYTES_MAX
from overspill_gateway.workers.worker_pool import WorkerPool
from unit.gateway.backends import USAGE, Backend, Received, Script, Wire, backend, plain_head
from unit.gateway.fault_scripts import CHAT_END, CHAT_TOKENS, ROLE
from unit.gateway.harness import GatewayUnderTest, eventually, pid_of, running_gateway, soon

LONG = "long text " * (READ_BYTES_MAX // 10 + 1)
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object", "required": ["a"]}}}
PRICES = {"input_nano_usd_per_million": 10**9, "output_nano_usd_per_million": 10**9}


def chat(text: object = LONG, **more: Any) -> dict[str, Any]:
    """A plain chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": USAGE} | more


def stream(text: str = LONG) -> bytes:
    """The same as a stream."""
    return ROLE + b"".join(CHAT_TOKENS) + CHAT_TOKENS[0].replace(b"Once", text.encode()) + b"".join(CHAT_END)


def gives(body: bytes, status: int = 200, kind: bytes = b"application/json") -> Script:
    """A backend that gives this answer."""

    async def script(_: Received, wire: Wire) -> None:
        head = b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, kind, len(body))
        await wire.write(head + body)

    return script


def encoded(document: object) -> bytes:
    """As most backends write it."""
    return json.dumps(document).encode()


# -- what is read ------------------------------------------------------------------------------------------------------

WISHES = {
    "chat": Wish(200, Dialect.CHAT),
    "completions": Wish(200, Dialect.COMPLETIONS),
    "responses": Wish(200, Dialect.RESPONSES),
    "messages": Wish(200, Dialect.MESSAGES),
    "translated": Wish(200, Dialect.CHAT, translates=True, model="tiny", request_id="req-1"),
    "asked stream": Wish(200, Dialect.CHAT, asked_stream=True, include_usage=False),
    "translated stream": Wish(200, Dialect.CHAT, asked_stream=True, translates=True, model="tiny", request_id="r"),
    "unasked stream": Wish(200, Dialect.CHAT, unasked_stream=True),
    "translated error": Wish(400, Dialect.CHAT, translates=True, model="tiny", request_id="r"),
}
BODIES = {
    "good": encoded(chat("hi")),
    "without usage": encoded(chat("hi", usage=None)),
    "half a character": b"\xef\xbb\xbf" + encoded(chat("hi \ud83d")),
    "error": b' {"error": {"message": "out of memory", "code": 429}}',
    "no end": encoded(chat("hi"))[:-5],
    "tools": encoded(
        chat(
            choices=[
                {"message": {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
                 "finish_reason": "tool_calls"}
            ]
        )
    ),
    "stream": stream("hi"),
    "response": b'{"output":[{"type":"message","content":[{"type":"output_text","text":"a b"}]}],"status":"completed"}',
    "message": b'{"content":[{"type":"text","text":"a"}],"usage":{"input_tokens":3,"output_tokens":4}}',
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
def test_what_is_told_of_an_answer_is_what_was_read(wish: Wish, body: bytes) -> None:
    """Nothing is lost on the way between two processes."""
    read = read_counted(wish, body)
    told, more = read_long(question(wish), body)
    long = answer_told(told, [more[:7], more[7:]])

    assert (long.read.fault is None) == (read.fault is None)
    if read.fault is not None:
        assert long.read.fault is not None
        assert (long.read.fault.why, long.read.fault.status) == (read.fault.why, read.fault.status)
        return
    assert (b"".join(long.body) or body) == read.body
    assert b"".join(long.told) == read.told
    assert long.read.report is not None
    assert read.report is not None
    assert long.read.report.usage() == read.report.usage()
    assert (long.read.text, long.read.text_bytes_more) == (read.text, read.text_bytes_more)


def test_of_a_very_long_text_the_rest_is_measured() -> None:
    """Its tokens are estimated by its bytes; no more of it is handed on than can be counted."""
    read = read_counted(Wish(200, Dialect.CHAT), encoded(chat("\u00e9" * OUTPUT_BYTES_MAX, usage=None)))

    assert read.text == "\u00e9" * (OUTPUT_BYTES_MAX // 2)
    assert read.text_bytes_more == OUTPUT_BYTES_MAX


def test_no_answer_calls_more_tools_than_any_has() -> None:
    """A call of three bytes becomes a block of a hundred for an Anthropic client."""
    calls = [{"id": f"{number}", "function": {"name": "f", "arguments": "{}"}} for number in range(CALLS_MAX + 1)]
    choice = {"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}
    wish = Wish(200, Dialect.CHAT, translates=True, model="tiny", request_id="r")
    whole, too_many = chat(choices=[choice]), chat(choices=[choice | {"message": {"tool_calls": calls[:-1]}}])

    fault = read_counted(wish, encoded(whole)).fault
    assert fault is not None
    assert fault.why == "its answer is no chat completion"
    assert read_counted(wish, encoded(too_many)).fault is None


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        (["{", '"a":1}', "{}"], 2),  # it was whole: what follows is another
        (['{"a":"}', '"}', " ", "{}"], 2),
        (['{"a":"\\', '"}', '"}', "{}"], 2),  # an escape that was cut in two
        (["[1]", "{}"], 1),
        (["{}", "x", "{}"], 2),
        (["", "{}", ""], 1),
    ],
)
def test_calls_without_ids_begin_when_the_last_one_is_whole(pieces: list[str], calls: int) -> None:
    """However their arguments are cut; each piece is looked at once."""
    numbers = CallNumbers()
    for piece in pieces:
        numbers.take(0, "", "f", piece)

    assert len(numbers) == calls


# -- what clients get --------------------------------------------------------------------------------------------------


async def posted(running: GatewayUnderTest, **fields: Any) -> Any:
    """What a client gets; a process may have to start first."""
    client = await running.client()
    running.send(client, **fields)
    return await asyncio.wait_for(client.answer(), 20)


def readers_of(running: GatewayUnderTest) -> WorkerPool:
    """Who reads long answers."""
    return running.gateway.shared.answers


@pytest.mark.parametrize("size", [READ_BYTES_MAX, GATHERED_BYTES_MAX - 4000])
async def test_a_long_answer_is_passed_on_as_it_came(size: int) -> None:
    """Byte for byte, with its usage counted."""
    body = encoded(chat("x" * size))
    async with backend(gives(body)) as api, running_gateway() as running:
        route = running.route(local=None, hosted=[api.hosted() | PRICES], budget={"limit_nano_usd": 10**15})
        answer = await posted(running)
        assert readers_of(running).workers
        assert route.pool.hosted[0].counters.prompt_tokens == USAGE["prompt_tokens"]

    assert (answer.status, answer.body) == (200, body)


async def test_an_error_inside_a_long_200_is_a_failed_attempt() -> None:
    """As in a short one: another backend serves the request."""
    broken = encoded({"error": {"message": LONG}})
    async with backend(gives(broken)) as bad, backend(gives(encoded(chat("hi")))) as good, running_gateway() as running:
        running.route(local=None, hosted=[bad.hosted("bad"), good.hosted("good")])
        answer = await posted(running)

    assert (answer.status, answer.served_by) == (200, "hosted/good")
    assert len(bad.requests) == 1


async def test_a_long_answer_is_told_in_the_clients_dialect() -> None:
    """Plain, and as the stream that was asked for."""
    async with backend(gives(encoded(chat()))) as api, running_gateway() as running:
        running.route(local=None, hosted=[api.hosted()])
        plain = await posted(running, path="/v1/messages", max_tokens=5)
        streamed = await posted(running, path="/v1/messages", max_tokens=5, stream=True)
        asked = await posted(running, stream=True)

    assert plain.json["content"] == [{"type": "text", "text": LONG}]
    assert plain.json["usage"]["output_tokens"] == USAGE["completion_tokens"]
    assert streamed.body.endswith(b'data: {"type":"message_stop"}\n\n')
    assert LONG.encode() in streamed.body
    assert asked.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert asked.body.endswith(b"data: [DONE]\n\n")
    assert LONG.encode() in asked.body


async def test_a_long_stream_that_nobody_asked_for_is_put_together() -> None:
    """As a short one."""
    async with backend(gives(stream(), kind=b"text/event-stream")) as api, running_gateway() as running:
        running.route(local=None, hosted=[api.hosted()])
        answer = await posted(running)

    assert answer.json["choices"][0]["message"]["content"] == "Once upon a time" + LONG
    assert answer.headers["content-type"] == "application/json"


async def test_a_long_answer_is_checked_against_its_schema() -> None:
    """After it was read, by the processes that check."""
    good, bad = encoded(chat(encoded({"a": LONG}).decode())), encoded(chat(encoded({"b": LONG}).decode()))
    given = [bad, good]

    async def script(_: Received, wire: Wire) -> None:
        body = given.pop(0)
        await wire.write(plain_head(200, len(body)) + body)

    async with backend(script) as engine, running_gateway() as running:
        running.route(validate_structured_output=True)
        running.endpoints(engine.fact())
        answer = await posted(running, response_format=SCHEMA)

    assert (answer.status, answer.body) == (200, good)
    assert not given


async def test_long_embeddings_are_read_by_nobody() -> None:
    """They are numbers: they pass, judged by their ends, and their usage is counted."""
    vectors = {"data": [{"embedding": [0.25] * 30_000, "index": 0}], "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    body = encoded(vectors)
    assert READ_BYTES_MAX < len(body) < GATHERED_BYTES_MAX
    async with backend(gives(body)) as api, running_gateway() as running:
        route = running.route(local=None, hosted=[api.hosted()])
        answer = await posted(running, path="/v1/embeddings", input="a")
        assert not readers_of(running).workers
        assert route.pool.hosted[0].counters.prompt_tokens == 7

    assert answer.body == body


async def test_a_long_refusal_goes_by_its_status() -> None:
    """It is passed on as it came; an Anthropic client is told the status."""
    body = encoded({"error": {"message": LONG, "code": "context_length_exceeded"}})
    async with backend(gives(body, 400)) as api, running_gateway() as running:
        running.route(local=None, hosted=[api.hosted()])
        plain = await posted(running)
        told = await posted(running, path="/v1/messages", max_tokens=5)
        assert not readers_of(running).workers

    assert (plain.status, plain.body) == (400, body)
    assert (told.status, told.json["error"]["message"]) == (400, "The backend answered 400.")


async def test_a_long_refusal_that_echoes_the_key_is_not_passed_on() -> None:
    """No client ever gets what the gateway has sent for itself."""
    body = encoded({"error": {"message": LONG + "sk-openai"}})
    async with backend(gives(body, 400)) as api, running_gateway() as running:
        running.route(local=None, hosted=[api.hosted()])
        answer = await posted(running)

    assert answer.error["message"] == "The backend answered 400."


# -- when nobody reads them --------------------------------------------------------------------------------------------


async def stopped_reader(running: GatewayUnderTest) -> int:
    """A process that reads nothing any more; no other one is there."""
    [worker] = readers_of(running).workers
    pid = pid_of(worker)
    os.kill(pid, signal.SIGSTOP)
    return pid


async def reading(api: Backend, running: GatewayUnderTest, **route: Any) -> int:
    """A route whose next long answer will not be read: its reader's process is stopped."""
    running.route(local=None, hosted=[api.hosted()], **route)
    assert (await posted(running)).status == 200
    return await stopped_reader(running)


async def test_an_answer_whose_reader_dies_is_a_failed_attempt() -> None:
    """Its fault, or so it seems: the next one finds another process."""
    async with backend(gives(encoded(chat()))) as api, running_gateway() as running:
        pid = await reading(api, running)
        client = await running.client()
        running.send(client)
        await eventually(lambda: any(worker.current for worker in readers_of(running).workers))
        os.kill(pid, signal.SIGKILL)
        answer = await asyncio.wait_for(client.answer(), 20)

    assert answer.status == 200  # a failure that may pass is tried again
    assert len(api.requests) == 3


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_where_too_many_wait_an_answer_passes_if_it_can_as_it_came(path: str) -> None:
    """By what its ends say, as one does that is too long to be held; one that has to be told otherwise fails."""
    body = encoded(chat())
    async with backend(gives(body)) as api, running_gateway() as running:
        crowded = WorkerPool("overspill_gateway.workers.answer_worker", seconds_max=10.0, wait_seconds_max=-1.0)
        running.gateway.shared.answers = crowded
        route = running.route(local=None, hosted=[api.hosted()])
        answer = await posted(running, path=path, max_tokens=5)
        assert not crowded.workers
        counted = route.pool.hosted[0].counters.prompt_tokens

    if path == "/v1/messages":
        assert answer.status == 502
        assert "too many long answers wait to be read" in answer.json["error"]["message"]
    else:
        assert (answer.status, answer.body) == (200, body)
        assert counted == USAGE["prompt_tokens"]


async def test_a_client_that_goes_while_its_answer_is_read_leaves_nothing() -> None:
    """The request is over, and the answer is dropped once it is read."""
    async with backend(gives(encoded(chat()))) as api, running_gateway() as running:
        pid = await reading(api, running)
        client = await running.client()
        running.send(client)
        await eventually(lambda: any(worker.current for worker in readers_of(running).workers))
        client.reset()
        await eventually(lambda: running.gateway.shared.retries.requests_in_flight == 0)
        os.kill(pid, signal.SIGCONT)
        await eventually(lambda: not any(worker.current for worker in readers_of(running).workers))
        assert (await posted(running)).status == 200


async def test_the_total_time_holds_while_an_answer_is_read() -> None:
    """Whoever works: the client is told in time."""
    async with backend(gives(encoded(chat()))) as api, running_gateway() as running:
        pid = await reading(api, running)
        timeouts = {"total_seconds": 0.3, "first_token_seconds": 0.2}
        running.route(local=None, hosted=[api.hosted()], timeouts=timeouts)
        answer = await soon(running.post())
        os.kill(pid, signal.SIGCONT)

    assert answer.status == 504


async def test_a_backend_is_not_to_blame_for_how_long_its_answer_is_read() -> None:
    """No time that is its own runs meanwhile: neither until the first token nor between two pieces."""
    async with backend(gives(encoded(chat()))) as api, running_gateway() as running:
        pid = await reading(api, running)
        route = running.route(
            local=None, hosted=[api.hosted()], timeouts={"idle_seconds": 0.05, "first_token_seconds": 0.05}
        )
        client = await running.client()
        running.send(client)
        await eventually(lambda: any(worker.current for worker in readers_of(running).workers))
        until = asyncio.get_running_loop().time() + 0.3
        await eventually(lambda: asyncio.get_running_loop().time() > until)
        os.kill(pid, signal.SIGCONT)
        answer = await soon(client.answer())

    assert answer.status == 200
    assert route.pool.hosted[0].counters.errors == 0


async def test_a_gateway_that_ends_tells_those_whose_answers_are_read() -> None:
    """Nobody is left without an answer."""
    async with backend(gives(encoded(chat()))) as api, running_gateway() as running:
        await reading(api, running)
        client = await running.client()
        running.send(client)
        await eventually(lambda: any(worker.current for worker in readers_of(running).workers))
        await running.gateway.stop()
        answer = await soon(client.answer())

    assert answer.status == 503

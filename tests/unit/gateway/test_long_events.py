"""Long events of a stream are read in another process; the stream goes on behind them as if they were short."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
from typing import Any

import pytest

from overspill_gateway.core.answers.events import LONG_BYTES, EventAligner, split_events
from overspill_gateway.core.answers.long_event import in_short_events
from overspill_gateway.core.answers.stream import StreamReader
from overspill_gateway.core.answers.stream_events import Meaning
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.translation.long_stream import event_told, question_of_event, read_long_event
from overspill_gateway.core.translation.messages_answer import MessagesStream
from overspill_gateway.workers.worker_pool import WorkerPool
from unit.gateway.backends import USAGE, Received, Script, Wire, backend, stream_head
from unit.gateway.fault_scripts import (
    CHAT_END,
    CHAT_TOKENS,
    DONE,
    MESSAGES_END,
    MESSAGES_START,
    RESPONSES_END,
    RESPONSES_START,
    ROLE,
    chat_event,
    data,
    named,
)
from unit.gateway.harness import Answer, GatewayUnderTest, eventually, pid_of, running_gateway
from unit.tiers import exhaustively

TEXT = "words \u00e9 " * (LONG_BYTES // 4)
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": TEXT})}}
PRICES = {"input_nano_usd_per_million": 10**9, "output_nano_usd_per_million": 10**9}
LONG_EVENTS = {
    "text": chat_event({"content": TEXT}),
    "tool call": chat_event({"tool_calls": [CALL]}),
    "image": chat_event({"images": [{"image_url": {"url": "data:image/png;base64," + "A" * 2 * LONG_BYTES}}]}),
    "several lines": b"data: {\n" + b"data: \n" * LONG_BYTES + b'data: "choices":[{"delta":{"content":"a"}}]}\n\n',
    "carriage returns": chat_event({"content": TEXT}).replace(b"\n", b"\r\n"),
    "comment": b": " + b"x" * 2 * LONG_BYTES + b"\n\n",
    "text and usage": data({"choices": [{"index": 0, "delta": {"content": TEXT}}], "usage": USAGE}),
}


def gives(*pieces: bytes, ends: bool = True, **headers: str) -> Script:
    """A backend that streams this, each piece in a chunk of its own; then it resets the connection unless it ends."""

    async def script(_: Received, wire: Wire) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()).encode()
        await wire.write(stream_head()[:-2] + lines + b"\r\n")
        for piece in pieces:
            await wire.chunk(piece)
        if ends:
            await wire.write(b"0\r\n\r\n")
        else:
            await asyncio.sleep(0.02)
            wire.reset()

    return script


async def asked(running: GatewayUnderTest, **fields: Any) -> Answer:
    """What a client gets of a stream; a process may have to start first."""
    client = await running.client()
    usual: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    running.send(client, **(usual | fields))
    return await asyncio.wait_for(client.answer(), 20)


def test_a_long_event_is_put_aside_wherever_it_is_cut() -> None:
    """What comes before it passes, what comes behind it waits."""
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"):
        long = b"data: " + b"x" * 2 * LONG_BYTES + end
        for cut in range(len(long) - 5, len(long) + 1):
            aligner = EventAligner(keeps_long=True)
            passed = [aligner.feed(b": a\n\n" + long[: LONG_BYTES + 1]), aligner.feed(long[LONG_BYTES + 1 : cut])]
            if not aligner.long:
                passed.append(aligner.feed(long[cut:] + b": b\n\n"))
                assert aligner.rest_of_feed == b": b\n\n"
            assert b"".join(passed) == b": a\n\n"
            assert b"".join(aligner.long) == long[: len(b"".join(aligner.long))]
            assert len(b"".join(aligner.long)) >= len(long) - 1  # half of a line end may be left for what comes next


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.RESPONSES, Dialect.MESSAGES, Dialect.OTHER])
@pytest.mark.parametrize(
    "event",
    [
        *LONG_EVENTS.values(),
        RESPONSES_END[0],
        MESSAGES_START,
        MESSAGES_END[1],
        data({"error": {"message": "no", "code": 429}}),
        b"event: error\ndata: no\n\n",
        b"data: {no json}\n\n",
        chat_event({"content": "half \ud83d"}),
    ],
)
def test_what_is_told_of_an_event_is_what_was_read(dialect: Dialect, event: bytes) -> None:
    """Nothing is lost on the way between two processes, so that a stream goes on as behind a short one."""
    for one in split_events(event):
        here, there = (StreamReader(dialect, keep=True) for _ in range(2))
        first = here.feed(ROLE if dialect is Dialect.CHAT else b"")
        there.feed(ROLE if dialect is Dialect.CHAT else b"")
        passed = here.feed(one)
        told, more = read_long_event(question_of_event(dialect, keep=True, divides=False), one)
        passing = there.take_long(event_told(told, [more]), [one])

        assert b"".join(passing).replace(b"\r\n", b"\n") in {passed, first + passed, passed.replace(b"\r\n", b"\n")}
        for name in ("fault", "fault_status", "ended", "finished", "committed", "report", "text", "plain", "sequence"):
            if dialect is not Dialect.OTHER or name in {"report", "committed"}:
                assert getattr(there, name) == getattr(here, name), name


@pytest.mark.parametrize(
    ("choices", "more"),
    [
        ([{"index": 0, "delta": {"content": TEXT}, "finish_reason": "stop"}], {}),
        ([{"index": 0, "delta": {"content": [{"type": "text", "text": TEXT}]}, "finish_reason": None}], {}),
        ([{"index": 0, "delta": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}], {"usage": USAGE}),
        ([{"delta": {"tool_calls": [CALL, CALL | {"id": "b"}]}, "finish_reason": None}], {}),
        ([{"index": 0, "delta": {"refusal": TEXT}, "finish_reason": None}], {"x": TEXT}),
    ],
)
def test_a_long_chunk_says_the_same_in_short_ones(choices: list[dict[str, Any]], more: dict[str, Any]) -> None:
    """To an Anthropic client: the same text, the same calls, the same reason and usage."""
    long = data({"id": "c", "choices": choices} | more)
    short = split_events(in_short_events(long, Dialect.CHAT))

    assert all(len(one) <= LONG_BYTES for one in short)
    assert told_of(b"".join(short)) == told_of(long)


def told_of(events: bytes) -> dict[str, Any]:
    """What a client of Anthropic's API understands."""
    stream = MessagesStream("tiny", "r")
    documents = [json.loads(one.partition(b"data: ")[2]) for one in split_events(stream.feed(events + DONE))]
    said: dict[str, Any] = {"last": documents[-2:]}
    for one in documents:
        if one["type"] == "content_block_start":
            said[f"block {one['index']}"] = [one["content_block"], ""]
        elif one["type"] == "content_block_delta":
            said[f"block {one['index']}"][1] += next(value for name, value in one["delta"].items() if name != "type")
    return said


@pytest.mark.parametrize(
    "event",
    [
        data({"error": {"message": TEXT, "code": 429}}),
        b"event: error\ndata: " + TEXT.encode() + b"\n\n",
        b"data: {" + TEXT.encode() + b"\n\n",
        data({"choices": [{"delta": {"content": "a"}}] * 5000}),
        data({"choices": [{"delta": {"tool_calls": [{"id": "a"}] * 50_000}}]}),
    ],
)
def test_a_long_fault_is_a_short_one(event: bytes) -> None:
    """Errors, what is no JSON, and what no answer looks like."""
    [short] = split_events(in_short_events(event, Dialect.CHAT))
    reader = StreamReader(Dialect.CHAT)
    reader.feed(ROLE + short)

    assert len(short) < LONG_BYTES
    assert reader.fault is not None


# -- what clients get --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["tool call", "several lines", *exhaustively("text", "image", "carriage returns", "comment", "text and usage")],
)
async def test_a_long_event_passes_as_it_came(name: str) -> None:
    """In its place, and what is behind it as well; usage is counted."""
    events = [ROLE, CHAT_TOKENS[0], LONG_EVENTS[name], *CHAT_TOKENS, *CHAT_END]
    async with backend(gives(b"".join(events))) as api, running_gateway() as running:
        route = running.route(local=None, hosted=[api.hosted() | PRICES], budget={"limit_nano_usd": 10**15})
        answer = await asked(running)
        assert running.gateway.shared.answers.workers
        assert route.pool.hosted[0].counters.output_tokens == USAGE["completion_tokens"]

    assert answer.whole
    assert answer.body == b"".join(events)


async def test_a_long_event_may_come_first_or_last_or_packed() -> None:
    """The first token, the end of a response; in gzip."""
    completed = named("response.completed", response={"output": [{"result": TEXT}], "usage": None})
    async with (
        backend(gives(LONG_EVENTS["text"], *CHAT_END)) as first,
        backend(gives(RESPONSES_START, completed)) as last,
        backend(gives(gzip.compress(LONG_EVENTS["text"] + b"".join(CHAT_END)), content_encoding="gzip")) as packed,
        running_gateway() as running,
    ):
        answers = []
        for api, path in ((first, "chat/completions"), (last, "responses"), (packed, "chat/completions")):
            running.route(local=None, hosted=[api.hosted()])
            answers.append(await asked(running, path=f"/v1/{path}", input="a"))

    assert answers[0].body == LONG_EVENTS["text"] + b"".join(CHAT_END)
    assert answers[1].body == RESPONSES_START + completed
    assert answers[2].body == answers[0].body


@pytest.mark.parametrize("end", [b"", *exhaustively(b"\n", b"\r\n\r")])
@pytest.mark.parametrize("many_wait", [False, True])
async def test_a_long_last_event_may_lack_its_empty_line(end: bytes, *, many_wait: bool) -> None:
    """As a short one: it is read before the stream is judged whole; where nobody reads it, it may be half an event."""
    completed = named("response.completed", response={"output": [{"result": TEXT}], "usage": None}).rstrip(b"\n") + end
    async with backend(gives(RESPONSES_START, completed)) as api, running_gateway() as running:
        if many_wait:
            running.gateway.shared.answers = WorkerPool(
                "overspill_gateway.workers.answer_worker", seconds_max=10.0, wait_seconds_max=-1.0
            )
        running.route(local=None, hosted=[api.hosted()])
        answer = await asked(running, path="/v1/responses", input="a")

    if many_wait:
        assert TEXT[:99].encode() not in answer.body
        assert b"ended without response.completed" in answer.body
    else:
        assert answer.body == RESPONSES_START + completed + b"\n\n"


async def test_half_a_long_event_at_a_clean_end_is_none() -> None:
    """Nothing of it reaches the client, translated or not."""
    half = LONG_EVENTS["text"][: LONG_BYTES * 3]
    async with backend(gives(ROLE, CHAT_TOKENS[0], half)) as api, running_gateway() as running:
        running.route(local=None, hosted=[api.hosted()])
        passed = await asked(running)
        translated = await asked(running, path="/v1/messages", max_tokens=5, stream_options=None)

    assert passed.body.startswith(ROLE + CHAT_TOKENS[0] + b'data: {"error"')
    assert b"[DONE]" not in passed.body
    assert TEXT[:99].encode() not in translated.body
    assert b"event: error" in translated.body


@pytest.mark.parametrize("kind", ["text", "tool call"])
async def test_a_long_event_is_translated(kind: str) -> None:
    """In pieces, which together say what it says."""
    events = [ROLE, LONG_EVENTS[kind], *CHAT_TOKENS, *CHAT_END]
    async with backend(gives(b"".join(events))) as api, running_gateway() as running:
        running.route(local=None, hosted=[api.hosted()])
        answer = await asked(running, path="/v1/messages", max_tokens=5, stream_options=None)

    assert answer.body.endswith(b'data: {"type":"message_stop"}\n\n')
    pieces = [json.loads(one.partition(b"data: ")[2]) for one in split_events(answer.body)]
    deltas = [piece["delta"] for piece in pieces if piece["type"] == "content_block_delta"]
    if kind == "text":
        assert "".join(delta["text"] for delta in deltas) == TEXT + "Once upon a time"
    else:
        told = "".join(delta.get("partial_json", "") for delta in deltas)
        assert told == CALL["function"]["arguments"]  # type: ignore[index]


async def test_a_long_error_event_before_the_first_token_goes_on_elsewhere() -> None:
    """As a short one."""
    broken = gives(ROLE, data({"error": {"message": TEXT}}))
    good_stream = gives(ROLE, *CHAT_TOKENS, *CHAT_END)
    async with backend(broken) as bad, backend(good_stream) as good, running_gateway() as running:
        running.route(local=None, hosted=[bad.hosted("bad"), good.hosted("good")])
        answer = await asked(running)

    assert answer.served_by == "hosted/good"
    assert len(bad.requests) == 1


async def test_a_connection_that_breaks_behind_a_long_event_is_an_error_behind_it() -> None:
    """What had come by then reaches the client."""
    async with backend(gives(ROLE + LONG_EVENTS["text"], ends=False)) as api, running_gateway() as running:
        running.route(local=None, hosted=[api.hosted()])
        answer = await asked(running)

    assert answer.body.startswith(ROLE + LONG_EVENTS["text"] + b'data: {"error"')
    assert b"[DONE]" not in answer.body


async def test_where_too_many_wait_an_event_passes_unread() -> None:
    """What it says is charged as if all of it had been generated, unless usage is reported."""
    events = [ROLE, LONG_EVENTS["text"], *CHAT_END]
    async with backend(gives(*events)) as api, running_gateway() as running:
        running.gateway.shared.answers = WorkerPool(
            "overspill_gateway.workers.answer_worker", seconds_max=10.0, wait_seconds_max=-1.0
        )
        running.route(local=None, hosted=[api.hosted()])
        passed = await asked(running)
        translated = await asked(running, path="/v1/messages", max_tokens=5, stream_options=None)

    assert passed.body == b"".join(events)
    assert b"too many long answers wait to be read" in translated.body
    assert b"message_stop" not in translated.body


async def test_an_event_whose_reader_dies_breaks_its_stream_and_no_other() -> None:
    """The client is told; the next event finds another process."""
    events = [ROLE, CHAT_TOKENS[0], LONG_EVENTS["text"], *CHAT_END]
    async with backend(gives(*events)) as api, running_gateway() as running:
        running.route(local=None, hosted=[api.hosted()])
        assert (await asked(running)).body == b"".join(events)
        readers = running.gateway.shared.answers
        [worker] = readers.workers
        pid = pid_of(worker)
        os.kill(pid, signal.SIGSTOP)
        client = await running.client()
        running.send(client, stream=True)
        await eventually(lambda: any(worker.current for worker in readers.workers))
        os.kill(pid, signal.SIGKILL)
        broken = await asyncio.wait_for(client.answer(), 20)
        assert (await asked(running)).body == b"".join(events)

    assert broken.body.startswith(ROLE + CHAT_TOKENS[0])
    assert b"takes too long to read" in broken.body


def test_an_event_of_no_meaning_is_none() -> None:
    """A long comment is told as a short one."""
    [short] = split_events(in_short_events(LONG_EVENTS["comment"], Dialect.CHAT))
    told, more = read_long_event(question_of_event(Dialect.CHAT, keep=False, divides=True), LONG_EVENTS["comment"])

    assert short.startswith(b":")
    assert more == short
    assert event_told(told, []).read.meaning is Meaning.NOTHING

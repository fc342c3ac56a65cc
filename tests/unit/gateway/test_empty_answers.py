"""An answer may be empty, and says why; one that holds no answer at all is a failed attempt, streamed or not."""

from __future__ import annotations

import pytest

from overspill_gateway.core.answers.stream import HELD_EVENTS_MAX, StreamReader
from overspill_gateway.core.dialects.endpoints import Dialect
from unit.gateway.generated import (
    DONE,
    HEAD,
    ROLE,
    STREAMS,
    chunk,
    data_event,
    message_event,
    response_event,
    text_chunk,
)


def fed(reader: StreamReader, *events: bytes) -> bytes:
    """What a reader lets pass of these events and of the connection's proper end."""
    return b"".join([reader.feed(event) for event in events]) + reader.rest()


MUTE = [
    data_event(HEAD | {"choices": [{"index": 0, "delta": None, "finish_reason": None}]}),
    data_event(HEAD | {"choices": [{"index": 0, "delta": "text", "finish_reason": None}]}),
    data_event(HEAD | {"choices": [{"index": 0, "text": None, "finish_reason": None}]}),
    data_event(HEAD | {"choices": [{"index": 0, "message": {"content": "text"}, "finish_reason": None}]}),
    data_event(HEAD | {"choices": [None]}),
]
NULL_END = data_event(HEAD | {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]})


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.COMPLETIONS])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2 * HELD_EVENTS_MAX])
@pytest.mark.parametrize("mute", MUTE)
def test_a_stream_without_any_message_is_a_fault(dialect: Dialect, mute: bytes, count: int, *, keep: bool) -> None:
    """Why it ended is no answer where no chunk holds one, however many come; nothing of it passes."""
    reader = StreamReader(dialect, keep=keep)

    assert fed(reader, *[mute] * count, NULL_END, DONE) == b""
    assert (reader.committed, reader.fault) == (False, "its stream holds no message")


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls"])
@pytest.mark.parametrize("start", [[ROLE], [chunk({})], [text_chunk("")], [MUTE[0], ROLE, MUTE[0]]])
def test_an_empty_answer_with_a_reason_is_whole(start: list[bytes], reason: str) -> None:
    """A model may say nothing: then a message has come, and why it is empty, be it with a delta or without."""
    end = NULL_END.replace(b"stop", reason.encode())
    reader = StreamReader(Dialect.CHAT)

    assert fed(reader, *start, end, DONE) == b"".join([*start, end, DONE])
    assert (reader.ended, reader.fault) == (True, None)


EMPTY_DELTA = response_event("response.output_text.delta", 1, delta=None)


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        (Dialect.RESPONSES, [response_event("response.completed", 3, response=None)]),
        (Dialect.RESPONSES, [response_event("response.completed", 3, response={"output": None})]),
        (Dialect.RESPONSES, [EMPTY_DELTA, response_event("response.incomplete", 3, response={"id": "r"})]),
        (Dialect.MESSAGES, [message_event("message_stop")]),
        (Dialect.MESSAGES, [message_event("content_block_delta", delta=None), message_event("message_stop")]),
        (Dialect.MESSAGES, [message_event("message_delta", delta=None), message_event("message_stop")]),
    ],
)
def test_an_end_without_anything_before_it_is_a_fault(dialect: Dialect, events: list[bytes]) -> None:
    """The end of an answer that holds no output and has no reason for that ends none."""
    reader = StreamReader(dialect)

    assert fed(reader, *STREAMS[dialect][0], *events) == b""
    assert reader.fault == "its stream ended without an answer"


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        (Dialect.RESPONSES, [response_event("response.completed", 3, response={"output": []})]),
        (Dialect.RESPONSES, [response_event("response.incomplete", 3, response={"output": []})]),
        (Dialect.MESSAGES, [*STREAMS[Dialect.MESSAGES][1][-1:], message_event("message_stop")]),
    ],
)
def test_an_empty_answer_of_another_dialect_is_whole(dialect: Dialect, events: list[bytes]) -> None:
    """It says that it is empty, or why."""
    start = STREAMS[dialect][0]
    reader = StreamReader(dialect)

    assert fed(reader, *start, *events) == b"".join([*start, *events])
    assert (reader.ended, reader.fault) == (True, None)

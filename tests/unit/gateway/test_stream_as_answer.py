"""A stream that nobody asked for, as the plain answer that its client waits for; and what cannot be one."""

import json
from typing import Any

import pytest

from overspill_gateway.core.answers.tool_calls import CALLS_MAX
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_shapes import Fault
from overspill_gateway.core.translation.stream_as_answer import answer_of_stream
from unit.gateway.generated import DONE, chunk, said


def call(index: int, **fields: object) -> dict[str, object]:
    """A delta with a tool call."""
    return {"tool_calls": [{"index": index, **fields}]}


def test_all_that_a_choice_says_is_in_its_message() -> None:
    """Texts and lists are joined, other fields are as they were last; the end and its reason are the answer's."""
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": "a", "reasoning": "w"},
        {"content": "b", "reasoning": "hy", "images": [1], "rank": 1},
        {"images": [2], "rank": 2, "refusal": None},
    ]
    events = b"".join([*(chunk(delta) for delta in deltas), said("c", "length"), DONE])

    answer = answer_of_stream(events, Dialect.CHAT)

    assert isinstance(answer, bytes)
    (choice,) = json.loads(answer)["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "length")
    assert choice["message"] == {
        "role": "assistant", "content": "abc", "reasoning": "why", "images": [1, 2], "rank": 2,
    }  # fmt: skip


def test_arguments_of_a_call_come_in_pieces() -> None:
    """Also of one without an id, which gets one; what is no call is left out."""
    events = [
        chunk(call(0, function={"name": "f", "arguments": '{"a"'})),
        chunk(call(0, function={"arguments": ":1}"})),
        chunk({"tool_calls": ["nonsense"]}),
        chunk({}, "tool_calls"),
        DONE,
    ]

    answer = answer_of_stream(b"".join(events), Dialect.CHAT)

    assert isinstance(answer, bytes)
    (made,) = json.loads(answer)["choices"][0]["message"]["tool_calls"]
    assert made == {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def test_more_calls_than_any_answer_has_are_a_fault() -> None:
    """Each of them costs memory."""
    calls = [chunk(call(number, id=f"c{number}", function={"name": "f"})) for number in range(CALLS_MAX + 1)]

    fault = answer_of_stream(b"".join([*calls, chunk({}, "tool_calls"), DONE]), Dialect.CHAT)

    assert isinstance(fault, Fault)
    assert f"more than {CALLS_MAX} tools" in fault.why


def test_an_error_in_the_stream_is_the_answers() -> None:
    """With the status that it would have been."""
    error = b'data: {"error": {"message": "too many", "code": 429}}\n\n'

    assert answer_of_stream(said("a") + error, Dialect.CHAT) == Fault("too many", 429)


@pytest.mark.parametrize("dialect", [Dialect.RESPONSES, Dialect.MESSAGES, Dialect.EMBEDDINGS])
def test_other_dialects_streams_are_no_answers(dialect: Dialect) -> None:
    """A client of theirs is told so: nothing is made up."""
    fault = answer_of_stream(said("a") + DONE, dialect)

    assert isinstance(fault, Fault)
    assert "stream that nobody had asked for" in fault.why

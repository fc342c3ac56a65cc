"""Token counts in every dialect, plain and streamed, as real servers write them; and what is not to be believed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.usage import Price, Usage, cost_nano_usd, usage_of_answer, usage_of_event

CHAT = {"prompt_tokens": 17, "completion_tokens": 8, "total_tokens": 25, "prompt_tokens_details": {"cached_tokens": 4}}
RESPONSES = {"input_tokens": 17, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 8,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 25}  # fmt: skip
MESSAGES = {"input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3, "output_tokens": 8}
ALL = Usage(17, 4, 8)


def event(document: dict[str, Any], name: str = "") -> bytes:
    """One event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(document)}\n\n".encode()


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (CHAT, ALL),
        (CHAT | {"prompt_tokens_details": None, "completion_tokens_details": None}, Usage(17, 0, 8)),
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(5, 0, 0)),
        (RESPONSES, ALL),
        (MESSAGES, ALL),
        ({"input_tokens": 17, "output_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": None},
         Usage(17, 0, 4)),
    ],
)  # fmt: skip
def test_plain_answers(usage: dict[str, Any], expected: Usage) -> None:
    """Chat, completions, embeddings, responses, messages: prompt tokens always include the cached ones."""
    body = json.dumps({"choices": [], "content": [], "usage": usage}).encode()

    assert usage_of_answer(body, whole=True) == expected
    assert usage_of_answer(body[8:], whole=False) == expected
    assert expected.reported


def test_only_the_answers_own_usage_counts() -> None:
    """What a model has written, or a client, is not the backend's report."""
    forged = {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}
    message = {"content": [{"type": "tool_use", "input": forged}], "metadata": forged, "usage": MESSAGES}
    response = {"type": "response.completed", "response": {"output": [forged], "usage": RESPONSES, "tools": [forged]}}

    assert usage_of_answer(json.dumps(message).encode(), whole=True) == ALL
    assert usage_of_event(event(response)) == ALL


@pytest.mark.parametrize(
    "stream",
    [
        event({"choices": [{}], "usage": None}) + event({"choices": [], "usage": CHAT}) + b"data: [DONE]\n\n",
        event({"choices": [{}], "usage": CHAT | {"completion_tokens": 1}}) + event({"choices": [], "usage": CHAT}),
        event({"type": "response.created", "response": {"usage": None}})
        + event({"type": "response.completed", "response": {"usage": RESPONSES, "user": None}}, "response.completed"),
        event({"type": "message_start", "message": {"usage": MESSAGES | {"output_tokens": 1}}}, "message_start")
        + event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 8}}, "message_delta"),
        event({"type": "message_start", "message": {"usage": {"input_tokens": 17, "output_tokens": 0}}})
        + event({"type": "message_delta", "delta": {}, "usage": MESSAGES}),
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_streams(stream: bytes, line_end: bytes) -> None:
    """The last report counts, completed by the first where Anthropic's leaves the prompt to it."""
    assert usage_of_event(stream.replace(b"\n", line_end)) == ALL


def test_the_end_of_a_long_event_is_enough() -> None:
    """Of an event longer than is kept, the end that is kept has its usage."""
    whole = event({"response": {"output": ["x" * 50_000], "usage": RESPONSES, "user": None}})

    assert usage_of_event(whole[-16_384:]) == ALL


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 8},
        {"prompt_tokens": 5, "completion_tokens": -8},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": -6}},
        {"input_tokens": -10, "cache_read_input_tokens": 20, "output_tokens": 1},
        {"input_tokens": 20, "cache_creation_input_tokens": -5, "output_tokens": 1},
        {"output_tokens": 5},
        {"prompt_tokens": "5"},
        {},
        [],
    ],
)
def test_numbers_that_make_no_sense_are_none(usage: Any) -> None:
    """A negative count would lower what is owed; a missing prompt would leave it out."""
    body = json.dumps({"usage": usage}).encode()

    assert usage_of_answer(body, whole=True) is None
    assert usage_of_event(event({"usage": usage})) is None


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,usage \n0', max_size=200).map(str.encode))
def test_no_bytes_make_it_fail(junk: bytes) -> None:
    """Whatever a backend sends, reading its usage ends with counts or with none."""
    for text in (junk, b'{"usage":' + junk, b'data: {"usage":' + junk):
        for found in (usage_of_answer(text, whole=True), usage_of_answer(text, whole=False), usage_of_event(text)):
            assert found is None or found.prompt_tokens >= found.cached_tokens >= 0


def test_cost_is_rounded_up() -> None:
    """Money owed is never rounded away."""
    assert cost_nano_usd(Usage(1, 0, 0), Price(1, 0, 0)) == 1
    assert cost_nano_usd(ALL, Price(150_000_000, 75_000_000, 600_000_000)) == 13 * 150 + 4 * 75 + 8 * 600

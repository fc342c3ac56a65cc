"""What a plain answer says, in each dialect, and which errors hide in one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from overspill_gateway.core.answers.answer import Said, error_of_answer, said_in, text_of_answer

CHAT = {
    "choices": [
        {"index": 0, "message": {"content": "one"}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": None, "tool_calls": [{"id": "c"}]}, "finish_reason": "tool_calls"},
        {"index": 2, "message": {"content": None, "refusal": "no"}, "finish_reason": "stop"},
    ]
}
COMPLETION = {"choices": [{"text": "one", "finish_reason": "length"}]}
RESPONSE = {
    "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "one"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "name": "f"},
    ],
    "incomplete_details": {"reason": "max_output_tokens"},
}
MESSAGE = {
    "content": [{"type": "text", "text": "one"}, {"type": "tool_use", "name": "f", "input": {}}],
    "stop_reason": "tool_use",
}
VALUE = {"type": "text", "text": {"value": "one", "annotations": []}}
"""A part of text in the form of the Assistants API."""


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            CHAT,
            [
                Said("one", "stop"),
                Said("", "tool_calls", calls_tools=True),
                Said("", "stop", refused=True),
            ],
        ),
        (COMPLETION, [Said("one", "length")]),
        (RESPONSE, [Said("one", "length", refused=True, calls_tools=True)]),
        (MESSAGE, [Said("one", "stop", calls_tools=True)]),
        ({"content": [], "stop_reason": "max_tokens"}, [Said("", "length")]),
        ({"choices": [{"message": {"content": [VALUE]}}]}, [Said("one")]),
        ({"output": [{"type": "message", "content": [VALUE]}]}, [Said("one", "stop")]),
        ({"content": [VALUE]}, [Said("one", "stop")]),
    ],
)
def test_every_choice_is_told(document: dict[str, Any], expected: list[Said]) -> None:
    """Its text, why it ended, and whether it refuses or calls tools; reasoning is not what it says."""
    body = json.dumps(document).encode()

    assert said_in(body) == expected
    text = text_of_answer(body)
    assert text is not None
    assert all(said.text in text for said in expected)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices": 3}', b"\xff", b'{"data": []}'])
def test_something_else_says_nothing(body: bytes) -> None:
    """Embeddings, errors, and what is no JSON."""
    assert said_in(body) is None
    assert not text_of_answer(body)


def test_odd_parts_are_passed_over() -> None:
    """Whatever stands where an object should."""
    for document in (
        {"choices": [3, {"message": 7}, {"message": {"content": [1]}}]},
        {"output": [3, {"type": "message", "content": [4, {"text": 5}]}]},
        {"content": [3, {"text": None}]},
    ):
        assert text_of_answer(json.dumps(document).encode()) == ""


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}, "f{}"),
        ({"content": "a", "reasoning_content": "b"}, "ab"),
        ({"content": "a", "reasoning": "b", "refusal": "c"}, "abc"),
        ({"content": [{"type": "text", "text": "a"}]}, "a"),
        ({"content": None, "audio": {"data": "AAAA", "transcript": "x"}}, None),
    ],
)  # fmt: skip
def test_everything_that_was_generated_is_counted(message: dict[str, Any], text: str | None) -> None:
    """Tool calls, reasoning, refusals: whatever was written costs; what is no text can't be counted."""
    assert text_of_answer(json.dumps({"choices": [{"message": message}]}).encode()) == text


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error":{"message":"too long","code":"context_length_exceeded"}}', "too long", "context_length_exceeded"),
        (b'{"error":{"message":"too long","code":400}}', "too long", "400"),
        (b'{"error":"too long"}', "too long", "backend_refused"),
        (b"<html>", "The backend answered 400.", "backend_answered"),
        (b'{"detail":"x"}', "x", "backend_refused"),
        (b'{"object":"error","message":"too long","code":400}', "too long", "backend_refused"),
        (b'{"x":1}', "The backend answered 400.", "backend_answered"),
    ],
)
def test_a_refusal_can_be_told_in_other_words(body: bytes, message: str, code: str) -> None:
    """Whatever its shape."""
    error = error_of_answer(400, body)

    assert (error.status, error.message, error.code, error.type) == (400, message, code, "invalid_request_error")

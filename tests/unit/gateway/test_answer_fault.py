"""An error inside a 200 is seen however it is spelled, and no good answer is taken for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.answers.answer_fault import fault_of_answer, fault_of_beginning, fault_of_end
from overspill_gateway.core.dialects.endpoints import Dialect

JUDGED = [Dialect.CHAT, Dialect.COMPLETIONS, Dialect.RESPONSES, Dialect.MESSAGES, Dialect.EMBEDDINGS]
USAGE = {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}
GIVEN_UP = "it gave the answer up (finish_reason %s)"
MUTE = "one of its choices holds no message"
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
GOOD: dict[Dialect, list[dict[str, Any]]] = {
    Dialect.CHAT: [
        {"choices": [CHOICE]},
        {"error": None, "choices": [CHOICE], "usage": USAGE},
        {"error": {}, "choices": [CHOICE]},
        {"error": {"message": None, "code": None}, "choices": [CHOICE]},
        {"choices": [CHOICE | {"finish_reason": None}], "detail": "x", "message": "x"},
        {"choices": [{"message": {"content": None, "tool_calls": [{"id": "c"}]}, "finish_reason": "tool_calls"}]},
        {"choices": [{"message": {"content": [{"type": "text", "text": "hi"}]}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": '{"error": {"code": 500}} "finish_reason":"error"'}}]},
        {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]},
        {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]},
        {"choices": [{"message": {"role": "assistant"}, "finish_reason": "length"}]},
        {"choices": [{"message": {"role": "assistant", "reasoning": "hm"}, "finish_reason": None}]},
    ],
    Dialect.COMPLETIONS: [{"choices": [{"text": "", "finish_reason": "stop"}]}, {"choices": [{"text": '{"error":1}'}]}],
    Dialect.RESPONSES: [
        {"object": "response", "status": "completed", "error": None, "output": []},
        {"status": "incomplete", "output": [{"type": "message"}], "message": "x"},
        {"object": "response", "status": "queued", "id": "r"},
        {"object": "response", "status": "in_progress", "id": "r", "output": None},
    ],
    Dialect.MESSAGES: [{"type": "message", "content": []}, {"content": [{"type": "text", "text": "error"}]}],
    Dialect.EMBEDDINGS: [{"object": "list", "data": [{"embedding": [0.1]}]}],
}
ERRORS = [
    {"error": {"message": "Provider returned error", "code": 502}},
    {"error": "overloaded"},
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    {"object": "error", "message": "gone", "code": 500},
    {"detail": "Not Found"},
    {"detail": [{"loc": ["body"], "msg": "x"}]},
    {"message": "no such thing", "code": 42},
    {"errors": [{"message": "first"}]},
    {},
]


def encoded(document: Any) -> list[bytes]:
    """One document in several spellings."""
    plain = json.dumps(document).encode()
    pretty = json.dumps(document, indent=2).encode()
    return [plain, b"\n" * 40 + b"      \r\n" + plain, pretty, b"\xef\xbb\xbf" + plain, plain + b"\n \n"]


@pytest.mark.parametrize("dialect", JUDGED)
@pytest.mark.parametrize("document", ERRORS, ids=",".join)
def test_an_error_is_one_in_every_spelling(dialect: Dialect, document: dict[str, Any]) -> None:
    """White space, lines, a byte order mark, in each dialect, and wherever the error stands in its object."""
    for body in encoded(document):
        assert fault_of_answer(body, dialect) is not None, body
    if "error" in document:
        late = GOOD[dialect][0] | document
        assert fault_of_answer(json.dumps(late).encode(), dialect) is not None


@pytest.mark.parametrize("dialect", JUDGED)
def test_a_good_answer_has_no_fault(dialect: Dialect) -> None:
    """Null is no error, text about errors is text, and no spelling makes it one."""
    for document in GOOD[dialect]:
        for body in encoded(document):
            assert fault_of_answer(body, dialect) is None, body


@pytest.mark.parametrize(
    ("dialect", "document", "why"),
    [
        (Dialect.CHAT, {"choices": [], "usage": USAGE}, "its answer holds no choices"),
        (Dialect.CHAT, {"id": "x", "choices": None}, "its answer holds no choices"),
        (Dialect.CHAT, {"choices": [None]}, "one of its choices is no object"),
        (Dialect.CHAT, {"choices": [{"index": 0, "message": None}]}, MUTE),
        (Dialect.CHAT, {"choices": [{"message": None, "finish_reason": "stop"}]}, MUTE),
        (Dialect.CHAT, {"choices": [{"finish_reason": "length"}]}, MUTE),
        (Dialect.CHAT, {"choices": [{"message": "hi", "finish_reason": "stop"}]}, MUTE),
        (Dialect.CHAT, {"choices": [{"message": [], "finish_reason": "stop"}]}, MUTE),
        (Dialect.CHAT, {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}, MUTE),
        (Dialect.CHAT, {"choices": [CHOICE, {"message": None, "finish_reason": "stop"}]}, MUTE),
        (Dialect.CHAT, {"choices": [CHOICE, None]}, "one of its choices is no object"),
        (Dialect.CHAT, {"choices": [{"message": {"role": "assistant"}}]}, "one of its choices says nothing"),
        (Dialect.CHAT, {"choices": [{"message": {"content": ""}}]}, "one of its choices says nothing"),
        (Dialect.COMPLETIONS, {"choices": [{"text": None, "finish_reason": "stop"}]}, MUTE),
        (Dialect.COMPLETIONS, {"choices": [{"text": ["hi"], "finish_reason": "stop"}]}, MUTE),
        (Dialect.COMPLETIONS, {"choices": [{"text": ""}]}, "one of its choices says nothing"),
        (Dialect.CHAT, {"choices": [CHOICE | {"finish_reason": "error"}]}, GIVEN_UP % "error"),
        (Dialect.CHAT, {"choices": [CHOICE, CHOICE | {"finish_reason": "abort"}]}, GIVEN_UP % "abort"),
        (Dialect.CHAT, {"choices": [CHOICE | {"error": {"message": "upstream died"}}]}, "upstream died"),
        (Dialect.RESPONSES, {"status": "failed", "error": {"message": "no luck"}, "output": []}, "no luck"),
        (Dialect.RESPONSES, {"status": "failed", "error": None, "output": []}, "its answer has the status failed"),
        (Dialect.RESPONSES, {"object": "response"}, "its answer holds no output"),
        (Dialect.RESPONSES, {"status": "completed", "output": None}, "its answer holds no output"),
        (Dialect.RESPONSES, {"status": "completed", "output": [None]}, "a part of its output is no object"),
        (Dialect.MESSAGES, {"type": "message", "content": [None]}, "a part of its content is no object"),
        (Dialect.EMBEDDINGS, {"object": "list", "data": [None]}, "a part of its data is no object"),
        (Dialect.MESSAGES, {"type": "message", "content": None}, "its answer holds no content"),
        (Dialect.EMBEDDINGS, {"object": "list", "data": []}, "its answer holds no data"),
    ],
)  # fmt: skip
def test_what_says_nothing_is_no_answer(dialect: Dialect, document: dict[str, Any], why: str) -> None:
    """In the words of what is missing, or of the backend."""
    fault = fault_of_answer(json.dumps(document).encode(), dialect)

    assert fault is not None
    assert fault.why == why


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "its answer is empty"),
        (b" \n", "its answer is empty"),
        (b"<html>Bad gateway</html>", "its answer is no JSON object but a page of HTML"),
        (b"<!DOCTYPE html>\n<html>", "its answer is no JSON object but a page of HTML"),
        (b"[]", "its answer is no JSON object"),
        (b'"choices"', "its answer is no JSON object"),
        (b"null", "its answer is no JSON object"),
        (b'{"choices": [{"mess', "its answer lacks its end"),
        (b'{"choices": [{"mess"}', "its answer is broken JSON"),
    ],
)
def test_what_is_no_object_is_no_answer(body: bytes, why: str) -> None:
    """A page of HTML, half a document, another type."""
    for dialect in JUDGED:
        fault = fault_of_answer(body, dialect)
        assert fault is not None
        assert fault.why == why
    assert fault_of_answer(body, Dialect.OTHER) is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429), ({"code": "503"}, 503), ({"type": "rate_limit_error"}, 429), ({"code": "x"}, 502),
        ({"code": "insufficient_quota"}, 429), ({"type": "overloaded_error"}, 429), ({"code": 200}, 502),
        ({"type": "invalid_request_error"}, 400), ({"status": "RESOURCE_EXHAUSTED"}, 429), ({"status_code": 529}, 529),
    ],
)  # fmt: skip
def test_an_error_tells_its_status(error: dict[str, Any], status: int) -> None:
    """As a number, as a word, or not at all."""
    fault = fault_of_answer(json.dumps({"error": {"message": "x"} | error}).encode(), Dialect.CHAT)

    assert fault is not None
    assert (fault.why, fault.status) == ("x", status)


def test_half_a_character_is_no_fault() -> None:
    """A text that ends inside an emoji is an answer; one strictness for all that read it."""
    assert fault_of_answer(rb'{"choices":[{"message":{"content":"x\ud83d"}}]}', Dialect.CHAT) is None
    fault = fault_of_answer(rb'{"error":{"message":"x\ud83d"}}', Dialect.CHAT)
    assert fault is not None
    assert fault.why == "x\ufffd"


def test_a_long_answer_is_seen_by_its_ends() -> None:
    """It is passed on before it is whole: no page of HTML is, and an object has an end."""
    assert fault_of_beginning(b' \n{"choices"') is None
    assert fault_of_beginning(b"<html>") is not None
    assert fault_of_end(b'"}]}\n') is None
    assert fault_of_end(b'"conte') is not None


@given(st.binary(max_size=80), st.sampled_from(JUDGED))
def test_no_bytes_make_it_fail(body: bytes, dialect: Dialect) -> None:
    """Whatever a backend sends, it is either an answer or a fault with a reason."""
    fault = fault_of_answer(body, dialect)

    assert fault is None or fault.why

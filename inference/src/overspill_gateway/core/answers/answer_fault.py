"""Whether a plain answer with a good status is one: an error inside a 200 is a failure, however it is spelled.

Nearly all answers are seen to be good by one typed decoding; only what fails it is read as a whole. Text that merely
speaks of errors is never looked at. Not here: what an answer says (``answer``).
"""

from typing import Any, Final

from overspill_gateway.core.answers.answer_fields import (
    GoodChoice,
    GoodChoices,
    GoodObject,
    decode_good_choices,
    decode_good_object,
)
from overspill_gateway.core.answers.stream_events import NOT_OUTPUT
from overspill_gateway.core.answers.usage import NOTHING_KNOWN, UNFINISHED, Report, report_in
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_shapes import GIVEN_UP, Fault, error_in, error_in_choice, is_error
from overspill_gateway.core.text.json_text import BYTE_ORDER_MARK, UNREADABLE, decoded

_SPACE: Final = b" \t\r\n"
_FAILED: Final = frozenset({"failed", "cancelled", "canceled", "error"})
"""States of a response that was given up."""
_ENDS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
"""Reasons of nearly all answers."""
_PAYLOADS: Final = {Dialect.RESPONSES: "output", Dialect.MESSAGES: "content", Dialect.EMBEDDINGS: "data"}
_HTML: Final = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml")


def judged(body: bytes, dialect: Dialect) -> tuple[Fault | None, Report | None]:
    """What is wrong with a plain answer, and what it reports where the look that finds nothing shows it; None: not.

    Of other dialects nothing is known.
    """
    if dialect is Dialect.OTHER:
        return None, None
    try:
        if dialect is Dialect.CHAT or dialect is Dialect.COMPLETIONS:
            answer = decode_good_choices(body)
            if _are_good(answer):
                return None, report_in(answer) or NOTHING_KNOWN
        elif _is_good(decode_good_object(body), dialect):
            return None, None
    except UNREADABLE:
        pass  # what it is instead is found out below
    return _fault_of_document(body, dialect), None


def fault_of_answer(body: bytes, dialect: Dialect) -> Fault | None:
    """What is wrong with a plain answer whose status is good; None: nothing."""
    return judged(body, dialect)[0]


def fault_of_beginning(body: bytes) -> Fault | None:
    """What is wrong with the beginning of an answer that is too long to be kept until it is whole."""
    return _no_object(body) if _text_of(body)[:16].lower().startswith(_HTML) else None


def fault_of_end(tail: bytes) -> Fault | None:
    """What is wrong with the end of such an answer."""
    return None if tail.rstrip(_SPACE).endswith(b"}") else Fault("its answer lacks its end")


def _fault_of_document(body: bytes, dialect: Dialect) -> Fault | None:
    """The same of an answer that was not seen to be good at once."""
    document = decoded(body)
    if not isinstance(document, dict):
        return _no_object(body)
    if is_error(document):
        return error_in(document)
    if dialect is Dialect.CHAT or dialect is Dialect.COMPLETIONS:
        return _fault_of_choices(document)
    return _fault_of_other(document, dialect)


def _is_good(other: GoodObject, dialect: Dialect) -> bool:
    if other.object == "error" or other.type == "error" or other.status in _FAILED:
        return False
    if dialect is Dialect.RESPONSES:
        return other.output is not None
    return other.content is not None if dialect is Dialect.MESSAGES else bool(other.data)


def _are_good(answer: GoodChoices) -> bool:
    named = answer.object == "error" or answer.type == "error"
    return bool(answer.choices) and not named and all(_is_good_choice(choice) for choice in answer.choices)


def _is_good_choice(choice: GoodChoice) -> bool:
    reason = choice.finish_reason
    if reason is None or (reason not in _ENDS and reason.lower() in GIVEN_UP):
        return False
    return choice.message is not None or bytes(choice.text)[:1] == b'"'


def _fault_of_other(document: dict[str, Any], dialect: Dialect) -> Fault | None:
    """Of an answer of responses, messages or embeddings; what has any payload is not taken for an error."""
    status = document.get("status")
    name = _PAYLOADS[dialect]
    payload = document.get(name)
    if isinstance(payload, list) and not all(isinstance(item, dict) for item in payload):
        return Fault(f"a part of its {name} is no object")
    if dialect is Dialect.RESPONSES and isinstance(status, str):
        if status in _FAILED:
            return Fault(f"its answer has the status {status}")
        if status in UNFINISHED:
            return None
    empty = dialect is not Dialect.EMBEDDINGS and isinstance(payload, list)
    if empty or any(document.get(other) for other in ("choices", *_PAYLOADS.values())):
        return None
    return Fault(f"its answer holds no {name}")


def _fault_of_choices(document: dict[str, Any]) -> Fault | None:
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices:
        return Fault("its answer holds no choices")
    for choice in choices:
        if not isinstance(choice, dict):
            return Fault("one of its choices is no object")
        fault = error_in_choice(choice)
        if fault is not None:
            return fault
        message, text = choice.get("message"), choice.get("text")
        if not isinstance(message, dict) and not isinstance(text, str):
            return Fault("one of its choices holds no message")
        if choice.get("finish_reason") is None and not text and not _says_anything(message):
            return Fault("one of its choices says nothing")
    return None


def _says_anything(message: Any) -> bool:
    """Whether a message is more than a role; an empty one is an answer only where a reason for it is given."""
    return isinstance(message, dict) and any(value for name, value in message.items() if name not in NOT_OUTPUT)


def _no_object(body: bytes) -> Fault:
    text = _text_of(body)
    if not text:
        return Fault("its answer is empty")
    if text.startswith(b"{"):
        return Fault("its answer is broken JSON" if text.endswith(b"}") else "its answer lacks its end")
    what = " but a page of HTML" if text[:16].lower().startswith(_HTML) else ""
    return Fault(f"its answer is no JSON object{what}")


def _text_of(body: bytes) -> bytes:
    return body.removeprefix(BYTE_ORDER_MARK).strip(_SPACE)

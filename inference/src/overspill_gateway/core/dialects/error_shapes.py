"""An error inside an answer whose status is good, in the shape of any backend. Not here: where answers are read.

Seen so far: ``{"error": {...}}`` and ``{"error": "text", "error_type": ...}``, anywhere; ``{"object": "error", ...}``,
``{"type": "error", ...}``, ``{"detail": ...}``, ``{"message": ..., "code": ...}``, ``{"errors": [...]}``, and an
``error`` in one of the choices.
"""

from dataclasses import dataclass
from typing import Any, Final

MESSAGE_CHARS_MAX: Final = 500
GIVEN_UP: Final = frozenset({"error", "abort", "aborted", "cancelled", "canceled", "failed"})
"""Reasons of a backend that stopped working on an answer: no client takes them for an end."""

_PAYLOAD: Final = frozenset(
    {"choices", "output", "content", "data", "delta", "response", "item", "part", "content_block", "usage"}
)
"""Fields of answers and events; an object with one of them is no bare message."""
_INVALID: Final = ("invalid_request", "validation")
_OVERLOADED: Final = ("rate_limit", "quota", "overloaded", "too_many", "exhausted")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an answer although its status is good."""

    why: str
    """What the backend said."""
    status: int = 502
    """The HTTP status that it would have been."""


def is_error(document: dict[str, Any]) -> bool:
    """Whether an object of an answer says that it failed."""
    if _says_something(document.get("error")) or document.get("object") == "error" or document.get("type") == "error":
        return True
    if not document.keys().isdisjoint(_PAYLOAD):
        return False
    message = document.get("message")
    return bool(document.get("detail") or document.get("errors") or (isinstance(message, str) and message))


def error_in(document: dict[str, Any]) -> Fault:
    """What an object that is an error says."""
    error = document.get("error")
    if not isinstance(error, dict):
        told = {"message": error, "code": document.get("code"), "type": document.get("error_type")}
        error = told if _says_something(error) else document
    errors = error.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    first = first.get("message") if isinstance(first, dict) else first
    message = error.get("message") or error.get("detail") or first or "an error without a message"
    codes = [error.get(name) for name in ("code", "status", "status_code")]
    kind = f"{error.get('type')} {codes}".lower()
    return Fault(str(message)[:MESSAGE_CHARS_MAX], _status_of(codes, kind))


def error_in_choice(choice: dict[str, Any]) -> Fault | None:
    """What one of an answer's choices says of its failure; None: nothing."""
    if _says_something(choice.get("error")):
        return error_in(choice)
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and reason.lower() in GIVEN_UP:
        return Fault(f"it gave the answer up (finish_reason {reason[:40]})")
    return None


def _says_something(error: object) -> bool:
    """Null is no error, nor is an object of nothing but nulls."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _status_of(codes: list[Any], kind: str) -> int:
    for code in codes:
        if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdecimal():
            code = int(code)  # noqa: PLW2901
        if isinstance(code, int) and 400 <= code < 600:
            return code
    if any(word in kind for word in _OVERLOADED):
        return 429
    return 400 if any(word in kind for word in _INVALID) else 502

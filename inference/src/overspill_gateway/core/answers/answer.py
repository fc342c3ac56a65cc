"""What a plain answer says: its texts, how each ended, or its error. Not here: token counts, see ``usage``."""

from dataclasses import dataclass
from typing import Any, Final

from overspill_gateway.core.dialects.error_shapes import error_in, is_error
from overspill_gateway.core.dialects.inability import BODY_BYTES_MAX as ERROR_BYTES_MAX
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.text.content import text_of
from overspill_gateway.core.text.json_text import decoded

_MESSAGE_CHARS_MAX: Final = 2000
_NO_ERROR: Final = "backend_answered"
"""Code of an answer that says nothing of an error but its status."""
_LABELS: Final = frozenset({"id", "type", "role", "object", "status", "index", "call_id", "finish_reason", "logprobs"})
"""Fields of an answer that no model writes."""
_UNCOUNTABLE: Final = frozenset({"audio", "encrypted_content", "image", "images", "signature", "result"})
"""Fields whose length says little of what they cost."""


@dataclass(frozen=True, slots=True)
class Said:
    """One of an answer's choices."""

    text: str
    """What it says."""
    finish_reason: str | None = None
    """Why it ended, in the words of chat completions."""
    refused: bool = False
    """Whether the model declined to answer."""
    calls_tools: bool = False
    """Whether it asks for tools to be called."""


def said_in(body: bytes) -> list[Said] | None:
    """Every choice of a plain answer of any generating dialect; None: it is none."""
    document = decoded(body)
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("choices"), list):
        return [_of_choice(choice) for choice in document["choices"] if isinstance(choice, dict)]
    if isinstance(document.get("output"), list):
        return [_of_response(document)]
    if isinstance(document.get("content"), list):
        return [_of_message(document)]
    return None


def text_of_answer(body: bytes) -> str | None:
    """All that was generated for a plain answer, for counting its tokens; None: it can't be told.

    Tool calls, reasoning and refusals included: whatever stands in a choice but for its labels. What is not of a form
    that is known, or holds other than text, can't be counted.
    """
    document = decoded(body)
    if not isinstance(document, dict):
        return None
    choices = document.get("choices")
    if isinstance(choices, list):
        parts = [choice.get("message", choice.get("text")) for choice in choices if isinstance(choice, dict)]
    else:
        parts = [document.get("output", document.get("content"))]
    texts: list[str] = []
    waiting: list[object] = list(parts)
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict):
            if value.keys() & _UNCOUNTABLE and any(value.get(name) for name in _UNCOUNTABLE):
                return None
            waiting += [part for name, part in reversed(list(value.items())) if name not in _LABELS]
    return "".join(texts)


def error_of_answer(status: int, body: bytes) -> ApiError:
    """A backend's refusal, to be told in other words; of a long one only the status is."""
    document = decoded(body) if len(body) <= ERROR_BYTES_MAX else None
    error = document.get("error") if isinstance(document, dict) else None
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    words = error_in(document).why if isinstance(document, dict) and is_error(document) else ""
    message = fields.get("message") or words or f"The backend answered {status}."
    kind = fields.get("type") or ("invalid_request_error" if status < 500 else "server_error")
    param = fields.get("param")
    return ApiError(
        status,
        str(kind),
        str(fields.get("code") or ("backend_refused" if words else _NO_ERROR)),
        str(message)[:_MESSAGE_CHARS_MAX],
        str(param) if param else None,
    )


def _of_choice(choice: dict[str, Any]) -> Said:
    reason = choice.get("finish_reason")
    reason = reason if isinstance(reason, str) else None
    message = choice.get("message")
    if not isinstance(message, dict):
        return Said(text_of(choice.get("text")), reason)
    refusal = message.get("refusal")
    tools = bool(message.get("tool_calls") or message.get("function_call"))
    return Said(text_of(message.get("content")), reason, bool(refusal) or reason == "content_filter", tools)


def _of_response(document: dict[str, Any]) -> Said:
    texts: list[str] = []
    refused = tools = False
    for item in document["output"]:
        if not isinstance(item, dict):
            continue
        if str(item.get("type", "")).endswith("_call"):
            tools = True
        for part in item.get("content") or () if item.get("type") == "message" else ():
            if isinstance(part, dict):
                refused = refused or part.get("type") == "refusal"
                texts.append(text_of(part))
    details = document.get("incomplete_details")
    cut = isinstance(details, dict) and details.get("reason") == "max_output_tokens"
    filtered = isinstance(details, dict) and details.get("reason") == "content_filter"
    return Said("".join(texts), "length" if cut else "stop", refused or filtered, tools)


def _of_message(document: dict[str, Any]) -> Said:
    parts = [part for part in document["content"] if isinstance(part, dict)]
    reason = document.get("stop_reason")
    return Said(
        text_of(parts),
        "length" if reason == "max_tokens" else "stop",
        reason == "refusal",
        any(part.get("type") == "tool_use" for part in parts),
    )

"""What one event of a generated stream means, in each dialect. Not here: what follows from it for the stream.

The question behind it: is this output, or only what a backend says before its first token? Up to there a failure
costs the client nothing, since another backend can serve the request.
"""

import json
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from msgspec import UNSET

from overspill_gateway.core.answers.stream_fields import SHAPE, decode_shape
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_shapes import MESSAGE_CHARS_MAX, Fault, error_in, error_in_choice, is_error
from overspill_gateway.core.text.content import is_text, text_of
from overspill_gateway.core.text.json_text import UNREADABLE, decoded

NOT_OUTPUT: Final = frozenset({"role", "name"})
"""Fields of a message, or of a delta, that say nothing yet."""
_STARTING_RESPONSE: Final = frozenset(
    {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "keepalive",
        "ping",
    }
)
_STARTING_MESSAGE: Final = frozenset({"message_start", "content_block_start", "ping"})
_NO_MESSAGE: Final = "an error without a message"
_MESSAGE_DELTAS: Final = frozenset({"content_block_delta", "message_delta"})
_TEXTS: Final = ("text", "thinking", "partial_json")
"""Fields of a content_block_delta that hold what was generated."""


class Meaning(Enum):
    """What an event does to its stream."""

    NOTHING = auto()
    """A comment, or an event without data."""
    START = auto()
    """Said before the first token: ids, roles, empty deltas."""
    OUTPUT = auto()
    """Something that was generated, or why generating ended."""
    USAGE = auto()
    """Token counts and nothing else."""
    END = auto()
    """The stream is whole."""
    FAULT = auto()
    """An error, or something that can't be read."""


@dataclass(slots=True)
class Event:
    """One event, understood."""

    meaning: Meaning
    """What it does to its stream."""
    usage: bool = False
    """Whether it carries token counts; of the output, once they are read."""
    text: str = ""
    """What was generated, tool arguments and reasoning included: for counting tokens."""
    plain: bool = True
    """Whether that text is the whole of the output: one answer, no tools, no reasoning, no log probabilities."""
    piece: bool = False
    """Whether it carries a piece of the answer, be it empty: half a character is a token too."""
    speaks: bool = True
    """Whether such a piece holds any message at all, be it empty."""
    finished: bool = False
    """Whether it says why generating ended; of an end, that it is one of a whole answer by itself."""
    sequence: int = 0
    """Its number, in the Responses dialect."""
    why: str = ""
    """Of a fault: what the backend said."""
    status: int = 502
    """Of a fault: the HTTP status that it would have been."""
    unreadable: bool = False
    """Of a fault: its data is no JSON object."""


def read_event(dialect: Dialect, name: bytes, data: bytes | None) -> Event:
    """The meaning of an event with this name and data."""
    failed = name.lower() == b"error"
    if data is None:
        return Event(Meaning.FAULT, why=_NO_MESSAGE) if failed else Event(Meaning.NOTHING)
    if data.strip() == b"[DONE]" and not failed:
        chat = dialect in {Dialect.CHAT, Dialect.COMPLETIONS}
        return Event(Meaning.END if chat else Meaning.NOTHING)
    document = decoded(data)
    if not isinstance(document, dict):
        shown = data[:MESSAGE_CHARS_MAX].decode("utf-8", "replace").strip()
        if failed:
            return Event(Meaning.FAULT, why=shown or _NO_MESSAGE)
        return Event(Meaning.FAULT, why=f"an event of its stream can't be read: {shown[:60]!r}", unreadable=True)
    if failed or is_error(document):
        return fault_of(document)
    return _READERS.get(dialect, _read_chunk)(document, name)


def shape_of(data: bytes) -> dict[str, object]:
    """What all chunks of a stream have in common, without the rest of what may be a long one."""
    try:
        shape = decode_shape(data)
    except UNREADABLE:
        first = decoded(data)
        return {name: first[name] for name in SHAPE if name in first} if isinstance(first, dict) else {}
    return {name: getattr(shape, name) for name in SHAPE if getattr(shape, name) is not UNSET}


def fault_of(document: dict[str, Any]) -> Event:
    """An error in any backend's shape."""
    return _failed(error_in(document))


def _failed(fault: Fault) -> Event:
    return Event(Meaning.FAULT, why=fault.why, status=fault.status)


def _read_chunk(document: dict[str, Any], _name: bytes) -> Event:
    """A chunk of /v1/chat/completions or /v1/completions."""
    choices = document.get("choices")
    usage = isinstance(document.get("usage"), dict)
    if not isinstance(choices, list) or not choices:
        return Event(Meaning.USAGE if usage else Meaning.START, usage)
    event = Event(Meaning.START, usage, piece=True, speaks=False)
    texts: list[str] = []
    for choice in choices:
        if isinstance(choice, dict):
            _read_choice(choice, event, texts)
    event.text = "".join(texts)
    return event


def _read_choice(choice: dict[str, Any], event: Event, texts: list[str]) -> None:
    fault = error_in_choice(choice)
    if fault is not None and event.meaning is not Meaning.FAULT:
        event.meaning, event.why, event.status = Meaning.FAULT, fault.why, fault.status
    if event.meaning is Meaning.FAULT:
        return
    reason = choice.get("finish_reason")
    if choice.get("index"):
        event.plain = False
    delta = choice.get("delta")
    fields = delta if isinstance(delta, dict) else {"content": choice.get("text")}
    event.speaks = event.speaks or fields is delta or isinstance(choice.get("text"), str)
    for field, value in fields.items():
        if not value or field in NOT_OUTPUT:
            continue
        event.meaning = Meaning.OUTPUT
        if field != "content" or not is_text(value):
            event.plain = False
            texts.append(value if isinstance(value, str) else json.dumps(value))
        else:
            texts.append(text_of(value))
    if choice.get("logprobs") or choice.get("token_ids"):
        event.meaning = Meaning.OUTPUT
        event.plain = False
    if reason is not None:
        event.meaning = Meaning.OUTPUT
        event.finished = True


def _read_response(document: dict[str, Any], name: bytes) -> Event:
    """An event of /v1/responses."""
    kind = _kind(document, name)
    response = document.get("response")
    response = response if isinstance(response, dict) else {}
    number = document.get("sequence_number")
    sequence = number if isinstance(number, int) else 0
    if (
        kind in {"error", "response.failed", "response.cancelled"}
        or response.get("error")
        or response.get("status") == "failed"
    ):
        fault = fault_of(response if response.get("error") else document)
        fault.sequence = sequence
        return fault
    usage = isinstance(response.get("usage"), dict)
    if kind in {"response.completed", "response.incomplete"}:
        answered = isinstance(response.get("output"), list)
        return Event(Meaning.END, usage, plain=False, finished=answered, sequence=sequence)
    delta = document.get("delta")
    if kind in _STARTING_RESPONSE or (delta is None and kind.endswith(".delta")):
        return Event(Meaning.START, usage, sequence=sequence)
    text = delta if isinstance(delta, str) else ""
    return Event(Meaning.OUTPUT, usage, text, plain=False, piece=kind.endswith(".delta"), sequence=sequence)


def _kind(document: dict[str, Any], name: bytes) -> str:
    """What an event calls itself; a type that is no word is none."""
    kind = document.get("type")
    return kind if isinstance(kind, str) and kind else name.decode("latin-1")


def _read_message(document: dict[str, Any], name: bytes) -> Event:
    """An event of Anthropic's /v1/messages."""
    kind = _kind(document, name)
    if kind == "error":
        return fault_of(document)
    message = document.get("message")
    usage = isinstance((message if isinstance(message, dict) else document).get("usage"), dict)
    if kind == "message_stop":
        return Event(Meaning.END, usage, plain=False)
    delta = document.get("delta")
    if kind in _STARTING_MESSAGE or (kind in _MESSAGE_DELTAS and not isinstance(delta, dict)):
        return Event(Meaning.START, usage)
    fields = delta if kind == "content_block_delta" and isinstance(delta, dict) else {}
    text = "".join([fields[field] for field in _TEXTS if isinstance(fields.get(field), str)])
    return Event(Meaning.OUTPUT, usage, text, plain=False, piece=kind == "content_block_delta")


_READERS: Final = {Dialect.RESPONSES: _read_response, Dialect.MESSAGES: _read_message}

"""What one long event of a stream means, read alone: by the functions that read short ones, and in another process.

For whoever writes events anew, a long one is told in short ones that say the same. Not here: the process, and what
follows for the stream (``stream``).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import msgspec

from overspill_gateway.core.answers.events import event_name_and_data
from overspill_gateway.core.answers.stream_events import Event, Meaning, read_event
from overspill_gateway.core.answers.tool_calls import CALLS_MAX
from overspill_gateway.core.answers.usage import NOTHING_KNOWN, Report
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.text.content import arguments_of, refusal_of, text_of
from overspill_gateway.core.text.json_text import decoded

_PIECE_CHARS: Final = 1024
"""Of a text in one short event."""
_PIECES_MIN: Final = 2048
_BYTES_A_PIECE_MIN: Final = 256
"""An event that would become more is none of an answer."""
_SHAPE_BYTES_MAX: Final = 256
_FIELD_BYTES_MAX: Final = 4096
"""What can't be cut and is longer is left out of short events; an image, say."""
_NAME_CHARS_MAX: Final = 256
_SHAPED_BY: Final = ("id", "object", "created", "model", "system_fingerprint")
_ENDED_BY: Final = ("finish_reason", "stop_reason")


@dataclass(slots=True)
class LongEvent:
    """One long event that was read."""

    read: Event
    report: Report = NOTHING_KNOWN
    """What it reports of tokens."""
    text_bytes: int = 0
    """Of the text that was generated."""
    first_chunk: dict[str, object] = field(default_factory=dict)
    """What all chunks have in common."""
    parts: list[bytes] = field(default_factory=list)
    """The event with whole characters; empty: as it came."""


UNREAD: Final = Event(Meaning.OUTPUT, plain=False, piece=True)
"""For an event that nobody could read: some output, and no more is known."""


def in_short_events(event: bytes, dialect: Dialect) -> bytes:
    """What a long chunk of chat or completions says, in short ones. An error is told as one, and its words are cut."""
    name, data = event_name_and_data(event)
    if data is None and name.lower() != b"error":
        return b": a long comment\n\n"
    read = read_event(dialect, name, data)
    document = decoded(data) if data is not None else None
    if read.meaning is Meaning.FAULT or not isinstance(document, dict):
        return _event({"error": {"message": read.why or "an error without a message", "code": read.status}})
    base = {field_: document[field_] for field_ in _SHAPED_BY if _is_short(document.get(field_), _SHAPE_BYTES_MAX)}
    choices = document.get("choices")
    choices = choices if isinstance(choices, list) else []
    if len(choices) > CALLS_MAX:
        return _event({"error": {"message": f"an event of its stream has more than {CALLS_MAX:,} choices"}})
    pieces_max = _PIECES_MIN + len(event) // _BYTES_A_PIECE_MIN
    every = (piece for choice in choices if isinstance(choice, dict) for piece in _of_choice(choice))
    pieces = list(islice(every, pieces_max + 1))
    if len(pieces) > pieces_max:
        return _event({"error": {"message": "an event of its stream consists of too many parts"}})
    events = [_event({**base, "choices": [piece]}) for piece in pieces]
    if isinstance(document.get("usage"), dict) and _is_short(document["usage"]):
        events.append(_event({**base, "choices": [], "usage": document["usage"]}))
    return b"".join(events) or _event({**base, "choices": []})


def _of_choice(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    index = choice.get("index")
    index = index if isinstance(index, int) else 0
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        for text in _cut(text_of(choice.get("text"))):
            yield {"index": index, "text": text, "finish_reason": None}
    for name, value in delta.items() if isinstance(delta, dict) else ():
        for short in _of_field(name, value) if len(name) <= _NAME_CHARS_MAX else ():
            yield {"index": index, "delta": short, "finish_reason": None}
    ends = {name: choice[name] for name in _ENDED_BY if choice.get(name) is not None and _is_short(choice[name])}
    if ends:
        said: dict[str, Any] = {"delta": {}} if isinstance(delta, dict) else {"text": ""}
        yield {"index": index, **said, **ends}


def _of_field(name: str, value: Any) -> Iterator[dict[str, Any]]:
    if name == "content" and not isinstance(value, str):
        for text in _cut(text_of(value)):
            yield {"content": text}
        for text in _cut(refusal_of(value)):
            yield {"refusal": text}
    elif isinstance(value, str):
        for text in _cut(value):
            yield {name: text}
    elif name == "tool_calls" and isinstance(value, list):
        for call in value:
            for piece in _of_call(call) if isinstance(call, dict) else ():
                yield {name: [piece]}
    elif value is not None and _is_short(value):
        yield {name: value}


def _of_call(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The call's beginning, and its arguments in pieces, all of them under its index."""
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    known = {name: call[name] for name in ("id", "type") if _is_name(call.get(name))}
    named = {"name": function["name"]} if _is_name(function.get("name")) else {}
    index = {"index": call["index"]} if isinstance(call.get("index"), int) else {}
    pieces = list(_cut(arguments_of(function.get("arguments"))))
    if known or named:
        yield {**index, **known, "function": {**named, "arguments": pieces[0] if pieces else ""}}
        pieces = pieces[1:]
    for piece in pieces:
        yield {**index, "function": {"arguments": piece}}


def _cut(text: str) -> Iterator[str]:
    for at in range(0, len(text), _PIECE_CHARS):
        yield text[at : at + _PIECE_CHARS]


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _NAME_CHARS_MAX


def _is_short(value: object, bytes_max: int = _FIELD_BYTES_MAX) -> bool:
    return value is not None and len(msgspec.json.encode(value)) <= bytes_max


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"

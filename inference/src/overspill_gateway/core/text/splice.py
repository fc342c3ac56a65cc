"""Edits top-level fields of a JSON object by splicing bytes: everything else stays byte for byte as it was.

Not here: which edits a request needs. All functions take a body that is known to be a JSON object.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from overspill_gateway.core.http.errors import ApiError, invalid_body

Span = tuple[int, int]
"""Offset of a value's first byte, and of the byte behind its last."""

FIELDS_MAX: Final = 1024
"""Fields of one object that are looked through; nobody sends as many."""

_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_KEY: Final = re.compile(rb"[ \t\r\n]*[{,][ \t\r\n]*(" + _STRING + rb")[ \t\r\n]*:[ \t\r\n]*", re.DOTALL)
_END: Final = re.compile(rb"[ \t\r\n]*\}[ \t\r\n]*")
_EMPTY: Final = re.compile(rb"[ \t\r\n]*\{[ \t\r\n]*\}")

USUAL_FIELDS: Final = (
    "model", "messages", "prompt", "input", "instructions", "system", "stream", "stream_options", "max_tokens",
    "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k", "n", "best_of", "stop",
    "stop_sequences", "seed", "user", "metadata", "store", "tools", "tool_choice", "parallel_tool_calls", "functions",
    "response_format", "text", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs",
    "encoding_format", "dimensions", "reasoning_effort", "min_tokens", "ignore_eos", "suffix", "echo", "api_base",
    "api_key", "base_url",
)  # fmt: skip
"""Top-level fields of nearly all bodies; no two of them differ in case alone."""
_SPACED_KEYS: Final = {name: b', "%b": ' % name.encode() for name in USUAL_FIELDS}
"""The keys of most bodies as Python's json writes them behind another field."""

_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class BodyError(Exception):
    """The body can't be used; ``error`` is what the client is told."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


def fields_of(body: bytes) -> dict[str, Raw]:
    """Top-level fields and their values; of a field that comes twice the last one."""
    return _fields(body)


def field_spans(body: bytes, fields: dict[str, Raw] | None = None) -> dict[str, Span]:
    """Where each top-level value stands, from its first byte to behind its last; see ``field_starts``."""
    if fields is None:
        fields = _fields(body)
    starts = field_starts(body, fields)
    return {name: (start, start + len(fields[name])) for name, start in starts.items()}


def field_starts(body: bytes, fields: dict[str, Raw]) -> dict[str, int]:
    """Where each top-level value begins; raises BodyError where a field comes twice.

    ``fields``: as ``fields_of`` has them. Nearly all bodies have no whitespace between fields, or one space behind each
    colon and comma.
    """
    if len(fields) > FIELDS_MAX:
        raise BodyError(invalid_body(f"The body has more than {FIELDS_MAX} fields.", code="too_many_fields"))
    if not fields:
        return {}
    is_spaced = body.startswith(b" ", len(next(iter(fields))) + 4)  # behind the first colon
    starts = _spaced_starts(body, fields) if is_spaced else _dense_starts(body, fields)
    return _searched_starts(body, fields) if starts is None else starts


def _dense_starts(body: bytes, fields: dict[str, Raw]) -> dict[str, int] | None:
    """The same for a body without whitespace between fields; None: it is not.

    A body that is just as long as its keys and values and one byte of punctuation for each gap has no room for a
    second value of a key, nor for one escape in a key: the offsets follow from the lengths alone.
    """
    starts: dict[str, int] = {}
    at = 1
    for name, value in fields.items():
        at += len(name) + 3
        starts[name] = at
        at += len(value) + 1
    return starts if at == len(body) else None


def _spaced_starts(body: bytes, fields: dict[str, Raw]) -> dict[str, int] | None:
    """The same for a body with one space behind each colon and comma, as Python's json writes it; None: it is not."""
    starts: dict[str, int] = {}
    pieces: list[bytes | Raw] = []
    at = -1
    for name, value in fields.items():
        key = _SPACED_KEYS.get(name) or b', "%b": ' % name.encode()
        at += len(key)
        starts[name] = at
        at += len(value)
        pieces.append(key if pieces else b"{" + key[2:])
        pieces.append(value)
    if at != len(body) - 1:
        return None
    pieces.append(b"}")
    return starts if b"".join(pieces) == body else None


def _searched_starts(body: bytes, fields: dict[str, Raw]) -> dict[str, int]:
    """The same for any body.

    The decoder says what each value is, and keeps the last one of a key. Where each key in turn is followed by its
    value and then by another key or the end, nothing comes twice. Lengths alone would not do: a value that comes later
    may hold text and white space that make up for what is stepped over.
    """
    starts: dict[str, int] = {}
    at = 0
    for name, value in fields.items():
        match = _KEY.match(body, at)
        if match is None or (match[1] != b'"%b"' % name.encode() and msgspec.json.decode(match[1]) != name):
            raise _twice(name)
        start = starts[name] = match.end()
        if not body.startswith(bytes(value), start):
            raise _twice(name)
        at = start + len(value)
    if not _END.fullmatch(body, at):
        raise _twice(next(reversed(fields)))
    return starts


def spliced(body: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The body with several parts replaced, each given by start, end and what comes there; they must not overlap."""
    pieces: list[bytes] = []
    at = 0
    for start, end, text in sorted(edits, key=lambda edit: edit[0]):
        pieces += (body[at:start], text)
        at = end
    pieces.append(body[at:])
    return b"".join(pieces)


def with_fields(body: bytes, fields: Mapping[str, bytes]) -> bytes:
    """The body with top-level fields set to these JSON values: replaced where they are, else put first."""
    spans = field_spans(body)
    edits = [(*spans[name], value) for name, value in fields.items() if name in spans]
    new = b",".join([b"%b:%b" % (msgspec.json.encode(name), fields[name]) for name in fields if name not in spans])
    if new:
        brace = body.index(b"{") + 1
        edits.append((brace, brace, new if _EMPTY.match(body) else new + b","))
    return spliced(body, edits)


def _twice(name: str) -> BodyError:
    message = f"A field of the body stands in it more than once (near {name[:100]!r}); send each field once."
    return BodyError(invalid_body(message, param=name[:100], code="duplicate_field"))

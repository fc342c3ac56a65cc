"""Reads what routing needs from a request's body, and writes another model name into it by splicing bytes.

The body is never parsed and written anew: fields that this gateway does not know reach the engine byte for byte.
Only the top-level ``model`` counts, and only one: where two parsers could read two names, the body is refused.
"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from overspill_gateway.core.errors import ApiError, invalid_body

_MODEL_KEY: Final = b'"model"'
_MODEL_VALUE: Final = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)
_ESCAPED_LETTER_OF_MODEL: Final = re.compile(rb"\\u006[dDfF45cC]")
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]', re.DOTALL)


class BodyError(Exception):
    """The body can't be routed; ``error`` is what the client is told."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What routing needs of a body."""

    model: str
    """The name that the client sent."""
    stream: bool
    """Whether it asked for server-sent events."""
    model_start: int
    """Offset of the model's JSON string, its quotation mark included."""
    model_end: int
    """Offset behind that string."""


class _Fields(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None


_decode: Final = msgspec.json.Decoder(_Fields).decode


def read_body(body: bytes) -> BodyFacts:
    """The facts of a body; raises BodyError that says what is wrong with it."""
    try:
        fields = _decode(body)
    except msgspec.ValidationError as error:
        raise BodyError(_wrong_type(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The body is not a JSON object: {error}."
        raise BodyError(invalid_body(message, code="invalid_json")) from None
    if not fields.model:
        message = 'The body names no model. Set "model" to one that GET /v1/models lists.'
        raise BodyError(invalid_body(message, param="model", code="missing_model"))
    start, end = _model_span(body)
    return BodyFacts(fields.model, bool(fields.stream), start, end)


def with_model(body: bytes, facts: BodyFacts, name: bytes) -> bytes:
    """The body with another model name; ``name`` is a JSON string with its quotation marks."""
    return b"%b%b%b" % (body[: facts.model_start], name, body[facts.model_end :])


def json_string(text: str) -> bytes:
    """A text as a JSON string."""
    return msgspec.json.encode(text)


def _wrong_type(detail: str) -> ApiError:
    for field, expected in (("model", "a string"), ("stream", "true or false")):
        if f"$.{field}" in detail:
            return invalid_body(f'"{field}" must be {expected} ({detail}).', param=field, code="invalid_type")
    return invalid_body(f"The body must be a JSON object ({detail}).", code="invalid_type")


def _model_span(body: bytes) -> tuple[int, int]:
    """Where the one top-level model name stands.

    Inside a JSON string every quotation mark is escaped, so the seven bytes ``"model"`` can only be a key or a
    whole value. Found once, followed by a colon, in a body that has a top-level model whose key can't have been
    written with escapes: that is it. Everything else takes the slow and exact way.
    """
    start = body.find(_MODEL_KEY)
    unique = start >= 0 and body.find(_MODEL_KEY, start + 7) < 0
    if unique and (b"\\u006" not in body or not _ESCAPED_LETTER_OF_MODEL.search(body)):
        match = _MODEL_VALUE.match(body, start + 7)
        if match:
            return match.span(1)
    return _model_span_by_scanning(body)


def _model_span_by_scanning(body: bytes) -> tuple[int, int]:
    spans: list[tuple[int, int]] = []
    depth = 0
    at_key = False
    value_of_model = False
    for match in _TOKEN.finditer(body):
        first = body[match.start()]
        if first in b"{[":
            depth += 1
            at_key = depth == 1
        elif first in b"}]":
            depth -= 1
        elif depth != 1:
            continue
        elif first == 0x2C:  # a comma
            at_key, value_of_model = True, False
        elif first == 0x22:  # a string
            if at_key:
                at_key = False
                value_of_model = msgspec.json.decode(match.group()) == "model"
            elif value_of_model:
                spans.append(match.span())
    if len(spans) != 1:
        message = 'The body names "model" more than once; send it once.'
        raise BodyError(invalid_body(message, param="model", code="duplicate_field"))
    return spans[0]

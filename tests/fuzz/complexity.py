"""What reads bytes from outside takes time in proportion to their length, whatever they repeat.

An input is a text repeated between a beginning and an end. Its cost is CPU time, the least of several runs, so that
neighbours on the machine don't count; a fault grows with the square, and is told from noise at four times the length.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from overspill_gateway.core.answers.answer import error_of_answer, said_in
from overspill_gateway.core.answers.continuation import ContinuedStream, Partial, continuation_body
from overspill_gateway.core.answers.stream import StreamReader
from overspill_gateway.core.answers.usage import UsageFinder, report_of_answer
from overspill_gateway.core.dialects.endpoints import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    Dialect,
    Endpoint,
)
from overspill_gateway.core.http.head import read_head
from overspill_gateway.core.requests.body import read_body
from overspill_gateway.core.requests.bounds import bounds_of
from overspill_gateway.core.requests.multipart import field_spans_of_form
from overspill_gateway.core.text.splice import BodyError, fields_of, with_fields
from overspill_gateway.core.translation.messages_answer import MessagesStream
from overspill_gateway.core.translation.messages_request import chat_request
from overspill_gateway.core.translation.stream_as_answer import answer_of_stream
from overspill_gateway.wire.limits import Limits
from overspill_gateway.wire.reader import RequestReader

Parser = Callable[[bytes], object]

FORM: Final = b"multipart/form-data; boundary=b"
SHORT_BYTES: Final = 64 << 10
LONG_FACTOR: Final = 4
GROWTH_MAX: Final = 6.5
"""Of the time, at four times the length: what is linear takes 4, what is quadratic 16."""
TOO_SHORT_SECONDS: Final = 0.03
"""Below that the longer input is made longer still: the square of a quick step hides behind slower ones."""
LENGTH_BYTES_MAX: Final = 256 << 10
_READ_BYTES: Final = 1400
_LIMITS: Final = Limits(body_bytes_max=64 << 20)
_PIECE_CHARS: Final = 16
_CHUNK_BYTES: Final = 64
"""Of a chunk with such a piece."""
_PARTIAL: Final = Partial(
    dialect=Dialect.CHAT, text="so far", output_tokens=2, prompt_tokens=None, exact=False, first_chunk={}
)


def _body(endpoint: Endpoint) -> Parser:
    def read(data: bytes) -> None:
        with contextlib.suppress(BodyError):
            read_body(data, endpoint)
            bounds_of(fields_of(data), len(data), endpoint.dialect)
            with_fields(data, {"model": b'"other"', "new": b"1"})

    return read


def _form(data: bytes) -> None:
    with contextlib.suppress(BodyError):
        field_spans_of_form(data, FORM, frozenset({b"model", b"stream"}))


def _messages(data: bytes) -> None:
    with contextlib.suppress(BodyError):
        chat_request(data, b'"m"', max_tokens=10)


def _head(data: bytes) -> None:
    read_head(data, target_bytes_max=1 << 30, fields_max=1 << 30)


def _request(data: bytes) -> None:
    """As a connection reads it: in packets."""
    reader = RequestReader(_LIMITS, lambda _head: None, lambda: None)
    for at in range(0, len(data), _READ_BYTES):
        if reader.stopped:
            break
        reader.feed(data[at : at + _READ_BYTES])


def _stream(dialect: Dialect) -> Parser:
    def read(data: bytes) -> None:
        reader = StreamReader(dialect, keep=True)
        for at in range(0, len(data), _READ_BYTES):
            reader.feed(data[at : at + _READ_BYTES])
        reader.rest()

    return read


def _translated(data: bytes) -> None:
    stream = MessagesStream("m", "r")
    for at in range(0, len(data), _READ_BYTES):
        stream.feed(data[at : at + _READ_BYTES])
    stream.finish()


def _as_answer(data: bytes) -> None:
    answer_of_stream(data, Dialect.CHAT)


def _continued(data: bytes) -> None:
    """By a backend that repeats all that the client has, in pieces."""
    text = "".join(chr(0x61 + at % 26) for at in range(len(data) // _CHUNK_BYTES * _PIECE_CHARS))
    stream = ContinuedStream(replace(_PARTIAL, text=text), served_by="b", may_echo=True)
    for at in range(0, len(text), _PIECE_CHARS):
        stream.feed(
            b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text[at : at + _PIECE_CHARS].encode()
        )
    assert stream.text == text


def _answer(data: bytes) -> None:
    said_in(data)
    report_of_answer(data)
    error_of_answer(400, data)
    finder = UsageFinder()
    for at in range(0, len(data), _READ_BYTES):
        finder.feed(data[at : at + _READ_BYTES])
    finder.close()


def _continuation(data: bytes) -> None:
    continuation_body(data, _PARTIAL, local=True)


PARSERS: Final[dict[str, Parser]] = {
    "chat": _body(CHAT),
    "completions": _body(COMPLETIONS),
    "embeddings": _body(EMBEDDINGS),
    "responses": _body(RESPONSES),
    "messages": _body(MESSAGES),
    "translation": _messages,
    "form": _form,
    "head": _head,
    "request": _request,
    "chat stream": _stream(Dialect.CHAT),
    "responses stream": _stream(Dialect.RESPONSES),
    "messages stream": _stream(Dialect.MESSAGES),
    "translated stream": _translated,
    "answer": _answer,
    "continuation": _continuation,
    "stream as answer": _as_answer,
    "repeating stream": _continued,
}


def repeated(before: bytes, unit: bytes, after: bytes, length: int) -> bytes:
    """An input of about this length."""
    return before + unit * max(length // max(len(unit), 1), 1) + after


def cpu_seconds(parser: Parser, data: bytes, runs: int = 3) -> float:
    """The least CPU time of several runs, without that of the garbage collector, which looks at all that lives."""
    least = float("inf")
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(runs):
            started = time.thread_time()
            parser(data)
            least = min(least, time.thread_time() - started)
    finally:
        if collects:
            gc.enable()
    return least


def growth(parser: Parser, before: bytes, unit: bytes, after: bytes, length: int = SHORT_BYTES) -> float:
    """How many times as long it takes for an input that is four times as long; 1: too quick to matter.

    A suspicion is looked into again: only what stays is one.
    """
    while cpu_seconds(parser, repeated(before, unit, after, length * LONG_FACTOR), runs=1) < TOO_SHORT_SECONDS:
        if length >= LENGTH_BYTES_MAX:
            return 1.0
        length *= LONG_FACTOR
    least = float("inf")
    for _ in range(3):
        long = cpu_seconds(parser, repeated(before, unit, after, length * LONG_FACTOR))
        short = cpu_seconds(parser, repeated(before, unit, after, length))
        least = min(least, long / max(short, 1e-6))
        if least <= GROWTH_MAX:
            break
    return least


def complexity(data: bytes) -> None:
    """A fuzz target: the first byte chooses a parser, NUL parts what comes before, what is repeated, what follows."""
    before, _, rest = data[1:].partition(b"\0")
    unit, _, after = rest.partition(b"\0")
    if not unit:
        return
    name = list(PARSERS)[data[0] % len(PARSERS)]
    grown = growth(PARSERS[name], before, unit, after)
    assert grown <= GROWTH_MAX, f"{name}: four times the length takes {grown:.1f} times the time"

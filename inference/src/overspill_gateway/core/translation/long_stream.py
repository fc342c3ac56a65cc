"""Reads a long event of a stream in a process of its own (``answer_worker``), and tells what was read to whoever asked.

Not here: what it means (``long_event``), and the process.
"""

from typing import Final

import msgspec

from overspill_gateway.core.answers.long_event import LongEvent, in_short_events
from overspill_gateway.core.answers.stream import StreamReader
from overspill_gateway.core.answers.stream_events import Event, Meaning
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_shapes import Fault
from overspill_gateway.core.text.rope import divided
from overspill_gateway.core.translation.long_answer import report_told, told_report
from overspill_gateway.core.translation.long_answer_fields import (
    AskedEvent,
    ToldEvent,
    decode_asked_event,
    decode_told_event,
)

_MARK: Final = b"event:"
"""What a question begins with that is about one."""
_WHY_CHARS_MAX: Final = 2000
_SHAPE_BYTES_MAX: Final = 4096


def question_of_event(dialect: Dialect, *, keep: bool, divides: bool) -> bytes:
    """What is to be read of an event. ``divides``: it is to be told in short ones, for whoever writes events anew."""
    return _MARK + msgspec.json.encode(AskedEvent(dialect.value, keep, divides))


def is_of_event(asked: bytes) -> bool:
    """Whether a question is about an event, not about a whole answer."""
    return asked.startswith(_MARK)


def read_long_event(asked: bytes, event: bytes) -> tuple[bytes, bytes]:
    """What is told of an event, and the bytes that go with it."""
    about = decode_asked_event(asked[len(_MARK) :])
    dialect = Dialect(about.dialect)
    if about.divides:
        return msgspec.json.encode(ToldEvent(Meaning.NOTHING.name)), in_short_events(event, dialect)
    long = StreamReader(dialect, keep=about.keep).read_alone(event)
    read, event_parts = long.read, long.parts
    text = read.text.encode("utf-8", "replace")
    shape = long.first_chunk
    told = ToldEvent(
        read.meaning.name, read.usage, read.plain, read.piece, read.speaks, read.finished, read.sequence,
        read.why[:_WHY_CHARS_MAX], read.status, told_report(long.report), long.text_bytes,
        shape if len(msgspec.json.encode(shape)) <= _SHAPE_BYTES_MAX else {}, sum([len(part) for part in event_parts]),
    )  # fmt: skip
    return msgspec.json.encode(told), b"".join([*event_parts, text])


def told_event_fault(fault: Fault) -> bytes:
    """What is told of an event with which something is wrong."""
    return msgspec.json.encode(ToldEvent(Meaning.FAULT.name, why=fault.why, status=fault.status))


def division_fault(answer: bytes) -> str:
    """Why an event could not be told in short ones; empty: it could."""
    told = decode_told_event(answer)
    return told.why if told.meaning == Meaning.FAULT.name else ""


def event_told(answer: bytes, more: list[bytes]) -> LongEvent:
    """What was read."""
    told = decode_told_event(answer)
    event, text = divided(more, told.event_bytes)
    read = Event(
        Meaning[told.meaning], told.usage, b"".join(text).decode("utf-8", "replace"), told.plain, told.piece,
        told.speaks, told.finished, told.sequence, told.why, told.status,
    )  # fmt: skip
    report = told.report
    long = LongEvent(read, text_bytes=told.text_bytes, first_chunk=told.first_chunk, parts=event)
    if report is not None:
        long.report = report_told(report)
    return long

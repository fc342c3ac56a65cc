"""Reads a long answer in a process of its own (``answer_worker``), and tells what was read to whoever asked.

By the functions that read short ones, so that no length changes what an answer means. Not here: the process, and who
waits for it.
"""

from typing import Final

import msgspec

from overspill_gateway.core.answers.usage import Report
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_shapes import Fault
from overspill_gateway.core.text.rope import divided
from overspill_gateway.core.translation.long_answer_fields import Asked, Told, ToldReport, decode_asked, decode_told
from overspill_gateway.core.translation.whole_answer import WholeAnswer, Wish, read_counted

TOO_DEAR: Final = Fault("its answer takes too long to read, or too much memory")


class LongAnswer:
    """A long plain answer that was read: in the pieces in which it came back, since joining them takes too long."""

    __slots__ = ("body", "read", "told")

    def __init__(self, read: WholeAnswer, body: list[bytes], told: list[bytes]) -> None:
        self.read = read
        """What was read, but for the bytes themselves."""
        self.body = body
        """Empty: as it came."""
        self.told = told
        """Empty: the body."""


def question(wish: Wish) -> bytes:
    """What is to be read of an answer, for whoever reads it."""
    return msgspec.json.encode(
        Asked(
            wish.status, wish.spoken.value, wish.asked_stream, wish.unasked_stream, wish.include_usage,
            wish.translates, wish.model, wish.request_id,
        )
    )  # fmt: skip


def read_long(asked: bytes, body: bytes) -> tuple[bytes, bytes]:
    """What is told of an answer, and the bytes that go with it."""
    about = decode_asked(asked)
    wish = Wish(
        about.status, Dialect(about.spoken), about.asked_stream, about.unasked_stream, about.include_usage,
        about.translates, about.model, about.request_id,
    )  # fmt: skip
    read = read_counted(wish, body)
    if read.fault is not None:
        return told_fault(read.fault), b""
    clean = b"" if read.body == body else read.body
    text = (read.text or "").encode("utf-8", "replace")
    report = read.report
    told = Told(
        body_bytes=len(clean), told_bytes=len(read.told), has_text=read.text is not None,
        text_bytes_more=read.text_bytes_more, report=told_report(report) if report is not None else None,
    )  # fmt: skip
    return msgspec.json.encode(told), b"".join([clean, read.told, text])


def told_fault(fault: Fault) -> bytes:
    """What is told of an answer with which something is wrong."""
    return msgspec.json.encode(Told(fault=fault.why, fault_status=fault.status))


def answer_told(answer: bytes, more: list[bytes]) -> LongAnswer:
    """What was read."""
    told = decode_told(answer)
    if told.fault is not None:
        return LongAnswer(WholeAnswer(Fault(told.fault, told.fault_status)), [], [])
    body, rest = divided(more, told.body_bytes)
    instead, text = divided(rest, told.told_bytes)
    read = WholeAnswer(text_bytes_more=told.text_bytes_more)
    report = told.report
    if report is not None:
        read.report = report_told(report)
    if told.has_text:
        read.text = b"".join(text).decode("utf-8", "replace")
    return LongAnswer(read, body, instead)


def told_report(report: Report) -> ToldReport:
    """A report as it is told."""
    return ToldReport(
        report.prompt_tokens, report.cached_tokens, report.output_tokens, report.unfinished, report.reasoned
    )


def report_told(report: ToldReport) -> Report:
    """And back."""
    return Report(report.prompt_tokens, report.cached_tokens, report.output_tokens, report.unfinished, report.reasoned)

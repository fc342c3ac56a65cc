"""Reads a plain answer that is whole: judged by what it says, and put into the form that its client asked for.

All that is ever read of such an answer is read here, at once, so that a long one can be read in another process
(``long_answer``) by the same functions. Not here: how the client gets it.
"""

from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.answers.answer import text_of_answer
from overspill_gateway.core.answers.answer_fault import judged
from overspill_gateway.core.answers.usage import Report, report_of_answer
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_shapes import Fault
from overspill_gateway.core.text.json_text import BYTE_ORDER_MARK, whole_characters
from overspill_gateway.core.translation.answer_as_stream import stream_of_answer
from overspill_gateway.core.translation.messages_answer import MessagesStream
from overspill_gateway.core.translation.stream_as_answer import answer_of_stream

OUTPUT_BYTES_MAX: Final = 1 << 20
"""Of the text of an answer without usage, for counting its tokens; of a longer one the rest is only measured."""


@dataclass(slots=True)
class Wish:
    """What a plain answer has to become."""

    status: int
    spoken: Dialect
    """The backend's dialect."""
    asked_stream: bool = False
    """Whether its client asked for a stream."""
    unasked_stream: bool = False
    """Whether it came as a stream although its client asked for none."""
    include_usage: bool = True
    """Whether such a stream says how many tokens it took."""
    translates: bool = False
    """Whether the client speaks Anthropic's dialect and the backend OpenAI's."""
    model: str = ""
    """For a translation: the name that the client knows the model by."""
    request_id: str = ""
    """The same."""


@dataclass(slots=True)
class WholeAnswer:
    """A plain answer that was read."""

    fault: Fault | None = None
    """What is wrong with it; nothing else is known then."""
    body: bytes = b""
    """The answer in the backend's dialect, with whole characters; of a long one empty: as it came."""
    told: bytes = b""
    """What the client gets instead of it; empty: the body."""
    report: Report | None = None
    """What it reports of tokens; None: not looked for."""
    text: str | None = None
    """What was generated, for counting its tokens; None: not known, or not looked for."""
    text_bytes_more: int = 0
    """Bytes of the text that are not in it."""


def read_whole(wish: Wish, body: bytes) -> WholeAnswer:
    """What a whole plain answer comes to."""
    report: Report | None = None
    if wish.status < 300 and wish.spoken is not Dialect.OTHER:
        if wish.unasked_stream:
            answer = answer_of_stream(body, wish.spoken)
            if isinstance(answer, Fault):
                return WholeAnswer(answer)
            body = answer
        fault, report = judged(body, wish.spoken)
        if fault is not None:
            return WholeAnswer(fault)
        body = whole_characters(body.removeprefix(BYTE_ORDER_MARK))
    told = _told(wish, body)
    return WholeAnswer(told) if isinstance(told, Fault) else WholeAnswer(None, body, told, report)


def _told(wish: Wish, body: bytes) -> bytes | Fault:
    """What the client gets instead of the body; empty: the body itself."""
    told = b""
    if wish.asked_stream:
        told = stream_of_answer(body, wish.spoken, include_usage=wish.include_usage)
        if told and wish.translates:
            stream = MessagesStream(wish.model, wish.request_id)
            told = stream.feed(told) + stream.finish()
        return told or Fault("it answered with no stream")
    if wish.translates:
        told = MessagesStream(wish.model, wish.request_id).plain(wish.status, body)
        return told or Fault("its answer is no chat completion")
    return told


def read_counted(wish: Wish, body: bytes) -> WholeAnswer:
    """The same with all that counting its tokens takes, for whoever can't look at the body again."""
    read = read_whole(wish, body)
    if read.fault is not None:
        return read
    if read.report is None:
        read.report = report_of_answer(read.body)
    if read.report.usage() is None:
        text = text_of_answer(read.body)
        if text is not None:
            encoded = text.encode("utf-8", "replace")
            read.text_bytes_more = max(len(encoded) - OUTPUT_BYTES_MAX, 0)
            read.text = encoded[:OUTPUT_BYTES_MAX].decode("utf-8", "ignore") if read.text_bytes_more else text
    return read

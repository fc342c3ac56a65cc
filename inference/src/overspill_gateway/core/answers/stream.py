"""One backend's streamed answer, judged while it passes: whether it has begun, is whole, or failed inside its 200.

What a backend says before its first token is held back: until then the stream may fail without the client having
seen any of it. After it events pass as they come, each looked at once. Not here: who is asked next, and how an
error is told.
"""

from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.answers.events import (
    EVENT_BYTES_MAX,
    LONG_BYTES,
    EventAligner,
    event_name_and_data,
    says_nothing,
    split_events,
    stray_document,
)
from overspill_gateway.core.answers.long_event import UNREAD, LongEvent
from overspill_gateway.core.answers.piece import PieceMemory
from overspill_gateway.core.answers.split_characters import SplitCharacters
from overspill_gateway.core.answers.stream_events import Event, Meaning, read_event, shape_of
from overspill_gateway.core.answers.stream_fields import decode_chunk, decode_plain
from overspill_gateway.core.answers.usage import NOTHING_KNOWN, Usage, report_of_event
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.text.json_text import BYTE_ORDER_MARK, UNREADABLE
from overspill_gateway.core.text.rope import length_of

HELD_EVENTS_MAX: Final = 64
HELD_BYTES_MAX: Final = 256 * 1024
"""A stream that says more than this before its first token is passed on as it is."""
KEPT_CHARS_MAX: Final = 1 << 20
"""Of the text that is remembered for counting or going on; a longer answer can't go on elsewhere."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What a dialect's streams look like."""

    usual: bytes
    """How the event starts that most of a stream consists of."""
    ending: str
    """What says that a stream is whole; empty: nothing does."""
    has_choices: bool = False
    """Whether output stands in ``choices``."""


_FORMS: Final = {
    Dialect.CHAT: _Form(b"data: ", "[DONE]", has_choices=True),
    Dialect.COMPLETIONS: _Form(b"data: ", "[DONE]", has_choices=True),
    Dialect.RESPONSES: _Form(b"event: response.output_text.delta\ndata: ", "response.completed"),
    Dialect.MESSAGES: _Form(b"event: content_block_delta\ndata: ", "message_stop"),
}
_UNKNOWN: Final = _Form(b"", "")
_TOO_LONG: Final = f"an event of its stream is longer than {EVENT_BYTES_MAX >> 20} MiB"


class StreamReader:
    """One attempt's stream. Once it has a ``fault`` or has ``ended``, nothing more passes."""

    __slots__ = ("_aligner", "_dialect", "_ending", "_flows", "_has_choices", "_held", "_held_bytes",
                 "_held_events", "_is_mute", "_is_rest", "_kept_chars", "_last_piece", "_prefix", "_prefix_length",
                 "_reads_long", "_split", "_strip_usage", "_texts", "committed", "content_bytes",
                 "content_events", "ended", "fault", "fault_status", "finished", "first_chunk", "keep", "plain",
                 "report", "reported_bytes", "sequence")  # fmt: skip

    def __init__(
        self, dialect: Dialect, *, strip_usage: bool = False, keep: bool = False, reads_long: bool = True
    ) -> None:
        """``reads_long``: long events are read here too; else they are put into ``long``, to be read elsewhere."""
        self.committed = False
        """Whether a first token has come: from then on the client sees this stream."""
        self.fault: str | None = None
        """What went wrong inside the stream."""
        self.fault_status = 502
        """The HTTP status that the fault would have been."""
        self.ended = False
        """Whether the stream has said that it is whole."""
        self.finished = False
        """Whether the backend has said why generating ended."""
        self.content_events = 0
        """Events with a piece of the answer: for an engine about its tokens."""
        self.content_bytes = 0
        """No fewer bytes than the text of those events has."""
        self.report = NOTHING_KNOWN
        """Tokens that the backend has reported so far."""
        self.reported_bytes = 0
        """``content_bytes`` when it did."""
        self.keep = keep
        """Whether the text is remembered."""
        self.plain = True
        """Whether the text is all of the output; known only where it is kept."""
        self.first_chunk: dict[str, object] | None = None
        """Of the stream's first chunk, where the text is kept: its id, when it was made, its model."""
        self.sequence = 0
        """The last event's number, in the Responses dialect."""
        self._dialect = dialect
        form = _FORMS.get(dialect, _UNKNOWN)
        self._ending = form.ending
        self._has_choices = form.has_choices
        self._strip_usage = strip_usage and self._has_choices
        self._reads_long = reads_long
        self._aligner = EventAligner(keeps_long=not reads_long)
        self._held: list[bytes] = []
        self._held_events = self._held_bytes = 0
        self._flows = False
        self._prefix = form.usual
        self._prefix_length = len(self._prefix)
        self._texts: list[str] = []
        self._kept_chars = 0
        self._is_rest = False
        """Whether the long event that is read elsewhere is the stream's last and lacked its empty line."""
        self._split = SplitCharacters()
        self._last_piece = PieceMemory()
        self._is_mute: bool | None = None
        """Whether its choices hold no message; None: it had none yet. Not looked at once an answer has begun."""

    # -- what comes --------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bytes:
        """The events that may go on to the client now."""
        if self._flows and self._is_piece(data):
            return data
        return self._feed_any(data)

    def rest(self) -> bytes:
        """At the connection's proper end: what may still go on. A stream that isn't whole has a fault from here on."""
        rest = self._aligner.rest()
        passed = b""
        if self._is_over():
            pass
        elif not rest.strip():
            passed = rest if self.committed else b""
        elif not self._reads_long and len(rest) > LONG_BYTES:
            passed = b"" if self._ending else rest  # nobody has read it
        elif not self._ending:
            passed = self._pass_unwatched(rest)
        elif not read_event(self._dialect, *event_name_and_data(rest)).unreadable:
            passed = self._pass([rest + b"\n\n"])  # only its empty line is missing
        if self._ending and not self._is_over():
            self.fault = f"its stream ended without {self._ending}"
        return passed

    # -- long events -------------------------------------------------------------------------------------------

    @property
    def has_long(self) -> bool:
        """Whether a long event has come that has to be read elsewhere."""
        return bool(self._aligner.long)

    def ends_long(self) -> bool:
        """All has come: whether a long event is left, lacking its empty line, that has to be read elsewhere."""
        self._is_rest = self._ending != "" and not self._is_over() and self._aligner.ends_long()
        return self._is_rest

    def long_event(self) -> tuple[list[bytes], bytes] | None:
        """One that has come, to be read elsewhere, and what came behind it: feed that when it was read."""
        aligner = self._aligner
        if not aligner.long:
            return None
        taken = aligner.long, aligner.rest_of_feed
        aligner.long, aligner.rest_of_feed = [], b""
        return taken

    def read_alone(self, event: bytes) -> LongEvent:
        """What an event means that is the only one that this reader sees."""
        if not self._ending:
            self._pass_unwatched(event)
            return LongEvent(Event(Meaning.OUTPUT), self.report)
        self.committed = True
        split = SplitCharacters()
        whole = event.lstrip(b"\r\n").removeprefix(BYTE_ORDER_MARK)
        if split.concerns(whole):
            whole = split.joined(whole)
        read = self._read(whole)
        length, read.text = len(read.text.encode("utf-8", "replace")), self.text
        return LongEvent(read, self.report, length, self.first_chunk or {}, [] if whole == event else [whole])

    def take_long(self, event: LongEvent, parts: list[bytes]) -> list[bytes]:
        """The next event was read elsewhere; ``parts``: it as it came. What may go on to the client now."""
        read, parts = event.read, event.parts or parts
        if self._is_over() or (self._is_rest and read is UNREAD):  # a rest that nobody has read may be half an event
            return []
        self.report = self.report.joined(event.report)
        self.sequence = read.sequence or self.sequence
        if read.piece:
            self._is_mute = not read.speaks and self._is_mute is not False
        if self.keep:
            self.first_chunk = self.first_chunk or event.first_chunk
            self._keep_read(read, KEPT_CHARS_MAX + 1 if read is UNREAD else event.text_bytes)
        if not self._ending:
            self.committed = True
            self.content_events += 1
            self.content_bytes += length_of(parts)
            return parts
        if read.meaning is Meaning.FAULT:
            self._fail(read.why, read.status)
            return []
        passing: list[bytes] = []
        if self.committed:
            self._pass_committed(parts, read, event.text_bytes, passing)
        else:
            self._pass_uncommitted(parts, read, event.text_bytes, passing)
        return passing

    @property
    def usage(self) -> Usage | None:
        """Tokens that the backend has reported so far."""
        return self.report.usage()

    @property
    def text(self) -> str:
        """What was generated so far, where it is kept."""
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    @property
    def kept_whole(self) -> bool:
        """Whether ``text`` is all that was generated, tools and reasoning included."""
        return self._kept_chars <= KEPT_CHARS_MAX

    # -- passing -----------------------------------------------------------------------------------------------

    def _is_piece(self, event: bytes) -> bool:
        """Whether this is one event that carries a piece of output and nothing else, as nearly all do.

        Reading it proves that it is JSON, and costs less than searching it for the marks of other events.
        """
        span = self._last_piece.text_span(event)
        if span is not None:
            if self.keep and not self._keep_raw(event[span[0] : span[1]]):
                return False
            self.content_events += 1
            self.content_bytes += span[1] - span[0]
            return True
        if not event.startswith(self._prefix) or not event.endswith(b"}\n\n"):
            return False
        if event.find(b"\n", self._prefix_length) != len(event) - 2:
            return False
        return self._is_kept_piece(event) if self.keep else self._is_unkept_piece(event)

    def _is_unkept_piece(self, event: bytes) -> bool:
        try:
            chunk = decode_chunk(event[self._prefix_length :])
        except UNREADABLE:
            return False
        choices = chunk.choices
        if chunk.error is not None:
            return False
        if self._has_choices:
            if len(choices) != 1 or choices[0].finish_reason is not None or choices[0].error is not None:
                return False
        elif choices:
            return False
        reported = chunk.usage is not None and self._note_usage(event)  # counts so far, in each event on demand
        if chunk.sequence_number:
            self.sequence = chunk.sequence_number
        elif chunk.usage is None:
            self._last_piece.remember(event)
        self._count_piece(event, reported=reported)
        return True

    def _is_kept_piece(self, event: bytes) -> bool:
        if not self._has_choices or self._kept_chars > KEPT_CHARS_MAX:
            return False
        try:
            chunk = decode_plain(event[self._prefix_length :])
        except UNREADABLE:
            return False
        choices = chunk.choices
        if len(choices) != 1 or choices[0].index:
            return False
        choice = choices[0]
        self._keep_text(choice.delta.content if choice.delta is not None else choice.text)
        reported = chunk.usage is not None and self._note_usage(event)
        if chunk.usage is None:
            self._last_piece.remember(event)
        self._count_piece(event, reported=reported)
        return True

    def _count_piece(self, event: bytes, *, reported: bool) -> None:
        """``reported``: whether it says what all until here has used."""
        self.content_events += 1
        self.content_bytes += max(len(event) - self._last_piece.frame_bytes, 0)
        if reported:
            self.reported_bytes = self.content_bytes

    def _keep_raw(self, text: bytes) -> bool:
        """Remember the text of a piece, if it is one and there is room."""
        if self._kept_chars > KEPT_CHARS_MAX:
            return False
        try:
            self._keep_text(text.decode())
        except UnicodeDecodeError:
            return False
        return True

    def _keep_text(self, text: str) -> None:
        self._kept_chars += len(text)
        self._texts.append(text)

    def _feed_any(self, data: bytes) -> bytes:
        if self._is_over():
            return b""
        aligner = self._aligner
        whole = aligner.feed(data)
        if not whole:
            passed = b""
        elif self._ending:
            passed = self._pass(split_events(whole))
        else:
            passed = self._pass_unwatched(whole)
        if aligner.too_long and not self._is_over():
            self._fail(_TOO_LONG, 502)
        ready = aligner.idle and not self._split.waits
        self._flows = self.committed and self._ending != "" and ready and not self._is_over()
        return passed

    def _pass(self, events: list[bytes]) -> bytes:
        passing: list[bytes] = []
        for raw in events:
            if len(raw) > EVENT_BYTES_MAX:
                self._fail(_TOO_LONG, 502)
                break
            if says_nothing(raw):  # a backend's heartbeat: until the answer begins the client hears ours
                passing += [raw] if self.committed else []
                continue
            split = self._split
            if self.committed and not split.waits and self._is_piece(raw):
                passing.append(raw)
                continue
            event = self._cleaned(raw)
            if split.concerns(event):
                event = split.joined(event)
            read = self._read(event)
            if read.meaning is Meaning.FAULT:
                self._fail(read.why, read.status)
                break
            length = len(read.text.encode("utf-8", "replace")) if read.text else 0
            if self.committed:
                self._pass_committed([event], read, length, passing)
            else:
                self._pass_uncommitted([event], read, length, passing)
            if self._is_over():
                break
        return b"".join(passing)

    def _read(self, event: bytes) -> Event:
        """What an event means, remembered as far as it has to be."""
        name, data = event_name_and_data(event)
        read = read_event(self._dialect, name, data)
        stray = stray_document(event)
        if stray is not None and read.meaning is not Meaning.FAULT:
            other = read_event(self._dialect, b"", stray)
            read = other if other.meaning is Meaning.FAULT and not other.unreadable else read
        if read.usage:
            read.usage = self._note_usage(event)
        if read.sequence:
            self.sequence = read.sequence
        if read.piece:
            self._is_mute = not read.speaks and self._is_mute is not False
        if self.keep and data is not None:
            self._keep(read, data)
        return read

    def _pass_committed(self, parts: list[bytes], read: Event, text_bytes: int, passing: list[bytes]) -> None:
        if read.meaning is Meaning.USAGE and self._strip_usage:
            return
        if read.meaning is Meaning.END:
            self.ended = True
        elif read.piece:
            self.content_events += 1
            self.content_bytes += text_bytes
            if read.usage:
                self.reported_bytes = self.content_bytes
            self.finished = self.finished or read.finished
        passing += parts

    def _pass_uncommitted(self, parts: list[bytes], read: Event, text_bytes: int, passing: list[bytes]) -> None:
        if read.meaning is Meaning.NOTHING:
            return
        fault = self._fault_of_beginning(read)
        if fault:
            self._fail(fault, 502)
        elif read.meaning is not Meaning.START and read.meaning is not Meaning.USAGE:
            self._commit(passing)
            self._pass_committed(parts, read, text_bytes, passing)
        elif read.meaning is Meaning.START or not self._strip_usage:
            self._held += parts
            self._held_events += 1
            self._held_bytes += length_of(parts)
            if self._holds_enough and not self._is_mute:
                self._commit(passing)

    def _fault_of_beginning(self, read: Event) -> str:
        """What makes an event the end of what is no answer; empty: nothing."""
        if read.meaning is Meaning.END and not read.finished:
            return "its stream ended without an answer"
        return "its stream holds no message" if self._is_mute and (read.finished or self._holds_enough) else ""

    @property
    def _holds_enough(self) -> bool:
        return self._held_events >= HELD_EVENTS_MAX or self._held_bytes >= HELD_BYTES_MAX

    def _commit(self, passing: list[bytes]) -> None:
        self.committed = True
        passing += self._held
        self._held = []

    def _pass_unwatched(self, whole: bytes) -> bytes:
        self.committed = True
        if b'"usage"' in whole:
            self._note_usage(whole)
        self.content_events += 1
        self.content_bytes += len(whole)
        self.ended = whole.rstrip().endswith(b"data: [DONE]")
        return whole

    def _is_over(self) -> bool:
        """Whether nothing more passes; of a stream in an unknown dialect everything does."""
        return (self.ended and self._ending != "") or self.fault is not None

    # -- remembering -------------------------------------------------------------------------------------------

    def _fail(self, why: str, status: int) -> None:
        self.fault = why or "an error without a message"
        self.fault_status = status

    def _note_usage(self, events: bytes) -> bool:
        """Whether what was written so far is counted now: a report without its output says nothing of that."""
        said = report_of_event(events)
        self.report = self.report.joined(said)
        if said.output_tokens is None:
            return False
        self.reported_bytes = self.content_bytes
        return True

    def _keep(self, read: Event, data: bytes) -> None:
        if self.first_chunk is None:
            self.first_chunk = shape_of(data)
        self._keep_read(read, len(read.text))

    def _keep_read(self, read: Event, length: int) -> None:
        """``length``: of all of the text, which may be too long to be there."""
        self.plain = self.plain and read.plain
        if not length:
            return
        self._kept_chars += length
        if self._kept_chars <= KEPT_CHARS_MAX:
            self._texts.append(read.text)
        else:
            self.plain = False

    def _cleaned(self, event: bytes) -> bytes:
        """An event of the beginning without what may stand before it: empty lines, a byte order mark."""
        if self.committed:
            return event
        return event.lstrip(b"\r\n").removeprefix(BYTE_ORDER_MARK)

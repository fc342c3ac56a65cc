"""Writes a backend's answer on to the client, and knows how it is doing: begun, whole, or failed inside its 200.

A plain answer that is short is written only when it is whole, so that a backend that dies halfway through it costs
the client nothing. A stream is written from its first token on, in whole events; until then nothing of it has
reached the client and another backend can take over. Not here: what follows from a failure.
"""

from typing import TYPE_CHECKING, Final

from overspill_gateway.core.answers.answer import error_of_answer
from overspill_gateway.core.answers.answer_fault import fault_of_beginning, fault_of_end
from overspill_gateway.core.answers.continuation import ContinuedStream, Partial
from overspill_gateway.core.answers.long_event import LongEvent
from overspill_gateway.core.answers.stream import StreamReader
from overspill_gateway.core.answers.usage import NOTHING_KNOWN, Report, Usage, UsageFinder
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_events import stream_error
from overspill_gateway.core.dialects.error_shapes import Fault
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.http.forwarding import to_client, with_content_type
from overspill_gateway.core.http.pieces import Pieces
from overspill_gateway.core.text.json_text import BYTE_ORDER_MARK
from overspill_gateway.core.text.rope import length_of
from overspill_gateway.core.translation.long_stream import question_of_event
from overspill_gateway.core.translation.messages_answer import MessagesStream
from overspill_gateway.core.translation.whole_answer import Wish
from overspill_gateway.proxy.gathered import TAIL_BYTES, Gathered
from overspill_gateway.proxy.rewriting import Rewriter

if TYPE_CHECKING:
    from overspill_gateway.proxy.early_stream import EarlyStream
    from overspill_gateway.wire.server import ServerConnection

_UNDECIDED_BYTES_MAX: Final = 4096
"""Of white space before what may be a stream or a plain answer."""
_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
_STREAM_STARTS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
"""What a stream of events starts with."""

_NOTHING: Final = Gathered(Wish(200, Dialect.OTHER, False, False, False), holds=False)
"""Of every answer that is a stream from its head on."""


class Relay:
    """One answer on its way to the client."""

    __slots__ = (
        "_asked_stream", "_client", "_closed", "_continued", "_dated", "_dialect", "_extra", "_head", "_hold_plain",
        "_keep", "_length", "_lines", "_opening", "_passing_usage", "_reader", "_rest", "_rewriter", "_spoken",
        "_strip_usage", "_tail", "_translator", "_unasked_stream", "_undecided", "_wants_usage", "begun", "committed",
        "fault", "fault_status", "plain", "status",
    )  # fmt: skip

    def __init__(
        self,
        client: "ServerConnection",
        status: int,
        head: AnswerHead,
        extra: bytes,
        *,
        dialect: Dialect,
        strip_usage: bool = False,
        keep: bool = False,
        translator: MessagesStream | None = None,
        hold_plain: bool = False,
        opening: "EarlyStream | None" = None,
        asked_stream: bool | None = None,
    ) -> None:
        """Begin with an answer's head.

        ``extra``: header lines of ours. ``dialect``: the client's; with a ``translator`` the backend speaks the one
        of chat completions, and a plain answer is translated as a whole. ``keep``: remember the text.
        ``hold_plain``: a plain answer is never written before ``finish``, whatever its length. ``opening``: where
        heartbeats may have begun the answer already. ``asked_stream``: what the request asked for, a stream or a
        plain answer, which the client gets whatever the backend makes of it; None: whichever comes.
        """
        told = head.told
        self.status = status
        self.begun = False
        """Whether anything of this answer went to the client: from then on no other backend can serve it."""
        self.committed = False
        """Whether the first token has come: what is written of a stream is written from here on."""
        self.fault: str | None = None
        """What is wrong with the answer although its status is good."""
        self.fault_status = 502
        """The HTTP status that the fault would have been."""
        self._client = client
        self._dialect = dialect
        self._extra = extra
        self._head = head
        self._lines = told.lines + extra
        self._dated = told.dated
        self._length = told.content_length
        self._opening = opening
        self._rewriter: Rewriter | None = translator
        self._translator = translator
        self._continued: ContinuedStream | None = None
        self._strip_usage = strip_usage and translator is None
        self._reader: StreamReader | None = None
        self._hold_plain = hold_plain or translator is not None
        self._passing_usage: UsageFinder | None = None
        self._tail = b""
        self._rest = b""
        self._closed = False
        self._keep = keep
        self._spoken = Dialect.CHAT if translator is not None else dialect
        self._wants_usage = not strip_usage or translator is not None
        self._asked_stream = self._undecided = self._unasked_stream = False
        self._take_form(asked_stream=asked_stream, event_stream=told.event_stream)

    def _take_form(self, *, asked_stream: bool | None, event_stream: bool) -> None:
        """Settle how the answer is read, by what was asked for and what its head says.

        ``_undecided``: a stream was asked for and the head promises none, what comes first will show what it is.
        ``_unasked_stream``: a stream comes that has to be made a plain answer.
        """
        good = self.status < 300 and self._dialect is not Dialect.OTHER and self._dialect is not Dialect.EMBEDDINGS
        self._asked_stream = good and asked_stream is True
        self._undecided = self._asked_stream and not event_stream
        self._unasked_stream = good and asked_stream is False and event_stream
        opening = self._opening
        if self._unasked_stream or self._undecided:
            self._hold_plain = True
        elif event_stream and self.status < 300:
            self._read_stream()
        elif opening is not None and opening.begun:
            self._hold_plain = True
            if self.status < 300:
                self.fault = "it answered with no stream"
        self.plain = Gathered(self._wish, holds=self._hold_plain) if self._reader is None else _NOTHING
        """A plain answer, as long as it is gathered."""

    @property
    def _wish(self) -> Wish:
        """What a plain answer has to become."""
        translator = self._translator
        wish = Wish(self.status, self._spoken, self._asked_stream, self._unasked_stream, self._wants_usage)
        if translator is not None:
            wish.translates, wish.model, wish.request_id = True, translator.model, translator.request_id
        return wish

    def _say_type(self, content_type: bytes) -> None:
        """The client gets another type of body than the backend's head says."""
        self._lines = to_client(with_content_type(self._head.headers, content_type)).lines + self._extra

    def _read_stream(self) -> None:
        self._reader = StreamReader(self._spoken, strip_usage=self._strip_usage, keep=self._keep, reads_long=False)

    # -- the backend's answer ----------------------------------------------------------------------------------

    def feed(self, data: bytes, chunk: bytes = b"") -> None:
        """A piece of the backend's answer; look at ``fault`` and ``committed`` afterwards.

        ``chunk``: the piece with its framing, where it is the whole content of one chunk.
        """
        reader = self._reader
        if reader is None:
            if self._undecided:
                reader = self._decided(data)
            if reader is None:
                self._feed_plain(data)
                return
            data = self.body() + data
            self.plain.pieces, chunk = Pieces(), b""
        events = reader.feed(data)
        if events:
            if self._rewriter is not None:
                events = self._rewriter.feed(events)
            if not self.begun:
                self._begin(None)
            self.committed = True
            self._client.send(events, chunk if events is data else b"")
        if reader.fault is not None:
            self.fault, self.fault_status = reader.fault, reader.fault_status
        elif self._continued is not None and self._continued.fault is not None:
            self.fault = self._continued.fault

    # -- long events: read elsewhere, see ``plain`` for long plain answers -------------------------------------

    @property
    def may_stream(self) -> bool:
        """Whether events come, or may come."""
        return self._reader is not None or self._undecided

    @property
    def has_long_event(self) -> bool:
        """Whether a long event has come: nothing more can be fed before it was read."""
        return self._reader is not None and self._reader.has_long

    def ends_long(self) -> bool:
        """All has come: whether a long event is left, lacking its empty line, that is to be read before the end."""
        return self._reader is not None and self._reader.ends_long()

    @property
    def rewrites(self) -> bool:
        """Whether events are written anew: a long one is then told in short ones, which are fed."""
        return self._rewriter is not None

    def long_event(self) -> tuple[bytes, list[bytes], bytes]:
        """What is to be read of it, it, and what came behind it."""
        reader = self._reader
        taken = reader.long_event() if reader is not None else None
        if reader is None or taken is None:
            return b"", [], b""
        return question_of_event(self._spoken, keep=reader.keep, divides=self.rewrites), *taken

    def take_long(self, event: LongEvent, parts: list[bytes]) -> None:
        """It was read; ``parts``: it as it came."""
        reader = self._reader
        if reader is None:
            return
        passing = reader.take_long(event, parts)
        if passing and not self.begun:
            self._begin(None)
        self.committed = self.committed or bool(passing)
        for part in passing:
            self._client.send(part)
        if reader.fault is not None:
            self.fault, self.fault_status = reader.fault, reader.fault_status

    def _decided(self, data: bytes) -> StreamReader | None:
        """The reader of a stream, where one has begun although the head did not say so."""
        start = (self.body() + data).removeprefix(BYTE_ORDER_MARK).lstrip()[:8]
        if not start and self.plain.pieces.length < _UNDECIDED_BYTES_MAX:
            return None
        self._undecided = False
        if start.startswith(_STREAM_STARTS):
            self._say_type(_EVENT_STREAM)
            self._read_stream()
        return self._reader

    def _feed_plain(self, data: bytes) -> None:
        if self.begun:
            self._pass_usage(data)
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            self._client.send(data)
            return
        plain = self.plain
        plain.pieces.add(data)
        if plain.pieces.length <= plain.bytes_max:
            return
        if self._hold_plain:
            plain.pieces = Pieces()
            self.fault = plain.too_long
            return
        whole = plain.pieces.joined()
        if plain.is_judged and (fault := fault_of_beginning(whole)) is not None:
            self._fail(fault)
            return
        plain.pieces = Pieces()
        self._pass_usage(whole)
        self._tail = whole[-TAIL_BYTES:]
        self._begin(self._length)
        self.committed = True
        self._client.send(whole)

    def _pass_usage(self, piece: bytes) -> None:
        """Look for reports in a piece that is kept nowhere."""
        if self._passing_usage is None:
            self._passing_usage = UsageFinder()
        self._passing_usage.feed(piece)

    def close(self) -> str | None:
        """The backend has nothing more to say: what is wrong with its answer, if anything. Nothing is written."""
        reader = self._reader
        if self._closed:
            return self.fault
        self._closed = True
        if reader is not None:
            self._rest = reader.rest()
            if reader.fault is not None:
                self.fault, self.fault_status = reader.fault, reader.fault_status
        elif self.fault is None and not self.begun:
            self._close_plain()
        elif self.fault is None and self.plain.is_judged and (fault := fault_of_end(self._tail)) is not None:
            self._fail(fault)
        return self.fault

    def _close_plain(self) -> None:
        fault = self.plain.close()
        if fault is not None:
            self._fail(fault)
        elif self._asked_stream:
            self._say_type(_EVENT_STREAM)
        elif self._unasked_stream:
            self._say_type(b"application/json")

    def _fail(self, fault: Fault) -> None:
        self.fault, self.fault_status = fault.why, fault.status

    def finish(self, body: bytes | None = None) -> bool:
        """Write what is left of the answer, ``body`` in place of a gathered one; False: it has a fault, nothing is."""
        if self.close() is not None:
            return False
        self.committed = True
        if self._reader is None:
            self._finish_plain(body)
            return True
        if not self.begun:
            self._begin(None)
        rest, rewriter = self._rest, self._rewriter
        if rewriter is not None:
            rest = (rewriter.feed(rest) if rest else b"") + rewriter.finish()
        self._client.send(rest)
        return True

    def _finish_plain(self, body: bytes | None) -> None:
        if self.begun:
            return
        opening = self._opening
        if opening is not None and opening.begun and not self._asked_stream:  # a refusal: its status came too late
            self.begun = True
            opening.tell(self._extra)
            self._client.send(self._error_event(error_of_answer(self.status, self.body() if body is None else body)))
            return
        parts = self.plain.parts_told() if body is None else [body]
        self._begin(None if self._asked_stream else length_of(parts))
        for part in parts:
            self._client.send(part)

    # -- going on elsewhere ------------------------------------------------------------------------------------

    def partial(self) -> Partial | None:
        """The answer as the client has it, for another backend to go on with; None: that can't be done truly.

        Only an answer that was made with ``keep`` can go on, one that is plain text and lacks its end.
        """
        reader, before = self._reader, self._continued
        if reader is None or not reader.keep or not self.begun or reader.finished or not reader.plain:
            return None
        if self._rewriter is not before or self._dialect not in {Dialect.CHAT, Dialect.COMPLETIONS}:
            return None
        if before is not None:
            return before.partial_with(reader.content_events)
        usage = reader.usage
        return Partial(
            dialect=self._dialect,
            text=reader.text,
            output_tokens=usage.output_tokens if usage is not None else reader.content_events,
            prompt_tokens=usage.prompt_tokens if usage is not None else None,
            exact=usage is not None,
            first_chunk=reader.first_chunk or {},
        )

    def continue_with(self, status: int, head: AnswerHead, partial: Partial, *, served_by: str, may_echo: bool) -> None:
        """Another backend goes on with the answer: what is fed from now on is its stream.

        ``may_echo``: whether it may repeat the text instead of going on, as a hosted API does.
        """
        self._reader = StreamReader(self._dialect, strip_usage=self._strip_usage, keep=True, reads_long=False)
        self._rewriter = self._continued = ContinuedStream(partial, served_by=served_by, may_echo=may_echo)
        self._closed = self.committed = False
        self._rest = b""
        whole = status < 300 and head.told.event_stream
        self.fault = None if whole else f"it answered {status} with no stream"
        self.fault_status = 502

    def break_off(self, error: ApiError) -> None:
        """The rest will not come: an error event where the client reads events, else a cut.

        After the event the connection stays usable: closing it would break the client's next request.
        """
        client, reader, opening = self._client, self._reader, self._opening
        if reader is None and self.begun:
            client.cut()
            return
        if not self.begun:
            if opening is not None:
                opening.refuse(error, self._extra)
            else:
                client.refuse(error, self._extra)
            return
        if reader is not None and not self.ended:
            client.send(self._error_event(error))
        client.end()

    # -- what is known of it -----------------------------------------------------------------------------------

    @property
    def streams(self) -> bool:
        """Whether it consists of events."""
        return self._reader is not None

    @property
    def ended(self) -> bool:
        """Whether a stream has said that it is whole: what happens to its connection no longer matters."""
        return self._reader is not None and self._reader.ended and self.fault is None

    @property
    def gathers(self) -> bool:
        """Whether a plain answer has begun to come in, of which nothing went to the client."""
        return self.plain.pieces.length > 0 and not self.begun

    @property
    def finished(self) -> bool:
        """Whether the backend has said why generating ended: what it reported by then is all."""
        return self._reader is None or self._reader.finished

    @property
    def content_events(self) -> int:
        """Events with output that have come: for an engine about its tokens."""
        return self._reader.content_events if self._reader is not None else 0

    @property
    def content_bytes(self) -> int:
        """No fewer bytes than the text of those events has."""
        return self._reader.content_bytes if self._reader is not None else 0

    @property
    def unreported_bytes(self) -> int:
        """Those that came behind the last report."""
        return self._reader.content_bytes - self._reader.reported_bytes if self._reader is not None else 0

    def report(self) -> Report:
        """What the backend has reported of tokens so far."""
        if self._reader is not None:
            return self._reader.report
        if self.begun and not self.plain.pieces.length:
            return self._passing_usage.close() if self._passing_usage is not None else NOTHING_KNOWN
        return self.plain.report()

    def usage(self, answers: int = 1) -> Usage | None:
        """Tokens that the backend has reported for so many answers; None: not all of them, or not to be believed."""
        return self.report().usage(generates=self._dialect is not Dialect.EMBEDDINGS, answers=answers)

    def body(self) -> bytes:
        """A plain answer, as long as it is gathered; not of a long one, see ``plain``."""
        return self.plain.body()

    def output_text(self) -> str | None:
        """What was generated, for counting its tokens; None: not all of it is known."""
        reader = self._reader
        if reader is not None:
            return reader.text if reader.keep and reader.kept_whole else None
        return None if self.begun and not self.plain.pieces.length else self.plain.output_text()

    @property
    def is_long(self) -> bool:
        """Whether a whole plain answer has to be read elsewhere before it is closed: see ``plain``."""
        return not (self.begun or self._closed) and self.fault is None and self.plain.is_long

    # -- writing -----------------------------------------------------------------------------------------------

    def _begin(self, length: int | None) -> None:
        self.begun = True
        opening = self._opening
        if opening is not None and opening.begun:
            opening.tell(self._extra)
            return
        if opening is not None:
            opening.begun = self._reader is not None
        self._client.send_head(self.status, self._lines, length, dated=self._dated)

    def _error_event(self, error: ApiError) -> bytes:
        sequence = self._reader.sequence + 1 if self._reader is not None else 0
        request_id = self._extra.partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode("latin-1")
        return stream_error(error, self._dialect, request_id=request_id, sequence=sequence)

"""A plain answer while it is gathered, and what it came to once it was read. Not here: how it is written (``relay``).

A long one is read in another process: whoever waits for its end asks ``is_long`` first. Where nobody could read it, it
goes on as it came by what its two ends say, as an answer does that is too long to be gathered.
"""

from typing import Final

from overspill_gateway.core.answers.answer import text_of_answer
from overspill_gateway.core.answers.answer_fault import fault_of_beginning, fault_of_end
from overspill_gateway.core.answers.usage import Report, UsageFinder, report_of_answer
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_shapes import Fault
from overspill_gateway.core.http.pieces import Pieces
from overspill_gateway.core.translation.long_answer import LongAnswer, answer_told, question
from overspill_gateway.core.translation.whole_answer import WholeAnswer, Wish, read_whole

READ_BYTES_MAX: Final = 16 * 1024
"""An answer up to this long is read on the event loop, at 0.2 ms a KiB at worst; a longer one in another process."""
STREAM_READ_BYTES_MAX: Final = 8 * 1024
"""The same of a stream that nobody asked for, whose events may be tiny."""
GATHERED_BYTES_MAX: Final = 256 * 1024
"""An answer up to this long is held until it is whole."""
HELD_BYTES_MAX: Final = 16 * 1024 * 1024
"""The same for one that has to be read as a whole; a longer one is a fault."""
TAIL_BYTES: Final = 64
"""Of the end of a long answer, to see that it has one."""
_LAST_PARTS: Final = 4
"""Of a very long answer that nobody reads, to find its usage."""


class Gathered:
    """A plain answer."""

    __slots__ = ("_long", "_read", "_report", "_unread", "bytes_max", "pieces", "wish")

    def __init__(self, wish: Wish, *, holds: bool) -> None:
        """``holds``: whether it is kept until it is whole, whatever its length."""
        self.wish = wish
        self.bytes_max = HELD_BYTES_MAX if holds and wish.status < 300 else GATHERED_BYTES_MAX
        """What is longer is not kept; of a refusal nobody reads as much."""
        self.pieces = Pieces()
        """What has come; empty once it has gone to the client."""
        self._read: WholeAnswer | None = None
        self._long: LongAnswer | None = None
        """Where it was read elsewhere."""
        self._report: Report | None = None
        self._unread: Fault | None = None
        """Why nobody could read it there."""

    @property
    def too_long(self) -> str:
        """What is wrong with one that is longer."""
        mib = self.bytes_max >> 20
        return "its answer is longer than " + (f"{mib} MiB" if mib else f"{self.bytes_max >> 10} KiB")

    @property
    def is_judged(self) -> bool:
        """Whether it has to be an answer by its words too."""
        return self.wish.status < 300 and self.wish.spoken is not Dialect.OTHER

    @property
    def _is_read(self) -> bool:
        """Whether it is read even if it is long. Embeddings are numbers, and no error is as long."""
        return self.is_judged and self.wish.spoken is not Dialect.EMBEDDINGS

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def is_long(self) -> bool:
        """Whether it has to be read, which takes longer than the event loop may be kept, and nobody was asked yet."""
        asked = self._read is not None or self._unread is not None
        bytes_max = STREAM_READ_BYTES_MAX if self.wish.unasked_stream else READ_BYTES_MAX
        return not asked and self.pieces.length > bytes_max and self._is_read

    @property
    def question(self) -> tuple[bytes, list[bytes]]:
        """What is to be read of it, for whoever reads it elsewhere; and it."""
        return question(self.wish), self.pieces.parts()

    def was_read(self, told: bytes, more: list[bytes]) -> None:
        """It was read elsewhere."""
        self._long = answer_told(told, more)
        self._read = self._long.read

    def was_not_read(self, why: str) -> None:
        """Nobody could read it now, for no reason of its own."""
        self._unread = Fault(why)

    def close(self) -> Fault | None:
        """It is whole: what is wrong with it, if anything."""
        if self._unread is not None or (self.pieces.length > READ_BYTES_MAX and not self._is_read):
            return self._close_unread()
        if self._read is None:
            self._read = read_whole(self.wish, self.pieces.joined())
        self._report = self._read.report
        return self._read.fault

    def _close_unread(self) -> Fault | None:
        wish, parts = self.wish, self.pieces.parts()
        last = b"".join(parts if self.pieces.length <= GATHERED_BYTES_MAX else parts[-_LAST_PARTS:])
        if self.is_judged:
            if self._unread is not None and (wish.asked_stream or wish.unasked_stream or wish.translates):
                return self._unread
            fault = fault_of_beginning(parts[0]) or fault_of_end(last[-TAIL_BYTES:])
            if fault is not None:
                return fault
        usage = UsageFinder()
        usage.feed(last)
        self._report = usage.close()
        return None

    # -- what it came to ---------------------------------------------------------------------------------------

    def report(self) -> Report:
        """What it reports of tokens."""
        if self._report is None:
            self._report = report_of_answer(self.body())
        return self._report

    def body(self) -> bytes:
        """All of it, in the backend's dialect. Not of a long one: joining it takes too long."""
        return self._read.body if self._read is not None and self._long is None else self.pieces.joined()

    def parts(self) -> list[bytes]:
        """The same in parts."""
        if self._long is None:
            return self.pieces.parts() if self._read is None else [self._read.body]
        return self._long.body or self.pieces.parts()

    def parts_told(self) -> list[bytes]:
        """What the client gets."""
        if self._long is not None:
            return self._long.told or self.parts()
        return [self._read.told] if self._read is not None and self._read.told else self.parts()

    def output_text(self) -> str | None:
        """What was generated, for counting its tokens; None: not known. Its end may be missing."""
        if self._long is not None:
            return self._long.read.text
        return text_of_answer(self.body()) if self.pieces.length <= READ_BYTES_MAX else None

    @property
    def text_bytes_more(self) -> int:
        """Bytes that are missing at that text's end."""
        return self._long.read.text_bytes_more if self._long is not None else 0

"""The head of a backend's last answer, for the next one, which mostly has the same but for its length."""

from typing import Final

from overspill_gateway.core.http.answer_head import NO_HEAD, AnswerHead
from overspill_gateway.core.http.head import LENGTH_DIGITS_MAX, LENGTH_FIELD, is_plain_length

_HEAD_END: Final = b"\r\n\r\n"


class AnswerMemory:
    """The head of the last answer that came whole, with its body, in one read.

    A backend's next answer mostly differs in its length alone: it is then taken apart by comparing, not by parsing.
    """

    __slots__ = ("_after", "_before", "_length", "_raw", "head", "status")

    def __init__(self) -> None:
        self.status = 0
        self.head = NO_HEAD
        self._raw = b""
        """The head with its empty line; ``_before`` and ``_after``: around its length's digits."""
        self._before = self._after = b""
        self._length = 0
        """Of head and body."""

    def remember(self, data: bytes, status: int, head: AnswerHead) -> None:
        """Keep the head of an answer that these bytes are, all of them, by its length."""
        self._raw, self._length = b"", 0
        end = data.find(_HEAD_END) + len(_HEAD_END)
        match = LENGTH_FIELD.search(data, 0, end - 2)
        if match is not None and int(match[1]) == len(data) - end:
            start, stop = match.span(1)
            self._before, self._after = data[:start], data[stop:end]
            self._raw, self._length = data[:end], len(data)
            self.status, self.head = status, head

    def body_start(self, data: bytes) -> int:
        """Where the body starts in bytes that are one such answer, no more and no less; 0: they are not."""
        if len(data) == self._length and data.startswith(self._raw):
            return len(self._raw)
        return self._start_of_another_length(data) if self._length else 0

    def _start_of_another_length(self, data: bytes) -> int:
        before = self._before
        if not data.startswith(before):
            return 0
        stop = data.find(b"\r", len(before), len(before) + LENGTH_DIGITS_MAX + 1)
        if stop < 0 or not data.startswith(self._after, stop):
            return 0
        digits = data[len(before) : stop]
        start = stop + len(self._after)
        if not is_plain_length(digits) or int(digits) != len(data) - start:
            return 0
        self._raw, self._length = data[:start], len(data)
        self.head = self.head.with_length(digits)
        return start

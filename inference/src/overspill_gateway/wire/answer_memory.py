"""The head of a backend's last answer, for the next one, which mostly differs from it in its length alone."""

from typing import Final

from overspill_gateway.core.http.head import LENGTH_DIGITS_MAX, LENGTH_FIELD, Header, is_plain_length, with_length

_HEAD_END: Final = b"\r\n\r\n"


class AnswerMemory:
    """The head of the last answer that came whole, with its body, in one read, its length apart.

    A backend's next answer mostly differs in its length alone: it is then taken apart by comparing, not by parsing.
    """

    __slots__ = ("_after", "_before", "_digits", "headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self._before = self._after = self._digits = b""

    def remember(self, data: bytes, status: int, headers: list[Header]) -> None:
        """Keep the head of an answer that these bytes are, all of them, by its length."""
        self._before = b""
        end = data.find(_HEAD_END) + len(_HEAD_END)
        match = LENGTH_FIELD.search(data, 0, end - 2)
        if match is not None and int(match[1]) == len(data) - end:
            start, stop = match.span(1)
            self._before, self._digits, self._after = data[:start], match[1], data[stop:end]
            self.status, self.headers = status, headers

    def body_start(self, data: bytes) -> int:
        """Where the body starts in bytes that are one such answer, no more and no less; 0: they are not."""
        before = self._before
        if not before or not data.startswith(before):
            return 0
        stop = data.find(b"\r", len(before), len(before) + LENGTH_DIGITS_MAX + 1)
        if stop < 0 or not data.startswith(self._after, stop):
            return 0
        digits = data[len(before) : stop]
        start = stop + len(self._after)
        if not is_plain_length(digits) or int(digits) != len(data) - start:
            return 0
        if digits != self._digits:
            self._digits = digits
            self.headers = with_length(self.headers, digits)
        return start

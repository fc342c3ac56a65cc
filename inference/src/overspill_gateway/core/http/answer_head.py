"""The head of a backend's answer, and what was found out about it: the next one there mostly has the same fields.

Not here: how it is seen to be the same (``wire.answer_memory``), and what follows from a field (``forwarding``).
"""

from typing import Final

from overspill_gateway.core.http.content_coding import coding_of, unpacked_head
from overspill_gateway.core.http.forwarding import ToldHead, to_client
from overspill_gateway.core.http.head import Header, with_length


class AnswerHead:
    """Header fields, which never change."""

    __slots__ = ("_coding", "_told", "headers", "seen_by")

    def __init__(self, headers: list[Header]) -> None:
        self.headers = headers
        """Names in lower case."""
        self.seen_by: object = None
        """Who has looked for secrets of its own in all of it, and found none."""
        self._told: ToldHead | None = None
        self._coding: str | None = None

    @property
    def told(self) -> ToldHead:
        """What of it goes on to the client."""
        told = self._told
        if told is None:
            told = self._told = to_client(self.headers)
        return told

    @property
    def coding(self) -> str:
        """How the body is packed; empty: it is not."""
        coding = self._coding
        if coding is None:
            coding = self._coding = coding_of(self.headers)
        return coding

    def unpacked(self) -> "AnswerHead":
        """The same of the body once it is unpacked."""
        return AnswerHead(unpacked_head(self.headers))

    def with_length(self, digits: bytes) -> "AnswerHead":
        """The same of a body of another length, by which nothing else of it changes: it is never passed on."""
        again = AnswerHead(with_length(self.headers, digits))
        again.seen_by, again._coding = self.seen_by, self._coding
        told = self._told
        if told is not None:
            again._told = ToldHead(told.lines, int(digits), told.event_stream, told.dated)
        return again


NO_HEAD: Final = AnswerHead([])
"""Of an answer that has not begun."""

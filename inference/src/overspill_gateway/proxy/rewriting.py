"""What an answer goes through on its way to the client, as far as writing it goes. Not here: the rewriters."""

from typing import Protocol

from overspill_gateway.core.admission.plan import ServedReason


class Rewriter(Protocol):
    """Writes events anew on their way: a translation into another dialect, or the second part of an answer."""

    def feed(self, events: bytes) -> bytes:
        """Whole events in, whole events out."""
        ...

    def finish(self) -> bytes:
        """What is left to be written at the proper end."""
        ...


def answer_lines(served_by: str, reason: ServedReason, request_id: bytes) -> bytes:
    """Header lines of every answer: who served it, why, and under which id."""
    return b"x-overspill-served-by: %b\r\nx-overspill-reason: %b\r\nx-request-id: %b\r\n" % (
        served_by.encode(), reason.encode(), request_id,
    )  # fmt: skip

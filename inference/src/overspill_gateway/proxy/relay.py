"""Writes a backend's answer on to the client, streaming, and remembers as much of it as usage needs.

A plain answer that is short is written only when it is whole, so that a backend that dies halfway through it costs
the client nothing. A stream is written on as it comes, in whole events.
"""

from typing import TYPE_CHECKING, Final

from overspill_gateway.core.errors import ApiError, error_event
from overspill_gateway.core.events import EventAligner
from overspill_gateway.core.forwarding import to_client
from overspill_gateway.core.head import Header
from overspill_gateway.core.plan import ServedReason
from overspill_gateway.core.usage import TAIL_BYTES, Usage, usage_of_answer, usage_of_event

if TYPE_CHECKING:
    from overspill_gateway.wire.server import ServerConnection

GATHERED_BYTES_MAX: Final = 256 * 1024
"""A plain answer up to this long is held until it is whole."""
_DONE_EVENT: Final = b"data: [DONE]"


def answer_lines(served_by: str, reason: ServedReason, request_id: bytes) -> bytes:
    """Header lines of every answer: who served it, why, and under which id."""
    return b"x-overspill-served-by: %b\r\nx-overspill-reason: %b\r\nx-request-id: %b\r\n" % (
        served_by.encode(), reason.value.encode(), request_id,
    )  # fmt: skip


class Relay:
    """One answer on its way to the client."""

    __slots__ = ("_aligner", "_client", "_gathered", "_gathered_bytes", "_last", "_length", "_lines", "_tail", "begun",
                 "status")  # fmt: skip

    def __init__(self, client: "ServerConnection", status: int, headers: list[Header], extra: bytes) -> None:
        head = to_client(headers)
        self.status = status
        self.begun = False
        """Whether anything went to the client: from then on no other backend can serve it."""
        self._client = client
        self._lines = head.lines + extra
        self._length = head.content_length
        self._aligner = EventAligner() if head.event_stream else None
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._last = b""
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """A piece of the backend's answer."""
        aligner = self._aligner
        if aligner is None:
            self._feed_plain(data)
            return
        events = aligner.feed(data)
        if events:
            if not self.begun:
                self._begin(None)
            self._last = events
            if b'"usage"' in events:
                self._tail = events
            self._client.send(events)

    def _feed_plain(self, data: bytes) -> None:
        if self.begun:
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            self._client.send(data)
            return
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes > GATHERED_BYTES_MAX:
            whole = b"".join(self._gathered)
            self._gathered = []
            self._tail = whole[-TAIL_BYTES:]
            self._begin(self._length)
            self._client.send(whole)

    def finish(self) -> None:
        """The answer is whole: write what is left of it."""
        if self._aligner is not None:
            if not self.begun:
                self._begin(None)
            self._client.send(self._aligner.rest())
        elif not self.begun:
            body = self._gathered[0] if len(self._gathered) == 1 else b"".join(self._gathered)
            self._begin(len(body))
            self._client.send(body)

    def break_off(self, error: ApiError) -> None:
        """The rest will not come: an error event where the client reads events, else a cut.

        After the event the connection stays usable: closing it would break the client's next request.
        """
        client = self._client
        if self._aligner is None:
            client.cut()
            return
        if not self._last.rstrip().endswith(_DONE_EVENT):
            client.send(error_event(error))
        client.end()

    def usage(self) -> Usage | None:
        """Tokens that the backend has reported."""
        if self._aligner is not None:
            return usage_of_event(self._tail) if self._tail else None
        if self.begun:
            return usage_of_answer(self._tail, whole=False)
        return usage_of_answer(b"".join(self._gathered), whole=True)

    def _begin(self, length: int | None) -> None:
        self.begun = True
        self._client.send_head(self.status, self._lines, length)

"""Server-sent events, kept whole: what goes to the client always ends where an event ends.

So that, when a backend breaks off, an error event of ours can follow without damaging what came before, and no
client ever sees half an event.
"""

from typing import Final

PENDING_BYTES_MAX: Final = 1 << 20
"""An event longer than this is passed on in pieces: memory matters more than the ending of such a stream."""


class EventAligner:
    """Passes a stream on up to the end of its last whole event and keeps the rest back."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> bytes:
        """What may go on now; mostly ``data`` itself, since backends write whole events."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        if data.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
            return data
        end = _end_of_last_event(data)
        if len(data) - end > PENDING_BYTES_MAX:
            return data
        self._pending = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """What is left at a clean end; a last event without its empty line is still passed on."""
        rest, self._pending = self._pending, b""
        return rest


def _end_of_last_event(data: bytes) -> int:
    line_feeds = data.rfind(b"\n\n")
    both = data.rfind(b"\r\n\r\n")
    returns = data.rfind(b"\r\r")
    return max(
        line_feeds + 2 if line_feeds >= 0 else 0, both + 4 if both >= 0 else 0, returns + 2 if returns >= 0 else 0
    )

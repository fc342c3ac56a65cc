"""Server-sent events as bytes: where each one ends, and which name and data it carries. Not here: what they mean.

What goes to the client always ends where an event ends. So, when a backend breaks off, an error event of ours can
follow without damaging what came before, and no client ever sees half an event.
"""

import re
from typing import Final

from overspill_gateway.core.http.pieces import Pieces

EVENT_BYTES_MAX: Final = 16 << 20
"""A longer event is a fault of its stream, however it is cut into reads; images in base64 have less."""

LONG_BYTES: Final = 8 * 1024
"""A longer event is not read on the event loop: at worst it takes 0.4 ms a KiB, with all that it costs."""

_END: Final = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
"""Two line ends of any kind; a carriage return and its line feed are never taken for two."""
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_FIELD: Final = re.compile(rb"[\r\n](?:data|event|id|retry|error)?:")
"""Where a line begins that is a field or a comment, behind the first one."""
_STRAY: Final = re.compile(rb"[\r\n]\{")
_END_BYTES_MAX: Final = 4
_LINES_THAT_COUNT: Final = (b"data", b"event", b"error")
_LINE_FEED: Final = 10
_RETURN: Final = 13
_COLON: Final = 58
_NEVER: Final = -1


class EventAligner:
    """Passes a stream on up to the end of its last whole event and keeps the rest back."""

    __slots__ = ("_begun", "_keeps_long", "_last", "_pending", "long", "rest_of_feed", "too_long")

    def __init__(self, *, keeps_long: bool = False) -> None:
        """``keeps_long``: a long event is not passed on but put into ``long``, for somebody else to read."""
        self.too_long = False
        """Whether an event has begun that is longer than the bound: nothing more comes of it."""
        self.long: list[bytes] = []
        """A long event, whole, in parts: feed nothing until it was taken from here."""
        self.rest_of_feed = b""
        """What came behind it."""
        self._keeps_long = keeps_long
        self._pending = bytearray()
        self._begun: Pieces | None = None
        """A long event that is not yet whole."""
        self._last = b""
        """The last bytes of that."""

    @property
    def idle(self) -> bool:
        """Whether nothing is kept back."""
        return not self._pending and self._begun is None

    def feed(self, data: bytes) -> bytes:
        """What may go on now; mostly ``data`` itself, since backends write whole events."""
        if self._begun is not None:
            self._feed_long(self._begun, data)
            return b""
        pending = self._pending
        if not pending and data.endswith(b"\n\n"):
            return data
        reach = max(len(pending) - (_END_BYTES_MAX - 1), 0)
        pending += data
        end = max(_end_of_last_event(pending, reach), 0)
        whole = bytes(pending[:end])
        del pending[:end]
        if len(pending) > EVENT_BYTES_MAX:
            self.too_long = True
            pending.clear()
        elif self._keeps_long and len(pending) > LONG_BYTES:
            self._begun = Pieces()
            self._begun.add(bytes(pending))
            self._last = bytes(pending[1 - _END_BYTES_MAX :])
            pending.clear()
        return whole

    def _feed_long(self, begun: Pieces, data: bytes) -> None:
        before = self._last
        text = before + data
        end = _end_of_first_event(text)
        taken = data if end < 0 else data[: end - len(before)]
        begun.add(taken)
        if begun.length > EVENT_BYTES_MAX:
            self.too_long = True
            self._begun = None
        elif end < 0:
            self._last = text[1 - _END_BYTES_MAX :]
        else:
            self._begun = None
            self.long, self.rest_of_feed = begun.parts(), data[len(taken) :]

    def ends_long(self) -> bool:
        """At a clean end: whether a long event was left that lacks only its empty line; it is put into ``long``."""
        begun, self._begun = self._begun, None
        if begun is None:
            return False
        begun.add(b"\n\n")
        self.long = begun.parts()
        return True

    def rest(self) -> bytes:
        """What is left at a clean end; a last event without its empty line is still passed on."""
        begun, self._begun = self._begun, None
        rest = bytes(self._pending) if begun is None else begun.joined()
        self._pending.clear()
        return rest


def split_events(whole: bytes) -> list[bytes]:
    """The single events of bytes that end where an event ends, empty lines included."""
    if b"\r" not in whole:
        *parts, rest = whole.split(b"\n\n")
        events = [part + b"\n\n" for part in parts]
        return [*events, rest] if rest else events
    events = []
    start = 0
    for match in _END.finditer(whole):
        events.append(whole[start : match.end()])
        start = match.end()
    if start < len(whole):
        events.append(whole[start:])
    return events


def says_nothing(event: bytes) -> bool:
    """Whether an event shows at once that it has neither name nor data: empty lines, or a comment of one line."""
    if not event:
        return True
    first = event[0]
    if first == _COLON:
        return b"\r" not in event and event.find(b"\n") == len(event) - 2
    return first in {_LINE_FEED, _RETURN} and not event.strip(b"\r\n")


def event_name_and_data(event: bytes) -> tuple[bytes, bytes | None]:
    """The name (empty where none is given) and the data of one event; data None: it has none, as a comment."""
    event = event.lstrip(b"\r\n")
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
        return b"", event[6:-2]
    if event.startswith(b"{") and _FIELD.search(event) is None:
        return b"", event.strip()  # a bare document, as some servers write an error into a stream
    name = b""
    lines = []
    for line in _LINE_END.split(event) if b"\r" in event else event.split(b"\n"):
        if not line.startswith(_LINES_THAT_COUNT):
            continue
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
        elif field == b"error":  # as llama.cpp writes one
            name = field
            lines.append(value)
    return name, b"\n".join(lines) if lines else None


def stray_document(event: bytes) -> bytes | None:
    """A bare document among an event's other lines, which no client would see; None: there is none."""
    event = event.lstrip(b"\r\n")
    match = None if event.startswith(b"{") else _STRAY.search(event)
    start = 0 if match is None else match.start() + 1
    if not event.startswith(b"{", start):
        return None
    field = _FIELD.search(event, start)
    return event[start : field.start() if field is not None else len(event)].strip()


def _end_of_first_event(data: bytes) -> int:
    """The same of the first one; a negative number: none ends."""
    if b"\r" not in data:
        end = data.find(b"\n\n")
        return end + 2 if end >= 0 else _NEVER
    match = _END.search(data)
    if match is None or (match.end() == len(data) and not data.endswith((b"\n", b"\r\r"))):
        return _NEVER
    return match.end()


def _end_of_last_event(data: bytes | bytearray, start: int) -> int:
    """Offset behind the last event that ends at or after ``start``; negative: none does.

    A carriage return at the very end may be half of a line end, so that its event isn't over yet.
    """
    if data.find(b"\r", start) < 0:
        last = data.rfind(b"\n\n", start)
        return last + 2 if last >= 0 else _NEVER
    end = _NEVER
    for match in _END.finditer(data, start):
        if match.end() < len(data) or data.endswith((b"\n", b"\r\r")):
            end = match.end()
    return end

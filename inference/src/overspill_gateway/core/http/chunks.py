"""A request's chunked body: taken apart piece by piece, every byte of its framing checked. Requests only.

Stricter than RFC 9112, section 7.1, asks: no white space around sizes and extensions, no bare line ends, bounds on
everything. Trailers are read for their grammar and dropped: a trailer must not become a header.
"""

import re
from typing import Final

from overspill_gateway.core.http.errors import ApiError, malformed
from overspill_gateway.core.http.pieces import Pieces

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb"\"(?:[^\"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*\""
_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED))
_TRAILER: Final = re.compile(_TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*")
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_LINE_BYTES_MAX: Final = 1024
_EXTENSION_BYTES_MAX: Final = 16 * 1024
"""All extensions of a body together."""
_TRAILER_BYTES_MAX: Final = 8 * 1024

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkedBody:
    """One chunked body that is being read."""

    __slots__ = ("_buffer", "_bytes", "_bytes_max", "_extension_bytes", "_left", "_state", "_trailer_bytes", "content")

    def __init__(self, bytes_max: int) -> None:
        self.content = Pieces()
        """What has come."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self._left = 0
        self._state = _SIZE
        self._buffer = b""

    @property
    def whole(self) -> bool:
        """Whether its end has come."""
        return self._state == _DONE

    @property
    def too_long(self) -> bool:
        """Whether it was refused for its length."""
        return self._bytes > self._bytes_max

    def feed(self, data: bytes) -> bytes | ApiError:
        """Read bytes; what comes behind the body is given back. Feed no more once it is whole or refused."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        position = 0
        while True:
            if self._state in {_DATA, _DATA_END}:
                found = self._content(data, position)
                if isinstance(found, ApiError):
                    return found
                if self._state != _SIZE:
                    return b""
                position = found
            line_end = data.find(b"\r\n", position)
            if line_end < 0:
                self._buffer = data[position:]
                return self._unfinished_line(self._buffer)
            line = data[position:line_end]
            position = line_end + 2
            refused = self._size(line) if self._state == _SIZE else self._trailer(line)
            if refused is not None:
                return refused
            if self._state == _DONE:
                return data[position:]

    def _content(self, data: bytes, position: int) -> int | ApiError:
        """Take a chunk's content and its line end, as far as they have come; where the next line begins."""
        taken = min(self._left, len(data) - position)
        if taken:
            self.content.add(data[position : position + taken])
            position += taken
            self._left -= taken
        if self._left:
            return position
        self._state = _DATA_END
        line_end = data[position : position + 2]
        if line_end == b"\r\n":
            self._state = _SIZE
            return position + 2
        if not b"\r\n".startswith(line_end):
            return malformed("A chunk is not as long as it says.")
        self._buffer = line_end
        return position

    def _size(self, line: bytes) -> ApiError | None:
        match = _LINE.fullmatch(line)
        if match is None or len(line) > _LINE_BYTES_MAX:
            return malformed("A chunk's size is not a plain hexadecimal number, or its extension is not allowed.")
        digits = match[1]
        self._extension_bytes += len(line) - len(digits)
        if self._extension_bytes > _EXTENSION_BYTES_MAX:
            return malformed("The body's chunks carry more than their content.")
        size = int(digits, 16)
        if size == 0:
            self._state = _TRAILERS
            return None
        self._bytes += size
        if self._bytes > self._bytes_max:
            return _too_long()
        self._left = size
        self._state = _DATA
        return None

    def _trailer(self, line: bytes) -> ApiError | None:
        if not line:
            self._state = _DONE
            return None
        self._trailer_bytes += len(line)
        if self._trailer_bytes > _TRAILER_BYTES_MAX or not _TRAILER.fullmatch(line):
            return malformed("The body's trailer is too long, or not made of header fields.")
        if line.partition(b":")[0].lower() in _FRAMING:
            return malformed("The body's trailer holds a field that says how long a body is.")
        return None

    def _unfinished_line(self, line: bytes) -> bytes | ApiError:
        """Refuse what no line end can mend any more: memory and patience are bounded."""
        limit = _LINE_BYTES_MAX if self._state == _SIZE else _TRAILER_BYTES_MAX - self._trailer_bytes
        body = line[:-1] if line[-1:] == b"\r" else line
        if len(body) > limit or b"\r" in body or b"\n" in body or b"\0" in body:
            return malformed("A line of the body's framing is too long, or does not end in CR LF.")
        return b""


def _too_long() -> ApiError:
    return malformed("The body is longer than what is taken here.", status=413, code="body_too_large")

"""The last good head of a connection, for the next one, which mostly differs from it in a few values, if at all.

What was found out about the one then holds for the other, down to the key's grant. Not here: the grammar (``head``).
"""

from typing import Final

from overspill_gateway.core.http.forwarding import TO_HOSTED, line_of
from overspill_gateway.core.http.head import ALLOWED_BYTES, Head, is_plain_length, is_request_id
from overspill_gateway.core.requests.access import KEY_FIELDS

_REQUEST_ID_NAME: Final = b"x-request-id"
_SPACE: Final = 32
_READ_ANEW: Final = 0
_LENGTH: Final = 1
_REQUEST_ID: Final = 2
_AUTHORIZATION: Final = 3
_KEY: Final = 4
_TO_HOSTED: Final = 5
_OTHER: Final = 6
_KINDS: Final[dict[bytes, int]] = {
    **dict.fromkeys(TO_HOSTED, _TO_HOSTED),
    **dict.fromkeys(KEY_FIELDS, _KEY),
    b"authorization": _AUTHORIZATION,
    _REQUEST_ID_NAME: _REQUEST_ID,
    b"content-length": _LENGTH,
    # Where one of these differs, much follows from it.
    **dict.fromkeys(
        (b"host", b"content-type", b"content-encoding", b"expect", b"transfer-encoding", b"connection"), _READ_ANEW
    ),
}
"""What follows from another value of a field."""


class HeadMemory:
    """The last good head of a connection."""

    __slots__ = ("_head", "_kinds", "_lines", "_raw", "_starts")

    def __init__(self) -> None:
        self._head: Head | None = None
        self._raw = b""
        self._lines: list[bytes] = []
        self._starts: list[bytes] = []
        """Of each header line: the name, the colon, and a space where it has one."""
        self._kinds: list[int] = []

    def remember(self, raw: bytes, head: Head) -> None:
        """Keep a good head; one with two identifiers, of which the last counts, is read each time."""
        names = [name for name, _ in head.headers]
        self._head = None if names.count(_REQUEST_ID_NAME) > 1 else head
        self._raw, self._lines = raw, raw.split(b"\r\n")
        self._starts = [_start_of(line) for line in self._lines[1:]]
        self._kinds = [_KINDS.get(name, _OTHER) for name in names]

    def recall(self, raw: bytes) -> Head | None:
        """The head of these bytes if it is like the last one but for some values; else None: it has to be read."""
        last, known = self._head, self._lines
        if last is None:
            return None
        lines = known
        if raw != self._raw:
            lines = raw.split(b"\r\n")
            if len(lines) != len(known) or lines[0] != known[0]:
                return None
        again = Head(
            last.method, last.path, last.query, last.headers, last.authorization, last.request_id, last.content_length,
            last.chunked, last.expects_continue, last.http_1_0, last.keep_alive, last.content_type, last.compressed,
            None, last.deployment, last.owner, last.admitted, last.replica_lines, last.hosted_lines,
        )  # fmt: skip
        if lines is not known and not self._take_values(again, lines):
            return None
        self._head, self._lines, self._raw = again, lines, raw
        return again

    def _take_values(self, head: Head, lines: list[bytes]) -> bool:
        """Let lines of a head have other values; False: what one of them means has to be read."""
        known, starts, kinds = self._lines, self._starts, self._kinds
        head.headers = headers = list(head.headers)
        for at in range(len(headers)):
            line = lines[at + 1]
            if line == known[at + 1]:
                continue
            start = starts[at]
            if not line.startswith(start):
                return False
            name, value = headers[at][0], line[len(start) :]
            bare = len(value) > 0 and value[0] > _SPACE and value[-1] > _SPACE
            if not bare:
                value = value.strip(b" \t")
            if not _take_value(head, at, kinds[at], name, value, bare=bare):
                return False
            headers[at] = name, value
        return True


def _start_of(line: bytes) -> bytes:
    colon = line.index(b":") + 1
    return line[: colon + line.startswith(b" ", colon)]


def _take_value(head: Head, at: int, kind: int, name: bytes, value: bytes, *, bare: bool) -> bool:
    """``bare``: there is no white space around it but a space in front. False: what it means has to be read."""
    if kind == _LENGTH:
        if not bare or not is_plain_length(value):
            return False
        head.content_length = int(value)
        return True
    if kind == _REQUEST_ID and is_request_id(value):
        head.request_id = value
        return True
    if kind == _READ_ANEW or value.translate(None, ALLOWED_BYTES):
        return False
    if kind == _REQUEST_ID:
        head.request_id = b""
    elif kind == _KEY:
        head.admitted, head.owner = None, ""
    elif kind == _AUTHORIZATION:
        head.authorization, head.admitted, head.owner = value, None, ""
    else:
        lines = head.replica_lines
        if lines is not None and lines[at]:
            head.replica_lines = lines = list(lines)  # the last request may have those
            lines[at] = line_of(name, value)
        if kind == _TO_HOSTED:
            head.hosted_lines = None
    return True

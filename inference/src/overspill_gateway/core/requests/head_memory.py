"""The last good head of a connection, for the next one, which mostly differs from it in a few values, if at all.

What was found out about the one then holds for the other, down to the key's grant. Not here: the grammar (``head``).
"""

from typing import Final

from overspill_gateway.core.http.head import ALLOWED_BYTES, REQUEST_ID, Head, Header, is_plain_length
from overspill_gateway.core.requests.access import KEY_FIELDS

_LENGTH: Final = b"content-length"
_REQUEST_ID_NAME: Final = b"x-request-id"
_AUTHORIZATION: Final = b"authorization"
_READ_ANEW: Final = frozenset({b"host", b"content-type", b"expect", b"transfer-encoding", b"connection"})
"""Where one of these differs, much follows from it."""


class HeadMemory:
    """The last good head of a connection."""

    __slots__ = ("_head", "_lines")

    def __init__(self) -> None:
        self._head: Head | None = None
        self._lines: list[bytes] = []

    def remember(self, raw: bytes, head: Head) -> None:
        """Keep a good head; one with two identifiers, of which the last counts, is read each time."""
        twice = [name for name, _ in head.headers].count(_REQUEST_ID_NAME) > 1
        self._head, self._lines = (None, []) if twice else (head, raw.split(b"\r\n"))

    def recall(self, raw: bytes) -> Head | None:
        """The head of these bytes if it is like the last one but for some values; else None: it has to be read."""
        last, known = self._head, self._lines
        if last is None:
            return None
        lines = raw.split(b"\r\n")
        if len(lines) != len(known) or lines[0] != known[0]:
            return None
        again = Head(
            last.method, last.path, last.query, last.headers, last.authorization, last.request_id, last.content_length,
            last.chunked, last.expects_continue, last.http_1_0, last.keep_alive, None, last.deployment, last.owner,
            last.admitted, last.replica_lines, last.hosted_lines,
        )  # fmt: skip
        if lines != known:
            again.headers = headers = list(last.headers)
            for at in range(len(headers)):
                line = lines[at + 1]
                if line == known[at + 1]:
                    continue
                other = _with_value(again, headers[at][0], known[at + 1], line)
                if other is None:
                    return None
                headers[at] = other
        self._head, self._lines = again, lines
        return again


def _with_value(head: Head, name: bytes, known: bytes, line: bytes) -> Header | None:
    """Let one line of a head have another value; None: what it means has to be read."""
    colon = known.index(b":") + 1
    if not line.startswith(known[:colon]):
        return None
    value = line[colon:].strip(b" \t")
    if name == _LENGTH:
        if not is_plain_length(value) or len(line) - colon - len(value) > line.startswith(b" ", colon):
            return None
        head.content_length = int(value)
    elif name == _REQUEST_ID_NAME and REQUEST_ID.fullmatch(value):
        head.request_id = value
    elif name in _READ_ANEW or line.translate(None, ALLOWED_BYTES):
        return None
    else:
        if name == _REQUEST_ID_NAME:
            head.request_id = b""
        elif name == _AUTHORIZATION:
            head.authorization = value
        if name == _AUTHORIZATION or name in KEY_FIELDS:
            head.admitted, head.owner = None, ""
        head.replica_lines = head.hosted_lines = None
    return name, value

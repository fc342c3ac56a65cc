"""A chunk of HTTP/1.1 as it is mostly written: a plain hexadecimal size, no extension. Not here: any other way."""

from typing import Final

_SIZE_MAX: Final = 2048
_LINE_END: Final = b"\r\n"


def _heads_by_length() -> list[bytes]:
    heads = [b""] * (_SIZE_MAX + 8)
    for size in range(1, _SIZE_MAX + 1):
        head = b"%x\r\n" % size
        heads[len(head) + size + len(_LINE_END)] = head
    return heads


_HEADS: Final = _heads_by_length()
"""The first line of a chunk, by the length of the whole of it; empty where no chunk has that length."""
_LENGTH_MAX: Final = len(_HEADS) - 1


def content_start(data: bytes) -> int:
    """Where the content starts in bytes that are one chunk, whole, and not the last one of a body; 0: they are not."""
    length = len(data)
    if length > _LENGTH_MAX:
        return 0
    head = _HEADS[length]
    if not head or not data.startswith(head) or not data.endswith(_LINE_END):
        return 0
    return len(head)

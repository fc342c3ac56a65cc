"""JSON that backends wrote, read with one strictness everywhere: what one place takes, no other refuses.

More lenient than the standard: half a surrogate pair stands for U+FFFD, stray bytes too, and NaN is a number. What is
decoded here can always be encoded again. Not here: characters whose halves come in two events (``split_characters``).
"""

import json
import re
from typing import Any, Final

import msgspec

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""May stand before a document, or before the first event of a stream."""
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)
"""What reading JSON raises."""

_ESCAPE: Final = re.compile(
    rb"\\(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""A whole pair, a half of one, or any other escape."""
_REPLACEMENT: Final = b"\\ufffd"


def decoded(data: bytes) -> Any:
    """The value of a JSON text; None: it is none, or it is null."""
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        pass
    try:
        return json.loads(whole_characters(data.removeprefix(BYTE_ORDER_MARK)).decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def has_halves(data: bytes) -> bool:
    """Whether an escape in a JSON text names half a surrogate pair."""
    escape = data.find(b"\\")  # one byte is found much faster than two
    if escape < 0 or data.find(b"\\u", escape) < 0:
        return False
    return any(match.group(2) is not None for match in _ESCAPE.finditer(data))


def whole_characters(data: bytes) -> bytes:
    """A JSON text whose escapes name whole characters only: half a surrogate pair becomes U+FFFD."""
    return _ESCAPE.sub(_whole, data) if has_halves(data) else data


def _whole(escape: "re.Match[bytes]") -> bytes:
    return _REPLACEMENT if escape.group(2) is not None else escape.group()

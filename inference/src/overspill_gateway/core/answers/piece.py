"""The form of a stream's last piece of output, its text apart: the next one mostly differs in that alone.

Such an event is then known by comparing, not by decoding it. Not here: what makes an event a piece.
"""

import re
from typing import Final

_TEXT_START: Final = re.compile(rb'"(?:content|text|reasoning|reasoning_content)": ?"')
_is_simple_text: Final = re.compile(rb'[^"\\\x00-\x1f]*').fullmatch
"""What stands for itself in a JSON string."""
_MISSES_MAX: Final = 16
"""A stream whose events differ in more, in log probabilities say, is not looked at so often in vain."""


class PieceMemory:
    """One stream's last piece of output."""

    __slots__ = ("_after", "_before", "_misses", "frame_bytes")

    def __init__(self) -> None:
        self.frame_bytes = 0
        """Of the last piece whose form was kept, all but its text."""
        self._before = self._after = b""
        self._misses = 0

    def remember(self, event: bytes) -> None:
        """Keep the form of an event that was decoded and is a piece of output."""
        if self._misses > _MISSES_MAX:
            return
        self._misses += 1
        self._before = b""
        match = _TEXT_START.search(event)
        if match is None or _TEXT_START.search(event, match.end()) is not None:
            return
        start = match.end()
        end = event.find(b'"', start)
        if _is_simple_text(event, start, end):
            self._before, self._after = event[:start], event[end:]
            self.frame_bytes = start + len(event) - end

    def text_span(self, event: bytes) -> tuple[int, int] | None:
        """Where the text stands in an event that differs from the last piece in nothing else; None: it does.

        The text is one that stands for itself: so the event is JSON just as that one was, and means the same.
        """
        before = self._before
        if not before or not event.startswith(before) or not event.endswith(self._after):
            return None
        start, end = len(before), len(event) - len(self._after)
        if end < start or _is_simple_text(event, start, end) is None:
            return None
        self._misses = 0
        return start, end

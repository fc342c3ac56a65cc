"""Characters whose halves come in two events of a stream, such as an emoji cut between two tokens: joined.

The first half is kept back and put before the text that follows it in the same place. A half that stays alone becomes
U+FFFD, so that no client ever gets one: half of them can't read it, and the others can't write it on.
"""

import json
from typing import Any, Final

from overspill_gateway.core.answers.events import event_name_and_data
from overspill_gateway.core.text.json_text import has_halves, whole_characters

_PLACES_MAX: Final = 256
"""Halves that are kept back at a time: one for each piece of text that is being written."""


class SplitCharacters:
    """The halves of one stream."""

    __slots__ = ("_halves",)

    def __init__(self) -> None:
        self._halves: dict[tuple[object, ...], str] = {}

    @property
    def waits(self) -> bool:
        """Whether a half waits for its other one: no event may pass unread."""
        return bool(self._halves)

    def concerns(self, event: bytes) -> bool:
        """Whether an event holds a half, or one waits for it."""
        return bool(self._halves) or has_halves(event)

    def joined(self, event: bytes) -> bytes:
        """The event with whole characters only."""
        name, data = event_name_and_data(event)
        if data is None:
            return event
        try:
            document = json.loads(data.decode("utf-8", "replace"))
            document = self._walk(document, ())
        except (ValueError, RecursionError):
            return whole_characters(event)
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        return (b"event: %b\n" % name if name else b"") + b"data: " + text + b"\n\n"

    def _walk(self, value: Any, path: tuple[object, ...]) -> Any:
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, dict):
            return {_whole(key): self._walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item, (*path, _place(item, number))) for number, item in enumerate(value)]
        return value

    def _text(self, text: str, path: tuple[object, ...]) -> str:
        if "delta" not in path and path[-1:] != ("text",):
            return _whole(text)
        text = self._halves.pop(path, "") + text
        if text and 0xD800 <= ord(text[-1]) <= 0xDBFF and len(self._halves) < _PLACES_MAX:
            self._halves[path] = text[-1]
            text = text[:-1]
        return _whole(text)


def _place(item: Any, number: int) -> object:
    """What tells one item of a list from the others: its own number where it has one."""
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, int) else number


def _whole(text: str) -> str:
    """The text with its pairs joined and halves that are alone replaced."""
    if text.isascii() or not any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

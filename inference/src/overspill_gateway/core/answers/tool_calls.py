"""Which tool call a piece of a stream belongs to, whatever a server makes of the index.

The index should tell, and mostly does. Some servers give all parallel calls the index 0, each with an id and a name of
its own (Gemini's OpenAI form); some leave the index out; some repeat id or name in each piece; some give no ids.
"""

import re
from typing import Any, Final

from overspill_gateway.core.text.json_text import decoded

CALLS_MAX: Final = 256
"""Of one answer; no API allows as many."""
_MARK: Final = re.compile(r'["\\{}\[\]]')


class _Arguments:
    """The arguments of one call as they come: whether they are complete is known by looking at each piece once."""

    __slots__ = ("_depth", "_in_string", "_is_over", "_is_whole", "_pieces", "_seen", "_skips")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._seen = self._depth = 0
        self._in_string = self._skips = False
        self._is_over = self._is_whole = False

    def add(self, piece: str) -> None:
        """They go on."""
        self._pieces.append(piece)

    @property
    def is_whole(self) -> bool:
        """Whether they are an object, so that more can't follow."""
        while self._seen < len(self._pieces):
            piece = self._pieces[self._seen]
            self._seen += 1
            if self._is_over:
                self._is_whole = self._is_whole and not piece.strip()
            elif self._is_over_with(piece):
                text = "".join(self._pieces[: self._seen])
                self._is_whole = isinstance(decoded(text.encode("utf-8", "replace")), dict)
        return self._is_whole

    def _is_over_with(self, piece: str) -> bool:
        at = 1 if self._skips and piece else 0
        self._skips = self._skips and not piece
        while (found := _MARK.search(piece, at)) is not None:
            mark, at = found.group(), found.end()
            if mark == "\\":
                self._skips = at == len(piece)  # what is escaped comes next
                at += 1
            elif mark == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if mark in "{[" else -1
                self._is_over = self._is_over or self._depth <= 0
        return self._is_over


class CallNumbers:
    """The calls of one answer, numbered in the order in which they began."""

    __slots__ = ("_arguments", "_by_index", "_ids", "_names", "too_many")

    def __init__(self) -> None:
        self._by_index: dict[int, int] = {}
        self._ids: list[str] = []
        self._names: list[str] = []
        self._arguments: list[_Arguments] = []
        self.too_many = False
        """Whether more began than any answer has."""

    def __len__(self) -> int:
        return len(self._ids)

    def take(self, index: Any, call_id: str, name: str, arguments: str) -> tuple[int, bool]:
        """The number of the call that a piece belongs to, and whether it begins it; empty texts: not given."""
        known = self._known(index, call_id)
        begins = known is None or self._begins_another(known, call_id, name, arguments)
        number = len(self._ids) if known is None or begins else known
        if begins and number >= CALLS_MAX:
            self.too_many = True
            return CALLS_MAX - 1, False
        if begins:
            self._ids.append(call_id)
            self._names.append(name)
            self._arguments.append(_Arguments())
        if isinstance(index, int):
            self._by_index[index] = number
        self._arguments[number].add(arguments)
        return number, begins

    def _known(self, index: Any, call_id: str) -> int | None:
        """The call that the piece goes on with, if it begins none."""
        if isinstance(index, int):
            return self._by_index.get(index)
        if call_id:
            return self._ids.index(call_id) if call_id in self._ids else None
        return len(self._ids) - 1 if self._ids else None

    def _begins_another(self, number: int, call_id: str, name: str, arguments: str) -> bool:
        if not name:
            return False  # a call has a name: what has none goes on, be it under a new id
        if call_id:
            return call_id != self._ids[number] and bool(self._ids[number] or self._arguments[number].is_whole)
        if not self._arguments[number].is_whole:
            return False
        return name != self._names[number] or bool(arguments)

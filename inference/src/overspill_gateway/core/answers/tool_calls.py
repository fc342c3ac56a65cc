"""Which tool call a piece of a stream belongs to, whatever a server makes of the index.

The index should tell, and mostly does. Some servers give all parallel calls the index 0, each with an id and a name of
its own (Gemini's OpenAI form); some leave the index out; some repeat id or name in each piece; some give no ids.
"""

from typing import Any

from overspill_gateway.core.text.json_text import decoded


class CallNumbers:
    """The calls of one answer, numbered in the order in which they began."""

    __slots__ = ("_arguments", "_by_index", "_ids", "_names")

    def __init__(self) -> None:
        self._by_index: dict[int, int] = {}
        self._ids: list[str] = []
        self._names: list[str] = []
        self._arguments: list[list[str]] = []

    def __len__(self) -> int:
        return len(self._ids)

    def take(self, index: Any, call_id: str, name: str, arguments: str) -> tuple[int, bool]:
        """The number of the call that a piece belongs to, and whether it begins it; empty texts: not given."""
        known = self._known(index, call_id)
        begins = known is None or self._begins_another(known, call_id, name, arguments)
        number = len(self._ids) if known is None or begins else known
        if begins:
            self._ids.append(call_id)
            self._names.append(name)
            self._arguments.append([])
        if isinstance(index, int):
            self._by_index[index] = number
        self._arguments[number].append(arguments)
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
            return call_id != self._ids[number] and bool(self._ids[number] or self._is_whole(number))
        if not self._is_whole(number):
            return False
        return name != self._names[number] or bool(arguments)

    def _is_whole(self, number: int) -> bool:
        """Whether the arguments that have come are complete: more can't follow."""
        text = "".join(self._arguments[number])
        return isinstance(decoded(text.encode("utf-8", "replace")), dict)

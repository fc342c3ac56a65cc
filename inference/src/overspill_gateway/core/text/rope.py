"""Long bytes in parts, edited without being joined or copied: many megabytes take longer than the loop may be kept.

Not here: which edits are needed (``splice`` has those of short ones).
"""

Buffer = bytes | memoryview
"""What can be written."""


def length_of(parts: "list[Buffer] | list[bytes]") -> int:
    """Bytes of all parts together."""
    length = 0
    for part in parts:
        length += len(part)
    return length


def edited(parts: list[bytes], edits: list[tuple[int, int, bytes]]) -> list[Buffer]:
    """The parts with pieces replaced, each given by start, end and what comes there; they must not overlap."""
    made: list[Buffer] = []
    at = 0
    for start, end, text in sorted(edits, key=lambda edit: edit[0]):
        made += _slices(parts, at, start)
        made.append(text)
        at = end
    return made + _slices(parts, at, length_of(parts))


def divided(parts: list[bytes], length: int) -> tuple[list[bytes], list[bytes]]:
    """The parts of the first so many bytes, and those of the rest."""
    if not length:
        return [], parts
    first: list[bytes] = []
    at = 0
    while at < len(parts) and length >= len(parts[at]):
        first.append(parts[at])
        length -= len(parts[at])
        at += 1
    if length and at < len(parts):
        return [*first, parts[at][:length]], [parts[at][length:], *parts[at + 1 :]]
    return first, parts[at:]


def _slices(parts: list[bytes], start: int, end: int) -> list[Buffer]:
    slices: list[Buffer] = []
    offset = 0
    for part in parts:
        if offset >= end:
            break
        if offset + len(part) > start:
            slices.append(memoryview(part)[max(start - offset, 0) : end - offset])
        offset += len(part)
    return slices

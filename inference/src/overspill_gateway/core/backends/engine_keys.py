"""The key that one replica asks for, among those of its route: the present one, and the one before a rotation.

Which one a replica was started with, only it knows: it refuses the other with a 401 before it has begun anything.
"""

from typing import Final

REFUSED: Final = 401
"""What an engine says to a key that is not its own."""


class EngineKeys:
    """The header lines with a route's keys, and which of them a replica took last."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self.line = b""
        """What to send; empty: the replica asks for no key."""

    def renew(self, lines: list[bytes]) -> None:
        """Take the route's keys as they are now: whole header lines, the present key's first.

        The one that the replica took last stays, if it is among them.
        """
        self._lines = lines
        if self.line not in lines:
            self.line = lines[0] if lines else b""

    def another(self, head: bytes, tried: int) -> bytes | None:
        """The head of a request that was refused, with another key; None: all ``tried`` have been."""
        if tried >= len(self._lines):
            return None
        used = next((line for line in self._lines if line in head), None)
        if used is None:
            return None
        place = self._lines.index(used)
        if self.line == used:  # nobody else has found the right one meanwhile
            self.line = self._lines[(place + 1) % len(self._lines)]
        return head.replace(used, self.line, 1)


def key_lines(keys: tuple[str, ...]) -> list[bytes]:
    """Header lines with these keys. One that no header can carry is left out."""
    return [b"authorization: Bearer %b\r\n" % key.encode() for key in keys if key.isascii() and key.isprintable()]

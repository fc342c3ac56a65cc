"""Lines of a stream of bytes, none longer than a bound. A longer one is skipped to its end, and the stream goes on."""


class LineReader:
    """Takes bytes as they come."""

    def __init__(self, length_max: int) -> None:
        """``length_max``: bytes of the longest line that is kept."""
        self._length_max = length_max
        self._begun = bytearray()  # not a list of pieces: each costs 40 bytes, however short it is
        self._length = 0
        self.skipped = 0
        """Lines that were too long."""

    def feed(self, content: bytes) -> list[bytes]:
        """The lines that end in ``content``, without their ends; empty ones are left out."""
        lines = []
        *ended, rest = content.split(b"\n")
        for piece in ended:
            self._add(piece)
            if self._length > self._length_max:
                self.skipped += 1
            elif self._length:
                lines.append(bytes(self._begun))
            self._begun, self._length = bytearray(), 0
        self._add(rest)
        return lines

    def _add(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > self._length_max:
            self._begun.clear()
        else:
            self._begun += piece

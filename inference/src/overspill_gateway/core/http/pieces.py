"""Bytes that come in pieces, gathered so that tiny pieces cost no more memory than large ones."""

from typing import Final

_PIECE_BYTES: Final = 16 * 1024
"""Shorter ones are joined: an object of its own for two bytes takes twenty times as much."""
LONG_BYTES: Final = 64 * 1024
"""What is longer is never read on the event loop: at worst it takes 0.1 ms a KiB, with all that it can cost."""


class Pieces:
    """What has come so far."""

    __slots__ = ("_only", "_small", "_whole", "length")

    def __init__(self) -> None:
        self.length = 0
        """Bytes gathered."""
        self._whole: list[bytes] = []
        self._small: bytearray | None = None
        self._only: bytes | None = None
        """The first piece, which mostly is all of it: until a second one comes it is neither copied nor joined."""

    def add(self, data: bytes) -> None:
        """One more piece."""
        if not self.length:
            self._only, self.length = data or None, len(data)
            return
        only, self._only = self._only, None
        if only is not None:
            self._gather(only)
        self.length += len(data)
        self._gather(data)

    def _gather(self, data: bytes) -> None:
        small = self._small
        if small is None:
            if len(data) >= _PIECE_BYTES:
                self._whole.append(data)
                return
            small = self._small = bytearray()
        small += data
        if len(small) >= _PIECE_BYTES:
            self._whole.append(bytes(small))
            self._small = None

    def joined(self) -> bytes:
        """All of it, as one."""
        if self._only is not None:
            return self._only
        whole, small = self._whole, self._small
        if small:
            return b"".join([*whole, small])
        return whole[0] if len(whole) == 1 else b"".join(whole)

    def parts(self) -> list[bytes]:
        """All of it, as it came: joining many megabytes takes longer than the event loop may be kept."""
        if self._only is not None:
            return [self._only]
        return [*self._whole, bytes(self._small)] if self._small else self._whole

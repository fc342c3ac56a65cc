"""Writes long bytes in slices, one in a turn of the event loop: nothing else waits while much is written, or encrypted.

Not here: what is written, and to whom.
"""

import asyncio
from typing import Final

from overspill_gateway.core.text.rope import Buffer

SLICE_BYTES: Final = 256 * 1024
"""Written at a time: encrypting as much takes some two tenths of a millisecond."""


class PacedWriter:
    """Some buffers on their way into a transport, whose protocol hands on ``pause`` and ``resume``."""

    __slots__ = ("_at", "_parts", "_paused", "_scheduled", "_transport")

    def __init__(self, transport: asyncio.WriteTransport, parts: "list[Buffer]") -> None:
        self._transport = transport
        self._parts = parts
        self._at = 0
        self._paused = False
        self._scheduled = False

    @property
    def done(self) -> bool:
        """Whether the transport has all of it."""
        return not self._parts

    def go_on(self) -> None:
        """Write the next slice."""
        self._scheduled = False
        if self._paused or not self._parts or self._transport.is_closing():
            return
        room = SLICE_BYTES
        slices: list[memoryview] = []
        while room and self._parts:
            part = memoryview(self._parts[0])
            piece = part[self._at : self._at + room]
            slices.append(piece)
            room -= len(piece)
            self._at += len(piece)
            if self._at >= len(part):
                self._parts.pop(0)
                self._at = 0
        self._transport.writelines(slices)
        self._schedule()

    def pause(self) -> None:
        """The transport has enough."""
        self._paused = True

    def resume(self) -> None:
        """The transport takes more again."""
        self._paused = False
        self._schedule()

    def stop(self) -> None:
        """Nobody wants the rest."""
        self._parts = []

    def _schedule(self) -> None:
        if not self._paused and not self._scheduled and self._parts:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.go_on)

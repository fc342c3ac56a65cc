"""What has come of an answer and waits for its turn: packed, or behind a part of it that is being read elsewhere.

It is handed on in short pieces, some milliseconds at a stretch; meanwhile nothing more is read from the backend. Most
answers need none of this. Not here: how a part is read elsewhere (``long_answers``).
"""

import asyncio
from collections import deque
from typing import Final, Protocol

from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.http.content_coding import Unpacker
from overspill_gateway.wire.time_slice import TimeSlice
from overspill_gateway.workers.worker_pool import WorkItem

PIECE_BYTES: Final = 4 * 1024
"""The dearest take some 2 ms."""
_STRETCH_SECONDS: Final = 0.002


class Taker(Protocol):
    """Whose answer it is."""

    @property
    def takes(self) -> bool:
        """Whether it takes more now."""
        ...

    def take_piece(self, data: bytes) -> None:
        """The next piece."""
        ...

    def hold_back(self) -> None:
        """Let the backend write no more for now."""
        ...

    def go_on(self) -> None:
        """Hand on what waits, whatever comes of it."""
        ...

    def all_taken(self, fault: str | None) -> None:
        """Nothing waits any more; ``fault``: why no more can come."""
        ...


class Inflow:
    """What waits."""

    __slots__ = ("_at", "_come", "_front", "_is_due", "_piece", "_reading", "_taker", "_unpacker", "ended", "lost")

    def __init__(self, taker: Taker, unpacker: Unpacker | None = None) -> None:
        self.ended = False
        """Whether all of it has come."""
        self.lost: tuple[FailureKind, str] | None = None
        """Why no more of it will come."""
        self._taker = taker
        self._unpacker = unpacker
        self._come: deque[bytes] = deque()
        self._front: deque[bytes] = deque()
        """What comes before it."""
        self._piece = b""
        self._at = 0
        self._reading: WorkItem | None = None
        self._is_due = False

    @property
    def is_packed(self) -> bool:
        """Whether all that comes has to be unpacked."""
        return self._unpacker is not None

    @property
    def is_read(self) -> bool:
        """Whether a part is being read elsewhere."""
        return self._reading is not None

    def add(self, data: bytes) -> None:
        """More has come."""
        if self._unpacker is not None:
            self._unpacker.feed(data)
        else:
            self._come.append(data)

    def put_back(self, parts: list[bytes]) -> None:
        """This comes next, before all else."""
        if self._at < len(self._piece):
            self._front.appendleft(self._piece[self._at :])
        self._piece, self._at = b"", 0
        self._front.extendleft([part for part in reversed(parts) if part])

    def waits_for(self, reading: WorkItem) -> None:
        """A part is being read elsewhere; until it is, nothing is handed on."""
        self._reading = reading

    def was_read(self) -> None:
        """That is over."""
        self._reading = None

    def drop(self) -> None:
        """Nobody wants it any more."""
        if self._reading is not None:
            self._reading.drop()
            self._reading = None

    def go_on(self) -> None:
        """Hand on what there is time for."""
        taker = self._taker
        stretch = TimeSlice(_STRETCH_SECONDS)
        while self._reading is None and taker.takes:
            piece = self._next()
            if not piece:
                taker.all_taken(self._fault())
                return
            taker.take_piece(piece)
            if stretch.is_over:
                break
        taker.hold_back()
        if self._reading is None and taker.takes:
            self.go_on_soon()

    def go_on_soon(self) -> None:
        """When everybody else has had a turn."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_due = False
        self._taker.go_on()

    def _next(self) -> bytes:
        if self._at >= len(self._piece):
            self._at = 0
            self._piece = self._more()
        piece = self._piece[self._at : self._at + PIECE_BYTES]
        self._at += len(piece)
        return piece

    def _more(self) -> bytes:
        unpacker = self._unpacker
        if self._front:
            return self._front.popleft()
        if unpacker is None:
            return self._come.popleft() if self._come else b""
        data = b""
        while not data and unpacker.has_more:
            data = unpacker.slice()
        return data

    def _fault(self) -> str | None:
        """What is wrong with the packing."""
        if self._unpacker is None:
            return None
        if self.ended:
            self._unpacker.close()
        return self._unpacker.fault

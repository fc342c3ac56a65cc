"""Reads streams that are under way together, once an interval, while there are many of them.

Being woken for a chunk costs more than passing it on. Where chunks come so often that several wait after two
milliseconds, they are read then, one after the other, each still written on at once and on its own. Only what follows a
stream's first token is read so: nothing that anybody waits for. Below that rate, chunks are read as they come.
"""

import asyncio
import contextlib
import logging
import os
import select
from typing import Final, Protocol

logger = logging.getLogger(__name__)

CHUNKS_AN_INTERVAL_MIN: Final = 3
"""Fewer are read as they come: being woken by a timer costs as much as two of them."""
_WINDOW_CHUNKS: Final = 64
_WINDOW_INTERVALS: Final = 32
_READ_BYTES: Final = 16384
_STREAMS_A_TURN: Final = 1024


class Stream(Protocol):
    """A connection whose chunks can be read by its socket's number."""

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        ...

    def returned(self) -> None:
        """The event loop reads it again."""
        ...

    def broken(self) -> None:
        """What came could not be dealt with: end it."""
        ...


class StreamReads:
    """The streams of one event loop that are read together now."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_seconds: float) -> None:
        """``interval_seconds``: at least a millisecond."""
        self.together = False
        """Whether a stream is read here from its next chunk on."""
        self._loop = loop
        self._interval = interval_seconds
        self._epoll = select.epoll()
        self._streams: dict[int, Stream] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._since = loop.time()
        self._chunks = 0
        self._turns = 0

    def __len__(self) -> int:
        return len(self._streams)

    def chunk_came(self) -> None:
        """A chunk was read as it came."""
        self._chunks += 1
        if self._chunks >= _WINDOW_CHUNKS:
            now = self._loop.time()
            often = (now - self._since) * CHUNKS_AN_INTERVAL_MIN <= self._chunks * self._interval
            self.together = often and not self._epoll.closed
            self._since, self._chunks = now, 0

    def take(self, number: int, stream: Stream) -> None:
        """Read this stream from now on; the event loop must have stopped to."""
        self._streams[number] = stream
        self._epoll.register(number, select.EPOLLIN | select.EPOLLRDHUP)
        if self._timer is None:
            self._begin()

    def release(self, number: int, stream: Stream) -> None:
        """Read this stream no more; its socket may be closed already."""
        if self._streams.get(number) is stream:
            del self._streams[number]
            with contextlib.suppress(OSError):  # closing it took it out
                self._epoll.unregister(number)

    def close(self) -> None:
        """Leave all streams to the event loop and read no more."""
        if not self._epoll.closed:
            self._return_all()
            self._epoll.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._since, self._chunks, self._turns = self._loop.time(), 0, 0
        self._timer = self._loop.call_later(self._interval, self._turn)

    def _turn(self) -> None:
        streams = self._streams
        try:
            for number, events in self._epoll.poll(0, _STREAMS_A_TURN):
                stream = streams.get(number)
                if stream is not None:  # else it was ended by what came for one before it
                    self._read(number, stream, events)
            self._turns += 1
            if self._turns >= _WINDOW_INTERVALS:
                self._look_at_rate()
        finally:
            self._timer = self._loop.call_later(self._interval, self._turn) if streams else None

    def _read(self, number: int, stream: Stream, events: int) -> None:
        self._chunks += 1
        try:
            data = os.read(number, _READ_BYTES) if events == select.EPOLLIN else b""
        except OSError:
            data = b""
        if not data:  # its end, or an error: the event loop knows what to do
            self.release(number, stream)
            stream.returned()
            return
        try:
            stream.data_received(data)
        except Exception:
            # One stream's fault must not keep the others waiting.
            logger.exception("a stream's chunk could not be passed on")
            self.release(number, stream)
            stream.broken()

    def _look_at_rate(self) -> None:
        """Go back to reading chunks as they come once they have become half as many as it takes."""
        now = self._loop.time()
        if 2 * self._chunks * self._interval < (now - self._since) * CHUNKS_AN_INTERVAL_MIN:
            self.together = False
            self._return_all()
        self._since, self._chunks, self._turns = now, 0, 0

    def _return_all(self) -> None:
        for number, stream in list(self._streams.items()):
            self.release(number, stream)
            stream.returned()


def stream_reads(loop: asyncio.AbstractEventLoop, interval_seconds: float) -> StreamReads | None:
    """The reader of streams for an event loop; None where there is to be none, or the system has no epoll."""
    return StreamReads(loop, interval_seconds) if interval_seconds and hasattr(select, "epoll") else None

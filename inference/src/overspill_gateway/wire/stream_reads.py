"""Reads streams that are under way together, once an interval, while there are many of them.

Being woken for a chunk costs more than passing it on. Where chunks come so often that several wait after two
milliseconds, they are read then, one after the other, each still written on at once and on its own. Only what follows a
stream's first token is read so: nothing that anybody waits for. Below that rate, chunks are read as they come.

An engine writes all its streams' tokens at once, and then nothing for the time of a step: intervals in which nothing
came are followed by waiting for the next chunk, so that silence costs nothing.
"""

import asyncio
import contextlib
import logging
import os
import select
from typing import Final, Protocol

from overspill_gateway.wire.time_slice import TimeSlice

logger = logging.getLogger(__name__)

CHUNKS_AN_INTERVAL_MIN: Final = 3
"""Fewer are read as they come: being woken by a timer costs as much as two of them."""
_WINDOW_CHUNKS: Final = 64
_WINDOW_INTERVALS: Final = 32
_EMPTY_TURNS: Final = 2
"""After so many nothing is expected soon."""
_READ_BYTES: Final = 16384
_STREAMS_A_TURN: Final = 256
_TURN_SECONDS_MAX: Final = 0.002
"""For so long streams are read at a stretch."""


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
        self.epoll = select.epoll()
        """Watches their sockets."""
        self._streams: dict[int, Stream] = {}
        self.timer: asyncio.TimerHandle | None = None
        """For the next look."""
        self.waits = False
        """Whether the event loop wakes it at the next chunk: there was nothing at the last look."""
        self._empty = 0
        self.since = loop.time()
        """When its chunks were last counted."""
        self._chunks = 0

    def __len__(self) -> int:
        return len(self._streams)

    def chunk_came(self) -> None:
        """A chunk was read as it came."""
        self._chunks += 1
        if self._chunks >= _WINDOW_CHUNKS:
            now = self._loop.time()
            often = (now - self.since) * CHUNKS_AN_INTERVAL_MIN <= self._chunks * self._interval
            self.together = often and not self.epoll.closed
            self.since, self._chunks = now, 0

    def take(self, number: int, stream: Stream) -> None:
        """Read this stream from now on; the event loop must have stopped to."""
        self._streams[number] = stream
        self.epoll.register(number, select.EPOLLIN | select.EPOLLRDHUP)
        if self.timer is None and not self.waits:
            self.since, self._chunks = self._loop.time(), 0
            self._read_later()

    def release(self, number: int, stream: Stream) -> None:
        """Read this stream no more; its socket may be closed already."""
        if self._streams.get(number) is stream:
            del self._streams[number]
            with contextlib.suppress(OSError):  # closing it took it out
                self.epoll.unregister(number)

    def close(self) -> None:
        """Leave all streams to the event loop and read no more."""
        if not self.epoll.closed:
            self._return_all()
            self._wait_no_more()
            self.epoll.close()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _read_later(self) -> None:
        self.timer = self._loop.call_later(self._interval, self._turn)

    def _turn(self) -> None:
        self.timer = None
        streams = self._streams
        readable = self.epoll.poll(0, _STREAMS_A_TURN)
        turn = TimeSlice(_TURN_SECONDS_MAX)
        in_time = len(readable) < _STREAMS_A_TURN
        try:
            for number, events in readable:
                stream = streams.get(number)
                if stream is not None:  # else it was ended by what came for one before it
                    self._read(number, stream, events)
                    if turn.is_over:
                        in_time = False
                        break
            self._look_at_rate()
        finally:
            self._empty = 0 if readable else self._empty + 1
            if streams and not in_time:  # others have their turn; those that are left come first then
                self.timer = self._loop.call_later(0, self._turn)
            elif streams and self._empty < _EMPTY_TURNS:
                self._read_later()
            elif streams:
                self.waits = True
                self._loop.add_reader(self.epoll.fileno(), self._first_came)

    def _first_came(self) -> None:
        """After a silence there is something to read: more of it in an interval."""
        self._wait_no_more()
        self._empty = 0
        self._look_at_rate()
        if self._streams:
            self._read_later()

    def _wait_no_more(self) -> None:
        if self.waits:
            self.waits = False
            self._loop.remove_reader(self.epoll.fileno())

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
        """From time to time: go back to reading chunks as they come where these are half as many as it takes."""
        now = self._loop.time()
        if now - self.since < _WINDOW_INTERVALS * self._interval:
            return
        if 2 * self._chunks * self._interval < (now - self.since) * CHUNKS_AN_INTERVAL_MIN:
            self.together = False
            self._return_all()
        self.since, self._chunks = now, 0

    def _return_all(self) -> None:
        for number, stream in list(self._streams.items()):
            self.release(number, stream)
            stream.returned()


def stream_reads(loop: asyncio.AbstractEventLoop, interval_seconds: float) -> StreamReads | None:
    """The reader of streams for an event loop; None where there is to be none, or the system has no epoll."""
    return StreamReads(loop, interval_seconds) if interval_seconds and hasattr(select, "epoll") else None

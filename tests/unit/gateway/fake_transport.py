"""A transport without a socket: what a protocol writes to it can be read, and it does what the test says."""

from __future__ import annotations

import asyncio


class FakeTransport(asyncio.Transport):
    """Remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.aborted = False
        self.eof_written = False
        self.reading = True
        self.waiting = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Remember what was written."""
        assert not self.ended, "written after the end"
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        """Bytes that have not gone out, as the test says."""
        return self.waiting

    def close(self) -> None:
        """Remember."""
        self.closed = True

    def abort(self) -> None:
        """Remember."""
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def write_eof(self) -> None:
        """Remember."""
        self.eof_written = True

    def pause_reading(self) -> None:
        """Remember."""
        self.reading = False

    def resume_reading(self) -> None:
        """Remember."""
        self.reading = True

    @property
    def ended(self) -> bool:
        """Whether the protocol wants no further request."""
        return self.closed or self.eof_written

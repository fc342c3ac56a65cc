"""Stands for a client's connection: takes what an answer is made of, and remembers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from overspill_gateway.core.http.errors import ApiError

if TYPE_CHECKING:
    from overspill_gateway.wire.server import ServerConnection


class ClientDouble:
    """What of wire.server.ServerConnection an answer is written with."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, bytes, int | None]] = []
        self.body = b""
        self.pieces: list[bytes] = []
        self.flushed = b""
        self.ended = False
        self.was_cut = False
        self.refused: ApiError | None = None

    @property
    def connection(self) -> ServerConnection:
        """Itself, as what it stands for."""
        return cast("ServerConnection", self)

    def send_head(self, status: int, lines: bytes, length: int | None, *, dated: bool = False) -> None:  # noqa: ARG002
        """Begin the answer."""
        assert not self.heads, "the head was sent twice"
        assert not self.ended
        self.heads.append((status, lines, length))

    def send(self, data: bytes, chunk: bytes = b"") -> None:
        """Take a piece."""
        assert chunk in {b"", b"%x\r\n%b\r\n" % (len(data), data)}
        assert self.heads, "a body before its head"
        assert not self.ended, "a body behind its end"
        if data:
            self.body += data
            self.pieces.append(data)

    def flush(self) -> None:
        """Write."""
        self.flushed = self.body

    def end(self) -> None:
        """End the answer."""
        assert self.heads
        assert not self.ended
        self.ended = True

    def cut(self) -> None:
        """Break off."""
        self.was_cut = True

    def refuse(self, error: ApiError, lines: bytes = b"") -> None:
        """Answer with an error."""
        self.send_head(error.status, lines, 0)
        self.refused = error
        self.ended = True

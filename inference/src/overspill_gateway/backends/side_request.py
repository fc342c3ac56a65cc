"""A small question to a backend beside the requests that it serves: one answer, soon and short, or none.

What is asked and what follows is the asker's; here are the connection, the clock and the limit on length.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from overspill_gateway.core.backends.outcome import ConnectFault, FailureKind
from overspill_gateway.core.http.answer_head import AnswerHead

if TYPE_CHECKING:
    from overspill_gateway.wire.pool import Connecting, Pool
    from overspill_gateway.wire.upstream import UpstreamConnection

OnAnswer = Callable[[int, bytes], None]
"""Told status and body; status 0: no answer came, or not whole, or not in time, or too long a one."""


class SideRequest:
    """One question. ``then`` is called exactly once, unless it is withdrawn before."""

    __slots__ = (
        "_bytes_left", "_connecting", "_connection", "_kept_bytes_left", "_pieces", "_request", "_status", "_then",
        "_timer",
    )  # fmt: skip

    def __init__(
        self, head: bytes, body: bytes, *, answer_bytes_max: int, then: OnAnswer, kept_bytes_max: int = 1 << 30
    ) -> None:
        """``kept_bytes_max``: of the answer's beginning; the rest is read and let go."""
        self._request = (head, body)
        self._bytes_left = answer_bytes_max
        self._kept_bytes_left = kept_bytes_max
        self._then: OnAnswer | None = then
        self._connecting: Connecting | None = None
        self._connection: UpstreamConnection | None = None
        self._status = 0
        self._pieces: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, pool: "Pool", seconds_max: float) -> None:
        """Ask on a connection of this pool."""
        self._timer = asyncio.get_running_loop().call_later(seconds_max, self._fail)
        connection = pool.take()
        if connection is None:
            self._connecting = pool.connect(self)
        else:
            self.connected(connection)

    def withdraw(self) -> None:
        """Nobody wants to know any more."""
        self._then = None
        self._fail()

    # -- what the connection tells -----------------------------------------------------------------------------

    def connected(self, connection: "UpstreamConnection") -> None:
        """A connection is there."""
        self._connecting = None
        self._connection = connection
        connection.send(self, *self._request)

    def connect_failed(self, detail: str, fault: ConnectFault) -> None:  # noqa: ARG002
        """There is none."""
        self._connecting = None
        self._fail()

    def answer_head(self, status: int, head: AnswerHead) -> None:  # noqa: ARG002
        """The status."""
        self._status = status

    def answer_body(self, data: bytes, chunk: bytes = b"") -> None:  # noqa: ARG002
        """A piece of the answer."""
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self._fail()
        elif self._kept_bytes_left > 0:
            self._pieces.append(data[: self._kept_bytes_left])
            self._kept_bytes_left -= len(data)

    def answer_pause(self) -> None:
        """Nothing to do: the answer is wanted whole."""

    def answer_end(self) -> None:
        """The answer is whole."""
        self._connection = None
        self._end(self._status, b"".join(self._pieces))

    def answer_lost(self, kind: FailureKind, detail: str) -> None:  # noqa: ARG002
        """It will not come."""
        self._connection = None
        self._fail()

    def _fail(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.forget()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        self._end(0, b"")

    def _end(self, status: int, body: bytes) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pieces = []
        then, self._then = self._then, None
        if then is not None:
            then(status, body)

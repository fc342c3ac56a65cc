"""What a backend says in a refusal that no client gets: read to its end for its words, if that is soon and short.

The connection stays usable where the refusal was; closing it each time would answer a 429 with a new handshake.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from overspill_gateway.core.backends.backend_problem import WORDS_BYTES_MAX
from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.http.answer_head import AnswerHead

if TYPE_CHECKING:
    from overspill_gateway.backends.problems import BackendProblems
    from overspill_gateway.wire.upstream import UpstreamConnection

READ_SECONDS: Final = 2.0


class LastWords:
    """Receives the rest of a refusal."""

    __slots__ = ("_bytes", "_connection", "_pieces", "_problems", "_status", "_timer")

    def __init__(self, problems: "BackendProblems", status: int) -> None:
        self._problems = problems
        self._status = status
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._connection: UpstreamConnection | None = None
        self._timer: asyncio.TimerHandle | None = None

    def listen(self, connection: "UpstreamConnection") -> None:
        """Take the connection over from whoever asked."""
        self._connection = connection
        connection.hand_over(self)
        self._timer = asyncio.get_running_loop().call_later(READ_SECONDS, self._enough)

    def answer_head(self, status: int, head: AnswerHead) -> None:
        """It has come before."""

    def answer_body(self, data: bytes, chunk: bytes = b"") -> None:  # noqa: ARG002
        """A piece of it."""
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes > WORDS_BYTES_MAX:
            self._enough()

    def answer_pause(self) -> None:
        """Nothing to do."""

    def answer_end(self) -> None:
        """That was all."""
        self._connection = None
        self._tell()

    def answer_lost(self, kind: FailureKind, detail: str) -> None:  # noqa: ARG002
        """There will be no more of it."""
        self._connection = None
        self._tell()

    def _enough(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
            self._tell()

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pieces, self._pieces = self._pieces, []
        self._problems.said(self._status, b"".join(pieces))

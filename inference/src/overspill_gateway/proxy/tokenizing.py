"""Counts tokens with a replica's own tokenizer (vLLM's ``POST /tokenize``), for answers that came without usage.

Beside the path of requests: a count that does not come in time is given up, and the caller estimates.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from overspill_gateway.core.body import BodyFacts, with_model
from overspill_gateway.core.head import Header
from overspill_gateway.core.outcome import FailureKind
from overspill_gateway.proxy.backend import Replica

if TYPE_CHECKING:
    from overspill_gateway.proxy.route import Route
    from overspill_gateway.wire.upstream import UpstreamConnection

COUNT_SECONDS_MAX: Final = 2.0
COUNTS_MAX: Final = 32
"""Counts at a time; further answers are estimated at once."""
TEXT_BYTES_MAX: Final = 1 << 20

OnCount = Callable[[int | None], None]
"""Told the number of tokens; None: it can't be had."""


class _Count(msgspec.Struct):
    count: int


_decode: Final = msgspec.json.Decoder(_Count).decode


class Tokenizer:
    """Asks replicas how many tokens a text has."""

    def __init__(self) -> None:
        self._running = 0

    def count_prompt(self, route: "Route", body: bytes, facts: BodyFacts, then: OnCount) -> None:
        """Tokens of a request's prompt: its body has the fields that ``/tokenize`` reads."""
        self._ask(route, with_model(body, facts, route.model_json) if body else b"", then)

    def count_text(self, route: "Route", text: str, then: OnCount) -> None:
        """Tokens of an answer's text."""
        document = {"model": msgspec.Raw(route.model_json), "prompt": text, "add_special_tokens": False}
        self._ask(route, msgspec.json.encode(document) if route.model_json else b"", then)

    def _ask(self, route: "Route", body: bytes, then: OnCount) -> None:
        replica = next(iter(route.pool.replicas), None)
        if replica is None or not body or len(body) > TEXT_BYTES_MAX or self._running >= COUNTS_MAX:
            then(None)
            return
        self._running += 1
        _Counting(replica, body, lambda count: self._counted(then, count)).start()

    def _counted(self, then: OnCount, count: int | None) -> None:
        self._running -= 1
        then(count)


class _Counting:
    """One question to one replica."""

    def __init__(self, replica: Replica, body: bytes, then: OnCount) -> None:
        self._replica = replica
        self._body = body
        self._then: OnCount | None = then
        self._connection: UpstreamConnection | None = None
        self._status = 0
        self._answer = b""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Ask."""
        self._timer = asyncio.get_running_loop().call_later(COUNT_SECONDS_MAX, self._give_up)
        connection = self._replica.pool.take()
        if connection is None:
            self._replica.pool.connect(self)
        else:
            self.connected(connection)

    def connected(self, connection: "UpstreamConnection") -> None:
        """A connection is there."""
        if self._then is None:
            connection.close()
            return
        self._connection = connection
        lines = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(self._body)
        connection.send(self, b"POST /tokenize HTTP/1.1\r\n" + self._replica.host_line + lines, self._body)

    def connect_failed(self, detail: str) -> None:  # noqa: ARG002
        """There is none."""
        self._end(None)

    def answer_head(self, status: int, headers: list[Header]) -> None:  # noqa: ARG002
        """The status."""
        self._status = status

    def answer_body(self, data: bytes) -> None:
        """A piece of the answer: the count stands at its beginning or behind the list of tokens."""
        self._answer += data

    def answer_pause(self) -> None:
        """Nothing to do."""

    def answer_end(self) -> None:
        """The answer is whole."""
        self._connection = None
        try:
            self._end(_decode(self._answer).count if self._status == 200 else None)
        except msgspec.DecodeError:
            self._end(None)

    def answer_lost(self, kind: FailureKind, detail: str) -> None:  # noqa: ARG002
        """It will not come."""
        self._connection = None
        self._end(None)

    def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        self._end(None)

    def _end(self, count: int | None) -> None:
        then, self._then = self._then, None
        if self._timer is not None:
            self._timer.cancel()
        if then is not None:
            then(count)

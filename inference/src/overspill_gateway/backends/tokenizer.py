"""Counts tokens with a replica's own tokenizer (vLLM's ``POST /tokenize``), for answers that came without usage.

Beside the path of requests: where a count can't be had soon, the caller estimates.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final, Protocol

import msgspec

from overspill_gateway.backends.backend import Replica
from overspill_gateway.backends.side_request import SideRequest
from overspill_gateway.core.answers.continuation import Partial
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.requests.body import BodyFacts, with_model

COUNT_SECONDS_MAX: Final = 2.0
COUNTS_MAX: Final = 32
"""Counts at a time; further answers are estimated at once."""
TEXT_BYTES_MAX: Final = 1 << 20
ANSWER_BYTES_MAX: Final = 16 << 20
"""The answer lists every token."""
KEPT_BYTES_MAX: Final = 128 * 1024
"""Of its beginning, where vLLM says the number: the list would take long to join and to read."""

OnCount = Callable[[int | None], None]
"""Told the number of tokens; None: it can't be had."""


class _Count(msgspec.Struct):
    count: int


_BEGINNING: Final = re.compile(rb'\s*\{\s*"count"\s*:\s*([0-9]{1,9})\s*[,}]')
_decode: Final = msgspec.json.Decoder(_Count).decode


class TokenizedRoute(Protocol):
    """Whose tokenizer is asked."""

    @property
    def model_json(self) -> bytes:
        """What its replicas call the model, as JSON; empty: it has none."""
        ...

    @property
    def usable_replicas(self) -> Sequence[Replica]:
        """Those that can be asked."""
        ...


class Tokenizer:
    """Asks replicas how many tokens a text has."""

    def __init__(self) -> None:
        self._running = 0

    def count_prompt(self, route: TokenizedRoute, body: bytes, facts: BodyFacts, then: OnCount) -> None:
        """Tokens of a request's prompt: its body has the fields that ``/tokenize`` reads."""
        self._ask(route, with_model(body, facts, route.model_json) if body else b"", then)

    def count_text(self, route: TokenizedRoute, text: str, then: OnCount, avoid: Collection[BackendState] = ()) -> None:
        """Tokens of an answer's text; ``avoid``: replicas that have just failed."""
        document = {"model": msgspec.Raw(route.model_json), "prompt": text, "add_special_tokens": False}
        self._ask(route, msgspec.json.encode(document) if route.model_json else b"", then, avoid)

    def count_partial(
        self, route: TokenizedRoute, partial: Partial, then: Callable[[Partial], None], avoid: Collection[BackendState]
    ) -> None:
        """Tokens of an answer that broke off: an event may hold several, and who goes on may write only the rest.

        Where nobody can say, the events that came stand for them.
        """

        def counted(tokens: int | None) -> None:
            then(replace(partial, output_tokens=max(tokens or 0, partial.output_tokens)))

        if partial.exact:
            then(partial)
        else:
            self.count_text(route, partial.text, counted, avoid)

    def _ask(self, route: TokenizedRoute, body: bytes, then: OnCount, avoid: Collection[BackendState] = ()) -> None:
        replica = next((candidate for candidate in route.usable_replicas if candidate not in avoid), None)
        if replica is None or not body or len(body) > TEXT_BYTES_MAX or self._running >= COUNTS_MAX:
            then(None)
            return
        self._running += 1
        head = b"POST /tokenize HTTP/1.1\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (
            replica.host_line, len(body),
        )  # fmt: skip
        question = SideRequest(
            head, body, answer_bytes_max=ANSWER_BYTES_MAX, kept_bytes_max=KEPT_BYTES_MAX,
            then=lambda *answer: self._answered(then, *answer),
        )  # fmt: skip
        question.ask(replica.pool, COUNT_SECONDS_MAX)

    def _answered(self, then: OnCount, status: int, body: bytes) -> None:
        self._running -= 1
        then(_count_in(body) if status == 200 else None)


def _count_in(body: bytes) -> int | None:
    """The number of tokens that an answer says; one that is cut says it at its beginning or not at all."""
    beginning = _BEGINNING.match(body)
    if beginning is not None:
        return int(beginning[1])
    try:
        return _decode(body).count
    except msgspec.DecodeError:
        return None

"""What a request asks of a backend, as far as choosing and admitting need it, from its body and its key."""

from dataclasses import dataclass
from enum import IntFlag

from msgspec import Raw

from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.requests.bounds import UNBOUNDED_TOKENS, Bounds, bounds_of


class Needs(IntFlag):
    """What a backend has to be able to do for a request."""

    NOTHING = 0
    TOOLS = 1
    """Tool or function calling."""
    JSON_MODE = 2
    """``response_format`` other than text."""
    VISION = 4
    """Content parts other than text: images, audio, files."""


@dataclass(slots=True)
class Ask:
    """What one request asks."""

    prompt_tokens: int = 0
    """Estimated tokens of its prompt."""
    output_tokens: int = 0
    """Tokens that its answer is expected to have: for work, never for money."""
    output_tokens_max: int | None = None
    """The client's own limit for one answer (``max_tokens`` and its kin); None: none given. 0: nothing is generated."""
    answers: int = 1
    """Answers asked for (``n``)."""
    prefix: int = 0
    """Hash of the conversation's prefix, 64 bits; requests of one conversation share it. 0: none."""
    needs: Needs = Needs.NOTHING
    """What a backend has to be able to do."""
    local_only: bool = False
    """An endpoint that only an engine of our own has."""
    priority: int = 0
    """Of the consumer; a higher one leaves the waiting queue first."""
    consumer: str = ""
    """``namespace/name`` of the Consumer."""
    prompt_tokens_max: int = 0
    """Tokens that its prompt can't exceed: for money."""

    output_tokens_more: int = 0
    """Charged as output beyond its answers, at most."""
    unpriced: str = ""
    """What in it may cost something else than tokens: no hosted API under a budget may have it. Empty: nothing."""
    unbounded: str = ""
    """What makes its prompt as long as a model takes: only one whose context is known. Empty: nothing."""
    reasons: bool = False
    """Whether it asks for reasoning, which may not be shown."""
    unread: dict[str, Raw] | None = None
    """The body's fields, until they are looked through for what it can cost; None: they were, or need not be."""
    body_bytes: int = 0
    """Length of that body."""
    dialect: Dialect = Dialect.OTHER
    """Of that body."""
    hosted_path: bytes = b""
    """The path that a hosted API is asked for."""

    def bound(self) -> None:
        """Find out what the whole body can cost: once, where a hosted API under a budget comes into question."""
        if self.unread is None:
            return
        self.take_bounds(bounds_of(self.unread, self.body_bytes, self.dialect))
        self.unread = None

    def take_bounds(self, bounds: Bounds) -> None:
        """This is what the whole body can cost."""
        self.prompt_tokens_max = UNBOUNDED_TOKENS if bounds.unbounded else bounds.prompt_tokens
        self.output_tokens_more = bounds.output_tokens_more
        self.unpriced = bounds.unpriced
        self.unbounded = bounds.unbounded
        self.reasons = bounds.reasons

    def with_longer_prompt(self, tokens_max: int) -> "Ask":
        """The same, of a prompt that can't exceed so many tokens."""
        return Ask(
            self.prompt_tokens, self.output_tokens, self.output_tokens_max, self.answers, self.prefix, self.needs,
            self.local_only, self.priority, self.consumer, tokens_max, self.output_tokens_more, self.unpriced,
            self.unbounded, self.reasons, hosted_path=self.hosted_path,
        )  # fmt: skip

"""A hosted API in virtual time: how long it takes, what it allows, what it charges.

Limits are kept as the gateway keeps them (``core.money.limits``). It is never down.
"""

from dataclasses import dataclass
from random import Random

from overspill_gateway.core.money.limits import Entry, HostedLimiter
from overspill_gateway.core.requests.ask import Ask


@dataclass(frozen=True, slots=True)
class HostedModel:
    """How one hosted API answers."""

    first_token_seconds: float = 0.5
    """From sending to the first token, at the median."""
    token_seconds: float = 0.012
    """Between two tokens."""
    spread: float = 0.0
    """Of the log-normal distribution of the first token; 0: always the median."""
    seconds: float | None = None
    """The whole answer, whatever its length; None: by its tokens."""
    requests_per_minute: int | None = None
    """Limits of the key; None: none."""
    tokens_per_minute: int | None = None
    """Prompt and output tokens."""
    concurrency: int | None = None
    """Requests at a time."""

    def times(self, output_tokens: int, random: Random) -> tuple[float, float]:
        """Seconds to the first token and to the end of an answer."""
        first = self.first_token_seconds
        if self.spread:
            first *= random.lognormvariate(0.0, self.spread)
        whole = self.seconds if self.seconds is not None else first + (output_tokens - 1) * self.token_seconds
        return first, max(whole, first)


@dataclass(slots=True)
class HostedCall:
    """A request at a hosted API, as its limits count it."""

    entry: Entry | None
    counted: int


class HostedRun:
    """One hosted API while time passes."""

    def __init__(self, model: HostedModel) -> None:
        self.model = model
        self.limiter = HostedLimiter(model.requests_per_minute, model.tokens_per_minute, model.concurrency)

    def begin(self, ask: Ask, now: float) -> HostedCall | None:
        """Send a request; None: a limit does not allow it."""
        tokens = self.limiter.reservation(ask)
        if not self.limiter.may_take(now, tokens):
            return None
        return HostedCall(self.limiter.began(now, tokens), tokens)

    def seconds_if_sent(self, ask: Ask, now: float) -> float | None:
        """To the first token, at the median, of a request that were sent now; None: a limit does not allow it."""
        if not self.limiter.may_take(now, self.limiter.reservation(ask)):
            return None
        return self.model.first_token_seconds

    def end(self, call: HostedCall, actual_tokens: int, now: float) -> None:
        """It is over."""
        self.limiter.ended(now, call.entry, call.counted, actual_tokens)

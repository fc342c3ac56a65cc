"""What a call of a hosted API may cost, in integer nano-dollars, and what is held for it.

Not here: whether there is that much money (``account``).
"""

from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.answers.usage import Price
from overspill_gateway.core.money.limits import Entry
from overspill_gateway.core.requests.ask import Ask

_MILLION: Final = 1_000_000
OUTPUT_TOKENS_MAX: Final = 16_384
"""Of one answer, where the client sets no limit: as much as the larger hosted models write."""
OUTPUT_TOKENS_MAX_BY_CLIENT: Final = 131_072
"""Of one answer, where the client asks for more and the hosted API's context is not known: a huge number in a request
must not keep everybody else's money."""
USEFUL_OUTPUT_TOKENS: Final = 64
"""Money for less than this is no use, unless the client wants less."""


@dataclass(slots=True)
class Offer:
    """What a call of a hosted API may cost, at most."""

    nano_usd: int
    """To be held."""
    output_tokens: int | None
    """To be written into the request as its limit; None: as the client has it."""


def offer(
    price: Price, context_tokens: int | None, ask: Ask, money: int | None, output_tokens_max: int | None = None
) -> Offer | None:
    """The worst case of a call, with an answer as long as this money allows; None: it does not allow a useful one.

    ``money`` is None where there is no budget: the request then stays as it is, unless it asks for more than
    ``output_tokens_max``, the longest answer of the model. Worst case is the prompt's upper bound at the full input
    price, and the longest answer times the answers asked for.
    """
    prompt = ask.prompt_tokens_max
    longest, clamp = _longest(ask, context_tokens, output_tokens_max)
    if ask.output_tokens_max is None and longest < USEFUL_OUTPUT_TOKENS:
        return None
    if context_tokens is not None and longest and prompt > context_tokens * ask.answers:
        prompt = context_tokens * ask.answers  # more is refused there; a batch has the context for each
    token_cost = price.output * ask.answers
    prompt_cost = prompt * max(price.cached_input, price.input) + ask.output_tokens_more * token_cost
    cost = -(-(prompt_cost + longest * token_cost) // _MILLION)
    if money is None:
        return Offer(cost, clamp_of(ask, output_tokens_max))
    if cost <= money:
        return Offer(cost, clamp)
    if not token_cost:
        return None
    affordable = (money * _MILLION - prompt_cost) // token_cost
    if affordable < min(USEFUL_OUTPUT_TOKENS, longest) or affordable <= 0:
        return None
    return Offer(-(-(prompt_cost + affordable * token_cost) // _MILLION), affordable)


def clamp_of(ask: Ask, output_tokens_max: int | None) -> int | None:
    """The limit to be written into a request that asks for longer answers than the model writes; None: it does not."""
    asked = ask.output_tokens_max
    if asked is None or output_tokens_max is None or asked <= output_tokens_max:
        return None
    return output_tokens_max


def _longest(ask: Ask, context_tokens: int | None, output_tokens_max: int | None) -> tuple[int, int | None]:
    """The longest answer that a call may have, and the limit to be written into it, None: as the client has it."""
    asked, most = ask.output_tokens_max, output_tokens_max
    if asked is None:
        most = OUTPUT_TOKENS_MAX if most is None else min(most, OUTPUT_TOKENS_MAX)
        if context_tokens is not None:  # the prompt's estimate is given some room
            room = context_tokens - ask.prompt_tokens - ask.prompt_tokens // 4 - USEFUL_OUTPUT_TOKENS
            most = min(most, room)
        return most, most
    if most is None and asked > OUTPUT_TOKENS_MAX:
        most = OUTPUT_TOKENS_MAX_BY_CLIENT if context_tokens is None else context_tokens
    return (asked, None) if most is None or asked <= most else (most, most)


class Hold:
    """A place at a hosted API, and the money for one call there. Settled exactly once."""

    __slots__ = ("account", "entry", "nano_usd", "output_tokens_max", "price", "price_version", "settled", "tokens")

    def __init__(
        self, nano_usd: int, output_tokens_max: int | None, price: Price | None, price_version: str, tokens: int
    ) -> None:
        self.nano_usd = nano_usd
        """The worst case."""
        self.output_tokens_max = output_tokens_max
        """To be written into the request as its limit; None: it stays as the client has it."""
        self.price = price
        """By which it is charged, also if the price changes meanwhile; None: unknown."""
        self.price_version = price_version
        """To be stamped on what is recorded of it."""
        self.tokens = tokens
        """Counted at the hosted API's limits."""
        self.account: object | None = None
        """Where the money is held; None: no budget."""
        self.entry: Entry | None = None
        """Where the tokens are counted."""
        self.settled = False

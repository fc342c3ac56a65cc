"""What the hosted APIs of a route may cost: held before a call, settled after it, in integer nano-dollars.

An account is one route in one period. It spends only what a ledger has written down as spent beforehand (a lease),
so that a crash can lose track of money but never find any. Not here: the ledger, the clock, and periods.
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
_EXHAUSTED_PERCENT: Final = 95
_QUICK_SECONDS: Final = 5.0
"""A lease used up faster than this was too small."""
_BLOCKS_MIN: Final = 20
"""A lease that nothing is known of takes at most this part of the limit."""
_BLOCKS_GROWN: Final = 50
_SURPLUS: Final = 4
"""What is leased and not needed goes back beyond so many blocks."""


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


class Account:
    """The money of one route in one period.

    Always: ``spent + held <= leased`` but for what backends reported beyond their holds, and
    ``charged_before + leased <= limit`` but for that and for limits that were lowered.
    """

    __slots__ = (
        "_alerts", "_block", "_block_min", "_leased_at", "_next_alert", "alerted", "charged_before", "held", "holds",
        "leased", "limit", "overshoot", "spent",
    )  # fmt: skip

    def __init__(self, limit: int, block_min: int) -> None:
        self.limit = limit
        """The cap."""
        self.charged_before = 0
        """Charged in this period by others and by earlier lives of this process, crashed leases included."""
        self.leased = 0
        """Written down by the ledger for this account."""
        self.spent = 0
        """Settled."""
        self.held = 0
        """Held for calls under way."""
        self.holds = 0
        """How many those are."""
        self.overshoot = 0
        """What backends reported beyond what had been held for them."""
        self.alerted = 0
        """The highest charge that somebody was told of."""
        self._alerts: tuple[int, ...] = ()
        self._next_alert = 1 << 62
        self._leased_at = float("-inf")
        self._block_min = self._block = 1
        self.set_limit(limit, block_min)

    def set_alerts(self, percentages: tuple[int, ...]) -> None:
        """Of which percentages of the limit to tell, in rising order."""
        self._alerts = percentages
        self._set_next_alert()

    def set_limit(self, limit: int, block_min: int) -> None:
        """Another cap, and the least that is worth leasing; what was spent stays spent."""
        self.limit = limit
        self._block_min = max(min(block_min, limit // _BLOCKS_MIN), 1)
        self._block = max(self._block, self._block_min)
        self._set_next_alert()

    @property
    def charged(self) -> int:
        """All that this period has cost, as far as it is settled."""
        return self.charged_before + self.spent

    @property
    def left(self) -> int:
        """What the cap still allows to hold."""
        return self.limit - self.charged_before - self.spent - self.held

    @property
    def lease_left(self) -> int:
        """What may be held without asking the ledger."""
        return self.leased - self.spent - self.held

    # -- calls -------------------------------------------------------------------------------------------------

    def hold(self, amount: int) -> bool:
        """Set an amount aside for a call; False: the lease or the cap does not allow it."""
        used = self.spent + self.held + amount
        if used > self.leased or used > self.limit - self.charged_before:
            return False
        self.held += amount
        self.holds += 1
        return True

    @property
    def runs_low(self) -> bool:
        """Whether it is time to lease more, if there is more."""
        return self.leased - self.spent - self.held <= self._block >> 1

    def settle(self, held: int, charged: int) -> int:
        """A call is over; returns what the ledger has to write down beyond the lease, at once and without asking."""
        self.held -= held
        self.holds -= 1
        self.spent += charged
        if charged > held:
            self.overshoot += charged - held
            lacking = self.spent + self.held - self.leased
            if lacking > 0:
                self.leased += lacking
                return lacking
        return 0

    # -- the ledger --------------------------------------------------------------------------------------------

    def block_wanted(self, at_least: int = 0) -> int:
        """How much to lease now; 0: enough is leased, or nothing is left."""
        lease_left = self.lease_left
        if lease_left >= max(at_least, self._block // 2 + 1) or lease_left >= self.left:
            return 0
        room = self.limit - self.charged_before - self.leased
        return max(min(max(self._block, at_least) - lease_left, room), 0)

    def leased_block(self, granted: int, charged_by_others: int, now: float) -> None:
        """The ledger wrote down a block, and says what others were charged in this period."""
        self.leased += granted
        self.charged_before = charged_by_others
        if now - self._leased_at < _QUICK_SECONDS:
            self._block = max(min(self._block * 2, self.limit // _BLOCKS_GROWN), self._block_min)
        else:
            self._block = max(self._block // 2, self._block_min)
        self._leased_at = now

    def take_back(self, *, everything: bool = False) -> int:
        """What is leased and not needed: it goes back to the ledger."""
        surplus = self.leased - self.spent - self.held - (0 if everything else self._block)
        if surplus <= 0 or (not everything and surplus < self._block * _SURPLUS):
            return 0
        self.leased -= surplus
        return surplus

    # -- alerts ------------------------------------------------------------------------------------------------

    def alert_due(self) -> int:
        """A percentage of the limit that was reached and nobody was told of yet; 0: none. Returned once."""
        charged = self.charged_before + self.spent
        if charged < self._next_alert:
            return 0
        due = max(percent for percent in self._alerts if self._level(percent) <= charged)
        self.alerted_of(self._level(due))
        return due

    def alert_exhausted(self) -> bool:
        """Whether to tell that the money is spent: a call was refused, and little is left though nothing is held.

        The last nano-dollars pay for no call, so the whole limit is hardly ever charged. True once.
        """
        level = self._level(100)
        if (
            100 not in self._alerts
            or self.alerted >= level
            or self.held
            or self.charged * 100 < self.limit * _EXHAUSTED_PERCENT
        ):
            return False
        self.alerted_of(level)
        return True

    def alerted_of(self, level: int) -> None:
        """Somebody was told that this much is charged, in this life or an earlier one."""
        self.alerted = max(self.alerted, level)
        self._set_next_alert()

    def _set_next_alert(self) -> None:
        levels = (self._level(percent) for percent in self._alerts)
        self._next_alert = next((level for level in levels if level > self.alerted), 1 << 62)

    def _level(self, percent: int) -> int:
        return -(-self.limit * percent // 100)


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

"""Limits, price and money of one hosted API of a route. Not here: choosing it, and reading usage."""

from overspill_api.compiled import HostedBackend
from overspill_gateway.core.answers.usage import Price, Report, Usage, cost_nano_usd
from overspill_gateway.core.counters import BackendCounters
from overspill_gateway.core.flow.flow_actions import NotSent
from overspill_gateway.core.money.account import Money
from overspill_gateway.core.money.budget import Hold, Offer, clamp_of, offer
from overspill_gateway.core.money.limits import HostedLimiter
from overspill_gateway.core.requests.ask import Ask
from overspill_gateway.money.spending import PeriodSpending, RouteBudget


class HostedMeter:
    """Limits, price and money of one hosted API of a route."""

    __slots__ = (
        "backend",
        "budget",
        "context_tokens",
        "counters",
        "hides_output",
        "holds",
        "limiter",
        "output_tokens_max",
        "price",
        "shows_output",
    )  # fmt: skip

    def __init__(self, backend: HostedBackend, budget: RouteBudget, counters: BackendCounters) -> None:
        self.backend = backend
        self.counters = counters
        self.limiter = HostedLimiter(backend.requests_per_minute, backend.tokens_per_minute, backend.concurrency)
        self.price = price_of(backend)
        self.context_tokens = backend.context_tokens
        """Kept apart, as both are asked for in each request: attributes of a document are slow."""
        self.output_tokens_max = backend.output_tokens_max
        self.holds = 0
        """Calls that were not settled yet."""
        self.shows_output = False
        """Whether it has reported the tokens of a stream whose text was seen."""
        self.hides_output = False
        """Whether it has ever reported more tokens than bytes of text, or reasoning: what is not seen costs as well."""
        self.budget = budget
        """The route's."""

    def update(self, backend: HostedBackend) -> None:
        """Other limits or another price; what is counted and held stays."""
        if backend != self.backend:
            if (backend.base_url, backend.model) != (self.backend.base_url, self.backend.model):
                self.shows_output = self.hides_output = False
            self.backend = backend
            self.price = price_of(backend)
            self.context_tokens, self.output_tokens_max = backend.context_tokens, backend.output_tokens_max
            self.limiter.update(backend.requests_per_minute, backend.tokens_per_minute, backend.concurrency)

    def may_take(self, ask: Ask, now: float) -> bool:
        """Whether limits and budget allow this call now."""
        if not self.limiter.may_take(now, self.limiter.reservation(ask)):
            return False
        return self.budget.rules is None or (self.can_bound(ask) and self.is_affordable(ask))

    def can_bound(self, ask: Ask) -> bool:
        """Whether it is known what a call can cost at most."""
        if self.budget.rules is None:
            return True
        ask.bound()
        if not ask.unpriced and not ask.unbounded:
            return True
        return not ask.unpriced and self.context_tokens is not None

    def is_affordable(self, ask: Ask) -> bool:
        """Whether the budget allows this call now."""
        budget = self.budget
        if budget.rules is None:
            return True
        spending = budget.at_hand
        if self.price is None or (spending is None and not budget.is_new):
            return False
        ask.bound()
        money = spending.money if spending is not None else budget.rules.limit_nano_usd
        return self.offered(ask, money) is not None

    def hold(self, ask: Ask, now: float) -> Hold | NotSent:
        """Take a place and hold the money for a call that is sent now."""
        limiter, price = self.limiter, self.price
        tokens = limiter.reservation(ask)
        if not limiter.may_take(now, tokens) or not self.can_bound(ask):
            return NotSent.NO
        spending: PeriodSpending | None = None
        offer: Offer | None = None
        if self.budget.rules is not None:
            spending = self.budget.current()
            if spending is None:
                return NotSent.NO
            offered = self._held_offer(ask, spending, now)
            if isinstance(offered, NotSent):
                return offered
            offer = offered
        else:
            offer = self.offered(ask, None)
        version = self.backend.price_version
        if offer is None:
            hold = Hold(0, clamp_of(ask, self.output_tokens_max), price, version, tokens)
        else:
            hold = Hold(offer.nano_usd, offer.output_tokens, price, version, tokens)
        hold.account = spending
        hold.entry = limiter.began(now, tokens)
        self.holds += 1
        return hold

    def settle(self, hold: Hold, now: float, usage: Usage | None, *, may_have_cost: bool) -> int:
        """The call is over; returns what it was charged, which is counted here.

        With usage, reported or estimated: by it. Without: in full, since what became of it is not known. Where
        nothing was sent, or the API refused it by its status: nothing (``may_have_cost=False``).
        """
        if hold.settled:
            return 0
        hold.settled = True
        self.holds -= 1
        charged, tokens = hold.nano_usd, hold.tokens
        if not may_have_cost:
            charged = tokens = 0
        elif usage is not None:
            tokens = usage.prompt_tokens + usage.output_tokens
            self.limiter.rates.observed(usage.output_tokens)
            cost = cost_nano_usd(usage, hold.price) if hold.price is not None else 0
            charged = cost if usage.reported or cost < charged else charged  # an estimate is never above the bound
        else:
            self.counters.charged_in_full += 1
        self.limiter.ended(now, hold.entry, hold.tokens, tokens)
        if isinstance(hold.account, PeriodSpending):
            hold.account.settle(hold.nano_usd, charged, now)
        self.counters.charge(charged, hold.price_version)
        return charged

    def learn_output(self, report: Report, seen_bytes: int) -> None:
        """A stream is whole: whether its text was all that it was charged for."""
        if report.output_tokens is not None:
            self.shows_output = True
            if report.reasoned or report.output_tokens > seen_bytes:
                self.hides_output = True

    def offered(self, ask: Ask, money: int | None) -> Offer | None:
        """What a call may cost with so much money, None: with any; None: nothing useful, or the price is unknown."""
        price = self.price
        return offer(price, self.context_tokens, ask, money, self.output_tokens_max) if price is not None else None

    def _held_offer(self, ask: Ask, spending: PeriodSpending, now: float) -> Offer | NotSent:
        offer = self.offered(ask, spending.money)
        if offer is None:
            return NotSent.NO
        answer = spending.hold(offer.nano_usd, now)
        if answer is Money.HELD:
            return offer
        if answer is Money.WAIT:
            return NotSent.WAIT
        # The ledger gave less than the limit has room for, since others have the rest: with what there is.
        account = spending.account
        offer = self.offered(ask, min(account.left, account.lease_left))
        return offer if offer is not None and spending.hold(offer.nano_usd, now) is Money.HELD else NotSent.NO


def price_of(backend: HostedBackend) -> Price | None:
    """The price of a hosted API, or None where it is unknown."""
    if backend.input_nano_usd_per_million is None or backend.output_nano_usd_per_million is None:
        return None
    cached = backend.cached_input_nano_usd_per_million
    fresh = backend.input_nano_usd_per_million
    return Price(fresh, fresh if cached is None else cached, backend.output_nano_usd_per_million)

"""Limits and money of every request: may this consumer send it, may that hosted API take it, what was it charged.

One ``RouteMeter`` a route, one ``HostedMeter`` for each of its hosted APIs; both outlive changes of the route's
document. Not here: choosing a backend, and reading usage.
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol

from overspill_api.compiled import CompiledRoute, ConsumerLimitRules, HostedBackend
from overspill_gateway.clock import Clock
from overspill_gateway.core.admission.route_pool import RouteMoney
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.counters import BackendCounters, ConsumerCounters, ConsumerTable
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.money.budget import OUTPUT_TOKENS_MAX
from overspill_gateway.core.money.ledger_rules import CapKey, CapKind
from overspill_gateway.core.money.limits import NEVER, WINDOW_SECONDS, Entry, RateLimiter
from overspill_gateway.core.requests.access import Grant
from overspill_gateway.core.requests.ask import Ask
from overspill_gateway.core.requests.estimate import TokenRatio
from overspill_gateway.money.hosted_meter import HostedMeter, price_of
from overspill_gateway.money.ledger_store import LedgerStore
from overspill_gateway.money.limit_memory import LimitMemory
from overspill_gateway.money.recording import Recording
from overspill_gateway.money.spending import RouteBudget

__all__ = ["Admission", "HostedMeter", "MeteredRoute", "Metering", "RouteMeter"]

_MILLION: Final = 1_000_000
_BLOCK_CALLS: Final = 4
"""A first lease lasts for so many of the dearest calls at a time."""
_BLOCK_PROMPT_TOKENS: Final = 32_768
_LIMITERS_SWEPT_AT: Final = 1024
"""Of the consumers at one route: above it those that hold nothing any more are forgotten."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a client had of an answer when it went away."""

    output_tokens_min: int
    """Events that came."""
    output_tokens_max: int
    """Bytes that came, and a margin: for replicas, which show all they write."""


class Admission:
    """A request that was let in: where it was counted, to be corrected when its tokens are known."""

    __slots__ = (
        "at_consumer",
        "at_route",
        "consumer",
        "counters",
        "output_tokens",
        "prompt_tokens",
        "reserved",
        "reserved_here",
        "route",
        "settled",
    )

    def __init__(self, counters: ConsumerCounters, prompt_tokens: int, output_tokens: int) -> None:
        self.counters = counters
        self.prompt_tokens = prompt_tokens
        """Counted at its arrival."""
        self.output_tokens = output_tokens
        self.reserved = 0
        """Tokens that were counted at the consumer's limits, and below at those of the route."""
        self.reserved_here = 0
        self.settled = False
        self.consumer: RateLimiter | None = None
        self.route: RateLimiter | None = None
        self.at_consumer: Entry | None = None
        self.at_route: Entry | None = None


@dataclass(slots=True)
class _Consumer:
    """One consumer, as requests meet it."""

    counters: ConsumerCounters
    rules: ConsumerLimitRules
    limiter: RateLimiter | None


class RouteMeter(RouteMoney):
    """Limits of consumers at one route, its budget, and its hosted APIs."""

    def __init__(self, compiled: CompiledRoute, budget: RouteBudget, memory: LimitMemory) -> None:
        self.key = compiled.key
        self.model = compiled.model
        self.budget = budget
        self.rules = compiled.per_consumer
        self.limited = self.rules.requests_per_minute is not None or self.rules.tokens_per_minute is not None
        self.hosted: dict[str, HostedMeter] = {}
        self.ratio = TokenRatio()
        """Bytes per prompt token, learned from reported usage."""
        self.limited_requests = 0
        """Refused by limits of their consumers."""
        self._names: list[str] = []
        self._memory = memory
        self.limiters: dict[str, RateLimiter] = {}
        """Of consumers that were here lately."""
        self._sweep_at = _LIMITERS_SWEPT_AT
        self.update(compiled)

    def update(self, compiled: CompiledRoute) -> None:
        """Another document."""
        self.model = compiled.model
        rules = self.rules = compiled.per_consumer
        self.limited = rules.requests_per_minute is not None or rules.tokens_per_minute is not None
        for limiter in self.limiters.values():
            limiter.update(rules.requests_per_minute, rules.tokens_per_minute)
        self._names = [backend.name for backend in compiled.hosted]
        self.hosted = {name: meter for name, meter in self.hosted.items() if name in self._names or meter.holds}
        for backend in compiled.hosted:
            meter = self.hosted.get(backend.name)
            if meter is not None:
                meter.update(backend)
        self.budget.update(
            compiled.budget, max((_dear_call(meter) for meter in compiled.hosted), default=1) * _BLOCK_CALLS
        )

    def meter_of(self, backend: HostedBackend, counters: BackendCounters) -> HostedMeter:
        """The meter of a hosted API; the same one after a change of the document."""
        meter = self.hosted.get(backend.name)
        if meter is None:
            meter = self.hosted[backend.name] = HostedMeter(backend, self.budget, counters)
            self._memory.keep(CapKey(CapKind.HOSTED, f"{self.key} {backend.name}"), meter.limiter.rates)
        meter.update(backend)
        return meter

    def is_affordable(self, ask: Ask) -> bool:
        """Whether the budget allows this request at any hosted API; False: it is the money that is lacking."""
        return any(meter.is_affordable(ask) for meter in self._current_hosted())

    def count_passed_over(self, ask: Ask) -> bool:
        """Count a request that goes to no hosted API for lack of money; False: that is not why."""
        if self.budget.rules is None or ask.local_only or not self._names or self.is_affordable(ask):
            return False
        spending = self.budget.at_hand
        if spending is not None:
            spending.refused()
        return True

    def can_bound(self, ask: Ask) -> bool:
        """Whether it is known of any hosted API what this request can cost there; True where there is no budget."""
        return any(meter.can_bound(ask) for meter in self._current_hosted())

    def rejects(self, ask: Ask) -> bool:
        """Whether a request that no replica takes at once is refused: the money is spent, and onExhausted is Reject."""
        rules = self.budget.rules
        if rules is None or rules.on_exhausted != "Reject" or ask.local_only or not self._names:
            return False
        return not self.is_affordable(ask)

    def hosted_wait_seconds(self, ask: Ask, now: float) -> float:
        """How long until the rates of a hosted API let this request through; inf: they never do."""
        meters = self._current_hosted()
        return min((meter.limiter.wait_seconds(now, meter.limiter.reservation(ask)) for meter in meters), default=NEVER)

    def _current_hosted(self) -> list[HostedMeter]:
        return [self.hosted[name] for name in self._names if name in self.hosted]

    def limiter_of(self, consumer: str, now: float) -> RateLimiter | None:
        """The limits of one consumer at this route."""
        if not self.limited:
            return None
        limiter = self.limiters.get(consumer)
        if limiter is None:
            if len(self.limiters) >= self._sweep_at:
                self._forget_idle(now)
            rules = self.rules
            limiter = RateLimiter(rules.requests_per_minute, rules.tokens_per_minute)
            self.limiters[consumer] = self._memory.keep(
                CapKey(CapKind.CONSUMER_AT_ROUTE, f"{self.key} {consumer}"), limiter
            )
        return limiter

    def _forget_idle(self, now: float) -> None:
        self.limiters = {name: limiter for name, limiter in self.limiters.items() if not limiter.is_idle(now)}
        self._sweep_at = max(2 * len(self.limiters), _LIMITERS_SWEPT_AT)


class MeteredRoute(Protocol):
    """What has the meter of a route."""

    @property
    def meter(self) -> RouteMeter:
        """From ``Metering.route``."""


class Metering:
    """All meters of a gateway process."""

    def __init__(self, ledger: LedgerStore, clock: Clock | None = None) -> None:
        self.ledger = ledger
        self.routes: dict[str, RouteMeter] = {}
        self.recording: Recording | None = None
        """Where what is charged is written down for the planner; None: nowhere."""
        self.records = ConsumerTable()
        """What each consumer used."""
        self._clock = clock or Clock()
        self._consumers: dict[str, _Consumer] = {}
        self._memory = LimitMemory(ledger, self._clock)

    def begin(self) -> None:
        """Find out what an earlier life of the process has counted."""
        self._memory.begin()

    # -- documents ---------------------------------------------------------------------------------------------

    def route(self, compiled: CompiledRoute) -> RouteMeter:
        """The meter of a route, by its newest document."""
        meter = self.routes.get(compiled.key)
        if meter is None:
            budget = RouteBudget(compiled.key, self.ledger, self._clock)
            meter = self.routes[compiled.key] = RouteMeter(compiled, budget, self._memory)
        else:
            meter.update(compiled)
        return meter

    def forget_route(self, key: str) -> None:
        """The route is gone; what it was charged stays in the ledger, for a route of that name that may come."""
        meter = self.routes.pop(key, None)
        if meter is not None:
            meter.budget.close()

    def forget_consumer(self, key: str) -> None:
        """The consumer is gone."""
        self._consumers.pop(key, None)

    def close(self) -> bool:
        """Settle with the ledger; whether it was written in time."""
        self._memory.save(everything=True)
        for meter in self.routes.values():
            meter.budget.close()
        return self.ledger.close()

    def tick(self) -> None:
        """A second has passed: what no request brings about."""
        self._memory.save()
        for meter in self.routes.values():
            if meter.budget.rules is not None:
                meter.budget.tick()

    # -- requests ----------------------------------------------------------------------------------------------

    def admit(self, grant: Grant, metered: MeteredRoute, ask: Ask, now: float) -> Admission | ApiError:
        """Count a request at its consumer's limits, over all routes and at this one, or refuse it."""
        route = metered.meter
        consumer = self._consumers.get(grant.consumer)
        if consumer is None or consumer.rules is not grant.limits:
            consumer = self._consumer(grant)
        overall = consumer.limiter
        here = route.limiter_of(grant.consumer, now) if route.limited else None
        tokens = overall.reservation(ask) if overall is not None else 0
        tokens_here = here.reservation(ask) if here is not None else 0
        wait = overall.wait_seconds(now, tokens) if overall is not None else 0.0
        wait_here = here.wait_seconds(now, tokens_here) if here is not None else 0.0
        if wait or wait_here:
            if wait_here > wait:
                return self._limited(consumer, route, here, tokens_here, now)
            return self._limited(consumer, route, overall, tokens, now)
        admission = Admission(consumer.counters, ask.prompt_tokens, ask.output_tokens)
        consumer.counters.requests += 1
        if overall is not None:
            admission.consumer = overall
            admission.reserved = tokens
            admission.at_consumer = overall.add(now, tokens)
        if here is not None:
            admission.route = here
            admission.reserved_here = tokens_here
            admission.at_route = here.add(now, tokens_here)
        return admission

    def settle(
        self, admission: Admission, usage: Usage | None, now: float, *, served: bool, nano_usd: int = 0,
        left: Left | None = None,
    ) -> None:  # fmt: skip
        """A request is over; ``nano_usd``: what all its attempts were charged.

        Its tokens are those of its usage, reported or estimated. Where it was served and there is none, they stay as
        they were reserved, or what can have come by the time its client left; where nobody served it, they are given
        back. Called again, for a further attempt that was answered, it adds that one's tokens.
        """
        counters = admission.counters
        counters.cost_nano_usd += nano_usd
        reserved, reserved_here = (0, 0) if admission.settled else (admission.reserved, admission.reserved_here)
        admission.settled = True
        actual, actual_here = 0, 0
        if served and usage is not None:
            actual = actual_here = usage.prompt_tokens + usage.output_tokens
            for limiter in (admission.consumer, admission.route):
                if limiter is not None:
                    limiter.observed(usage.output_tokens)
        elif served:
            actual, actual_here = _left(admission, reserved, left), _left(admission, reserved_here, left)
        if served:
            _count_tokens(admission, usage, left)
        if admission.consumer is not None:
            admission.consumer.correct(now, admission.at_consumer, reserved, actual)
        if admission.route is not None:
            admission.route.correct(now, admission.at_route, reserved_here, actual_here)

    def _consumer(self, grant: Grant) -> _Consumer:
        """The consumer of a grant, by its newest limits."""
        rules = grant.limits
        consumer = self._consumers.get(grant.consumer)
        if consumer is None:
            consumer = self._consumers[grant.consumer] = _Consumer(self.records.of(grant.consumer), rules, None)
        consumer.rules = rules
        if rules.requests_per_minute is None and rules.tokens_per_minute is None:
            consumer.limiter = None
        elif consumer.limiter is None:
            limiter = RateLimiter(rules.requests_per_minute, rules.tokens_per_minute)
            consumer.limiter = self._memory.keep(CapKey(CapKind.CONSUMER, grant.consumer), limiter)
        else:
            consumer.limiter.update(rules.requests_per_minute, rules.tokens_per_minute)
        return consumer

    @staticmethod
    def _limited(
        consumer: _Consumer, route: RouteMeter, limiter: RateLimiter | None, tokens: int, now: float
    ) -> ApiError:
        """The answer to a request that a limit refuses, with the longest wait of all of them."""
        consumer.counters.limited += 1
        route.limited_requests += 1
        requests = limiter.requests if limiter is not None else None
        window = limiter.tokens if limiter is not None else None
        wait = requests.wait_seconds(now, 1) if requests is not None else 0.0
        tokens_wait = window.wait_seconds(now, tokens) if window is not None else 0.0
        if tokens_wait > wait and window is not None:
            if tokens_wait == NEVER:
                return errors.larger_than_limit(
                    tokens, window.limit, where="" if limiter is consumer.limiter else route.model
                )
            unit, limit, wait = "tokens", window.limit, tokens_wait
        else:
            unit, limit = "requests", requests.limit if requests is not None else 0
        where = "" if limiter is consumer.limiter else f" at {route.model}"
        return errors.rate_limited(unit + where, limit, math.ceil(min(wait, WINDOW_SECONDS) - 1e-6) or 1)


def _left(admission: Admission, reserved: int, left: Left | None) -> int:
    """What stays counted of a request whose usage nobody knows."""
    if left is None:
        return reserved
    least, most = admission.prompt_tokens + left.output_tokens_min, admission.prompt_tokens + left.output_tokens_max
    return max(min(reserved, most), least)


def _count_tokens(admission: Admission, usage: Usage | None, left: Left | None) -> None:
    counters = admission.counters
    if usage is not None and usage.reported:
        counters.prompt_tokens += usage.prompt_tokens
        counters.output_tokens += usage.output_tokens
    elif usage is not None:
        counters.prompt_tokens_estimated += usage.prompt_tokens
        counters.output_tokens_estimated += usage.output_tokens
    else:
        counters.prompt_tokens_estimated += admission.prompt_tokens
        counters.output_tokens_estimated += left.output_tokens_min if left is not None else admission.output_tokens


def _dear_call(backend: HostedBackend) -> int:
    """What a long call there costs."""
    price = price_of(backend)
    if price is None:
        return 1
    return (_BLOCK_PROMPT_TOKENS * price.input + OUTPUT_TOKENS_MAX * price.output) // _MILLION + 1

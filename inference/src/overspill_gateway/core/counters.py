"""What is counted of each backend, route and consumer. Counting is adding to a number; names come later."""

import math
from typing import Final

from overspill_api.demand import FIRST_TOKEN_BOUNDS, INTER_TOKEN_BOUNDS, bound_name
from overspill_gateway.core.answers.usage import Usage

CONSUMERS_COUNTED: Final = 1_000
PRICE_VERSIONS_COUNTED: Final = 16
"""Of one backend: prices change now and then."""
OTHER_CONSUMERS: Final = "other"
"""No consumer is called that: their names have a slash."""

LATENCY_BUCKETS: Final[tuple[float, ...]] = (
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, math.inf,
)  # fmt: skip


RATIO_BUCKETS: Final[tuple[float, ...]] = (
    0.1,
    0.25,
    0.5,
    0.67,
    0.8,
    0.9,
    1.0,
    1.1,
    1.25,
    1.5,
    2.0,
    4.0,
    10.0,
    math.inf,
)
"""Of what came over what was predicted: fine around 1, where a good prediction is, and both ways alike."""

_BOUND_NAMES: Final[dict[tuple[float, ...], list[str]]] = {
    bounds: [bound_name(bound) for bound in bounds]
    for bounds in (LATENCY_BUCKETS, RATIO_BUCKETS, FIRST_TOKEN_BOUNDS, INTER_TOKEN_BOUNDS)
}


class Histogram:
    """Counts by upper bound, and a sum; cheaper to add to than a metrics library's."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BUCKETS) -> None:
        """``bounds``: one of the above, or of the contract's (``overspill_api.demand``)."""
        self.bounds = bounds
        self.counts = [0] * len(bounds)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        at = 0
        for bound in self.bounds:  # few, and the first ones mostly: a search costs twice as much
            if value <= bound:
                break
            at += 1
        self.counts[at] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Each bound, in Prometheus' spelling, with how many values do not exceed it."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for name, count in zip(_BOUND_NAMES[self.bounds], self.counts, strict=True):
            total += count
            buckets.append((name, float(total)))
        return buckets

    def counted(self) -> dict[str, int]:
        """The bounds that have values, in the same spelling, with how many are below each and above the one before."""
        return {name: count for name, count in zip(_BOUND_NAMES[self.bounds], self.counts, strict=True) if count}


class BackendCounters:
    """What one backend of a route (``local`` or ``hosted/<name>``) has done in this process's life."""

    __slots__ = (
        "charged_in_full", "cost_by_price_version", "cost_nano_usd", "duration", "ejections_gone", "errors", "failures",
        "first_byte", "outcomes", "output_tokens", "output_tokens_estimated", "prompt_tokens",
        "prompt_tokens_estimated", "reports_doubted", "served", "statuses",
    )  # fmt: skip

    def __init__(self) -> None:
        self.served = 0
        self.errors = 0
        self.prompt_tokens = 0
        """All of them, estimated ones included."""
        self.output_tokens = 0
        self.prompt_tokens_estimated = 0
        """Those that no backend reported."""
        self.output_tokens_estimated = 0
        self.cost_nano_usd = 0
        """Charged, attempts that came to nothing included."""
        self.cost_by_price_version: dict[str, int] = {}
        """The same by the version of the price that it was charged by, the latest ones."""
        self.reports_doubted = 0
        """Answers whose counts were larger than any call's could be: charged in full."""
        self.charged_in_full = 0
        """Attempts of which nobody knows what they cost: charged their worst case."""
        self.ejections_gone = 0
        """Ejections of replicas that are no more."""
        self.statuses: dict[int, int] = {}
        self.failures: dict[str, int] = {}
        self.outcomes: dict[str, int] = {}
        """How attempts ended: answered, abandoned, or the kind of their failure."""
        self.first_byte = Histogram()
        self.duration = Histogram()

    def used(self, usage: Usage) -> None:
        """Count the tokens of an answer."""
        self.prompt_tokens += usage.prompt_tokens
        self.output_tokens += usage.output_tokens
        if not usage.reported:
            self.prompt_tokens_estimated += usage.prompt_tokens
            self.output_tokens_estimated += usage.output_tokens

    def charge(self, nano_usd: int, price_version: str) -> None:
        """Count what a call cost."""
        self.cost_nano_usd += nano_usd
        charged = self.cost_by_price_version
        if price_version not in charged and len(charged) >= PRICE_VERSIONS_COUNTED:
            del charged[next(iter(charged))]
        charged[price_version] = charged.get(price_version, 0) + nano_usd

    def ended(self, outcome: str) -> None:
        """Count how an attempt ended."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class ConsumerCounters:
    """What one consumer used in this process's life."""

    __slots__ = (
        "cost_nano_usd", "limited", "output_tokens", "output_tokens_estimated", "prompt_tokens",
        "prompt_tokens_estimated", "requests",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = 0
        """Let in."""
        self.limited = 0
        """Refused by its limits."""
        self.prompt_tokens = 0
        """Reported ones only."""
        self.output_tokens = 0
        self.prompt_tokens_estimated = 0
        self.output_tokens_estimated = 0
        self.cost_nano_usd = 0


class ConsumerTable:
    """Counters by consumer; beyond a number of consumers the rest share one row."""

    __slots__ = ("_rest", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, ConsumerCounters] = {}
        self._rest: ConsumerCounters | None = None

    def of(self, consumer: str) -> ConsumerCounters:
        """The counters of a consumer."""
        row = self.rows.get(consumer)
        if row is not None:
            return row
        if len(self.rows) < CONSUMERS_COUNTED:
            row = self.rows[consumer] = ConsumerCounters()
            return row
        if self._rest is None:
            self._rest = self.rows[OTHER_CONSUMERS] = ConsumerCounters()
        return self._rest


class KindCounters:
    """What one kind of backend has done for a route that the operator is told of (``overspill_api.demand``)."""

    __slots__ = ("first_token", "first_token_since_sent", "inter_token", "request_seconds")

    def __init__(self) -> None:
        self.first_token = Histogram(FIRST_TOKEN_BOUNDS)
        """Seconds from a streamed request's arrival."""
        self.first_token_since_sent = Histogram(FIRST_TOKEN_BOUNDS)
        """Seconds since it was sent to the backend that answers."""
        self.inter_token = Histogram(INTER_TOKEN_BOUNDS)
        """Of each streamed answer its mean."""
        self.request_seconds = 0.0
        """From sending to the end, of what was answered."""


class RouteCounters:
    """What happened to requests of one route that no backend's counters tell."""

    __slots__ = (
        "continuations",
        "first_token_ratio",
        "hedges",
        "hedges_won",
        "hosted",
        "late_holds",
        "local",
        "output_retries",
        "outputs_invalid",
        "outputs_unchecked",
        "outputs_valid",
        "predicted_seconds_sum",
        "prediction_error_seconds_sum",
        "predictions",
        "refusals",
        "regret_nano_usd",
        "retries",
        "seen_seconds_sum",
        "spilled_nano_usd",
        "spilled_output_tokens",
        "spilled_prompt_tokens",
        "spilled_requests",
        "spilled_seconds",
        "spills_needed",
        "spills_regretted",
        "spills_unknown",
    )  # fmt: skip

    def __init__(self) -> None:
        self.retries = 0
        """Attempts after a failed one."""
        self.refusals: dict[str, int] = {}
        """Requests that nobody served, by why (``overspill_api.demand.REFUSAL_REASONS``)."""
        self.hedges = 0
        """Second backends that were asked because the first was slow to begin."""
        self.hedges_won = 0
        """Those whose answer the client got."""
        self.continuations = 0
        """Answers that broke off and went on elsewhere."""
        self.outputs_valid = 0
        """Structured answers that keep to their schema."""
        self.outputs_invalid = 0
        """Those that do not, retried ones included."""
        self.outputs_unchecked = 0
        """Those whose check took too long."""
        self.output_retries = 0
        """Further attempts because of one that did not."""
        self.predictions = 0
        """Requests whose time to first token had been predicted, and was seen."""
        self.predicted_seconds_sum = 0.0
        self.seen_seconds_sum = 0.0
        self.prediction_error_seconds_sum = 0.0
        """Of the absolute differences."""
        self.first_token_ratio = Histogram(RATIO_BUCKETS)
        """What came over what was predicted."""
        self.local = KindCounters()
        """Of replicas."""
        self.hosted = KindCounters()
        """Of hosted APIs."""
        self.spilled_requests = 0
        """Requests that a hosted API answered and a replica would have."""
        self.spilled_prompt_tokens = 0
        self.spilled_output_tokens = 0
        self.spilled_seconds = 0.0
        """From sending to the end."""
        self.spilled_nano_usd = 0
        """What was charged for what was sent there, whatever came of it."""

        self.spills_needed = 0
        """Requests that went to a hosted API for lateness, and of which replicas have shown that they had been late."""
        self.spills_regretted = 0
        """Those that a replica would have begun in time."""
        self.spills_unknown = 0
        """Those of which nothing has shown it."""
        self.regret_nano_usd = 0
        """What was charged for those that are regretted."""
        self.late_holds = 0
        """Streams that a replica began too late, though a hosted API would have been in time."""

    @property
    def refused(self) -> int:
        """Requests that nobody served."""
        return sum(self.refusals.values())

    def refuse(self, why: str) -> None:
        """Nobody serves a request."""
        self.refusals[why] = self.refusals.get(why, 0) + 1

    def spilled(self, usage: Usage) -> None:
        """Count the tokens of an answer that a replica would have given."""
        self.spilled_prompt_tokens += usage.prompt_tokens
        self.spilled_output_tokens += usage.output_tokens

    def first_token(self, predicted_seconds: float, seen_seconds: float) -> None:
        """Compare a prediction with what came."""
        self.predictions += 1
        self.predicted_seconds_sum += predicted_seconds
        self.seen_seconds_sum += seen_seconds
        self.prediction_error_seconds_sum += abs(predicted_seconds - seen_seconds)
        if predicted_seconds > 0.0:
            self.first_token_ratio.observe(seen_seconds / predicted_seconds)

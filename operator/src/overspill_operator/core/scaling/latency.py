"""How many replicas objectives of latency need: p95 of the time to first token and of the inter-token latency.

What a replica of a known pace does at a rate of requests: it reads prompts for a share ``u = c * rate * prompt`` of
its time, and has ``n`` answers in its batch, where ``n = rate * output * (a + b n) / (1 - u)``. A first token then
comes after the wait for prompts that are read before it, by a single server whose requests come in bursts,

    W95 = ln(u / 0.05) * s * (1 + F) / 2 / (1 - u)

(the exponential tail of M/G/1's wait; F is the dispersion of requests in flight, 1 where they come by chance), half a
step, and the reading of its own prompt, of which the longest twentieth is some three times the mean. If the batch is
full for more than a twentieth of the time it waits for answers to end, which no objective of seconds survives. What
was measured corrects the prediction, within bounds.

Replicas are added when the objective would hardly hold, and taken away when it would hold well without: between the two
the number stays. A rate that rises is carried on for as long as a replica loads.
"""

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil, inf, isfinite, log, sqrt
from typing import Final

from overspill_operator.core.demand.work import Work
from overspill_operator.core.scaling.autoscaler import Need, Signal
from overspill_operator.core.scaling.service_model import CHUNK_TOKENS, PROMPT_P95, Mix, Pace, ServiceModel

HARDLY: Final = 0.85
"""Of an objective: a prediction above it calls for another replica, before requests are late."""
WELL: Final = 0.65
"""Of an objective: one replica fewer must keep to this, or none is taken away."""
MORE: Final = 1.15
"""Times as many requests as now come is what one replica fewer must keep to it with: near its limit a prediction is as
good as none."""
BUSY_MOST: Final = 0.95
"""Of its time that a replica may read prompts: near 1 any wait is possible."""
TAIL: Final = 1.645
"""Standard deviations below which 95 % lie."""
AHEAD_SECONDS_MAX: Final = 120.0
"""The longest that a rise of a minute is carried on."""
AHEAD_MOST: Final = 1.5
"""Of the rate: a rise is not believed to go further."""
VALUES_LEAST: Final = 20.0
"""Streams of a minute after which their percentile corrects the prediction."""
CORRECTION: Final = (0.5, 3.0)
REPLICAS_MOST: Final = 1000
"""As many as a spec may allow."""


@dataclass(frozen=True, slots=True)
class Objectives:
    """Of a route; None: none."""

    first_token_seconds: float | None = None
    """``targets.timeToFirstToken.p95``."""
    inter_token_seconds: float | None = None
    """``targets.interTokenLatency.p95``."""

    @property
    def are_set(self) -> bool:
        """Whether there is one."""
        return self.first_token_seconds is not None or self.inter_token_seconds is not None


@dataclass(frozen=True, slots=True)
class Correction:
    """Measured percentiles over predicted ones."""

    first_token: float = 1.0
    inter_token: float = 1.0

    def measured(self, service: ServiceModel, work: Work, seconds: float, replicas: int) -> "Correction":
        """After a minute in which so many replicas were there all the time, and next to nothing spilled."""
        if service.pace is None or service.mix is None or not replicas or not seconds:
            return self
        local = work.local
        if work.spilled.requests > 0.02 * local.answers:
            return self  # what would have been late is not among what replicas did
        # Requests that came together a while ago have their first tokens in another minute than their ends.
        state = _State.at(service.pace, service.mix, local.answers / seconds / replicas, service.dispersion)
        return Correction(
            _corrected(self.first_token, local.first_token.quantile(0.95), local.first_token.count, state.first_token),
            _corrected(self.inter_token, local.inter_token.quantile(0.95), local.inter_token.count, state.inter_token),
        )


def _corrected(before: float, measured: float | None, count: float, predicted: float) -> float:
    if measured is None or count < VALUES_LEAST or not isfinite(measured) or not isfinite(predicted) or not predicted:
        return before
    low, high = CORRECTION
    return before + 0.2 * (min(max(measured / predicted, low), high) - before)


@dataclass(frozen=True, slots=True)
class _State:
    """Of one replica at a rate of requests."""

    first_token: float
    """Predicted p95 in seconds; infinite: it can't keep up."""
    inter_token: float
    """Predicted mean in seconds; infinite likewise."""

    @classmethod
    def at(cls, pace: Pace, mix: Mix, rate: float, dispersion: float) -> "_State":
        """``rate``: requests a second at the replica; ``dispersion``: of requests in flight there."""
        reads = rate * mix.prompt_tokens * pace.prompt_token_seconds
        writes = rate * mix.output_tokens
        left = 1.0 - reads - writes * pace.answer_seconds
        if reads >= BUSY_MOST or left <= 0.0:
            return cls(inf, inf)
        batch = writes * pace.step_seconds / left
        if batch + TAIL * sqrt(batch * dispersion) > pace.batch:
            return cls(inf, inf)
        step = pace.step_seconds + pace.answer_seconds * batch
        prompt = mix.prompt_tokens * pace.prompt_token_seconds
        wait = 0.0
        if reads > 0.05:
            wait = log(reads / 0.05) * (prompt + step) * (1.0 + dispersion) / 2.0 / (1.0 - reads)
        longest = PROMPT_P95 * prompt + step * ceil(PROMPT_P95 * mix.prompt_tokens / CHUNK_TOKENS)
        return cls(wait + 0.5 * step + longest, step / (1.0 - reads))


def is_late(objectives: Objectives, work: Work) -> bool:
    """Whether the last minute's p95 of the time to first token, as clients saw it, missed its objective."""
    target = objectives.first_token_seconds
    if target is None:
        return False
    seconds = work.first_token.quantile(0.95)
    return seconds is not None and seconds > target


def needs_of(
    service: ServiceModel, objectives: Objectives, correction: Correction, replicas: int, load_seconds: float
) -> tuple[Need, ...]:
    """What each objective needs; none before the pace is known. ``replicas``: how many there are to be now."""
    pace, mix = service.pace, service.mix
    if pace is None or mix is None or not service.has_learned:
        return ()
    rate, ahead = service.rate_now, _rate_ahead(service, load_seconds)
    needs = []
    asked = (
        (Signal.TIME_TO_FIRST_TOKEN, objectives.first_token_seconds, correction.first_token),
        (Signal.INTER_TOKEN_LATENCY, objectives.inter_token_seconds, correction.inter_token),
    )
    for signal, target, factor in asked:
        if target is None:
            continue
        seen = _Search(service, pace, mix, signal, factor, max(replicas, 1))
        up = seen.least(ahead, HARDLY * target)
        keeps = max(seen.least(MORE * rate, WELL * target), up)
        needs.append(Need(signal, up, _words(seen, target, ahead, up, replicas), keeps))
    return tuple(needs)


@dataclass(frozen=True, slots=True)
class _Search:
    """For the number of replicas with which a prediction is low enough."""

    service: ServiceModel
    pace: Pace
    mix: Mix
    signal: Signal
    factor: float
    now: int
    """Replicas by which the dispersion was seen."""

    def predicted(self, rate: float, replicas: int) -> float:
        """Seconds, with so many."""
        # What comes in bursts comes to all of them: with twice as many each sees half of it.
        dispersion = 1.0 + (self.service.dispersion - 1.0) * self.now / replicas
        state = _State.at(self.pace, self.mix, rate / replicas, dispersion)
        is_first = self.signal is Signal.TIME_TO_FIRST_TOKEN
        return self.factor * (state.first_token if is_first else state.inter_token)

    def least(self, rate: float, seconds: float) -> int:
        """The least number that keeps to it; where none does, as many as the load itself needs."""
        if rate <= 0.0:
            return 0
        enough = ceil(rate * self.pace.work(self.mix.prompt_tokens, self.mix.output_tokens) / BUSY_MOST)
        low = min(max(enough, 1), REPLICAS_MOST)
        if self.predicted(rate, 4 * low + 3) > seconds:
            return low  # so slow is it by itself: more of them would not help
        # With more replicas it only gets faster, and a look at a route may not take a thousand predictions.
        return low + bisect_left(range(low, REPLICAS_MOST), -seconds, key=lambda count: -self.predicted(rate, count))


def _rate_ahead(service: ServiceModel, load_seconds: float) -> float:
    """Requests a second when a replica that is asked for now could serve."""
    rise = max(service.rate - service.rate_slow - 2.0 * sqrt(service.rate / 40.0), 0.0) / 40.0
    ahead = service.rate_now + rise * (20.0 + min(load_seconds, AHEAD_SECONDS_MAX))
    return min(ahead, AHEAD_MOST * service.rate_now)


def _words(seen: _Search, target: float, rate: float, needed: int, replicas: int) -> str:
    """Such as: p95 TTFT is predicted at 2.4 s with 1 replica (target 2 s): 2 needed."""
    name = "p95 TTFT" if seen.signal is Signal.TIME_TO_FIRST_TOKEN else "p95 ITL"
    if not needed:
        return f"{name}: no request comes (target {_seconds(target)})."
    count = max(needed - 1, 1) if needed > replicas else max(replicas, 1)
    predicted = seen.predicted(rate, count)
    at = f"predicted at {_seconds(predicted)}" if isfinite(predicted) else "not to be kept"
    are = "1 replica" if count == 1 else f"{count} replicas"
    return f"{name} is {at} with {are} (target {_seconds(target)}): {needed} needed."


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000.0 * seconds:.3g} ms"

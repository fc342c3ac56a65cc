"""Work that backends have done for a route, as gateways count it: requests, tokens, seconds, and how long they took.

All of it is sums, so that gateways and times can be added up, and what happened between two counts is their difference.
How it stands in a line is ``overspill_api.demand``; what is done with it over time is ``recent_work``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf, isfinite
from operator import add, sub
from typing import Final

from overspill_api.demand import (
    FIRST_TOKEN_BOUNDS,
    INTER_TOKEN_BOUNDS,
    REFUSAL_REASONS,
    HistogramDemand,
    RouteDemand,
    WorkDemand,
    bound_name,
)

TOTAL_MAX: Final = 10**18
"""Of a counter that only grows: within 64 bits, and a billion dollars in nano-dollars."""

BOUNDS_MAX: Final = 100
"""Of one histogram: some four times what this version's have."""

OTHER: Final = "Other"
"""A reason of refusals that this version does not know."""

_KINDS: Final = ("local", "hosted")
_REASONS: Final = (*REFUSAL_REASONS, OTHER)
_REASON_PLACES: Final = {reason: place for place, reason in enumerate(_REASONS)}
_TABLES: Final = (FIRST_TOKEN_BOUNDS, FIRST_TOKEN_BOUNDS, INTER_TOKEN_BOUNDS)
_SCALARS: Final = 4
"""Numbers of a kind before its histograms: those of ``KindOfWork``."""
_KIND_LENGTH: Final = _SCALARS + sum(1 + len(bounds) for bounds in _TABLES)
_SPILLED_AT: Final = 1
_REFUSED_AT: Final = _SPILLED_AT + 9
_KINDS_AT: Final = _REFUSED_AT + len(_REASONS)
_LENGTH: Final = _KINDS_AT + len(_KINDS) * _KIND_LENGTH
_HISTOGRAMS_AT: Final = tuple(_SCALARS + sum(1 + len(bounds) for bounds in _TABLES[:place]) for place in range(3))
"""Where each histogram begins among the numbers of a kind: with its sum."""
_PLACES: Final = {
    bounds: {bound_name(bound): place for place, bound in enumerate(bounds, start=1)} for bounds in set(_TABLES)
}
"""Where a bound's count stands behind the beginning of its histogram."""


class WorkError(ValueError):
    """Counts that cannot be."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """How often something took how long."""

    bounds: tuple[float, ...]
    """Upper bounds in seconds, the last without end."""
    counts: tuple[float, ...]
    """Values by bound, not added up."""
    seconds_sum: float
    """Of all values."""

    @property
    def count(self) -> float:
        """Values."""
        return sum(self.counts)

    @property
    def mean_seconds(self) -> float | None:
        """None: there is no value."""
        return self.seconds_sum / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Seconds that this share (0 to 1) of the values does not exceed, within its bounds by proportion.

        None: there is no value. Infinite: it is beyond the last bound that there is.
        """
        wanted = share * self.count
        if not self.count:
            return None
        before, lower = 0.0, 0.0
        for bound, count, total in zip(self.bounds, self.counts, accumulate(self.counts), strict=True):
            if count and total >= wanted:
                return inf if bound == inf else lower + (bound - lower) * (wanted - before) / count
            before, lower = total, bound
        return inf

    def share_above(self, seconds: float) -> float | None:
        """Share of the values that took longer than this, 0 to 1; None: there is no value."""
        if not self.count:
            return None
        above, lower = 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if seconds <= lower:
                above += count
            elif seconds < bound:
                above += count * ((bound - seconds) / (bound - lower) if bound != inf else 1.0)
            lower = bound
        return above / self.count


@dataclass(frozen=True, slots=True)
class KindOfWork:
    """What one kind of backend did."""

    answers: float
    """Requests that it answered."""
    prompt_tokens: float
    """Tokens that it read."""
    output_tokens: float
    """Tokens that it wrote."""
    request_seconds: float
    """From sending to the end, all requests together."""
    first_token: Latencies
    """Of streams, since the request came."""
    first_token_since_sent: Latencies
    """Of streams, since it was sent to the backend."""
    inter_token: Latencies
    """Of streams, the mean of each."""


@dataclass(frozen=True, slots=True)
class SpilledWork:
    """What hosted APIs did and a replica would have done."""

    requests: float
    """Requests that were answered so."""
    prompt_tokens: float
    """Tokens read there."""
    output_tokens: float
    """Tokens written there."""
    request_seconds: float
    """From sending to the end, all requests together."""
    cost_nano_usd: float
    """What was charged for what was sent there."""
    needed: float
    """Requests that went there for lateness, and of which replicas have shown that they had begun them late."""
    regretted: float
    """Those that replicas would have begun in time, as they have shown."""
    regret_nano_usd: float
    """What was charged for those."""
    late_holds: float
    """Streams that replicas began too late, though a hosted API would have been in time."""

    @property
    def regret_share(self) -> float | None:
        """Of those of which replicas have shown it: the share that is regretted, 0 to 1. None: of none."""
        judged = self.needed + self.regretted
        return self.regretted / judged if judged else None


@dataclass(frozen=True, slots=True)
class Work:
    """All that was counted, or what it grew by. One row of numbers: there may be thousands a second to add up."""

    numbers: tuple[float, ...] = (0.0,) * _LENGTH
    """Arrivals, what was spilled, refusals, then each kind with its histograms."""

    @classmethod
    def said(cls, route: RouteDemand) -> "Work":
        """What a gateway says it has counted; raises ``WorkError`` where that cannot be."""
        numbers: list[float] = [0] * _LENGTH
        spilled = route.spilled
        numbers[:_REFUSED_AT] = (
            route.arrivals_total, spilled.requests_total, spilled.prompt_tokens_total, spilled.output_tokens_total,
            spilled.request_seconds_total, spilled.cost_nano_usd_total, spilled.needed_total, spilled.regretted_total,
            spilled.regret_nano_usd_total, spilled.late_holds_total,
        )  # fmt: skip
        seconds = [spilled.request_seconds_total]
        for reason, count in route.refused_total.items():
            numbers[_REFUSED_AT + _REASON_PLACES.get(reason, len(_REASONS) - 1)] += count
        for kind, name in enumerate(_KINDS):
            if name in route.work:
                seconds += _put_kind(numbers, _KINDS_AT + kind * _KIND_LENGTH, route.work[name])
        if not all(map(isfinite, seconds)) or not 0 <= min(numbers) <= max(numbers) <= TOTAL_MAX:
            raise WorkError(f"counts of work are not all within 0 and {TOTAL_MAX:.0e}")
        return cls(tuple(numbers))

    @classmethod
    def counted(
        cls,
        arrivals: float,
        spilled: Sequence[float],
        refused: Mapping[str, float],
        local: Sequence[float],
        hosted: Sequence[float],
    ) -> "Work":
        """The same from counters that are at hand and can be believed.

        ``spilled``: the numbers of ``SpilledWork``. ``local``, ``hosted``: empty where nothing was done, else the first
        four of ``KindOfWork``, then each histogram, its sum before its counts by this version's bounds.
        """
        reasons = [0.0] * len(_REASONS)
        for reason, count in refused.items():
            reasons[_REASON_PLACES.get(reason, len(_REASONS) - 1)] += count
        none = (0.0,) * _KIND_LENGTH
        return cls((arrivals, *spilled, *reasons, *(local or none), *(hosted or none)))

    def minus(self, before: "Work") -> "Work":
        """What it has grown by; raises ``WorkError`` where something has become less."""
        numbers = tuple(map(sub, self.numbers, before.numbers))
        if min(numbers) < 0:
            raise WorkError("counts of work have gone back")
        return Work(numbers)

    def plus(self, other: "Work") -> "Work":
        """Both together."""
        return Work(tuple(map(add, self.numbers, other.numbers)))

    @property
    def arrivals(self) -> float:
        """Requests that were let in."""
        return self.numbers[0]

    @property
    def local(self) -> KindOfWork:
        """Of replicas."""
        return self._kind(0)

    @property
    def hosted(self) -> KindOfWork:
        """Of hosted APIs."""
        return self._kind(1)

    @property
    def spilled(self) -> SpilledWork:
        """What hosted APIs did and a replica would have done."""
        return SpilledWork(*self.numbers[_SPILLED_AT:_REFUSED_AT])

    @property
    def refused(self) -> Mapping[str, float]:
        """Requests that nobody served, by reason; those without any are left out."""
        counts = zip(_REASONS, self.numbers[_REFUSED_AT:_KINDS_AT], strict=True)
        return {reason: count for reason, count in counts if count}

    @property
    def first_token(self) -> Latencies:
        """Time to first token of all streams since they came, whoever answered: what clients see."""
        local, hosted = self.local.first_token, self.hosted.first_token
        counts = tuple(map(add, local.counts, hosted.counts))
        return Latencies(FIRST_TOKEN_BOUNDS, counts, local.seconds_sum + hosted.seconds_sum)

    def _kind(self, place: int) -> KindOfWork:
        begin = _KINDS_AT + place * _KIND_LENGTH
        numbers = self.numbers[begin : begin + _KIND_LENGTH]
        answers, prompt, output, seconds = numbers[:_SCALARS]
        return KindOfWork(answers, prompt, output, seconds, *_latencies(numbers[_SCALARS:]))


def regret_text(spilled: SpilledWork) -> str | None:
    """How good decisions to spill were, for people; None: none was judged."""
    share, late = spilled.regret_share, spilled.late_holds
    if share is None and not late:
        return None
    parts = []
    if share is not None:
        judged = spilled.needed + spilled.regretted
        usd = spilled.regret_nano_usd / 1e9
        parts.append(f"{share:.0%} of {judged:.0f} spills regretted, {usd:.4f} USD")
    if late:
        parts.append(f"{late:.0f} {'stream' if late == 1 else 'streams'} late at a replica")
    return "; ".join(parts)


def all_of(works: Iterable[Work]) -> Work:
    """All of them together."""
    return Work(tuple(map(sum, zip((0.0,) * _LENGTH, *(work.numbers for work in works), strict=True))))


def _latencies(numbers: tuple[float, ...]) -> Iterator[Latencies]:
    for bounds in _TABLES:
        end = 1 + len(bounds)
        yield Latencies(bounds, numbers[1:end], numbers[0])
        numbers = numbers[end:]


def _put_kind(numbers: list[float], begin: int, said: WorkDemand) -> tuple[float, ...]:
    """Write what is said of a kind where it begins; all of it that may be no number. Raises ``WorkError``."""
    numbers[begin : begin + _SCALARS] = (
        said.answers_total, said.prompt_tokens_total, said.output_tokens_total, said.request_seconds_total,
    )  # fmt: skip
    histograms = said.first_token, said.first_token_since_sent, said.inter_token
    for histogram, bounds, at in zip(histograms, _TABLES, _HISTOGRAMS_AT, strict=True):
        _put_histogram(numbers, begin + at, histogram, bounds)
    return (said.request_seconds_total, *(histogram.seconds_sum for histogram in histograms))


def _put_histogram(numbers: list[float], begin: int, said: HistogramDemand, bounds: tuple[float, ...]) -> None:
    if len(said.counts) > BOUNDS_MAX:
        raise WorkError(f"a histogram has more than {BOUNDS_MAX} bounds")
    numbers[begin] = said.seconds_sum
    places = _PLACES[bounds]
    for name, count in said.counts.items():
        if count < 0:
            raise WorkError(f"a histogram counts {count} values")
        numbers[begin + (places.get(name) or _place(name, bounds))] += count


def _place(name: str, bounds: tuple[float, ...]) -> int:
    """Where a count by a bound of another version belongs: to the next one of this."""
    try:
        bound = float(name)
    except ValueError:
        raise WorkError("a histogram has a bound that is no number") from None
    for place, own in enumerate(bounds, start=1):
        if bound <= own:
            return place
    raise WorkError("a histogram has a bound that is no number")

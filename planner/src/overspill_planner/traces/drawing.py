"""Requests by chance, from a seed: Poisson, on and off, by the time of day, and from windows of rates.

The same seed draws the same requests on every machine: ``random.Random`` is specified, and floats are IEEE.
"""

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from random import Random
from typing import Final

from overspill_planner.traces.arrival import Arrival

SUMMED_MAX: Final = 16
"""Gaps that are drawn one by one where requests are left out; more are drawn as one sum."""
DAY_SECONDS: Final = 86_400.0

Lengths = Callable[[Random], tuple[int, int]]
"""Draws tokens of prompt and output."""


class Family(StrEnum):
    """Distributions of the time between two requests."""

    NONE = ""
    """Exponential: a Poisson process."""
    GAMMA = "Gamma"
    WEIBULL = "Weibull"


@dataclass(frozen=True, slots=True)
class RateWindow:
    """A stretch of time with one rate of requests."""

    begins: float
    """Seconds since the trace began."""
    seconds: float
    """How long it is."""
    per_second: float
    """Requests a second."""
    family: Family = Family.NONE
    """Of the gaps between requests."""
    shape: float = 1.0
    """Shape of Gamma or Weibull; the scale follows from the rate."""
    cv: float = 1.0
    """Coefficient of variation that was measured; what is drawn follows the shape."""
    client: str = ""
    """Whose it is; a client's windows stand together."""


@dataclass(frozen=True, slots=True)
class LogNormalLengths:
    """Lengths by the log-normal distribution, from two percentiles of each."""

    prompt_median: float = 600.0
    """Tokens of half the prompts at most."""
    prompt_p99: float = 5_450.0
    """Tokens of 99 of 100 prompts at most."""
    output_median: float = 120.0
    """Tokens of half the answers at most."""
    output_p99: float = 870.0
    """Tokens of 99 of 100 answers at most."""

    def __call__(self, random: Random) -> tuple[int, int]:
        """Draw one prompt and one answer; at most four times the 99th percentile, as a model's context is finite."""
        return (
            _log_normal(random, self.prompt_median, self.prompt_p99),
            _log_normal(random, self.output_median, self.output_p99),
        )


def _log_normal(random: Random, median: float, p99: float) -> int:
    spread = math.log(p99 / median) / 2.3263  # the normal distribution's 99th percentile
    return max(1, round(min(random.lognormvariate(math.log(median), spread), 4.0 * p99)))


def lengths_of(requests: Sequence[Arrival]) -> Lengths:
    """Draw lengths from those of real requests, prompt and output together."""
    return lambda random: random.choice(requests)[1:3]


def poisson(per_second: float, seconds: float, seed: int, lengths: Lengths) -> list[Arrival]:
    """A Poisson process."""
    return from_windows([RateWindow(0.0, seconds, per_second)], seed, lengths)


def on_off(
    per_second: float, on_seconds: float, off_seconds: float, seconds: float, seed: int, lengths: Lengths
) -> list[Arrival]:
    """A Poisson process that is on and off in turns, both for exponential times with these means; it begins off."""
    random = Random(f"{seed} turns")  # noqa: S311 - chance, no secret
    windows: list[RateWindow] = []
    now = random.expovariate(1.0 / off_seconds)
    while now < seconds:
        lasts = random.expovariate(1.0 / on_seconds)
        windows.append(RateWindow(now, min(lasts, seconds - now), per_second))
        now += lasts + random.expovariate(1.0 / off_seconds)
    return from_windows(windows, seed, lengths)


def diurnal(per_second: float, swing: float, seconds: float, seed: int, lengths: Lengths) -> list[Arrival]:
    """A Poisson process whose rate swings around its mean once a day, least at 0:00. ``swing``: 0 to 1 of the mean."""
    step = 60.0
    windows = [
        RateWindow(
            number * step, min(step, seconds - number * step),
            per_second * (1.0 - swing * math.cos(2.0 * math.pi * (number + 0.5) * step / DAY_SECONDS)),
        )
        for number in range(math.ceil(seconds / step))
    ]  # fmt: skip
    return from_windows(windows, seed, lengths)


def from_windows(windows: Iterable[RateWindow], seed: int, lengths: Lengths, scale: float = 1.0) -> list[Arrival]:
    """Requests of windows of rates, those of all clients together in time order.

    ``scale``: of demand. Above 1 so many independent copies of each client are drawn as ``scale`` has ones, and one
    more of which a part is kept; below 1 a part of each client's requests is kept, by chance. A window of the family
    NONE is a Poisson process, of which any part and any sum is one: there the rate is scaled.
    """
    streams = []
    for client, own in groupby(windows, attrgetter("client")):
        stretches = list(own)
        is_poisson = all(window.family is Family.NONE for window in stretches)
        copies = [scale] if is_poisson else [1.0] * int(scale) + ([scale % 1.0] if scale % 1.0 > 0.0 else [])
        for copy, kept in enumerate(copies):
            random = Random(f"{seed} {client} {copy}")  # noqa: S311 - chance, no secret
            streams.append(_times(stretches, kept, random))
    random = Random(f"{seed} lengths")  # noqa: S311 - chance, no secret
    return [Arrival(seconds, *lengths(random)) for seconds in heapq.merge(*streams)]


def _times(windows: Sequence[RateWindow], kept: float, random: Random) -> Iterator[float]:
    """When the requests of one client come; each is kept with a probability, or its rate taken so many times.

    Gaps have the mean 1 in requests that the windows' rates let pass, so that one may reach over many windows and the
    number of requests is right also where a window has less than one.
    """
    left = random.random() * _gap(windows[0], kept, random)
    for window in windows:
        rate = window.per_second * (kept if window.family is Family.NONE else 1.0)
        passed = 0.0
        while rate > 0.0 and passed + left / rate < window.seconds:
            passed += left / rate
            yield window.begins + passed
            left = _gap(window, kept, random)
        left -= rate * (window.seconds - passed)


def _gap(window: RateWindow, kept: float, random: Random) -> float:
    """The gap to the next request that is kept, in mean gaps: a sum of so many as a geometric distribution says.

    Of more than ``SUMMED_MAX`` gaps the sum is drawn from the Gamma distribution with its mean and variance, which for
    gaps of the family Gamma it has.
    """
    if window.family is Family.NONE:
        return random.expovariate(1.0)
    shape = window.shape
    gaps = 1 if kept >= 1.0 else 1 + int(math.log(1.0 - random.random()) / math.log(1.0 - kept))
    if window.family is Family.GAMMA:
        return random.gammavariate(gaps * shape, 1.0 / shape)
    scale = 1.0 / math.gamma(1.0 + 1.0 / shape)
    if gaps <= SUMMED_MAX:
        return sum(random.weibullvariate(scale, shape) for _ in range(gaps))
    variance = scale * scale * math.gamma(1.0 + 2.0 / shape) - 1.0
    return random.gammavariate(gaps / variance, variance)

"""What demand will be when a replica that is asked for now could serve, and how sure that is.

Four forecasters, each of a few numbers: demand stays as it was in the last minute; its trend of the last minutes goes
on; it is as it was at this minute of earlier hours (jobs by the clock); it is as it was at this time of earlier days.
Each is measured by what then came, and the one whose error was least is believed (``Outlook.expected``). With its error
as the spread of a normal distribution that gives, for each replica, the share of time that it would be busy: at high
prices of hosted APIs a replica pays that is needed one time in twenty, and the mean alone would never ask for it.

This says what may come and decides nothing. It is one more rule that levels try on paper (``level_rules``) and follow
only where it would have cost less, so that a bad forecast costs no more than any rule on trial.
"""

import math
from dataclasses import dataclass
from typing import Final

LAST_SECONDS: Final = 60.0
"""Demand as it was lately is the mean over this."""
TREND_SECONDS: Final = 120.0
SLOPE_SECONDS: Final = 360.0
"""Of the level and of the slope that the trend goes by (Holt's linear method)."""
ERROR_SECONDS: Final = 86_400.0
"""Errors are averaged over the last day, or all the time that there was."""
TRUST_SECONDS: Final = 600.0
"""A forecaster other than the first is not believed before it was measured for so long."""
SPACING_SECONDS: Final = 15.0
WAITING_MAX: Final = 40
"""Forecasts that wait for what will come are at least so far apart, and never more than so many."""
HOUR_SECONDS: Final = 3600.0
HOUR_PARTS: Final = 60
HOUR_WEIGHT: Final = 0.3
DAY_SECONDS: Final = 86_400.0
DAY_PARTS: Final = 144
DAY_WEIGHT: Final = 0.5
"""Hours are remembered by minutes and days by ten minutes; the newest counts for so much, those before for the rest."""
UNKNOWN: Final = -1.0
"""No demand is below zero: nothing is known."""
FORECASTERS: Final = ("last", "trend", "hour", "day")


@dataclass(frozen=True, slots=True)
class Profile:
    """Mean demand by the part of a period."""

    means: tuple[float, ...] = ()
    """By part, in replicas; ``UNKNOWN`` where no period had it yet. Empty: nothing was heard yet."""
    part: int = 0
    """The part that is now."""
    work: float = 0.0
    """Demand in it so far, in seconds of a replica."""
    seconds: float = 0.0
    """How many of its seconds are heard of."""

    def heard(self, offered: float, seconds: float, now: float, period: float, parts: int, weight: float) -> "Profile":
        """The profile with so many seconds more, until ``now``."""
        part = int(now % period / period * parts)
        means = self.means or (UNKNOWN,) * parts
        if part == self.part:
            return Profile(means, part, self.work + offered * seconds, self.seconds + seconds)
        if self.seconds > 0.0:
            mean, before = self.work / self.seconds, means[self.part]
            if before >= 0.0:
                mean = before + weight * (mean - before)
            means = (*means[: self.part], mean, *means[self.part + 1 :])
        return Profile(means, part, offered * seconds, seconds)

    def at(self, when: float, period: float) -> float:
        """What it knows of that time."""
        return self.means[int(when % period / period * len(self.means))] if self.means else UNKNOWN


@dataclass(frozen=True, slots=True)
class Expected:
    """Demand that is expected when a replica that is asked for now could serve."""

    mean: float
    """In replicas."""
    spread: float
    """Its standard error, in replicas."""
    by: str = FORECASTERS[0]
    """Whose forecast it is."""

    def use(self, below: int) -> float:
        """Share of time, 0 to 1, that one replica would be busy above so many."""
        if self.mean + 4.0 * self.spread <= below:
            return 0.0
        if self.mean - 4.0 * self.spread >= below + 1:
            return 1.0
        return min(max(_excess(self.mean, self.spread, below) - _excess(self.mean, self.spread, below + 1), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What forecasters remember of a route: numbers and tuples of numbers only. Losing it loses earlier days."""

    watched_seconds: float = 0.0
    """How long."""
    last: float = 0.0
    """Mean demand of the last minute, in replicas."""
    level: float = 0.0
    """Demand by the trend."""
    slope: float = 0.0
    """Its growth in a second."""
    hour: Profile = Profile()
    day: Profile = Profile()
    """Earlier hours and days."""
    errors: tuple[float, ...] = (UNKNOWN,) * len(FORECASTERS)
    """Mean square error of each forecaster."""
    measured_seconds: tuple[float, ...] = (0.0,) * len(FORECASTERS)
    """For how long each was measured."""
    waiting: tuple[tuple[float, ...], ...] = ()
    """Forecasts whose time has not come: when that is, and what each forecaster said."""
    forecasters: tuple[str, ...] = FORECASTERS
    """Those that may be believed; fewer than all only to measure what one is worth."""

    def heard(self, offered: float, seconds: float, ahead_seconds: float, now_unix: float) -> "Outlook":
        """Demand of the last seconds, on average in replicas; forecasts are made for so far ahead."""
        watched = self.watched_seconds + seconds
        last = self.last + (offered - self.last) * _share(seconds, watched, LAST_SECONDS)
        share = _share(seconds, watched, TREND_SECONDS)
        flat = self.level + self.slope * seconds
        level = flat + (offered - flat) * share
        slope = self.slope + ((level - self.level) / seconds - self.slope) * _share(seconds, watched, SLOPE_SECONDS)
        if seconds > SLOPE_SECONDS:
            level, slope = offered, 0.0  # a mean over so long has no trend
        outlook = Outlook(
            watched, last, level, slope,
            self.hour.heard(offered, seconds, now_unix, HOUR_SECONDS, HOUR_PARTS, HOUR_WEIGHT),
            self.day.heard(offered, seconds, now_unix, DAY_SECONDS, DAY_PARTS, DAY_WEIGHT),
            self.errors, self.measured_seconds, self.waiting, self.forecasters,
        )  # fmt: skip
        return outlook._measured(offered, seconds, ahead_seconds, now_unix)

    def _measured(self, offered: float, seconds: float, ahead_seconds: float, now_unix: float) -> "Outlook":
        """Errors with what has come, and one forecast more that waits."""
        errors, measured, waiting = self.errors, self.measured_seconds, self.waiting
        spacing = max(ahead_seconds / WAITING_MAX, SPACING_SECONDS)
        is_due = waiting and waiting[0][0] <= now_unix
        if is_due:
            due = next((number for number, said in enumerate(waiting) if said[0] > now_unix), len(waiting))
            if now_unix - waiting[due - 1][0] <= seconds + SPACING_SECONDS:  # else it was for a time long ago
                errors, measured = _learned(errors, measured, waiting[due - 1][1:], offered, spacing)
            waiting = waiting[due:]
        if not waiting or now_unix + ahead_seconds >= waiting[-1][0] + spacing:
            waiting = (*waiting, (now_unix + ahead_seconds, *self._said(ahead_seconds, now_unix)))[-WAITING_MAX - 1 :]
        return Outlook(
            self.watched_seconds, self.last, self.level, self.slope, self.hour, self.day, errors, measured, waiting,
            self.forecasters,
        )  # fmt: skip

    def _said(self, ahead_seconds: float, now_unix: float) -> tuple[float, ...]:
        """What each forecaster says."""
        then = now_unix + ahead_seconds
        trend = max(self.level + self.slope * ahead_seconds, 0.0)
        return self.last, trend, self.hour.at(then, HOUR_SECONDS), self.day.at(then, DAY_SECONDS)

    def expected(self, ahead_seconds: float, now_unix: float) -> Expected:
        """Demand so far ahead, by the forecaster whose error was least."""
        said, best = self._said(ahead_seconds, now_unix), 0
        for number in range(1, len(FORECASTERS)):
            is_known = said[number] >= 0.0 and self.measured_seconds[number] >= TRUST_SECONDS
            if is_known and self.errors[number] < self.errors[best] and FORECASTERS[number] in self.forecasters:
                best = number
        if not self.forecasters:
            return Expected(0.0, 0.0)
        return Expected(said[best], math.sqrt(max(self.errors[best], 0.0)), FORECASTERS[best])


def _learned(
    errors: tuple[float, ...], measured: tuple[float, ...], said: tuple[float, ...], offered: float, seconds: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Errors and times with one forecast that has come true or not."""
    means, times = list(errors), list(measured)
    for number, forecast in enumerate(said):
        if forecast >= 0.0:
            times[number] = min(times[number] + seconds, ERROR_SECONDS)
            error = (offered - forecast) ** 2
            means[number] += (error - means[number]) * seconds / times[number]
    return tuple(means), tuple(times)


def _share(seconds: float, watched: float, scale: float) -> float:
    """What the last seconds count for in a mean: all alike at first, later by how long ago they are."""
    return seconds / watched if watched < scale else 1.0 - math.exp(-seconds / scale)


def _excess(mean: float, spread: float, above: float) -> float:
    """Expected demand above a number of replicas, under the normal distribution (the newsvendor's loss function)."""
    if spread < 1e-9:
        return max(mean - above, 0.0)
    z = (mean - above) / spread
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return spread * (density + z * 0.5 * (1.0 + math.erf(z / math.sqrt(2.0))))

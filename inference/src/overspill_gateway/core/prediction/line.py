"""A line that is learned from what is seen, and which of many like events are looked at for that.

Robust against outliers, and forgetting with time and with what comes.
"""

from math import exp
from typing import Final

from overspill_gateway.core.prediction.tuning import TUNING, Tuning

SECONDS_MIN: Final = 1e-5
SECONDS_MAX: Final = 1e5
"""Nothing takes less, or is worth knowing more of: it keeps sums of squares within what numbers hold."""


class Line:
    """Seconds as a line over some measure of work, fitted to relative errors: base plus slope, neither negative."""

    __slots__ = ("_prior", "_tuning", "_updated", "_w", "_x", "_xx", "_xy", "_y", "base", "count", "slope")

    def __init__(self, prior: float, tuning: Tuning = TUNING) -> None:
        self._tuning = tuning
        self.base = 0.0
        """Seconds at no work."""
        self.slope = 0.0
        """Seconds more for one more unit of work."""
        self.count = 0.0
        """Observations, ever."""
        self._prior = prior
        self._w = self._x = self._y = self._xx = self._xy = 0.0
        self._updated = 0.0

    def scale(self, factor: float) -> None:
        """All that was observed counts as if it had taken this many times as long."""
        self.base *= factor
        self.slope *= factor
        square = 1.0 / (factor * factor)  # weights are of relative errors
        self._w *= square
        self._x *= square
        self._xx *= square
        self._y /= factor
        self._xy /= factor

    def at(self, x: float) -> float:
        """Seconds at this much work."""
        return self.base + self.slope * x

    def observe(self, x: float, seconds: float, now: float, sure: float = 1.0) -> None:
        """Learn that this much work took so long; ``sure``: how much that counts, 0 to 1."""
        tuning = self._tuning
        seconds = min(max(seconds, SECONDS_MIN), SECONDS_MAX)
        predicted = max(self.base + self.slope * x, SECONDS_MIN)
        forget = max(exp((self._updated - now) / tuning.memory_seconds), 1.0 - sure / tuning.memory_observations)
        if self.count:
            factor = tuning.outlier_factor
            seen, seconds = seconds, min(max(seconds, predicted / factor), predicted * factor)
            if seconds != seen and sure == 1.0 and self.count < tuning.memory_observations:
                forget *= tuning.young_forgets
            weight = sure / (predicted * predicted)
        else:
            weight = sure / (seconds * seconds)
        self._updated = now
        self.count += 1.0
        wx = weight * x
        w = self._w = self._w * forget + weight
        self._x = self._x * forget + wx
        self._y = self._y * forget + weight * seconds
        self._xx = self._xx * forget + wx * x
        self._xy = self._xy * forget + wx * seconds
        x_mean, y_mean = self._x / w, self._y / w
        # Where all work is alike nothing tells base from slope; then the prior divides.
        x_prior = x_mean + self._prior
        spread = tuning.line_spread * x_prior
        doubt = spread * spread
        prior_slope = y_mean / x_prior
        covariance = self._xy / w - x_mean * y_mean
        slope = (covariance + doubt * prior_slope) / (self._xx / w - x_mean * x_mean + doubt)
        slope = min(max(slope, 0.0), y_mean / x_mean if x_mean > 0.0 else prior_slope)
        self.slope = slope
        self.base = max(0.0, y_mean - slope * x_mean)


class Sampling:
    """Which of many like events are looked at: all of few, some hundred a second of many.

    By count and not by time: first tokens come in bursts, one for each step of an engine, and whoever is the first of a
    burst is not like the rest.
    """

    __slots__ = ("_events", "_every", "_seconds", "_taken_at", "_tuning", "passed")

    def __init__(self, tuning: Tuning = TUNING) -> None:
        self._tuning = tuning
        self.passed = 0
        """Events since the last that was looked at, this one included."""
        self._every = 1
        self._events = self._seconds = 0.0
        self._taken_at = float("-inf")

    def takes(self, now: float) -> bool:
        """Whether this event is looked at; then ``passed`` of them are over, and the caller sets it to 0."""
        self.passed += 1
        if self.passed < self._every:
            if now < self._taken_at + 1.0:
                return False
            self._events = self._seconds = 0.0  # the flood is over
            self._every = 1
        self._events = 0.98 * self._events + self.passed
        self._seconds = 0.98 * self._seconds + min(now - self._taken_at, 1.0)
        self._taken_at = now
        wanted = 1 + int(self._events / (max(self._seconds, 1e-4) * self._tuning.learned_per_second))
        self._every = min(wanted, 2 * self._every)
        return True

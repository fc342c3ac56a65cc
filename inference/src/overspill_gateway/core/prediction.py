"""How long a replica takes to the first token, learned from what it took: the service rates of a route.

A first token waits for the prompts before it to be read, the batch that runs to take its turns, and, where the engine
is full, for a place. Three things are learned, each robust against outliers and forgetting with time: seconds by
prompt tokens ahead (a line), seconds between tokens by running requests (a line), and by what factor reality differs
from what follows, at each level of load. The last mends whatever the first two leave out.

Not here: what follows from a prediction (``core.plan``), and how much work a replica has (``core.load``).
"""

from math import exp, frexp
from typing import Final

from overspill_gateway.core.ask import Ask
from overspill_gateway.core.load import FRESH_SECONDS, STALE_SECONDS, ReplicaLoad

MEMORY_SECONDS: Final = 30.0
"""An observation counts a third after this time ..."""
MEMORY_OBSERVATIONS: Final = 25
"""... but so many are always remembered, however old."""
SECONDS_MIN: Final = 1e-5
SECONDS_MAX: Final = 1e5
"""Nothing takes less, or is worth knowing more of: it keeps sums of squares within what numbers hold."""
OUTLIER_FACTOR: Final = 3.0
"""An observation further off than this counts as if it were this far off ..."""
YOUNG_FORGETS: Final = 0.5
"""... and, while a line is young, halves what came before: its beginning may be what is wrong."""
PRIOR_PROMPT_TOKENS: Final = 200.0
"""A prompt so long is taken to cost as much as an empty one, until prompts of several lengths tell."""
OUTPUT_TOKENS_EXPECTED: Final = 256.0
"""Of an answer, until some were seen."""
PROMPT_TOKENS_EXPECTED: Final = 512.0
TREND_GAIN: Final = 0.05
"""Share of an observation in the factor that holds at all levels: it follows a model that changes its speed."""
LEVEL_GAIN: Final = 0.02
RARE_GAIN: Final = 0.3
"""Instead of the trend's, for the first observation after a while: when few requests stay, each has to tell more."""
RARE_SECONDS: Final = 1.0
BRIGHTER: Final = 0.7
"""A first token that came in less than this share of what was predicted says that predictions are too high."""
LEVELS: Final = 32
"""Two of time per doubling would be finer than the noise: one, for with and without a queue for places each."""
TAIL_SHARE: Final = 0.05
"""The share of requests that may take longer than what is told by ``tail``."""
TAIL_GAIN: Final = 0.15
TAIL_START: Final = 1.25
TAIL_MAX: Final = 3.0
FINISHED_MEMORY_SECONDS: Final = 10.0
PROMISED_SHARE: Final = 2.0 / 3.0
"""Of the places that become free, for those who were told to come back; newcomers take the rest."""
READING_TOKENS: Final = 1024.0
"""Of prompts that an engine has begun to read, not read yet: half a step's."""
LEARNED_PER_SECOND: Final = 100.0
SURE_MIN: Final = 1e-3
PREFILL_TO_DECODE: Final = 0.01
"""Seconds per prompt token over seconds per output token of one request, until learned: to divide a plain answer's."""


class Line:
    """Seconds as a line over some measure of work, fitted to relative errors: base plus slope, neither negative."""

    __slots__ = ("_prior", "_updated", "_w", "_x", "_xx", "_xy", "_y", "base", "count", "slope")

    def __init__(self, prior: float) -> None:
        self.base = 0.0
        """Seconds at no work."""
        self.slope = 0.0
        """Seconds more for one more unit of work."""
        self.count = 0
        """Observations, ever."""
        self._prior = prior
        self._w = self._x = self._y = self._xx = self._xy = 0.0
        self._updated = 0.0

    def at(self, x: float) -> float:
        """Seconds at this much work."""
        return self.base + self.slope * x

    def observe(self, x: float, seconds: float, now: float, sure: float = 1.0) -> None:
        """Learn that this much work took so long; ``sure``: how much that counts, 0 to 1."""
        seconds = min(max(seconds, SECONDS_MIN), SECONDS_MAX)
        told = max(self.base + self.slope * x, SECONDS_MIN)
        forget = max(exp((self._updated - now) / MEMORY_SECONDS), 1.0 - sure / MEMORY_OBSERVATIONS)
        if self.count:
            seen, seconds = seconds, min(max(seconds, told / OUTLIER_FACTOR), told * OUTLIER_FACTOR)
            if seconds != seen and sure == 1.0 and self.count < MEMORY_OBSERVATIONS:
                forget *= YOUNG_FORGETS
            weight = sure / (told * told)
        else:
            weight = sure / (seconds * seconds)
        self._updated = now
        self.count += 1
        wx = weight * x
        w = self._w = self._w * forget + weight
        self._x = self._x * forget + wx
        self._y = self._y * forget + weight * seconds
        self._xx = self._xx * forget + wx * x
        self._xy = self._xy * forget + wx * seconds
        x_mean, y_mean = self._x / w, self._y / w
        # Where all work is alike nothing tells base from slope; then the prior divides, and weighs as much as a
        # spread of a tenth would.
        doubt = 0.01 * (x_mean + self._prior) ** 2
        prior_slope = y_mean / (x_mean + self._prior)
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

    __slots__ = ("_events", "_every", "_seconds", "_taken_at", "passed")

    def __init__(self) -> None:
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
        wanted = 1 + int(self._events / (max(self._seconds, 1e-4) * LEARNED_PER_SECOND))
        self._every = min(wanted, 2 * self._every)
        return True


class LoadSnapshot:
    """What was expected of one request when it was chosen for a replica, kept to compare with what came."""

    __slots__ = ("alone_seconds", "level", "places_short", "predicted_seconds", "raw_seconds", "tail_seconds", "work")

    work: float
    """Prompt tokens to be read before its first token, its own among them."""
    places_short: float
    """Requests that have to end before it gets a place in the engine's batch; 0: there is one."""
    raw_seconds: float
    """What the lines say."""
    level: int
    """Level of load, for the factors."""
    predicted_seconds: float | None
    """Seconds to its first token, as often more as less; None: nothing was learned yet."""
    tail_seconds: float
    """Seconds that it exceeds with a chance of one in twenty."""
    alone_seconds: float
    """Seconds to its first token if it were alone."""


class ServiceRates:
    """The service rates of one route's replicas, which are taken to be alike."""

    __slots__ = (
        "_finished", "_finished_at", "_finished_since", "_first_token", "_level", "_observed_at", "_output",
        "_output_tokens", "_promised_until", "_prompt_tokens", "_tail", "_trend", "answers", "brighter_at",
        "first_tokens", "slots",
    )  # fmt: skip

    def __init__(self) -> None:
        self.slots = 0.0
        """Requests that a replica runs at a time; 0: not known, none ever waited for a place."""
        self.first_tokens = Sampling()
        """Which first tokens are learned from."""
        self.answers = Sampling()
        """Which answers are."""
        self.brighter_at = float("-inf")
        """When a first token last came much earlier than predicted."""
        self._observed_at = float("-inf")
        self._first_token = Line(PRIOR_PROMPT_TOKENS)
        self._output = Line(8.0)
        self._trend = 1.0
        self._level = [1.0] * LEVELS
        self._tail = [TAIL_START] * LEVELS
        self._output_tokens = OUTPUT_TOKENS_EXPECTED
        self._prompt_tokens = PROMPT_TOKENS_EXPECTED
        self._finished = 0.0
        self._finished_at = float("-inf")
        self._finished_since = float("-inf")
        self._promised_until = float("-inf")

    # -- predicting --------------------------------------------------------------------------------------------

    def predict_first_token(self, load: ReplicaLoad, ask: Ask, now: float) -> float | None:
        """Seconds to the first token of a request sent now, as often more as less; None: nothing is learned yet."""
        return self.snapshot(load, ask, now).predicted_seconds

    def snapshot(
        self, load: ReplicaLoad, ask: Ask, now: float, unbegun: int = 0, begun_unseen: int = 0
    ) -> LoadSnapshot:
        """What is expected of a request that would be sent now.

        Of those whose first token was not seen the engine has begun ``begun_unseen``, as its gauges showed, and not
        ``unbegun``: a plain answer's first token is never seen, and yet its prompt is read.
        """
        told = LoadSnapshot()
        line = self._first_token
        own = ask.prompt_tokens
        work = float(load.prompt_tokens_pending)
        if begun_unseen:
            begun = work * begun_unseen / (begun_unseen + unbegun)
            work -= begun - min(0.5 * begun, READING_TOKENS)
        work += own
        requests = float(load.in_flight)
        age = now - load.scraped_at
        if age < STALE_SECONDS:
            others = float(load.running + load.waiting - load.in_flight_at_scrape)
            if others > 0:
                if age > FRESH_SECONDS:
                    others *= (STALE_SECONDS - age) / (STALE_SECONDS - FRESH_SECONDS)
                requests += others
                if load.waiting:
                    work += others * load.waiting / (load.running + load.waiting) * self._prompt_tokens
        raw = line.base + line.slope * work
        short = requests + 1.0 - self.slots if self.slots else 0.0
        if short > 0.0:
            alone = line.base + line.slope * own
            turnover = self._output_tokens * self._output.at(self.slots) / self.slots
            queued = short * turnover + alone
            raw = max(raw, queued)
        else:
            short = 0.0
        level = frexp(raw)[1] + 7  # 1/128 s and below is level 0 or 1
        level = min(max(level, 0), 15)
        if short:
            level += 16
        told.work = work
        told.places_short = short
        told.raw_seconds = raw
        told.level = level
        factor = self._trend * self._level[level]
        told.alone_seconds = (line.base + line.slope * own) * factor
        predicted = raw * factor
        told.predicted_seconds = predicted if line.count else None
        told.tail_seconds = predicted * self._tail[level]
        return told

    def output_tokens_expected(self, ask: Ask) -> int:
        """Tokens of all answers to a request, as answers of this route go."""
        expected = self._output_tokens
        limit = ask.output_tokens_max
        if limit is not None and limit < expected:
            expected = float(limit)
        return int(expected * ask.answers)

    def replica_requests_per_second(self) -> float | None:
        """Requests that a busy replica begins and ends in a second; None: nothing is learned yet."""
        if not self._first_token.count:
            return None
        seconds = self._first_token.slope * self._prompt_tokens
        if self._output.count:
            # Reading and writing share the engine's steps; what one request costs is its share of a full batch.
            running = self.slots or 32.0
            seconds = max(seconds, self._output_tokens * self._output.at(running) / running)
        seconds *= self._trend
        return 1.0 / seconds if seconds > 0.0 else None

    # -- learning ----------------------------------------------------------------------------------------------

    def observed_first_token(
        self, prompt_tokens: int, snapshot: LoadSnapshot, seconds: float, now: float, sure: float = 1.0
    ) -> None:
        """A replica's first token has come, so many seconds after the request was sent."""
        if seconds <= 0.0:
            return
        self._prompt_tokens += 0.05 * (prompt_tokens - self._prompt_tokens)
        line = self._first_token
        if not snapshot.places_short or line.count < MEMORY_OBSERVATIONS:
            line.observe(snapshot.work, seconds, now, sure)
        level, raw, told = snapshot.level, snapshot.raw_seconds, snapshot.predicted_seconds
        if told is None or told <= 0.0:
            return
        seconds = min(max(seconds, SECONDS_MIN), SECONDS_MAX)
        error = seconds / told
        tail = self._tail[level]
        tail *= 1.0 + TAIL_GAIN * (1.0 - TAIL_SHARE) if error > tail else 1.0 - TAIL_GAIN * TAIL_SHARE
        self._tail[level] = min(max(tail, 1.0), TAIL_MAX)
        # Compared with what the factors say now, so that requests sent before a change count once.
        error = seconds / (raw * self._trend * self._level[level])
        if error < BRIGHTER:
            self.brighter_at = now
        error = (min(max(error, 0.5), 2.0) - 1.0) * sure
        gain = TREND_GAIN if now - self._observed_at < RARE_SECONDS else RARE_GAIN
        self._observed_at = now
        self._trend = min(max(self._trend * (1.0 + gain * error), 0.05), 20.0)
        self._level[level] = min(max(self._level[level] * (1.0 + LEVEL_GAIN * error), 0.1), 10.0)

    def observed_no_token(self, prompt_tokens: int, snapshot: LoadSnapshot, seconds: float, now: float) -> None:
        """A request was given up, so many seconds after it was sent, before its first token: it took longer still.

        Without this the slowest would never be heard of.
        """
        told = snapshot.predicted_seconds
        if told is not None and seconds > told:
            self.observed_first_token(prompt_tokens, snapshot, seconds, now)

    def observed_output(self, tokens: int, seconds: float, running: float, now: float, sure: float = 1.0) -> None:
        """An answer has ended: its tokens, the seconds from its first to its last, requests at the replica then."""
        self.finished(1, now)
        if tokens <= 0:
            return
        self._output_tokens += 0.03 * (tokens - self._output_tokens)
        if tokens > 1 and seconds > 0.0:
            if self.slots and running > self.slots:
                running = self.slots
            self._output.observe(running, seconds / (tokens - 1), now, sure)

    def finished(self, count: int, now: float) -> None:
        """So many answers have ended."""
        elapsed = now - self._finished_at
        self._finished = self._finished * exp(-max(elapsed, 0.0) / FINISHED_MEMORY_SECONDS) + count
        self._finished_at = now
        if self._finished_since < 0.0:
            self._finished_since = now

    def observed_plain(
        self, prompt_tokens: int, snapshot: LoadSnapshot, seconds: float, tokens: int, running: float, now: float
    ) -> None:
        """A plain answer has come, whose first token nobody saw: its time is divided as the rates say."""
        if seconds <= 0.0:
            return
        told = snapshot.predicted_seconds
        if self.slots and running > self.slots:
            running = self.slots
        if told is not None and self._output.count:
            first, rest = told, tokens * self._output.at(running)
        else:
            first, rest = snapshot.work * PREFILL_TO_DECODE + 1.0, float(tokens)
        # An answer tells most of the part that makes up most of it; else the one's error would be put on the other.
        share = first / (first + rest) if first + rest > 0.0 else 1.0
        self.observed_first_token(prompt_tokens, snapshot, seconds * share, now, max(share * share, SURE_MIN))
        share = 1.0 - share
        self.observed_output(tokens, seconds * share, running, now, max(share * share, SURE_MIN))

    def observed_slots(self, running: int, *, full: bool) -> None:
        """A replica runs so many requests; ``full``: others wait there, and it has not begun more lately."""
        if full:
            self.slots = running if running > self.slots else self.slots + 0.25 * (running - self.slots)
        elif self.slots and running > self.slots:
            self.slots = float(running)

    # -- what to tell those who are refused --------------------------------------------------------------------

    def finished_per_second(self, now: float) -> float:
        """Requests that all replicas of the route ended in a second, lately."""
        faded = self._finished * exp(-max(now - self._finished_at, 0.0) / FINISHED_MEMORY_SECONDS)
        seen = 1.0 - exp(-max(now - self._finished_since, 1.0) / FINISHED_MEMORY_SECONDS)
        return faded / (FINISHED_MEMORY_SECONDS * seen)

    def promise_place(self, held: int, replicas: int, now: float) -> float | None:
        """Seconds until a request that is refused finds a place; each call promises the next one.

        By then those who wait now have gone, and those who were told before have come. None: nothing is learned yet.
        """
        # After a quiet time fewer ended than could have; what the rates say is believed by half.
        able = 0.5 * (self.replica_requests_per_second() or 0.0) * replicas
        per_second = max(self.finished_per_second(now), able)
        if per_second <= 0.0:
            return None
        place = 1.0 / (PROMISED_SHARE * per_second)
        self._promised_until = max(self._promised_until, now + held / per_second) + place
        return self._promised_until - now

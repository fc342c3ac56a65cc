"""How long a replica takes to the first token, learned from what it took: the service rates of a route.

A first token waits for the prompts before it to be read, the batch that runs to take its turns, and, where the engine
is full, for a place. Three things are learned, each robust against outliers and forgetting with time: seconds by
prompt tokens ahead (a line), seconds between tokens by running requests (a line), and by what factor reality differs
from what follows, at each level of load. The last mends whatever the first two leave out.

All replicas of a route teach these, each seen through a factor of its own (``pace``): the shape is that of the
model and its traffic, the factor that of a replica.

Not here: what follows from a prediction (``plan``), and how much work a replica has (``load``).
"""

from math import exp, frexp, log
from typing import Final

from overspill_gateway.core.prediction.caution import Caution
from overspill_gateway.core.prediction.line import SECONDS_MAX, SECONDS_MIN, Line, Sampling
from overspill_gateway.core.prediction.load import ReplicaLoad
from overspill_gateway.core.prediction.pace import Pace, ReplicaRates
from overspill_gateway.core.prediction.tuning import TUNING, Tuning
from overspill_gateway.core.requests.ask import Ask

LEVELS: Final = 32
"""Two of time per doubling would be finer than the noise: one, for with and without a queue for places each."""
SURE_MIN: Final = 1e-3


class LoadSnapshot:
    """What was expected of one request when it was chosen for a replica, kept to compare with what came."""

    __slots__ = (
        "alone_seconds", "level", "line_at", "own", "places_short", "predicted_seconds", "raw_seconds", "tail_seconds",
        "work",
    )  # fmt: skip

    own: ReplicaRates
    """Of the replica."""

    work: float
    """Prompt tokens to be read before its first token, its own among them."""
    places_short: float
    """Requests that have to end before it gets a place in the engine's batch; 0: there is one."""
    raw_seconds: float
    """What the lines say, at a replica like the rest."""
    level: int
    """Level of load, for the factors."""
    predicted_seconds: float | None
    """Seconds to its first token, as often more as less; None: nothing was learned yet."""
    tail_seconds: float
    """Seconds that it exceeds with a chance of one in twenty."""
    alone_seconds: float
    """Seconds to its first token if it were alone."""
    line_at: int
    """Its place in the line: prompt tokens of streams that were sent there before it, ever."""


class ServiceRates:
    """The service rates of one route."""

    __slots__ = (
        "_compared_at", "_finished", "_finished_at", "_finished_since", "_first_token", "_level", "_observed_at",
        "_output", "_output_tokens", "_promised_until", "_replicas", "_step", "_tail", "_trend", "answers", "caution",
        "first_tokens", "prompt_tokens", "slots", "slow_replicas", "tuning",
    )  # fmt: skip

    def __init__(self, tuning: Tuning = TUNING) -> None:
        self.tuning = tuning
        self.slots = 0.0
        """Requests that a new replica is expected to run at a time; 0: not known."""
        self.first_tokens = Sampling(tuning)
        """Which first tokens are learned from."""
        self.answers = Sampling(tuning)
        """Which answers are."""
        self.prompt_tokens = tuning.prompt_tokens_expected
        """The usual length of a prompt."""
        self.caution = Caution(tuning)
        """How sure one has to be that a first token is in time."""
        self.slow_replicas = 0
        """Replicas that are known to be slower than the rest."""
        self._replicas: list[ReplicaRates] = []
        self._compared_at = float("-inf")
        self._observed_at = float("-inf")
        self._first_token = Line(tuning.prior_prompt_tokens, tuning)
        self._step = Line(tuning.prior_prompt_tokens, tuning)
        self._output = Line(tuning.prior_running, tuning)
        self._trend = 1.0
        self._level = [1.0] * LEVELS
        self._tail = [tuning.tail_start] * LEVELS
        self._output_tokens = tuning.output_tokens_expected
        self._finished = 0.0
        self._finished_at = float("-inf")
        self._finished_since = float("-inf")
        self._promised_until = float("-inf")

    # -- replicas ----------------------------------------------------------------------------------------------

    def of_new_replica(self) -> ReplicaRates:
        """What a replica that comes has of its own: it is like the rest, until it is seen to differ."""
        own = ReplicaRates(self.tuning)
        own.slots = self.slots
        self._replicas.append(own)
        return own

    def gone(self, own: ReplicaRates) -> None:
        """A replica is no more. What it has taught of the route stays."""
        if own in self._replicas:
            self._replicas.remove(own)
            self._compare(self._compared_at)

    @property
    def lines(self) -> tuple[Line, Line]:
        """Seconds to the first token by prompt tokens, and between tokens by requests that run, as learned so far."""
        return self._first_token, self._output

    def _compare(self, now: float) -> None:
        """Say what is usual, and who differs from it: no prediction changes by this."""
        tuning = self.tuning
        self._compared_at = now
        replicas = self._replicas
        for own in replicas:
            for pace in (own.reading, own.writing):
                if now - pace.heard_at > tuning.quiet_seconds:
                    pace.factor, pace.count = 1.0, 0.0
        usual = _usual([own.reading for own in replicas])
        if usual != 1.0:
            self._first_token.scale(usual)
            self._step.scale(usual)
        usual = _usual([own.writing for own in replicas])
        if usual != 1.0:
            self._output.scale(usual)
        self.slow_replicas = 0
        reading_work, writing_work = self.prompt_tokens, tuning.output_token_work * self._output_tokens
        for own in replicas:
            reading, writing = own.reading, own.writing
            if not writing.count:
                factor, count = reading.factor, reading.count
            elif not reading.count:
                factor, count = writing.factor, writing.count
            else:
                factor = reading.factor * reading_work + writing.factor * writing_work
                factor /= reading_work + writing_work
                count = min(reading.count, writing.count)
            off = abs(log(factor))
            least = log(tuning.slowness_min if own.slowness == 1.0 else tuning.slowness_left)
            if off < least or off * off * (count + 1.0) < tuning.slowness_evidence:
                factor = 1.0
            own.slowness = min(max(factor, 1.0 / tuning.slowness_max), tuning.slowness_max)
            self.slow_replicas += own.slowness > 1.0

    # -- predicting --------------------------------------------------------------------------------------------

    def snapshot(
        self, own: ReplicaRates, load: ReplicaLoad, ask: Ask, now: float, unbegun: int = 0, begun_unseen: int = 0
    ) -> LoadSnapshot:
        """What is expected of a request that would be sent to a replica now.

        Of those whose first token was not seen the engine has begun ``begun_unseen``, as its gauges showed, and not
        ``unbegun``: a plain answer's first token is never seen, and yet its prompt is read.
        """
        tuning = self.tuning
        snapshot = LoadSnapshot()
        line = self._first_token
        pace = own.reading.factor
        prompt_tokens = ask.prompt_tokens
        work = float(load.prompt_tokens_pending)
        if begun_unseen:
            begun = work * begun_unseen / (begun_unseen + unbegun)
            work -= begun - min(0.5 * begun, tuning.reading_tokens)
        work += prompt_tokens
        requests = float(load.in_flight)
        age = now - load.scraped_at
        if age < tuning.stale_seconds:
            others = float(load.running + load.waiting - load.in_flight_at_scrape)
            if others > 0:
                if age > tuning.fresh_seconds:
                    others *= (tuning.stale_seconds - age) / (tuning.stale_seconds - tuning.fresh_seconds)
                requests += others
                if load.waiting:
                    work += others * load.waiting / (load.running + load.waiting) * self.prompt_tokens
        raw = line.base + line.slope * work
        slots = own.slots
        short = requests + 1.0 - slots if slots else 0.0
        if short > 0.0:
            alone = line.base + line.slope * prompt_tokens
            turnover = self._output_tokens * self._output.at(slots) / slots
            queued = short * turnover * own.writing.factor / pace + alone
            raw = max(raw, queued)
        else:
            short = 0.0
        level = frexp(raw)[1] + 7  # 1/128 s and below is level 0 or 1
        level = min(max(level, 0), 15)
        if short:
            level += 16
        snapshot.own = own
        snapshot.line_at = own.steps.sent
        snapshot.work = work
        snapshot.places_short = short
        snapshot.raw_seconds = raw
        snapshot.level = level
        factor = self._trend * self._level[level] * pace
        snapshot.alone_seconds = (line.base + line.slope * prompt_tokens) * factor
        predicted = raw * factor
        times = 1.0 if self.slow_replicas else self.caution.times  # whose line is judged is not whose is long
        snapshot.predicted_seconds = predicted if line.count else None
        snapshot.tail_seconds = predicted * (1.0 + times * (self._tail[level] - 1.0))
        return snapshot

    def output_tokens_expected(self, ask: Ask) -> int:
        """Tokens of all answers to a request, as answers of this route go."""
        expected = self._output_tokens
        limit = ask.output_tokens_max
        if limit is not None and limit < expected:
            expected = float(limit)
        return int(expected * ask.answers)

    def replica_requests_per_second(self) -> float | None:
        """Requests that a busy replica like most begins and ends in a second; None: nothing is learned yet."""
        if not self._first_token.count:
            return None
        seconds = self._first_token.slope * self.prompt_tokens
        if self._output.count:
            # Reading and writing share the engine's steps; what one request costs is its share of a full batch.
            running = self.slots or self.tuning.running_expected
            seconds = max(seconds, self._output_tokens * self._output.at(running) / running)
        seconds *= self._trend
        return 1.0 / seconds if seconds > 0.0 else None

    # -- learning ----------------------------------------------------------------------------------------------

    def observed_first_token(
        self, prompt_tokens: int, snapshot: LoadSnapshot, seconds: float, now: float, sure: float = 1.0
    ) -> None:
        """A replica's first token has come, so many seconds after the request was sent."""
        tuning = self.tuning
        if seconds <= 0.0:
            return
        self.prompt_tokens += tuning.prompt_tokens_gain * (prompt_tokens - self.prompt_tokens)
        line, own = self._first_token, snapshot.own
        level, raw, predicted = snapshot.level, snapshot.raw_seconds, snapshot.predicted_seconds
        if not snapshot.places_short or line.count < tuning.memory_observations:
            if predicted is not None and len(self._replicas) > 1:
                if now >= self._compared_at + tuning.compare_seconds:
                    self._compare(now)
                told_now = raw * self._trend * self._level[level] * own.reading.factor
                own.reading.observe(max(seconds, SECONDS_MIN) / max(told_now, SECONDS_MIN), now, sure)
            line.observe(snapshot.work, seconds / own.reading.factor, now, sure)
        if predicted is None or predicted <= 0.0:
            return
        seconds = min(max(seconds, SECONDS_MIN), SECONDS_MAX)
        error = seconds / predicted
        tail = self._tail[level]
        tail *= (
            1.0 + tuning.tail_gain * (1.0 - tuning.tail_share)
            if error > tail
            else 1.0 - tuning.tail_gain * tuning.tail_share
        )
        self._tail[level] = min(max(tail, 1.0), tuning.tail_max)
        # Compared with what the factors say now, so that requests sent before a change count once.
        error = seconds / (raw * self._trend * self._level[level] * own.reading.factor)
        if error < tuning.brighter:
            own.brighter_at = now
        error = (min(max(error, 0.5), 2.0) - 1.0) * sure
        gain = tuning.trend_gain if now - self._observed_at < tuning.rare_seconds else tuning.rare_gain
        self._observed_at = now
        self._trend = min(max(self._trend * (1.0 + gain * error), 0.05), 20.0)
        self._level[level] = min(max(self._level[level] * (1.0 + tuning.level_gain * error), 0.1), 10.0)

    def began(self, snapshot: LoadSnapshot, prompt_tokens: int, now: float, *, learns: bool) -> None:
        """A replica's stream begins; ``learns``: this one is looked at."""
        own = snapshot.own
        steps = own.steps
        if not steps.first_token(prompt_tokens, now) or not learns or snapshot.places_short > 0.0:
            return  # it came with another of the same step, or had waited for a place
        if steps.step_tokens:
            self._step.observe(float(steps.step_tokens), steps.step_seconds / own.reading.factor, now)

    def step_and_token_seconds(self, own: ReplicaRates) -> tuple[float, float]:
        """How long a step of a replica takes, and how much longer for each token that it reads."""
        if self._step.count:
            return self._step.base * own.reading.factor, self._step.slope * own.reading.factor
        line, speed = self._first_token, self._trend * own.reading.factor
        return line.base * speed, line.slope * speed

    def observed_no_token(self, prompt_tokens: int, snapshot: LoadSnapshot, seconds: float, now: float) -> None:
        """A request was given up, so many seconds after it was sent, before its first token: it took longer still.

        Without this the slowest would never be heard of.
        """
        predicted = snapshot.predicted_seconds
        if predicted is not None and seconds > predicted:
            self.observed_first_token(prompt_tokens, snapshot, seconds, now)

    def observed_output(
        self, own: ReplicaRates, tokens: int, seconds: float, running: float, now: float, sure: float = 1.0
    ) -> None:
        """An answer has ended: its tokens, the seconds from its first to its last, requests at the replica then."""
        self.finished(1, now)
        if tokens <= 0:
            return
        self._output_tokens += self.tuning.output_tokens_gain * (tokens - self._output_tokens)
        if tokens > 1 and seconds > 0.0:
            slots = own.slots
            if slots and running > slots:
                running = slots
            line, pace = self._output, own.writing
            each = seconds / (tokens - 1)
            if line.count and len(self._replicas) > 1:
                predicted = max(line.at(running) * pace.factor, SECONDS_MIN)
                pace.observe(max(each, SECONDS_MIN) / predicted, now, sure)
            line.observe(running, each / pace.factor, now, sure)

    def finished(self, count: int, now: float) -> None:
        """So many answers have ended."""
        elapsed = now - self._finished_at
        self._finished = self._finished * exp(-max(elapsed, 0.0) / self.tuning.finished_memory_seconds) + count
        self._finished_at = now
        if self._finished_since < 0.0:
            self._finished_since = now

    def observed_plain(
        self, prompt_tokens: int, snapshot: LoadSnapshot, seconds: float, tokens: int, running: float, now: float
    ) -> None:
        """A plain answer has come, whose first token nobody saw: its time is divided as the rates say."""
        if seconds <= 0.0:
            return
        predicted, own = snapshot.predicted_seconds, snapshot.own
        slots = own.slots
        if slots and running > slots:
            running = slots
        if predicted is not None and self._output.count:
            first, rest = predicted, tokens * self._output.at(running) * own.writing.factor
        else:
            first, rest = snapshot.work * self.tuning.prefill_to_decode + 1.0, float(tokens)
        # An answer tells most of the part that makes up most of it; else the one's error would be put on the other.
        share = first / (first + rest) if first + rest > 0.0 else 1.0
        self.observed_first_token(prompt_tokens, snapshot, seconds * share, now, max(share * share, SURE_MIN))
        share = 1.0 - share
        self.observed_output(own, tokens, seconds * share, running, now, max(share * share, SURE_MIN))

    def observed_slots(self, own: ReplicaRates, running: int, *, full: bool) -> None:
        """A replica runs so many requests; ``full``: others wait there, and it has not begun more lately."""
        slots = own.slots
        if full:
            own.slots = running if running > slots else slots + self.tuning.slots_gain * (running - slots)
        elif slots and running > slots:
            own.slots = float(running)
        else:
            return
        slots_of_each = [pace.slots for pace in self._replicas]
        self.slots = max(slots_of_each, default=0.0) if all(slots_of_each) else 0.0

    # -- what to tell those who are refused --------------------------------------------------------------------

    def finished_per_second(self, now: float) -> float:
        """Requests that all replicas of the route ended in a second, lately."""
        tuning = self.tuning
        faded = self._finished * exp(-max(now - self._finished_at, 0.0) / tuning.finished_memory_seconds)
        seen = 1.0 - exp(-max(now - self._finished_since, 1.0) / tuning.finished_memory_seconds)
        return faded / (tuning.finished_memory_seconds * seen)

    def promise_place(self, held: int, replicas: int, now: float) -> float | None:
        """Seconds until a request that is refused finds a place; each call promises the next one.

        By then those who wait now have gone, and those who were told before have come. None: nothing is learned yet.
        """
        tuning = self.tuning
        able = tuning.able_share * (self.replica_requests_per_second() or 0.0) * replicas * self._relative_speed()
        per_second = max(self.finished_per_second(now), able)
        if per_second <= 0.0:
            return None
        place = 1.0 / (tuning.promised_share * per_second)
        self._promised_until = max(self._promised_until, now + held / per_second) + place
        return self._promised_until - now

    def _relative_speed(self) -> float:
        """The mean speed of the replicas, in terms of that of most."""
        replicas = self._replicas
        return sum(1.0 / own.slowness for own in replicas) / len(replicas) if replicas else 1.0


def _usual(paces: list[Pace]) -> float:
    """Make 1 the factor of the middle one of those that were heard of, and return what that factor was.

    Of two the faster: a new replica is taken for as fast as the better half, and finds out if it is not.
    """
    factors = sorted([pace.factor for pace in paces if pace.count])
    if not factors:
        return 1.0
    usual = factors[(len(factors) - 1) // 2]
    for pace in paces:
        if pace.count:
            pace.factor /= usual
    return usual

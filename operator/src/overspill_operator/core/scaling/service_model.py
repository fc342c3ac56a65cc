"""How fast one replica of a route works, learned from what gateways count: its pace, and from it how much work comes.

An engine goes in steps: each takes a base time, and time for each answer that is written on and each prompt token that
is read. While it has something to do, the time between two tokens is therefore

    ITL = a + b * batch + c * (ITL * prompt tokens read a second)

and a prompt of p tokens takes a step or two and ``c * p`` of its own. From minutes of counts a, b and c are learned by
least squares, each row by its relative error, with non-negative numbers and a weak prior of their proportions, so that
a route that has only seen small batches does not think that large ones are free. In its fullest batch of B answers a
replica then writes ``1 / (a / B + b)`` tokens a second and reads ``1 / c``: what a request takes of that is its work in
replica-seconds, and what came in a second, served or not, is the offered work in replicas.

Nothing of one minute can take it far: rows are weighed by answers up to a bound, figures that cannot be are left out,
and what was learned fades over an hour of traffic, so that another engine is learned anew.
"""

from dataclasses import dataclass, replace
from math import isfinite, sqrt
from typing import Final

from overspill_operator.core.demand.engine_gauges import EngineReading
from overspill_operator.core.demand.recent_work import SeenWork
from overspill_operator.core.demand.traffic import Demand
from overspill_operator.core.demand.work import KindOfWork

LEARN_SECONDS: Final = 60.0
"""Between two rows: as long as what is seen reaches back, so that no answer counts twice."""
FIRST_SECONDS: Final = 10.0
"""Between two looks at the first minute, until there is a pace."""
ANSWERS_LEAST: Final = 20.0
"""Answers after which a pace is believed."""
ANSWERS_OF_ROW_MAX: Final = 50.0
"""A minute of many answers says no more than this many: its batch and rates are one mean."""
FADES: Final = 0.98
"""Of what was known, with each row: an hour of traffic."""
MIX_FADES: Final = 0.9
"""Of the mean request: ten minutes of traffic."""
PRIOR_WEIGHT: Final = 6.0
"""Answers that the prior weighs as much as."""
PRIOR_BATCH: Final = 80.0
"""Answers that together make a step twice as long. From 35 to 130 for models of 8B to 70B on A100s and H100s, by
SageServe's and Splitwise's published measurements."""
PRIOR_PROMPT: Final = 200.0
"""Prompt tokens that take as long as a step; from 140 to 280 there."""
BATCH_DEFAULT: Final = 256.0
"""vLLM's own ``--max-num-seqs``."""
BATCH_MAX: Final = 4096.0
FULL_SEEN: Final = 3
"""Times that the same largest batch is seen to let others wait before it is the fullest."""
CHUNK_TOKENS: Final = 2048.0
"""Prompt tokens that one step reads at most: vLLM's default for serving."""
OTHERS_MOST: Final = 4.0
"""Times the mean rate of a minute that requests find in a burst: bursts end, and their prompts with them."""
STRANGE: Final = 0.4
"""Relative error from which on a row counts less, by as much as it is larger (Huber's weights)."""
TOKEN_SECONDS_MAX: Final = 60.0
"""A slower engine than this is none: such a figure is left out."""
TOKEN_SECONDS_MIN: Final = 1e-6
"""Nor is a faster one."""
RATE_SECONDS: Final = 20.0
RATE_SLOW_SECONDS: Final = 60.0
"""Over which the rate of arrivals is smoothed for objectives of latency: what it is, and where it came from."""
DISPERSION_MAX: Final = 50.0
SAMPLE_SECONDS_MAX: Final = 30.0
"""One sight of the requests in flight says nothing of a longer time before it."""
PROMPT_P95: Final = 3.0
"""The 95th percentile of prompts over their mean: from 2.6 to 3.6 in public traces (Azure 2023, ServeGen)."""

_ZERO: Final = (0.0,) * 9


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a replica works."""

    step_seconds: float
    """a: base time of a step."""
    answer_seconds: float
    """b: for each answer in the batch."""
    prompt_token_seconds: float
    """c: for each prompt token."""
    batch: float
    """B: answers in the fullest batch."""

    @property
    def output_token_work(self) -> float:
        """Replica-seconds of one output token, in the fullest batch."""
        return self.step_seconds / self.batch + self.answer_seconds

    def work(self, prompt_tokens: float, output_tokens: float) -> float:
        """Replica-seconds of so many tokens."""
        return prompt_tokens * self.prompt_token_seconds + output_tokens * self.output_token_work


@dataclass(frozen=True, slots=True)
class Mix:
    """The mean request."""

    prompt_tokens: float
    """Tokens that it brings."""
    output_tokens: float
    """Tokens of its answer."""
    answers: float
    """Answers that this is known by, those long ago counting less."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Rows of least squares, summed: of ``(a, b * 80, c * 200)``, each row divided by what was measured."""

    sums: tuple[float, ...] = _ZERO
    """Of products of the three columns (six), then of columns alone (three): the right side is always 1."""
    answers: float = 0.0
    """Answers behind it."""
    inter_token_seconds: float = 0.0
    """Mean of what was measured: the prior's rows are relative to it."""

    def faded(self) -> "Fit":
        """A minute later."""
        return Fit(tuple(FADES * value for value in self.sums), FADES * self.answers, self.inter_token_seconds)

    def with_row(self, row: tuple[float, float, float], measured: float, weight: float, pace: Pace | None) -> "Fit":
        """With ``a * row[0] + b * row[1] + c * row[2] = measured``; a known ``pace`` says how strange that is."""
        if pace is not None:
            said = pace.step_seconds * row[0] + pace.answer_seconds * row[1] + pace.prompt_token_seconds * row[2]
            weight *= min(STRANGE * measured / max(abs(said - measured), 1e-9), 1.0)
        x, y, z = row[0] / measured, row[1] / PRIOR_BATCH / measured, row[2] / PRIOR_PROMPT / measured
        added = (x * x, x * y, x * z, y * y, y * z, z * z, x, y, z)
        return replace(self, sums=tuple(old + weight * new for old, new in zip(self.sums, added, strict=True)))

    def solved(self) -> tuple[float, float, float]:
        """a, b and c, none below zero."""
        weight = PRIOR_WEIGHT / self.inter_token_seconds**2
        xx, xy, xz, yy, yz, zz, x1, y1, z1 = self.sums
        # The prior: a = b * 80 and a = c * 200.
        xx, yy, zz, xy, xz = xx + 2.0 * weight, yy + weight, zz + weight, xy - weight, xz - weight
        a = b = c = 0.0
        for _ in range(60):  # one after the other, the others held: it converges, as the prior makes it convex
            a = max((x1 - xy * b - xz * c) / xx, 0.0)
            b = max((y1 - xy * a - yz * c) / yy, 0.0)
            c = max((z1 - xz * a - yz * b) / zz, 0.0)
        return a, b / PRIOR_BATCH, c / PRIOR_PROMPT


@dataclass(frozen=True, slots=True)
class Since:
    """What was sampled since the last row."""

    begun_unix: float
    """When that was."""
    seconds: float = 0.0
    """Seconds that were sampled."""
    at_replicas: float = 0.0
    """Requests at replicas, times seconds."""
    at_replicas_squared: float = 0.0
    """Their square per replica, times seconds and replicas: a request finds more others in a burst than there are on
    average."""
    replicas: float = 0.0
    """Replicas that could answer, times seconds."""
    queued: float = 0.0
    """Seconds in which requests waited inside replicas."""

    def sampled(self, demand: Demand, ready: int, waiting: int, seconds: float) -> "Since":
        """With what is seen now, for the time since it was seen before."""
        if not ready:
            return replace(self, seconds=self.seconds + seconds)
        here = max(demand.in_flight - waiting, 0)
        return Since(
            self.begun_unix, self.seconds + seconds, self.at_replicas + here * seconds,
            self.at_replicas_squared + here * here / ready * seconds, self.replicas + ready * seconds,
            self.queued + (seconds if waiting else 0.0),
        )  # fmt: skip

    @property
    def batch(self) -> float:
        """Requests that one of them finds at its replica, itself counted."""
        return max(self.at_replicas_squared / self.at_replicas, 1.0) if self.at_replicas else 1.0

    @property
    def dispersion(self) -> float:
        """Variance over mean of a replica's requests in flight."""
        mean = self.at_replicas / self.replicas if self.replicas else 0.0
        return min(max(self.batch - mean, 1.0), DISPERSION_MAX)

    @property
    def others_share(self) -> float:
        """How much more than the mean rate a request finds of others': 1 where they come by chance."""
        mean = self.at_replicas / self.replicas if self.replicas else 0.0
        return min(max((self.batch - 1.0) / mean, 0.0), OTHERS_MOST) if mean else 0.0


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """What is known of one route's replicas and requests. A value: each thing heard makes the next one."""

    heard_unix: float
    """When it was heard last."""
    since: Since
    """Sampled since the last row."""
    fit: Fit = Fit()
    """Rows so far."""
    pace: Pace | None = None
    """None: nothing is known yet."""
    mix: Mix | None = None
    """None: no request was answered yet."""
    arrivals: float | None = None
    """Requests that had come when it was heard last; None: not known."""
    come: float | None = None
    """Requests that have come between the last two times; None: not known."""
    come_seconds: float = 0.0
    """How long that was."""
    rate: float = 0.0
    """Requests a second, smoothed over some twenty seconds."""
    rate_slow: float = 0.0
    """The same over a minute."""
    dispersion: float = 1.0
    """Variance of a replica's requests in flight over their mean: 1 where they come by chance, more in bursts."""
    full: tuple[float, int] = (0.0, 0)
    """The largest batch of a replica in which requests waited, and how often it was seen: while prompts are read they
    wait at a smaller batch as well, which then differs from time to time."""
    batch_by_cache: float = 0.0
    """Answers that the KV cache has room for; 0: not known."""
    batch_most: int | None = None
    """Answers in the fullest batch by the engine's arguments; None: they do not say."""

    @classmethod
    def begun(cls, now_unix: float) -> "ServiceModel":
        """Nothing is known."""
        return cls(now_unix, Since(now_unix))

    @property
    def has_learned(self) -> bool:
        """Whether the pace is believed."""
        return self.pace is not None and self.mix is not None and self.fit.answers >= ANSWERS_LEAST

    @property
    def words(self) -> str:
        """What is known, for people."""
        if self.pace is None or not self.has_learned:
            return f"its pace is not known yet ({self.fit.answers:.0f} of {ANSWERS_LEAST:.0f} answers)"
        reads = 1.0 / max(self.pace.prompt_token_seconds, 1e-9)
        writes = 1.0 / max(self.pace.output_token_work, 1e-9)
        return (
            f"it reads {reads:,.0f} tokens a second and writes {writes:,.0f} with {self.pace.batch:.0f} answers at once"
        )

    @property
    def figures(self) -> dict[str, float]:
        """What is known, for metrics: tokens a second of a replica, answers in its fullest batch, work that comes."""
        pace, offered = self.pace, self.offered_replicas
        if pace is None or not self.has_learned:
            return {}
        known = {
            "read_tokens_per_second": 1.0 / max(pace.prompt_token_seconds, 1e-9),
            "written_tokens_per_second": 1.0 / max(pace.output_token_work, 1e-9),
            "batch_answers": pace.batch,
        }
        return known if offered is None else {**known, "offered_replicas": offered}

    @property
    def request_work(self) -> float:
        """Replica-seconds of the mean request; 0: not known."""
        if self.pace is None or self.mix is None:
            return 0.0
        return self.pace.work(self.mix.prompt_tokens, self.mix.output_tokens)

    @property
    def offered_replicas(self) -> float | None:
        """Work that came between the last two times it was heard, in replicas; None: not known."""
        if self.come is None or not self.has_learned:
            return None
        return self.come / self.come_seconds * self.request_work if self.come_seconds else 0.0

    @property
    def rate_now(self) -> float:
        """Requests a second that replicas are needed for: the higher one, less what chance adds to the younger."""
        return max(self.rate - sqrt(self.rate / (2.0 * RATE_SECONDS)), self.rate_slow)

    def heard(
        self,
        demand: Demand,
        ready: int,
        engines: tuple[EngineReading, ...],
        work: SeenWork | None,
        now_unix: float,
        batch_most: int | None = None,
    ) -> "ServiceModel":
        """With what is seen now. ``batch_most``: answers in the fullest batch, where that is known beforehand."""
        seconds = now_unix - self.heard_unix
        if seconds < 0.0:  # the clock was set back: what was sampled has no time
            return replace(self, heard_unix=now_unix, since=Since(now_unix), arrivals=None, come=None, come_seconds=0.0)
        arrivals, come, rate, slow = None if work is None else work.arrivals_so_far, None, self.rate, self.rate_slow
        if arrivals is not None and self.arrivals is not None:
            # Counts that went back are those of a route that is heard of anew.
            come = arrivals - self.arrivals if arrivals >= self.arrivals else None
        if seconds > 0.0 and come is not None:
            rate += seconds / (seconds + RATE_SECONDS) * (come / seconds - rate)
            slow += seconds / (seconds + RATE_SLOW_SECONDS) * (come / seconds - slow)
        waiting, full, cache = 0, self.full, self.batch_by_cache
        for reading in engines:
            waiting += reading.waiting
            if reading.waiting and reading.running >= full[0] and reading.running <= BATCH_MAX:
                full = (reading.running, full[1] + 1 if reading.running == full[0] else 1)
            if reading.kv_cache_usage > 0.1 and reading.running:
                cache_room = min(reading.running / reading.kv_cache_usage, BATCH_MAX)
                cache = cache_room if not cache else cache + 0.02 * (cache_room - cache)
        since = self.since
        if seconds > 0.0:
            since = since.sampled(demand, ready, waiting, min(seconds, SAMPLE_SECONDS_MAX))
        model = ServiceModel(
            now_unix, since, self.fit, self.pace, self.mix, arrivals, come, seconds, rate, slow, self.dispersion, full,
            cache, batch_most,
        )  # fmt: skip
        waited = now_unix - since.begun_unix
        if work is None or waited < (LEARN_SECONDS if self.has_learned else FIRST_SECONDS):
            return model
        return model._learned(work, commits=waited >= LEARN_SECONDS)

    def _learned(self, work: SeenWork, *, commits: bool) -> "ServiceModel":
        """With a row of what was counted; ``commits``: the next one begins after it, else it is looked at again."""
        local, spilled = work.work.local, work.work.spilled
        answers = local.answers + spilled.requests
        since = Since(self.heard_unix) if commits else self.since
        mixed = self.mix
        if commits or mixed is None:
            mixed = self._mixed(answers, local, spilled.prompt_tokens, spilled.output_tokens)
        fit = self._fitted(local, work.seconds)
        pace = self._paced(fit)
        kept_fit = fit if commits else self.fit
        if not commits and self.fit.answers < ANSWERS_LEAST <= fit.answers:
            kept_fit, since = fit, Since(self.heard_unix)  # the first pace
        dispersion = self.dispersion
        if commits and self.since.at_replicas:
            dispersion += 0.2 * (self.since.dispersion - dispersion)
        return replace(self, since=since, fit=kept_fit, pace=pace or self.pace, mix=mixed, dispersion=dispersion)

    def _mixed(self, answers: float, local: KindOfWork, prompt_tokens: float, output_tokens: float) -> Mix | None:
        if not answers:
            return self.mix
        prompts, outputs = local.prompt_tokens + prompt_tokens, local.output_tokens + output_tokens
        before = MIX_FADES * self.mix.answers if self.mix else 0.0
        total = before + answers
        return Mix(
            (before * self.mix.prompt_tokens + prompts) / total if self.mix else prompts / total,
            (before * self.mix.output_tokens + outputs) / total if self.mix else outputs / total,
            total,
        )

    def _fitted(self, local: KindOfWork, seconds: float) -> Fit:
        """With the rows of what replicas did; as it was, where that says nothing."""
        since = self.since
        if local.answers < 1.0 or local.output_tokens < 2.0 * local.answers or not since.replicas or seconds <= 0.0:
            return self.fit
        weight = min(local.answers, ANSWERS_OF_ROW_MAX)
        replicas = since.replicas / since.seconds
        rate = local.prompt_tokens / seconds / replicas * since.others_share
        batch = min(since.batch, self.batch_most or BATCH_MAX)  # those that wait make no step longer
        prompt = local.prompt_tokens / local.answers
        fit, known = self.fit.faded(), self.pace if self.has_learned else None
        streams = local.inter_token.count
        if streams >= 0.2 * local.answers and streams >= 1.0:
            measured = local.inter_token.seconds_sum / streams
            row = (1.0, batch, min(measured * rate, CHUNK_TOKENS))
        else:
            # Plain answers: their whole time over their tokens; it has the reading of their own prompts in it.
            measured = local.request_seconds / local.output_tokens
            others = min(measured * rate, CHUNK_TOKENS)
            row = (1.0, batch, others + local.prompt_tokens / local.output_tokens)
        if not isfinite(measured) or not TOKEN_SECONDS_MIN < measured < TOKEN_SECONDS_MAX:
            return self.fit
        before = fit.answers
        mean = (before * fit.inter_token_seconds + weight * measured) / (before + weight)
        fit = Fit(fit.sums, before + weight, mean).with_row(row, measured, weight, known)
        firsts = local.first_token_since_sent
        quiet = since.queued < 0.1 * since.seconds
        if quiet and firsts.count >= max(0.2 * local.answers, 1.0) and self._is_light(rate):
            first = firsts.seconds_sum / firsts.count
            steps = 0.5 + max(prompt / CHUNK_TOKENS, 1.0)
            if isfinite(first) and TOKEN_SECONDS_MIN < first < TOKEN_SECONDS_MAX:
                # Half of the step that runs, and its own; each prompt that is being read then makes it later by half.
                fit = fit.with_row(
                    (steps, steps * batch, prompt * (1.0 + self._read_share(rate))), first, weight / 2.0, known
                )
        return fit

    def _read_share(self, rate: float) -> float:
        """Share of its time that a replica reads prompts, as far as is known."""
        return min(rate * self.pace.prompt_token_seconds, 0.9) if self.pace else 0.0

    def _is_light(self, rate: float) -> bool:
        """Whether first tokens come so that the queue for reading says little of them."""
        return self._read_share(rate) < 0.5

    def _paced(self, fit: Fit) -> Pace | None:
        if not fit.answers:
            return None
        step, answer, prompt = fit.solved()
        batch = self.batch_most or BATCH_DEFAULT
        if self.batch_by_cache:
            batch = min(batch, self.batch_by_cache)
        if self.full[1] >= FULL_SEEN:
            batch = self.full[0]
        batch = max(batch, min(self.since.batch, self.batch_most or BATCH_MAX), 1.0)
        return Pace(step, answer, prompt, batch) if sqrt(step + answer + prompt) > 0.0 else None

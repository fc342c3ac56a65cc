"""How much work a replica has, as this gateway knows: what it sent there itself, corrected by the engine's own gauges.

Written by whoever sends requests and reads gauges; read by choosing and by predicting. Work is counted in tokens of
prompt: what an engine does between two first tokens, whatever it is made of.
"""

from dataclasses import dataclass

from overspill_gateway.core.prediction.tuning import TUNING, Tuning
from overspill_gateway.core.requests.ask import Ask


def work_of(ask: Ask, tuning: Tuning = TUNING) -> float:
    """The work of one request, in tokens of prompt."""
    return ask.prompt_tokens + tuning.output_token_work * ask.output_tokens + tuning.request_work


@dataclass(slots=True)
class ReplicaLoad:
    """The work of one replica."""

    in_flight: int = 0
    """Requests at it now, from this gateway."""
    prompt_tokens_pending: int = 0
    """Prompt tokens of requests sent to it whose first token has not come."""
    output_tokens_pending: int = 0
    """Output tokens still expected of the requests at it. Lengths of answers are close to memoryless: one that goes on
    is expected to go on as long as one that begins, so that nothing is taken off before the end."""
    running: int = 0
    """``vllm:num_requests_running`` when it was last read: of all gateways together."""
    waiting: int = 0
    """``vllm:num_requests_waiting`` when it was last read."""
    kv_cache_usage: float = 0.0
    """``vllm:kv_cache_usage_perc`` when it was last read, 0 to 1."""
    in_flight_at_scrape: int = 0
    """``in_flight`` when the gauges were read: what others send is the difference."""
    scraped_at: float = float("-inf")
    """When the gauges were last read, in seconds of the monotonic clock."""
    missed: int = 0
    """Times in a row that it was asked for its gauges since they were last read."""
    usable_since: float = float("-inf")
    """When it came into rotation, in seconds of the monotonic clock: a new one starts slowly."""
    correction: float = 0.0
    """Work that the gauges show and ``in_flight`` does not, when they were read."""
    strain: float = 0.0
    """How much longer all work takes for want of KV cache: 0, up to 1 (twice as long) where it is full."""
    work_per_request: float = TUNING.work_per_request
    """What a request of another gateway is taken for: the mean of our own when the gauges were last read."""
    affinity_seed: int = 0
    """Stands for the replica's name in consistent hashing; 0 until it is first needed."""
    tuning: Tuning = TUNING
    """How work is counted."""

    def sent(self, ask: Ask) -> None:
        """A request goes there. Its ``ask`` is not to change until it is done."""
        self.in_flight += 1
        self.prompt_tokens_pending += ask.prompt_tokens
        self.output_tokens_pending += ask.output_tokens

    def first_token(self, ask: Ask) -> None:
        """A request's first token has come: its prompt is read."""
        self.prompt_tokens_pending = max(0, self.prompt_tokens_pending - ask.prompt_tokens)

    def done(self, ask: Ask, *, first_token_came: bool) -> None:
        """A request has ended there, however it did; called once for each ``sent``."""
        self.in_flight -= 1
        if self.in_flight <= 0:  # whatever went wrong in counting is forgotten with the last request
            self.in_flight = self.prompt_tokens_pending = self.output_tokens_pending = 0
            return
        if not first_token_came:
            self.prompt_tokens_pending = max(0, self.prompt_tokens_pending - ask.prompt_tokens)
        self.output_tokens_pending = max(0, self.output_tokens_pending - ask.output_tokens)

    def scraped(
        self, now: float, running: int, waiting: int, kv_cache_usage: float, *, in_flight_before: int = 0
    ) -> None:
        """The engine's gauges were read; ``in_flight_before`` is ``in_flight`` when they were asked for.

        Requests that came or went in between may or may not be in the gauges: the larger number is taken for our own,
        so that our own are never taken for others'.
        """
        tuning = self.tuning
        self.scraped_at = now
        self.missed = 0
        self.running = running
        self.waiting = waiting
        self.kv_cache_usage = kv_cache_usage
        self.in_flight_at_scrape = max(self.in_flight, in_flight_before)
        if self.in_flight:
            self.work_per_request = self._own_work() / self.in_flight
        others = max(0, running + waiting - self.in_flight_at_scrape)
        # A queue inside the engine says that it is full: whoever comes next waits for a place besides for work.
        self.correction = (others + 0.5 * waiting) * self.work_per_request
        self.strain = min(1.0, max(0.0, (kv_cache_usage - tuning.kv_cache_strained) / (1.0 - tuning.kv_cache_strained)))

    def expected_work(self, now: float) -> float:
        """Work before a request that comes now, in tokens of prompt."""
        tuning = self.tuning
        work = (
            self.prompt_tokens_pending
            + tuning.output_token_work * self.output_tokens_pending
            + tuning.request_work * self.in_flight
        )
        age = now - self.scraped_at
        if age < tuning.stale_seconds and (self.correction or self.strain):
            weight = (
                1.0
                if age <= tuning.fresh_seconds
                else (tuning.stale_seconds - age) / (tuning.stale_seconds - tuning.fresh_seconds)
            )
            work += weight * (self.correction + self.strain * (work + self.correction))
        return work

    def _own_work(self) -> float:
        tuning = self.tuning
        return (
            self.prompt_tokens_pending
            + tuning.output_token_work * self.output_tokens_pending
            + tuning.request_work * self.in_flight
        )

"""What would have become of a request, had it been sent to a replica: known by doing it on a copy of the engine.

One request is asked for at a time: each answer holds with everything else as it was, what comes later included, which the
copy is told of. Engines read prompts in the order in which they come; what comes later delays a first token only by
what shares its last step.
"""

from functools import partial
from math import inf

from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Job


def seconds_if_sent(engine: Engine, now: float, prompt_tokens: int, output_tokens: int, within_seconds: float) -> float:
    """Seconds to the first token of a request that were sent there now, if nothing came later; infinite: not within."""
    trial = Trial(engine, now, prompt_tokens, output_tokens, now + within_seconds)
    trial.run(now + within_seconds)
    return trial.first_token - now if trial.first_token is not None else inf


class Trial:
    """A request that is sent to a copy of an engine, and all that it had before and gets after it."""

    def __init__(self, engine: Engine, now: float, prompt_tokens: int, output_tokens: int, ends: float) -> None:
        """``ends``: the latest first token that is of interest."""
        self.first_token: float | None = None
        """When its first token comes, as far as time has gone on; None: not yet."""
        self.others: list[tuple[object, float]] = []
        """First tokens of others until then: of whose job, when."""
        self._ends = ends
        self._clock = Clock(now)
        self._twin = engine.twin(self._clock, self._other)
        self._twin.submit(Job(prompt_tokens, output_tokens, self._begun, _nothing))

    @property
    def over(self) -> bool:
        """Whether all that is of interest is known."""
        return self.first_token is not None or self._clock.now >= self._ends

    def run(self, until: float) -> None:
        """Time goes on."""
        until = min(until, self._ends)
        while self.first_token is None and self._clock.step(until):
            pass
        if self.first_token is None:
            self._clock.run(until)

    def gets(self, now: float, owner: object, prompt_tokens: int, output_tokens: int) -> None:
        """Another request is sent to the engine."""
        self.run(now)
        if not self.over:
            self._twin.submit(Job(prompt_tokens, output_tokens, partial(self._other, owner), _nothing))

    def _begun(self) -> None:
        self.first_token = self._clock.now

    def _other(self, owner: object) -> None:
        self.others.append((owner, self._clock.now))


def _nothing() -> None:
    """Of no interest."""

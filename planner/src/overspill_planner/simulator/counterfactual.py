"""What would have become of a request, had it been sent to a replica: known by doing it on a copy of the engine.

One request is asked for at a time: each answer holds with everything else as it was. That includes what comes later,
which the copy is told of.
"""

from collections.abc import Sequence
from functools import partial
from math import inf

from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Job


class Trial:
    """A request that is sent to a copy of an engine, and all that it had before and gets after it."""

    def __init__(
        self,
        engine: Engine,
        now: float,
        prompt_tokens: int,
        output_tokens: int,
        ends: float,
        blocks: Sequence[int] = (),
    ) -> None:
        """``ends``: what comes after that is of no interest; ``blocks``: of its prompt, where they are known."""
        self.first_token: float | None = None
        """When its first token comes, as far as time has gone on; None: not yet."""
        self.others: dict[object, float | None] = {
            job.owner: None for queue in (engine.waiting, engine.reading) for job in queue
        }
        """The same of others that have not begun when it comes, or that come later, by whose they are."""
        self.ends = ends
        self._clock = Clock(now)
        self._twin = engine.twin(self._clock, self._other)
        self._twin.submit(Job(prompt_tokens, output_tokens, self._begun, _nothing, blocks=blocks))

    @property
    def over(self) -> bool:
        """Whether all that is of interest is known."""
        return self._clock.now >= self.ends

    def run(self, until: float) -> None:
        """Time goes on."""
        self._clock.run(max(min(until, self.ends), self._clock.now))

    def run_to_first_token(self) -> None:
        """Time goes on until the first token has come."""
        while self.first_token is None and self._clock.step(self.ends):
            pass

    def gets(
        self, now: float, owner: object, prompt_tokens: int, output_tokens: int, blocks: Sequence[int] = ()
    ) -> None:
        """Another request is sent to the engine."""
        self.run(now)
        if not self.over:
            self.others[owner] = None
            heard = partial(self._other, owner)
            self._twin.submit(Job(prompt_tokens, output_tokens, heard, _nothing, blocks=blocks))

    def _begun(self) -> None:
        self.first_token = self._clock.now

    def _other(self, owner: object) -> None:
        if owner in self.others:
            self.others[owner] = self._clock.now


def seconds_if_sent(engine: Engine, now: float, prompt_tokens: int, output_tokens: int, within_seconds: float) -> float:
    """Seconds to the first token of a request that were sent there now, if nothing came later; infinite: not within."""
    trial = Trial(engine, now, prompt_tokens, output_tokens, now + within_seconds)
    trial.run_to_first_token()
    return trial.first_token - now if trial.first_token is not None else inf


def _nothing() -> None:
    """Of no interest."""

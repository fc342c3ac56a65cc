"""When a first token would have come, had a request been sent to a replica: known by doing it on a copy of the engine.

Engines read prompts in the order in which they come, so that nothing that comes later delays a first token by more than
what shares its last step: the copy goes on with what is in it now, and with nothing else. One request is asked for at a
time: each answer holds with everything else as it was.
"""

from collections.abc import Iterable
from math import inf

from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Job


def seconds_if_sent(engine: Engine, now: float, prompt_tokens: int, output_tokens: int, within_seconds: float) -> float:
    """Seconds to the first token of a request that were sent there now; infinite: none within so many."""
    clock = Clock(now)
    begun: list[float] = []
    engine.twin(clock).submit(Job(prompt_tokens, output_tokens, lambda: begun.append(clock.now), lambda: None))
    clock.run_while(lambda: not begun, now + within_seconds)
    return begun[0] - now if begun else inf


def first_in_time(
    engines: Iterable[Engine], now: float, prompt_tokens: int, output_tokens: int, within_seconds: float
) -> bool:
    """Whether any of them would have begun its answer in so many seconds."""
    return any(
        seconds_if_sent(engine, now, prompt_tokens, output_tokens, within_seconds) <= within_seconds
        for engine in engines
    )

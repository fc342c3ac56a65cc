"""When a first token would have come: the same as it does, when the request is sent after all."""

from math import inf
from random import Random

import pytest

from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.counterfactual import seconds_if_sent
from overspill_planner.simulator.engine import Engine, Job, Speed

SPEEDS = (
    Speed(),
    Speed(step_seconds=0.01, prompt_token_seconds=0.001, batched_tokens_max=100, running_max=4),
    Speed(kv_tokens=6_000, running_max=16),
)


def busy(clock: Clock, speed: Speed, seed: int, seconds: float) -> Engine:
    """An engine that has been given work by chance until now."""
    engine, random = Engine(clock, speed), Random(seed)
    now = 0.0
    while now < seconds:
        clock.run(now)
        engine.submit(Job(random.randint(1, 900), random.randint(1, 60), lambda: None, lambda: None))
        now += random.expovariate(6.0)
    clock.run(seconds)
    return engine


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_foretold_comes(speed: Speed, seed: int) -> None:
    """In the midst of whatever the engine does."""
    clock = Clock()
    engine = busy(clock, speed, seed, 2.0 + seed / 7.0)
    foretold = seconds_if_sent(engine, clock.now, 300, 20, 1e6)
    sent_at, came = clock.now, list[float]()
    engine.submit(Job(300, 20, lambda: came.append(clock.now), lambda: None))
    clock.run(1e6)

    assert came[0] - sent_at == pytest.approx(foretold)


def test_asking_changes_nothing() -> None:
    """An engine that is asked every tenth of a second does what one does that is left alone."""
    ends: list[list[float]] = []
    for asked in (False, True):
        clock, ended = Clock(), list[float]()
        engine = Engine(clock, SPEEDS[1])
        for number in range(30):
            engine.submit(Job(50 + 7 * number, 5 + number % 9, lambda: None, lambda c=clock, e=ended: e.append(c.now)))  # type: ignore[misc]
            clock.run(number / 10.0)
            if asked:
                seconds_if_sent(engine, clock.now, 500, 50, 100.0)
        clock.run(1e4)
        ends.append(ended)

    assert ends[0] == ends[1]
    assert len(ends[0]) == 30


def test_what_takes_longer_than_asked_is_not_waited_for() -> None:
    """It is said to come never."""
    clock = Clock()
    engine = busy(clock, SPEEDS[1], 1, 5.0)
    seconds = seconds_if_sent(engine, clock.now, 100, 10, 1e6)

    assert seconds_if_sent(engine, clock.now, 100, 10, 0.99 * seconds) == inf

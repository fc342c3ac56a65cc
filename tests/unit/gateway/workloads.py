"""What engines of the model are asked, and how much of it two of them serve."""

from dataclasses import replace
from functools import cache
from random import Random

from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Job, Speed
from unit.gateway.engine_model import Traffic

WARM = 30.0
"""Seconds until rates are learned, and an engine is as full as it gets."""

READING = (Traffic(2, lambda _: 1.0, prompt_tokens=1500, output_tokens=60), Speed())
"""Long prompts, short answers: reading is what takes time."""
MIXED = (Traffic(2, lambda _: 1.0), Speed())
WRITING = (Traffic(2, lambda _: 1.0, prompt_tokens=300, output_tokens=300), Speed(running_max=32))
"""Long answers and few places: a request waits for one to end."""
LONG_TAIL = (Traffic(2, lambda _: 1.0, prompt_tokens=800, prompt_spread=1.5), Speed(attention_seconds=2e-6))
"""Prompts from 20 to 30,000 tokens, the long ones dearer by the token."""
SMALL = (
    Traffic(2, lambda _: 1.0, prompt_tokens=150, output_tokens=40),
    Speed(step_seconds=0.006, prompt_token_seconds=1 / 40_000, running_max=256),
)
"""A small model on a fast GPU: hundreds of requests a second."""
WORKLOADS = {"reading": READING, "mixed": MIXED, "writing": WRITING, "long tail": LONG_TAIL, "small": SMALL}


@cache
def capacity(name: str) -> float:
    """Requests a second that two engines end, kept full."""
    traffic, speed = WORKLOADS[name]
    clock, random, ended = Clock(), Random(5), [0]
    engines = [Engine(clock, replace(speed)) for _ in range(2)]

    def feed(engine: Engine) -> None:
        request = traffic.request(random, clock.now)

        def end() -> None:
            ended[0] += clock.now > WARM
            feed(engine)

        engine.submit(Job(request.prompt_tokens, request.output_tokens, lambda: None, end))

    for engine in engines:
        for _ in range(speed.running_max + 8):
            feed(engine)
    clock.run(WARM + 60.0)
    return ended[0] / 60.0

"""An engine's batch: who reads, who writes, who waits, and what becomes of whom when its KV cache is full."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Job, Speed

SPEED = Speed(step_seconds=0.01, prompt_token_seconds=0.001, answer_seconds=0.0, batched_tokens_max=100, running_max=4)


class Seen:
    """An engine, and when what happened in it."""

    def __init__(self, speed: Speed) -> None:
        self.clock = Clock()
        self.engine = Engine(self.clock, speed)
        self.first: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.first_tokens = 0

    def ask(self, name: str, prompt: int, output: int, at: float = 0.0) -> None:
        """A request comes."""

        def began() -> None:
            self.first[name] = self.clock.now
            self.first_tokens += 1

        def ends() -> None:
            self.ended[name] = self.clock.now

        self.clock.at(at, lambda: self.engine.submit(Job(prompt, output, began, ends)))

    def run(self) -> "Seen":
        """To the end."""
        self.clock.run(10_000.0)
        return self


def test_a_request_alone() -> None:
    """Its prompt in one step, which ends with its first token; then a step for each other token."""
    seen = Seen(SPEED)
    seen.ask("a", 50, 11)
    seen.run()

    assert seen.first["a"] == pytest.approx(0.01 + 0.05)
    assert seen.ended["a"] == pytest.approx(0.06 + 10 * 0.01)
    assert seen.engine.busy_seconds == pytest.approx(0.16)
    assert seen.engine.kv_tokens == 0


def test_a_long_prompt_is_read_in_chunks() -> None:
    """250 tokens with 100 a step: three steps."""
    seen = Seen(SPEED)
    seen.ask("a", 250, 1)

    assert seen.run().first["a"] == pytest.approx(3 * 0.01 + 0.25)


def test_reading_makes_everybody_elses_tokens_late() -> None:
    """A writes a token in 10 ms; while B is read its steps take 110 ms."""
    alone, beside = Seen(SPEED), Seen(SPEED)
    for seen in (alone, beside):
        seen.ask("a", 10, 101)
    beside.ask("b", 198, 1, at=0.5)

    assert beside.run().ended["a"] - alone.run().ended["a"] == pytest.approx(0.198)


def test_who_finds_no_place_in_the_batch_waits() -> None:
    """Four at a time, first come first served."""
    seen = Seen(SPEED)
    for number in range(5):
        seen.ask(str(number), 10, 50)
    seen.run()

    assert seen.engine.waiting_most == 4, "the first one is read at once, the others from the next step on"
    assert seen.first["4"] >= min(seen.ended.values())


def test_a_prompt_without_room_in_the_cache_waits() -> None:
    """Of 100 tokens A holds 60: B with 50 comes in when A has gone, C with 10 behind it, not before it."""
    seen = Seen(replace(SPEED, kv_tokens=100))
    seen.ask("a", 60, 20)
    seen.ask("b", 50, 5, at=0.001)
    seen.ask("c", 10, 5, at=0.002)
    seen.run()

    assert seen.first["b"] > seen.ended["a"]
    assert seen.first["c"] >= seen.first["b"]
    assert seen.engine.preemptions == 0
    assert seen.engine.kv_tokens == 0


def test_when_answers_fill_the_cache_the_last_one_is_put_back() -> None:
    """Two of 40 and 50 tokens each: at 50 each the cache of 100 is full; B is read anew after A, and begins once."""
    seen = Seen(replace(SPEED, kv_tokens=100))
    seen.ask("a", 40, 50)
    seen.ask("b", 40, 50, at=0.001)
    seen.run()

    assert 1 <= seen.engine.preemptions <= 2, "back in a step later it may find the same"
    assert seen.first_tokens == 2
    assert seen.first["b"] < seen.ended["a"] < seen.ended["b"]
    alone = Seen(SPEED)
    alone.ask("a", 40, 50)
    alone.ask("b", 40, 50, at=0.001)
    assert seen.ended["b"] > alone.run().ended["b"] + 0.25, "some 0.4 s later: half of it is written after A"
    assert seen.engine.kv_tokens == 0


def test_one_that_is_too_long_for_the_cache_is_served_alone() -> None:
    """vLLM would have refused it, or its cache would be larger; nothing hangs."""
    seen = Seen(replace(SPEED, kv_tokens=30))
    seen.ask("a", 60, 20)
    seen.ask("b", 5, 5)

    assert set(seen.run().ended) == {"a", "b"}


def plain_ends(jobs: list[tuple[int, int]], speed: Speed) -> list[float]:
    """When answers end, step by step and token by token, as one would write it down: all come at 0 s."""
    left = [[prompt, output] for prompt, output in jobs]
    batch: list[int] = []
    waiting = list(range(len(jobs)))
    ends = [0.0] * len(jobs)
    now = 0.0
    while batch or waiting:
        writing = [job for job in batch if not left[job][0]]
        budget, read = speed.batched_tokens_max - len(writing), 0
        for job in [job for job in batch if left[job][0]]:
            part = min(budget, left[job][0])
            left[job][0] -= part
            budget, read = budget - part, read + part
        while waiting and budget and len(batch) < speed.running_max:
            job = waiting.pop(0)
            batch.append(job)
            part = min(budget, left[job][0])
            left[job][0] -= part
            budget, read = budget - part, read + part
        now += speed.step_seconds + speed.answer_seconds * len(writing) + speed.prompt_token_seconds * read
        for job in [job for job in batch if not left[job][0]]:
            left[job][1] -= 1
            if not left[job][1]:
                ends[job] = now
                batch.remove(job)
    return ends


@pytest.mark.parametrize("seed", range(5))
def test_events_come_to_what_steps_come_to(seed: int) -> None:
    """Many steps are one event; counted token by token it comes to the same."""
    random = Random(seed)
    speed = Speed(0.01, 0.0005, 0.0003, batched_tokens_max=128, running_max=8)
    jobs = [(random.randint(1, 400), random.randint(1, 60)) for _ in range(40)]
    clock, ends = Clock(), [0.0] * len(jobs)
    engine = Engine(clock, speed)

    def ended(number: int) -> Callable[[], None]:
        return lambda: ends.__setitem__(number, clock.now)

    first, *others = [Job(prompt, output, lambda: None, ended(n)) for n, (prompt, output) in enumerate(jobs)]
    engine.waiting.extend(others)
    for job in others:
        job.unread = job.prompt_tokens
    first.unread = first.prompt_tokens
    engine.waiting.appendleft(first)
    extra = engine.waiting.pop()
    engine.submit(extra)
    clock.run(1e6)

    assert ends == pytest.approx(plain_ends(jobs, speed))

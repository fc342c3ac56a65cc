"""Steps of a scenario, told to a person as they go, and as a table at the end.

Standard library alone: `make try` runs before anything is installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

World = TypeVar("World")


@dataclass(frozen=True)
class Outcome:
    """One step as it went."""

    name: str
    """What the step is about."""
    ok: bool
    """Whether it happened."""
    seconds: float
    """How long it took."""
    detail: str
    """What was seen, or what failed."""


def play(
    steps: Sequence[tuple[str, Callable[[World], str]]],
    world: World,
    failures: tuple[type[BaseException], ...],
    *,
    began: float | None = None,
) -> list[Outcome]:
    """Run the steps in order until one raises one of ``failures``.

    ``began``: since when the first one counts (monotonic seconds), where there was something to do before it.
    """
    outcomes: list[Outcome] = []
    for number, (name, step) in enumerate(steps, start=1):
        print(f"[{number}/{len(steps)}] {name} ...", flush=True)
        started = time.monotonic() if outcomes or began is None else began
        try:
            detail, ok = step(world), True
        except failures as error:
            detail, ok = f"{type(error).__name__}: {error}", False
        outcomes.append(Outcome(name, ok, round(time.monotonic() - started, 2), detail))
        print(f"      {'ok' if ok else 'FAILED'}: {detail}", flush=True)
        if not ok:
            break
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """What happened, with times, as text columns; of a longer detail the first line."""
    width = max(len(outcome.name) for outcome in outcomes)
    lines = [f"{'step':<{width}}  {'':6}  {'seconds':>7}  what was seen"]
    lines += [
        f"{outcome.name:<{width}}  {'ok' if outcome.ok else 'FAILED':6}  {outcome.seconds:7.1f}"
        f"  {outcome.detail.partition(chr(10))[0]}"
        for outcome in outcomes
    ]
    total = sum(outcome.seconds for outcome in outcomes)
    return "\n".join([*lines, f"{'together':<{width}}  {'':6}  {total:7.1f}"])

"""How fast an engine is, from measurements of it: the three numbers of ``Speed`` by which the simulator goes.

What is measured is rounds of ``vllm bench serve --max-concurrency N --save-result``: always N requests at a time, each
followed by the next. Between a request's coming and its end an engine goes through a step for each token of it and one
that was under way when it came, writes on all others' answers in each, and reads one prompt of everybody's:

    seconds = (output + 1) * step + N * (output - 1) * answer + N * prompt * prompt_token

which is linear in what is wanted. All rounds together are fitted by their relative errors, none of the three below
zero. Rounds have to differ in N and in lengths, else nothing tells a step from what is done in it. Not here: how good
that is, which a simulation of the same rounds says (``rehearsed``).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt
from pathlib import Path

from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Job, Speed

ROUNDS_LEAST = 3
CONCURRENCY_MAX = 4096
NUMBER_MAX = 1e15
ALIKE = 1e-5
"""Determinant of the normal equations, columns of length 1, below which the rounds say the same over and over."""
Row = tuple[float, float, float]


class CalibrationError(Exception):
    """Nothing follows from the measurements: its message says why and what mends it."""


@dataclass(frozen=True, slots=True)
class Round:
    """Requests of one kind, always so many at a time."""

    concurrency: int
    """N."""
    prompt_tokens: float
    """Of each request, the mean."""
    output_tokens: float
    """Of each answer, the mean."""
    first_token_seconds: float
    """From sending to the first token, the mean."""
    token_seconds: float
    """Between two tokens, the mean."""

    @property
    def seconds(self) -> float:
        """From sending to the last token."""
        return self.first_token_seconds + (self.output_tokens - 1.0) * self.token_seconds

    @property
    def output_per_second(self) -> float:
        """Tokens that all of them get together."""
        return self.concurrency * self.output_tokens / self.seconds


def fitted(rounds: Sequence[Round], base: Speed) -> Speed:
    """The speed that fits the rounds best, all else as of ``base``; raises CalibrationError."""
    if len(rounds) < ROUNDS_LEAST:
        raise CalibrationError(
            f"{len(rounds)} measurements are too few: at least {ROUNDS_LEAST} are wanted that differ"
        )
    rows = [_row(one) for one in rounds]
    lengths = [sqrt(sum(row[column] ** 2 for row in rows)) for column in range(3)]
    alike = CalibrationError(
        "the measurements are too much alike: measure at 1 and at many requests at a time, with short prompts and long "
        "ones, and answers of more than one token"
    )
    if not all(lengths):
        raise alike
    first, second, third = lengths
    columns = [(row[0] / first, row[1] / second, row[2] / third) for row in rows]
    products = [[sum(row[one] * row[other] for row in columns) for other in range(3)] for one in range(3)]
    sums = [sum(row[column] for row in columns) for column in range(3)]
    if _determinant(products) < ALIKE:
        raise alike
    best = max(_candidates(products, sums), key=lambda values: _explained(products, sums, values))
    step, answer, prompt = (value / length for value, length in zip(best, lengths, strict=True))
    if step <= 0.0 or prompt <= 0.0:
        raise CalibrationError(
            "by these measurements a step, or the reading of a prompt, takes no time: measure again, with longer "
            "prompts and with nothing else on the machine"
        )
    return replace(base, step_seconds=step, answer_seconds=answer, prompt_token_seconds=prompt)


def _row(one: Round) -> Row:
    """What one round says, divided by what was measured."""
    together = one.concurrency / one.seconds
    return (
        (one.output_tokens + 1.0) / one.seconds,
        together * (one.output_tokens - 1.0),
        together * one.prompt_tokens,
    )


def _candidates(products: list[list[float]], sums: list[float]) -> list[list[float]]:
    """The least squares of each choice of columns, others zero, where none is below zero: one of them is best."""
    found = [[0.0, 0.0, 0.0]]
    for count in range(1, 4):
        for chosen in combinations(range(3), count):
            small = [[products[row][column] for column in chosen] for row in chosen]
            whole = _determinant(small)
            values = [0.0, 0.0, 0.0]
            for place, column in enumerate(chosen):
                replaced = [row.copy() for row in small]
                for row, into in zip(chosen, replaced, strict=True):
                    into[place] = sums[row]
                values[column] = _determinant(replaced) / whole  # Cramer's rule
            if min(values) >= 0.0:
                found.append(values)
    return found


def _determinant(rows: list[list[float]]) -> float:
    if len(rows) == 1:
        return rows[0][0]
    minors = ([row[:column] + row[column + 1 :] for row in rows[1:]] for column in range(len(rows)))
    return sum(
        (-1.0 if column % 2 else 1.0) * rows[0][column] * _determinant(minor) for column, minor in enumerate(minors)
    )


def _explained(products: list[list[float]], sums: list[float], values: list[float]) -> float:
    """By how much the sum of squares is below that of zeros."""
    square = sum(values[one] * values[other] * products[one][other] for one in range(3) for other in range(3))
    return 2.0 * sum(value * amount for value, amount in zip(values, sums, strict=True)) - square


def rehearsed(one: Round, speed: Speed, requests: int = 200) -> Round:
    """What a simulated engine of this speed makes of the same round."""
    clock = Clock()
    engine = Engine(clock, speed)
    prompt, output = max(round(one.prompt_tokens), 1), max(round(one.output_tokens), 1)
    firsts: list[float] = []
    totals: list[float] = []
    left = [requests]

    def send() -> None:
        if left[0] <= 0:
            return
        left[0] -= 1
        sent = clock.now

        def end() -> None:
            totals.append(clock.now - sent)
            send()

        engine.submit(Job(prompt, output, lambda: firsts.append(clock.now - sent), end))

    for place in range(one.concurrency):
        clock.at(place * speed.step_seconds / one.concurrency, send)
    clock.run(1e9)
    first, total = sum(firsts) / len(firsts), sum(totals) / len(totals)
    return Round(one.concurrency, prompt, output, first, (total - first) / max(output - 1, 1))


def read_round(path: Path) -> Round:
    """A round from the JSON that ``vllm bench serve --save-result`` writes; raises CalibrationError."""
    try:
        said = json.loads(path.read_bytes())
    except OSError as error:
        raise CalibrationError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise CalibrationError(f"{path}: this is no JSON object; give what vllm bench serve --save-result has written")
    if said.get("max_concurrency") is None:
        raise CalibrationError(
            f"{path}: how many requests went at a time is not in it; run vllm bench serve with --max-concurrency"
        )
    names = (
        "max_concurrency", "completed", "total_input_tokens", "total_output_tokens", "mean_ttft_ms", "mean_tpot_ms",
    )  # fmt: skip
    values = [said.get(name) for name in names]
    for name, value in zip(names, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < NUMBER_MAX:
            raise CalibrationError(f"{path}: {name} is {value!r}, and a number above 0 is wanted")
    concurrency, completed, prompts, outputs, first, between = map(float, (value or 0.0 for value in values))
    if concurrency > CONCURRENCY_MAX or completed < concurrency:
        raise CalibrationError(
            f"{path}: {completed:g} requests, {concurrency:g} at a time: there have to be more of them, and at most "
            f"{CONCURRENCY_MAX} at a time"
        )
    return Round(int(concurrency), prompts / completed, outputs / completed, first / 1e3, between / 1e3)

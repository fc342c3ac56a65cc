"""An engine's speed from rounds of requests: what comes out is what went in, and what nothing follows from is told."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from overspill_planner.calibration import CalibrationError, Round, fitted, read_round, rehearsed
from overspill_planner.simulator.engine import Speed

TRUE = Speed(step_seconds=0.008, prompt_token_seconds=1.0 / 25_000.0, answer_seconds=0.0003, running_max=128)
LOADS = [(1, 100, 100), (1, 3_000, 50), (8, 100, 200), (32, 400, 100), (64, 1_000, 150)]
HELD_OUT = [(4, 1_500, 80), (16, 200, 300), (48, 600, 60)]


def round_of(load: tuple[int, int, int], speed: Speed = TRUE) -> Round:
    """What an engine of this speed does."""
    return rehearsed(Round(*load, first_token_seconds=0.0, token_seconds=0.0), speed)


def test_the_formula_is_that_of_a_lone_request() -> None:
    """A step with its prompt, one for each other token; the step that it waits for at most is counted as well."""
    one = round_of((1, 100, 11))

    assert one.first_token_seconds == pytest.approx(0.008 + 100 / 25_000, abs=1e-9)
    assert one.token_seconds == pytest.approx(0.008 + 0.0003)
    assert one.output_per_second == pytest.approx(11 / (0.012 + 10 * 0.0083))


def test_a_speed_is_found_again_from_what_it_does() -> None:
    """Within a tenth, or within three hundredths of a token's time for what is small beside it."""
    found = fitted([round_of(load) for load in LOADS], replace(TRUE, step_seconds=1.0))

    assert found.step_seconds == pytest.approx(TRUE.step_seconds, rel=0.1)
    assert found.prompt_token_seconds == pytest.approx(TRUE.prompt_token_seconds, rel=0.1)
    assert found.answer_seconds == pytest.approx(TRUE.answer_seconds, rel=0.1)
    assert found.running_max == 128, "what is not fitted stays"


@pytest.mark.parametrize("load", HELD_OUT, ids=str)
def test_loads_that_were_not_fitted_are_predicted(load: tuple[int, int, int]) -> None:
    """Measured with an error of a tenth either way: throughput within a tenth, ITL within 15 %, TTFT within a third."""
    random = Random(1)
    noisy = []
    for one in map(round_of, LOADS * 3):
        factor = random.uniform(0.9, 1.1)
        first, token = one.first_token_seconds * factor, one.token_seconds * factor
        noisy.append(replace(one, first_token_seconds=first, token_seconds=token))

    predicted, true = round_of(load, fitted(noisy, TRUE)), round_of(load)

    assert predicted.output_per_second == pytest.approx(true.output_per_second, rel=0.1)
    assert predicted.token_seconds == pytest.approx(true.token_seconds, rel=0.15)
    assert predicted.first_token_seconds == pytest.approx(true.first_token_seconds, rel=0.34)


def test_nothing_is_below_zero() -> None:
    """Where further answers seem to make steps faster they are taken to cost nothing."""
    faster = [round_of(load, replace(TRUE, answer_seconds=0.0)) for load in LOADS]
    faster = [replace(one, token_seconds=one.token_seconds * 0.98 ** (one.concurrency > 8)) for one in faster]

    found = fitted(faster, TRUE)

    assert found.answer_seconds == 0.0
    assert found.step_seconds > 0.0


@pytest.mark.parametrize(
    "loads",
    [[(8, 100, 100)] * 5, [(1, 100, 100), (1, 200, 200), (1, 300, 300)], LOADS[:2]],
    ids=["the same", "one after the other", "too few"],
)
def test_rounds_that_say_too_little_are_refused(loads: list[tuple[int, int, int]]) -> None:
    """With what to measure instead."""
    with pytest.raises(CalibrationError, match=r"measure at 1 and at many|at least 3"):
        fitted([round_of(load) for load in loads], TRUE)


SAID = {
    "max_concurrency": 8, "completed": 100, "total_input_tokens": 40_000, "total_output_tokens": 12_800,
    "mean_ttft_ms": 55.0, "mean_tpot_ms": 11.5,
}  # fmt: skip


def test_a_result_of_vllm_bench_serve_is_a_round(tmp_path: Path) -> None:
    """Means by request."""
    path = tmp_path / "result.json"
    path.write_text(json.dumps(SAID))

    assert read_round(path) == Round(8, 400.0, 128.0, 0.055, 0.0115)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_concurrency": None}, "--max-concurrency"),
        ({"mean_ttft_ms": "55"}, "mean_ttft_ms is '55'"),
        ({"mean_tpot_ms": -1.0}, "mean_tpot_ms is -1.0"),
        ({"total_output_tokens": float("nan")}, "total_output_tokens is nan"),
        ({"completed": 3}, "3 requests, 8 at a time"),
        ({"max_concurrency": 10**9, "completed": 10**9}, "at most 4096"),
    ],
)
def test_what_is_no_result_is_told(tmp_path: Path, change: dict[str, object], words: str) -> None:
    """With the file, the field and what it says."""
    path = tmp_path / "result.json"
    path.write_text(json.dumps(SAID | change))

    with pytest.raises(CalibrationError, match=r"result\.json") as error:
        read_round(path)
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["", "[1]", "[" * 100_000, "{"])
def test_a_file_without_an_object_is_told(tmp_path: Path, text: str) -> None:
    """What should be in it is said."""
    path = tmp_path / "result.json"
    path.write_text(text)

    with pytest.raises(CalibrationError, match="--save-result"):
        read_round(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By the system's own words."""
    with pytest.raises(CalibrationError, match="No such file"):
        read_round(tmp_path / "none.json")

"""``overspill calibrate``: what it prints goes into ``--engine`` as it is."""

import json
from pathlib import Path

import pytest

from overspill_cli.main import main
from overspill_planner.calibration import Round, rehearsed
from overspill_planner.profiles import speed_with
from overspill_planner.simulator.engine import Speed

SPEED = Speed(step_seconds=0.02, prompt_token_seconds=1.0 / 8_000.0, answer_seconds=0.0005)


def written(folder: Path, number: int, load: tuple[int, int, int]) -> str:
    """A result of vllm bench serve, of an engine of this speed."""
    one = rehearsed(Round(*load, first_token_seconds=0.0, token_seconds=0.0), SPEED)
    path = folder / f"{number}.json"
    said = {
        "max_concurrency": load[0], "completed": 200, "total_input_tokens": 200 * load[1],
        "total_output_tokens": 200 * load[2], "mean_ttft_ms": 1e3 * one.first_token_seconds,
        "mean_tpot_ms": 1e3 * one.token_seconds,
    }  # fmt: skip
    path.write_text(json.dumps(said))
    return str(path)


def test_an_engine_is_printed_as_the_other_commands_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each result, measured beside simulated; then ``--engine``, with what was known besides."""
    loads = [(1, 100, 100), (1, 2_000, 40), (16, 300, 150), (48, 800, 80)]
    files = [written(tmp_path, number, load) for number, load in enumerate(loads)]

    assert main(["calibrate", *files, "--engine", "running=64,kv_tokens=90000"]) == 0

    *_, last = capsys.readouterr().out.splitlines()
    option, _, text = last.partition(" ")
    speed = speed_with(Speed(), text)
    assert option == "--engine"
    assert speed.step_seconds == pytest.approx(SPEED.step_seconds, rel=0.1)
    assert speed.prompt_token_seconds == pytest.approx(SPEED.prompt_token_seconds, rel=0.1)
    assert (speed.running_max, speed.kv_tokens) == (64, 90_000)


def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit code is 1."""
    assert main(["calibrate", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err

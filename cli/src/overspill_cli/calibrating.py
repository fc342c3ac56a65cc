"""``overspill calibrate``: results of vllm bench serve to the speed of an engine, and how near a simulation comes."""

import argparse
from pathlib import Path

from overspill_cli.errors import CommandError
from overspill_planner.calibration import CalibrationError, Round, fitted, read_round, rehearsed
from overspill_planner.profiles import SettingError, speed_with
from overspill_planner.simulator.engine import Speed

HEAD = ("at a time", "prompt", "output", "TTFT ms", "simulated", "ITL ms", "simulated", "tokens/s", "simulated")


def calibrate(options: argparse.Namespace) -> int:
    """Run the command; the exit code."""
    try:
        rounds = [read_round(Path(path)) for path in options.results]
        speed = fitted(rounds, speed_with(Speed(), options.engine))
    except (CalibrationError, SettingError) as error:
        raise CommandError(str(error)) from error
    print("".join(f"{name:>11}" for name in HEAD))
    for one in sorted(rounds, key=lambda one: (one.concurrency, one.prompt_tokens)):
        print("".join(f"{value:>11.4g}" for value in _figures(one, rehearsed(one, speed))))
    print()
    print(f"--engine {as_option(speed)}{',' if options.engine else ''}{options.engine}")
    return 0


def _figures(measured: Round, simulated: Round) -> tuple[float, ...]:
    return (
        measured.concurrency, measured.prompt_tokens, measured.output_tokens,
        1e3 * measured.first_token_seconds, 1e3 * simulated.first_token_seconds,
        1e3 * measured.token_seconds, 1e3 * simulated.token_seconds,
        measured.output_per_second, simulated.output_per_second,
    )  # fmt: skip


def as_option(speed: Speed) -> str:
    """What was fitted, as ``--engine`` takes it."""
    parts = [
        f"prompt_tokens_per_second={1.0 / speed.prompt_token_seconds:.5g}",
        f"step_ms={1e3 * speed.step_seconds:.4g}",
    ]
    # A fit may find that further answers cost nothing; 0 is no number that --engine takes.
    return ",".join([*parts, f"answer_ms={max(1e3 * speed.answer_seconds, 1e-6):.4g}"])

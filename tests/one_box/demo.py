"""`make try`: the steps of one machine, from a fresh clone to an answer and back to zero, told to a person.

    python3 -m one_box.demo         with tests/ on PYTHONPATH; standard library alone

What is not there yet is made side by side: an environment for `overspill`, one for vLLM, the tiny model. The last line
of its output is one JSON object; it ends with code 1 at the first step that fails, after saying what failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from one_box import installing, scenario
from one_box.client import FAILURES, GaveUpError, RefusedError
from one_box.serving import CHECKOUT, PROFILES, HostedStandin, Serve, tiny_model
from told_steps import play, table


def cache_folder() -> Path:
    """Where `make try` keeps what it makes: the environment of `overspill`, the model."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(chosen) if chosen.startswith("/") else Path.home() / ".cache") / "overspill" / "try"


def main(arguments: list[str] | None = None) -> int:
    """Play the scenario on this machine; 0 when every step happened."""
    parser = argparse.ArgumentParser(prog="make try", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "build" / "try", help="where YAML and logs go")
    parser.add_argument("--port", type=int, help="port to serve on (default: any free one)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    if sys.version_info[:2] not in {(3, 11), (3, 12), (3, 13)} or sys.platform != "linux":
        print("Linux with Python 3.11 to 3.13 is needed: make PYTHON=/path/to/python3.12 try", file=sys.stderr)
        return 1
    folder: Path = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cache = cache_folder()
    say = _Narrator(began)
    vllm = installing.Vllm(say)
    program = installing.InBackground(lambda: installing.overspill(cache / "overspill"))
    hosted = HostedStandin(folder)
    world = scenario.World(lambda: _serve(world, program, folder, options.port), hosted, cache / "tiny", began, say)
    try:
        tiny_model(world.model)
        # What has to be installed counts as a part of the first step.
        failures = (AssertionError, GaveUpError, RefusedError, *FAILURES)
        outcomes = play(scenario.STEPS, world, failures, began=world.began)
    finally:
        for serve in world.served:
            serve.popen.kill() if serve.popen.poll() is None else None
        vllm.end()
        hosted.end()
    complete = len(outcomes) == len(scenario.STEPS) and all(outcome.ok for outcome in outcomes)
    print(f"\n{table(outcomes)}\n")
    if not complete:
        print(f"`make try` FAILED at step {len(outcomes)}, {outcomes[-1].name}; logs are in {folder}", file=sys.stderr)
    else:
        print(f"What was served, and what serve said: {_short(folder)}/route.yaml, {_short(folder)}/serve.log")
        print(
            f"Again, yourself: {_short(Path(program.result()))} serve {_short(folder)}/route.yaml --no-auth --vllm cpu"
        )
    first = round(world.first_own_token, 2) if world.first_own_token else None
    steps = [{name: value for name, value in asdict(one).items() if name != "detail"} for one in outcomes]
    print(json.dumps({"seconds_to_first_answer": first, "steps": steps}), flush=True)
    return 0 if complete else 1


def _serve(world: scenario.World, program: installing.InBackground, folder: Path, port: int | None) -> Serve:
    """Start `overspill serve` once it is installed."""
    route, profiles = folder / "route.yaml", folder / "profiles.yaml"
    route.write_text(scenario.documents(world.model, world.hosted.port))
    profiles.write_text(PROFILES)
    overspill = program.result()
    world.say(f"overspill is installed: {_short(overspill)}")
    options = [f"--profiles={profiles}", "--no-auth", "--vllm=cpu"]
    return Serve([str(overspill)], [route], folder, *options, port=port)


class _Narrator:
    """Says what goes on beside the steps."""

    def __init__(self, began: float) -> None:
        self._began = began

    def __call__(self, text: str) -> None:
        print(f"      {text}", flush=True)


def _short(path: Path) -> str:
    return str(path.relative_to(CHECKOUT)) if path.is_relative_to(CHECKOUT) else str(path)


if __name__ == "__main__":
    sys.exit(main())

"""The demo: the scenario's steps on the cluster that runs, told to a person, and written to build/demo.json.

    python -m e2e.demo --kubeconfig FILE --gateway http://127.0.0.1:8080 [--tools FOLDER]

Ends with code 1 at the first step that fails, after saying what failed; the steps before it are in the table.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import openai

from e2e import installation, scenario
from e2e.kubernetes_cli import Cluster, CommandError, GaveUpError

REPORT = installation.CHECKOUT / "build" / "demo.json"


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


def play(world: scenario.World) -> list[Outcome]:
    """Run the steps in order until one fails."""
    outcomes: list[Outcome] = []
    for number, (name, step) in enumerate(scenario.STEPS, start=1):
        print(f"[{number}/{len(scenario.STEPS)}] {name} ...", flush=True)
        started = time.monotonic()
        try:
            detail, ok = step(world), True
        except (AssertionError, CommandError, GaveUpError, openai.OpenAIError) as error:
            detail, ok = f"{type(error).__name__}: {error}", False
        outcomes.append(Outcome(name, ok, round(time.monotonic() - started, 2), detail))
        print(f"      {'ok' if ok else 'FAILED'}: {detail}", flush=True)
        if not ok:
            break
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    """What happened, with times, as text columns."""
    width = max(len(outcome.name) for outcome in outcomes)
    lines = [f"{'step':<{width}}  {'':6}  {'seconds':>7}  what was seen"]
    lines += [
        f"{outcome.name:<{width}}  {'ok' if outcome.ok else 'FAILED':6}  {outcome.seconds:7.1f}  {outcome.detail}"
        for outcome in outcomes
    ]
    total = sum(outcome.seconds for outcome in outcomes)
    return "\n".join([*lines, f"{'together':<{width}}  {'':6}  {total:7.1f}"])


def main(arguments: list[str] | None = None) -> int:
    """Play the scenario on a cluster; 0 when every step happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--gateway", default="http://127.0.0.1:8080", help="where the gateway's NodePort is reached")
    parser.add_argument("--tools", type=Path, help="folder with kubectl and helm (default: PATH)")
    options = parser.parse_args(arguments)
    cluster = Cluster(options.kubeconfig, options.gateway, options.tools)
    world = scenario.World(cluster, say=lambda text: print(_indented(text), flush=True))
    installation.remove(cluster, scenario.NAMESPACE)
    outcomes = play(world)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"steps": [asdict(outcome) for outcome in outcomes]}, indent=2) + "\n")
    print(f"\n{table(outcomes)}\n\nwritten to {REPORT.relative_to(installation.CHECKOUT)}")
    complete = len(outcomes) == len(scenario.STEPS) and all(outcome.ok for outcome in outcomes)
    if not complete:
        print(f"the demo FAILED at step {len(outcomes)}: {outcomes[-1].name}", file=sys.stderr)
    return 0 if complete else 1


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.rstrip().splitlines())


if __name__ == "__main__":
    sys.exit(main())

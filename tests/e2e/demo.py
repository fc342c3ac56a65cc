"""The demo: the scenario's steps on the cluster that runs, told to a person, and written to build/demo.json.

    python -m e2e.demo --kubeconfig FILE --gateway http://127.0.0.1:8080 [--tools FOLDER]

Ends with code 1 at the first step that fails, after saying what failed; the steps before it are in the table.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import openai

from e2e import installation, scenario
from e2e.kubernetes_cli import Cluster, CommandError, GaveUpError
from told_steps import play, table

REPORT = installation.CHECKOUT / "build" / "demo.json"


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
    outcomes = play(scenario.STEPS, world, (AssertionError, CommandError, GaveUpError, openai.OpenAIError))
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

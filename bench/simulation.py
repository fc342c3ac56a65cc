"""How many requests a minute are simulated on one core, with all of Overspill's own deciding; one JSON line last.

``python -m bench.simulation [FILE...] [--requests N]``. Without files an hour of conversations of Azure's, again and
again. Each trace is scaled to each mean demand in replicas; reading it and the clairvoyant do not count.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.autoscaler import Case, compared, is_compiled, numbers, scaled_to
from overspill_planner.comparison import OVERSPILL
from overspill_planner.traces.arrival import Arrival
from unit.simulation import azure_conversation, simulate

LOAD_SECONDS, RHO = 60.0, 3.0


def dense(count: int) -> dict[str, Any]:
    """The same conversations, six a second."""
    arrivals = azure_conversation(count)
    simulate(arrivals[:2_000])  # what is made once is made
    began = time.process_time()
    outcome = simulate(arrivals)
    figures = rate_of(arrivals, time.process_time() - began)
    return figures | {"outcomes": dict(outcome.outcomes), "scaling_changes": len(outcome.changes)}


def measured(path: Path, mean: float, options: argparse.Namespace) -> dict[str, Any]:
    """A trace with demand for so many replicas on average."""
    arrivals = scaled_to(path, mean, options.profile, options.seed, None)[: options.requests]
    comparison = compared(Case(path, mean, LOAD_SECONDS, RHO), arrivals, options)
    began = time.process_time()
    [row] = comparison.rows([OVERSPILL])
    figures = {"trace": path.name, "mean_replicas": mean} | rate_of(arrivals, time.process_time() - began)
    return figures | {"spilled": round(row.outcome.spilled_share, 4) if row.outcome else None}


def rate_of(arrivals: Sequence[Arrival], cpu_seconds: float) -> dict[str, Any]:
    """How fast it went."""
    per_minute = round(len(arrivals) / max(cpu_seconds, 1e-9) * 60.0)
    return {"requests": len(arrivals), "cpu_seconds": round(cpu_seconds, 2), "requests_per_minute": per_minute}


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="*", type=Path)
    parser.add_argument("--means", type=numbers, default=[0.3, 2.0, 8.0])
    parser.add_argument("--requests", type=int, default=100_000, help="at most, of each")
    parser.set_defaults(profile="nvidia-h100", concurrency=32, alone=False, seed=1)
    options = parser.parse_args(arguments)
    rows = [measured(path, mean, options) for path in options.traces for mean in options.means]
    rows = rows or [dense(options.requests)]
    slowest = min(row["requests_per_minute"] for row in rows)
    print(json.dumps({"requests_per_minute": slowest, "compiled": is_compiled(), "rows": rows}))


if __name__ == "__main__":
    main()

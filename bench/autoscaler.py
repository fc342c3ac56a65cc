"""How near each policy of scaling comes to a clairvoyant, by trace, mean demand, load time and price; JSON line last.

``python -m bench.autoscaler FILE... [--means 0.3,2,8] [--loads 15,60,300] [--rhos 0.7,1.5,3,8,24] [--policies A,B]``

Each trace is scaled until it keeps so many replicas busy on average, and a replica's price is set so that the hosted
API costs rho times as much for the same work. No policy has a setting by trace, price or load time. Cells are measured
in several processes; how many requests a minute were simulated is for one core.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from overspill_api.modelroute import ModelRouteSpec
from overspill_planner.comparison import NAMES, OPTIMAL, Comparison, Row, names_of
from overspill_planner.optimum.fluid import Prices, fluid_of
from overspill_planner.profiles import PROFILES
from overspill_planner.route import Assumptions, route_of
from overspill_planner.simulator import engine
from overspill_planner.traces.arrival import Arrival, TraceError
from overspill_planner.traces.reading import read_trace

INPUT_USD, OUTPUT_USD = "0.15", "0.60"
"""Of a million tokens at the hosted API; what counts is their ratio, as the replica's price follows from rho."""
PROBE_SCALE, PROBE_REQUESTS = 0.001, 5_000
"""A file with rates may stand for a hundred million requests: how much work a thousandth is says how much the whole is,
where that has so many requests at least."""


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the grid."""

    trace: Path
    mean_replicas: float
    load_seconds: float
    rho: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one cell."""

    rows: list[dict[str, Any]]
    """One for each policy."""
    simulated: int
    """Requests that were simulated for it."""
    cpu_seconds: float
    """What that took of one core, without reading the trace and without the clairvoyant."""


def spec_of(mean_replicas: float, concurrency: int, *, hosted: bool = True) -> ModelRouteSpec:
    """A route with room for the trace's peaks, which aims at the least cost where there is a choice."""
    return ModelRouteSpec.model_validate(
        {
            "selfHosted": {"source": "hf://any/model", "profile": "nvidia-h100"},
            "scaling": {
                "minReplicas": 0,
                "maxReplicas": max(4, math.ceil(4.0 * mean_replicas)),
                "idleAfter": "5m",
                "objective": "Cost" if hosted else "Latency",
                "targets": {"concurrency": concurrency, "timeToFirstToken": {"p95": "2s"}},
            },
            "overflow": {"timeToFirstToken": "2s"},
            "hosted": [
                {
                    "name": "api", "baseURL": "https://api.example.com/v1", "model": "model",
                    "price": {"input": INPUT_USD, "output": OUTPUT_USD},
                }
            ] if hosted else [],
        }
    )  # fmt: skip


def scaled_to(path: Path, mean_replicas: float, profile: str, seed: int, lengths: Path | None) -> list[Arrival]:
    """The trace with demand for so many replicas on average."""
    rates = PROFILES[profile].speed.rates
    scale, probe = PROBE_SCALE, list[Arrival]()
    with suppress(TraceError):  # of a trace of an hour a thousandth may be none
        probe = read_trace(path, scale=scale, seed=seed, lengths=lengths)
    if len(probe) < PROBE_REQUESTS:
        scale = 1.0
        probe = read_trace(path, scale=scale, seed=seed, lengths=lengths)
    mean = sum(map(rates.work, probe)) / max(probe[-1].seconds, 1.0) / scale
    return read_trace(path, scale=mean_replicas / mean, seed=seed, lengths=lengths)


def compared(case: Case, arrivals: Sequence[Arrival], options: argparse.Namespace) -> Comparison:
    """The policies of one cell, with the replica's price that makes its rho."""
    speed = PROFILES[options.profile].speed
    prices = Prices(1.0, float(INPUT_USD), float(OUTPUT_USD))
    replica_hour = fluid_of(arrivals, speed.rates, prices).rho(prices) / case.rho
    assumptions = Assumptions(
        load_seconds=case.load_seconds, pod_seconds=0.0, replica_usd_per_hour=replica_hour, seed=options.seed
    )
    route = route_of(spec_of(case.mean_replicas, options.concurrency, hosted=not options.alone), assumptions)
    scaling = replace(route.scaling, batch_most=speed.running_max)
    return Comparison(replace(route, setting=replace(route.setting, speed=speed), scaling=scaling), arrivals)


def measure(arrivals: Sequence[Arrival], options: argparse.Namespace, case: Case) -> Measured:
    """All policies of one cell."""
    comparison = compared(case, arrivals, options)
    began = time.process_time()
    rows = [figures_of(case, row) for row in comparison.rows(options.policies)]
    return Measured(rows, comparison.simulated, time.process_time() - began)


def figures_of(case: Case, row: Row) -> dict[str, Any]:
    """One row of the line of JSON."""
    outcome = row.outcome
    return {
        "trace": case.trace.name,
        "mean_replicas": case.mean_replicas,
        "load_seconds": case.load_seconds,
        "rho": case.rho,
        "policy": row.name,
        "cost_ratio": None if row.ratio is None else round(row.ratio, 4),
        "slo": None if outcome is None else round(outcome.slo_share, 5),
        "gpu_hours": round(row.replica_hours, 3),
        "spilled": None if outcome is None else round(outcome.spilled_share, 4),
        "regret": None if outcome is None else share(outcome.wrong_spill_share),
        "late_holds": None if outcome is None else share(outcome.late_hold_share),
    }


def share(value: float | None) -> float | None:
    """Rounded; None: the route spills nothing for lateness."""
    return None if value is None else round(value, 4)


def numbers(text: str) -> list[float]:
    """Of an argument."""
    return [float(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--lengths", type=Path, help="lengths of traces that have only rates")
    parser.add_argument("--means", type=numbers, default=[0.3, 2.0, 8.0])
    parser.add_argument("--loads", type=numbers, default=[15.0, 60.0, 300.0])
    parser.add_argument("--rhos", type=numbers, default=[0.7, 1.5, 3.0, 8.0, 24.0])
    parser.add_argument("--policies", type=names_of, default=[name for name in NAMES if name != OPTIMAL])
    parser.add_argument("--profile", default="nvidia-h100", choices=sorted(PROFILES))
    parser.add_argument("--concurrency", type=int, default=32, help="targets.concurrency, for all policies and traces")
    parser.add_argument("--alone", action="store_true", help="without hosted APIs: requests wait for replicas")
    parser.add_argument("--requests-max", type=int, help="no more of each trace than its first ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="cells measured at the same time")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    simulated, cpu_seconds = 0, 0.0
    for path, mean in product(options.traces, options.means):
        arrivals = scaled_to(path, mean, options.profile, options.seed, options.lengths)[: options.requests_max]
        cases = [Case(path, mean, load, rho) for load, rho in product(options.loads, options.rhos)]
        with mapping(options.processes) as mapped:
            for measured in mapped(partial(measure, arrivals, options), cases):
                rows += measured.rows
                simulated += measured.simulated
                cpu_seconds += measured.cpu_seconds
                for row in measured.rows:
                    print(json.dumps(row), file=sys.stderr)
    per_minute = round(simulated / max(cpu_seconds, 1e-9) * 60.0)
    print(json.dumps({"rows": rows, "simulated_requests_per_minute": per_minute, "compiled": is_compiled()}))


@contextmanager
def mapping(processes: int) -> Iterator[Callable[..., Iterator[Measured]]]:
    """What applies a function to each of several cells, which know nothing of each other."""
    if processes < 2:
        yield map
        return
    with ProcessPoolExecutor(processes) as pool:
        yield pool.map


def is_compiled() -> bool:
    """Whether the simulator is machine code here (``make compiled-planner``)."""
    return not str(engine.__file__).endswith(".py")


if __name__ == "__main__":
    main()

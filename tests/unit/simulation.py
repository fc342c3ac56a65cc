"""A real trace through the planner's simulator: an hour of conversations, Overspill's flow and its own scaling."""

import csv
import gzip
import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from overspill_api.scaling import Scaling
from overspill_operator.core.demand.work import Work
from overspill_operator.core.scaling.scaling_state import Change, ScalingPolicy
from overspill_planner.simulator.fleet import Loading
from overspill_planner.simulator.hosted import HostedModel
from overspill_planner.simulator.run import HostedSetting, Setting, Simulation
from overspill_planner.simulator.scaling import OverspillScaler
from overspill_planner.traces.arrival import Arrival

TRACE = Path(__file__).parent.parent / "traces" / "azure2023_conversation.csv.gz"
AFTER_SECONDS = 3600.0
"""How long it goes on after the last request: replicas go in this time."""


def azure_conversation(count: int) -> list[Arrival]:
    """So many requests of the trace; from its end it begins anew."""
    with gzip.open(TRACE, "rt") as file:
        rows = [tuple(int(value) for value in row.values()) for row in csv.DictReader(io.StringIO(file.read()))]
    length = rows[-1][0] / 1000.0 + 1.0
    arrivals = []
    for number in range(count):
        milliseconds, prompt_tokens, output_tokens = rows[number % len(rows)]
        seconds = number // len(rows) * length + milliseconds / 1000.0
        arrivals.append(Arrival(seconds, prompt_tokens, output_tokens))
    return arrivals


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a simulation."""

    requests: int
    outcomes: Counter[str]
    changes: list[Change]
    first_tokens: list[float]
    """Seconds to the first token, of requests that replicas served."""
    heard: Work
    """What the operator heard to be done."""
    digest: str
    """Of every decision: two runs that decide alike have the same."""


def simulate(arrivals: list[Arrival], *, target: float = 2.0, load_seconds: float = 60.0, seed: int = 1) -> Outcome:
    """Run a trace through a route with up to eight replicas and a hosted API."""
    targets = {"concurrency": 24}
    scaling = Scaling.model_validate({"minReplicas": 0, "maxReplicas": 8, "idleAfter": "5m", "targets": targets})
    scaler = OverspillScaler(ScalingPolicy(scaling))
    setting = Setting(
        loading=Loading(0.0, load_seconds), hosted=(HostedSetting("a", HostedModel(seconds=3.0)),),
        spill_target_seconds=target, seed=seed,
    )  # fmt: skip
    run = Simulation(setting, arrivals, scaler)
    outcome = run.run(arrivals[-1].seconds + AFTER_SECONDS)
    digest = hashlib.sha256(outcome.digest.encode())
    for change in scaler.changes:
        digest.update(f"{change}\n".encode())
    return Outcome(
        outcome.requests, Counter(outcome.outcomes), scaler.changes, sorted(run.tally.local_first_tokens),
        scaler.heard, digest.hexdigest(),
    )  # fmt: skip

"""What a recorded period cost, its replay, and what it would have cost otherwise. Not here: how it is told.

The replay sends the recorded requests through the simulated gateway and engines, with as many replicas as could serve
then. Replicas cost what they did; what hosted APIs are paid is the simulator's. How near that is to what was really
charged says how far the simulator is to be believed with everything else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from overspill_planner.comparison import API_ONLY, OPTIMAL, OVERSPILL, STATIC, Comparison, Row
from overspill_planner.route import Route
from overspill_planner.simulator.fleet import Loading
from overspill_planner.simulator.outcome import Outcome, percentiles
from overspill_planner.simulator.replaying import Replaying
from overspill_planner.simulator.run import Simulation
from overspill_planner.traces.recordings import NOBODY, Recording

CHARGED: Final = "charged"
"""The row of what was really done and paid."""
REPLAYED: Final = "replayed"
"""The row of its replay."""
NAMES: Final = (API_ONLY, STATIC, "hpa", "kubeai", OVERSPILL, OPTIMAL)
"""What it is compared with."""
TRUST_SHARE: Final = 0.05
"""A replay that is farther off says that the simulated engines are not those that served."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What was really done, and its replay."""

    charged: Row
    """By the recording."""
    replayed: Row
    """By the simulator."""
    replica_pace_seconds: float | None
    """Between two tokens of replicas, the mean as it was recorded; None: no stream was served by any."""

    @property
    def error(self) -> float:
        """How much more the replay costs, as a share; negative: less."""
        if not self.charged.usd:
            return 0.0 if not self.replayed.usd else 1.0
        return self.replayed.usd / self.charged.usd - 1.0


class Receipts:
    """A route and what gateways have recorded of it."""

    def __init__(self, route: Route, recording: Recording, on_progress: Callable[[float], None] | None = None) -> None:
        """``route``: whose setting begins when the recording does."""
        self.recording = recording
        self._route = route
        self._arrivals = recording.arrivals()
        self._on_progress = on_progress
        self.comparison = Comparison(route, self._arrivals, on_progress, seconds_min=recording.seconds)
        """The same requests with everything else."""

    def truth(self) -> Truth:
        """What was done, and its replay."""
        recording, setting = self.recording, self._route.setting
        steps = [(step.seconds - recording.begins, step.ready) for step in recording.replicas]
        as_they_were = replace(setting, loading=Loading(0.0, 0.0))
        simulation = Simulation(as_they_were, self._arrivals, Replaying(steps), self._on_progress)
        simulated = simulation.run(recording.seconds)
        hours = recording.replica_seconds() / 3600.0
        usd = hours * setting.replica_hour_usd
        replayed = replace(simulated, replica_usd=usd, replica_hours=hours, starts=recording.starts())
        paces = [
            request.inter_token_seconds for request in recording.requests if request.served_by.startswith("local/")
        ]
        known = [seconds for seconds in paces if seconds is not None]
        pace = sum(known) / len(known) if known else None
        return Truth(self._row(CHARGED, self._charged(replayed)), self._row(REPLAYED, replayed), pace)

    def others(self, names: Sequence[str]) -> Iterator[Row]:
        """What it would have cost."""
        return self.comparison.rows(names)

    def _charged(self, replayed: Outcome) -> Outcome:
        """What the recording says; of replicas the replay has the same."""
        requests = self.recording.requests
        over = [request for request in requests if request.served or request.served_by == NOBODY]
        served = [request for request in over if request.served]
        kinds = [request.served_by.partition("/")[0] for request in served]
        first = [request.first_token_seconds for request in served if request.first_token_seconds is not None]
        paces = [request.inter_token_seconds for request in served]
        in_time = sum(seconds <= self._route.setting.slo_seconds for seconds in first)
        return replace(
            replayed,
            requests=len(over),
            outcomes={
                "local": kinds.count("local"), "hosted": kinds.count("hosted"), "refused": len(over) - len(served),
            },
            reasons={},
            first_token=percentiles(first),
            inter_token=percentiles([seconds for seconds in paces if seconds is not None]),
            slo_share=in_time / len(over) if over else 1.0,
            tokens=sum(request.prompt_tokens + request.output_tokens for request in served),
            hosted_usd=sum(request.usd for request in requests),
            wrong_spill_share=None,
            late_hold_share=None,
            regret_usd=None,
            preemptions=0,
            digest="",
        )  # fmt: skip

    def _row(self, name: str, outcome: Outcome) -> Row:
        best = self.comparison.best
        ratio = outcome.usd / best.usd if best and best.usd else None
        return Row(
            name, outcome, outcome.usd, outcome.replica_usd, outcome.hosted_usd, ratio, outcome.replica_hours,
            outcome.starts,
        )  # fmt: skip

"""Policies side by side on one trace: each simulated request by request, and the clairvoyant's bound beside them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from overspill_planner.baselines.aibrix import AIBrix
from overspill_planner.baselines.fixed import Static
from overspill_planner.baselines.hpa import HPA
from overspill_planner.baselines.keda import KEDA
from overspill_planner.baselines.kpa import KPA
from overspill_planner.baselines.kubeai import KubeAI
from overspill_planner.baselines.policy import Limits, Policy
from overspill_planner.baselines.tuning import tuned
from overspill_planner.baselines.wva import WVA
from overspill_planner.optimum.clairvoyant import Plan, best_static, clairvoyant
from overspill_planner.optimum.fluid import Fluid, Prices, fluid_of
from overspill_planner.profiles import SettingError
from overspill_planner.route import Route
from overspill_planner.simulator.outcome import Outcome
from overspill_planner.simulator.run import Simulation
from overspill_planner.simulator.scaling import OverspillScaler, PolicyScaler, Scaler
from overspill_planner.simulator.timeline import SAMPLES, Sample
from overspill_planner.traces.arrival import Arrival

BASELINES: Final[dict[str, Callable[[Limits, float], Policy[Any]]]] = {
    "hpa": HPA,
    "keda": KEDA,
    "kpa": KPA,
    "kubeai": KubeAI,
    "aibrix": AIBrix,
    "wva": lambda limits, _: WVA(limits),
}
"""By name, from the route's bounds and ``targets.concurrency``: what its user would have set as their target."""
OVERSPILL, STATIC, API_ONLY, OPTIMAL = "overspill", "static", "api-only", "optimal"
NAMES: Final = (OVERSPILL, *BASELINES, STATIC, API_ONLY, OPTIMAL)
TUNED: Final = "-tuned"
"""After a baseline's name: the best of its settings in hindsight."""
SLO_SHARE: Final = 0.99
"""A setting that serves fewer requests in time is not preferred for being cheap."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The trace, as far as a reader of the table has to know it."""

    requests: int
    """How many."""
    seconds: float
    """How long it is; replicas are paid for in that time."""
    mean_replicas: float
    """Replicas that it would keep busy on average, at the most that one does."""
    rho: float | None
    """Price of the hosted API for a busy replica's work, over the replica's. None: there is no hosted API."""


@dataclass(frozen=True, slots=True)
class Row:
    """One policy."""

    name: str
    """As it was asked for."""
    outcome: Outcome | None
    """Of its simulation; None: it is the bound, which is none."""
    usd: float
    """What it costs."""
    replica_usd: float
    """For replicas."""
    hosted_usd: float
    """For hosted APIs."""
    ratio: float | None
    """To the clairvoyant's cost; None: without a hosted API that is not known."""
    replica_hours: float
    """Paid for."""
    starts: int
    """Replicas that were started."""
    setting: str = ""
    """What hindsight chose, where it did."""
    samples: Sequence[Sample] = ()
    """How it went over time; of the bound, whose requests are a fluid, without numbers of requests."""


def names_of(text: str) -> tuple[str, ...]:
    """Names of policies, from ``a,b,c``; raises SettingError."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    allowed = {*NAMES, *(name + TUNED for name in BASELINES)}
    for name in names:
        if name not in allowed:
            raise SettingError(
                f"--policy: there is no {name!r}; there are {', '.join(NAMES)}, and {TUNED} after "
                f"{', '.join(BASELINES)} for the best settings in hindsight"
            )
    return names


@dataclass(frozen=True, slots=True)
class Run:
    """One simulation."""

    outcome: Outcome
    """What came of it."""
    samples: Sequence[Sample]
    """How it went."""


class Comparison:
    """A route and a trace, and policies on them one by one."""

    def __init__(
        self, route: Route, arrivals: Sequence[Arrival], on_progress: Callable[[float], None] | None = None, *,
        seconds_min: float = 0.0,
    ) -> None:  # fmt: skip
        """Both as they are needed by all policies.

        ``on_progress``: hears which share of a simulation is done; a policy may take several. ``seconds_min``: how
        long replicas are paid for at least, where nothing came at the end.
        """
        self.route = route
        self.arrivals = arrivals
        self._on_progress = on_progress
        setting = route.setting
        scaling = route.scaling.scaling
        self.limits = Limits(scaling.min_replicas, scaling.max_replicas)
        prices = setting.prices()
        # Without a hosted API work has no price; the fluid then says how much work there is, and nothing about money.
        self.prices = prices or Prices(setting.replica_hour_usd, 0.0, 0.0)
        self.fluid: Fluid = fluid_of(arrivals, setting.speed.rates, self.prices)
        self.seconds = max(len(self.fluid.gains) * self.fluid.slot_seconds, seconds_min)
        load = setting.loading.seconds
        self.best: Plan | None = None
        """The clairvoyant's plan."""
        self.static = 0
        """The fixed number of replicas that costs least on the fluid."""
        if prices:
            limits = self.limits
            self.best = clairvoyant(
                self.fluid, prices, load, replicas_max=limits.maximum, replicas_min=limits.minimum
            )  # fmt: skip
            plan = best_static(self.fluid, prices, load, replicas_max=limits.maximum)
            self.static = plan.replicas[0] if plan.replicas else 0
        else:
            peak = max(map(len, self.fluid.gains), default=0)
            self.static = self.limits.bound(max(peak, 1))
        self.demand = Demand(
            len(arrivals), self.seconds, self.fluid.mean_replicas if arrivals else 0.0,
            self.fluid.rho(prices) if prices and arrivals else None,
        )  # fmt: skip
        self.simulated = 0
        """Requests that were simulated so far."""

    def rows(self, names: Sequence[str]) -> Iterator[Row]:
        """A row for each policy, as it is done."""
        for name in names:
            if name == OPTIMAL:
                if self.best is not None:
                    yield self._bound(self.best)
            elif name == STATIC:
                yield self._best_static()
            elif name.endswith(TUNED):
                yield self._tuned(name)
            else:
                yield self._row(name, self._simulate(self._scaler(name)))

    def _scaler(self, name: str) -> Scaler:
        if name == OVERSPILL:
            return OverspillScaler(self.route.scaling)
        if name == API_ONLY:
            return PolicyScaler(Static(0))
        return PolicyScaler(self._baseline(name))

    def _baseline(self, name: str) -> Policy[Any]:
        return BASELINES[name](self.limits, float(self.route.scaling.scaling.targets.concurrency))

    def _simulate(self, scaler: Scaler) -> Run:
        simulation = Simulation(self.route.setting, self.arrivals, scaler, self._on_progress)
        outcome = simulation.run(self.seconds)
        self.simulated += len(self.arrivals)
        return Run(outcome, simulation.samples)

    def _tuned(self, name: str) -> Row:
        runs: dict[Policy[Any], Run] = {}

        def cost(policy: Policy[Any]) -> tuple[float, float]:
            run = runs[policy] = self._simulate(PolicyScaler(policy))
            return worth_of(run.outcome)

        best = tuned(self._baseline(name.removesuffix(TUNED)), cost)
        return self._row(name, runs[best], str(best))

    def _best_static(self) -> Row:
        """From the fluid's best number on, to its neighbours as long as one is better when simulated."""
        runs: dict[int, Run] = {}

        def worth(count: int) -> tuple[float, float]:
            if count not in runs:
                runs[count] = self._simulate(PolicyScaler(Static(count)))
            return worth_of(runs[count].outcome)

        best, following = -1, self.static
        while following != best:
            best = following
            near = (count for count in (best, best - 1, best + 1) if 0 <= count <= self.limits.maximum)
            following = min(near, key=worth)
        return self._row(STATIC, runs[best], f"{best} replica{'s' if best != 1 else ''}")

    def _row(self, name: str, run: Run, setting: str = "") -> Row:
        outcome = run.outcome
        ratio = outcome.usd / self.best.usd if self.best and self.best.usd else None
        return Row(
            name, outcome, outcome.usd, outcome.replica_usd, outcome.hosted_usd, ratio, outcome.replica_hours,
            outcome.starts, setting, run.samples,
        )  # fmt: skip

    def _bound(self, plan: Plan) -> Row:
        paid = plan.replica_usd + plan.loading_usd
        hours = paid / self.prices.replica_hour if self.prices.replica_hour else 0.0
        samples = self._samples_of(plan)
        return Row(OPTIMAL, None, plan.usd, paid, plan.hosted_usd, 1.0, hours, plan.starts, samples=samples)

    def _samples_of(self, plan: Plan) -> list[Sample]:
        """How the clairvoyant's plan goes over time; loading is paid for where a replica begins to serve."""
        slot_seconds = self.fluid.slot_seconds
        slot_usd = self.prices.replica_second * slot_seconds
        start_usd = self.prices.replica_second * self.route.setting.loading.seconds
        every = max(len(plan.replicas) // SAMPLES, 1)
        samples, replica_usd, hosted_usd = [Sample(0.0, 0, 0, 0, 0, 0, 0.0, 0.0)], 0.0, 0.0
        before = 0
        for slot, (count, gains) in enumerate(zip(plan.replicas, self.fluid.gains, strict=True), 1):
            replica_usd += count * slot_usd + max(count - before, 0) * start_usd
            hosted_usd += sum(gains[count:])
            before = count
            if slot % every == 0 or slot == len(plan.replicas):
                samples.append(Sample(slot * slot_seconds, count, count, 0, 0, 0, replica_usd, hosted_usd))
        return samples


def worth_of(outcome: Outcome) -> tuple[float, float]:
    """What hindsight goes by: first tokens in time for nearly all, then money."""
    return max(SLO_SHARE - outcome.slo_share, 0.0), outcome.usd

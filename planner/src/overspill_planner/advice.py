"""What a route would cost with other GPUs and hosted APIs, from where on a replica pays, and which settings cost less.

Each answer is a simulation of Overspill's own scaling on the trace. Settings are tried one by one, each from the best
so far: what is recommended has been simulated as it stands there. Not here: how it is told (``advice_report``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from overspill_api.modelroute import ModelRouteSpec
from overspill_planner.comparison import API_ONLY, OVERSPILL, SLO_SHARE, Comparison
from overspill_planner.merging import merged, patch_of, value_at
from overspill_planner.optimum.clairvoyant import clairvoyant
from overspill_planner.optimum.fluid import Prices, ReplicaRates
from overspill_planner.profiles import PROFILES
from overspill_planner.route import Assumptions, Route, route_of
from overspill_planner.simulator.outcome import Outcome
from overspill_planner.traces.arrival import Arrival

MONTH_SECONDS: Final = 30 * 86_400.0
"""A month, as money is told."""
WORTH_SHARE: Final = 0.01
"""A change that saves less than this share of the cost is not recommended."""
SLO_STEP: Final = 0.001
"""And neither is one that serves this share of requests more in time."""
REPLICAS_MAX: Final = 64
"""The most replicas that are thought of beyond those that the route allows."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """From where on a replica costs less than the hosted API that it stands in for."""

    replica_usd_per_hour: float
    """What it costs."""
    pays_from: float
    """Requests a second of the trace's mean lengths that cost the same at the hosted API."""
    carries: float
    """Requests a second that it serves at the very most."""
    tokens_per_request: float
    """Prompt and output together, the mean."""

    @property
    def pays(self) -> bool:
        """Whether it ever does."""
        return self.pays_from < self.carries

    @property
    def busy_share(self) -> float:
        """Share of its time that it has to be busy."""
        return self.pays_from / self.carries

    @property
    def tokens_per_month(self) -> float:
        """Tokens of a month from which on it pays."""
        return self.pays_from * self.tokens_per_request * MONTH_SECONDS


@dataclass(frozen=True, slots=True)
class Setup:
    """A kind of replica and hosted APIs, and what came of them."""

    name: str
    """Such as ``nvidia-l4 + openai``."""
    outcome: Outcome
    """On the trace."""
    seconds: float
    """How long the trace is."""
    break_even: BreakEven | None
    """None: there are no replicas in it, or no hosted API."""

    def usd_a_month(self, usd: float) -> float:
        """Money of the trace, as money of a month like it."""
        return usd * MONTH_SECONDS / self.seconds


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that is better otherwise."""

    path: str
    """Below ``spec``."""
    before: Any
    """Its value; None: the default."""
    after: Any
    """The value that is recommended."""
    usd: float
    """What it changes of the trace's cost."""
    slo_share: float
    """And of the share of requests in time."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Settings, and what they change."""

    before: Setup
    """The route as it is."""
    after: Setup
    """With all of them."""
    changes: tuple[Change, ...]
    """None: the route is as good as any that was tried."""

    @property
    def patch(self) -> dict[str, Any]:
        """The merge patch of the ModelRoute."""
        return {"spec": patch_of({change.path: change.after for change in self.changes})}


def break_even(arrivals: Sequence[Arrival], rates: ReplicaRates, prices: Prices) -> BreakEven | None:
    """For requests such as those of a trace; None where the hosted API costs nothing, or nothing is asked."""
    usd = sum(prices.hosted(arrival.prompt_tokens, arrival.output_tokens) for arrival in arrivals)
    work = sum(map(rates.work, arrivals))
    if not usd or not work:
        return None
    count = len(arrivals)
    tokens = sum(arrival.prompt_tokens + arrival.output_tokens for arrival in arrivals)
    return BreakEven(prices.replica_hour, prices.replica_second * count / usd, count / work, tokens / count)


class Advising:
    """A route as somebody has written it, and a trace."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        assumptions: Assumptions,
        arrivals: Sequence[Arrival],
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """``spec``: of the YAML, which is valid; ``on_progress``: hears which share of a simulation is done.

        Raises SettingError where the route can't be simulated.
        """
        self._spec = spec
        self._assumptions = assumptions
        self._arrivals = arrivals
        self._on_progress = on_progress
        self.comparison = Comparison(route_of(ModelRouteSpec.model_validate(spec), assumptions), arrivals)
        """The route as it is."""
        self.own = self._named(spec)
        """The setup's name."""

    def setups(self) -> Iterator[Setup]:
        """The route's own first, then other profiles, its hosted APIs each alone, and no replica at all."""
        for name, spec, policy in self._variants():
            yield self._simulated(name, spec, policy)

    def setup_names(self) -> list[str]:
        """What ``setups`` will give."""
        return [name for name, _, _ in self._variants()]

    def _variants(self) -> Iterator[tuple[str, Mapping[str, Any], str]]:
        spec = self._spec
        hosted = spec.get("hosted") or []
        yield self.own, spec, OVERSPILL
        for profile in PROFILES:
            if profile != spec["selfHosted"]["profile"]:
                other = merged(spec, {"selfHosted": {"profile": profile}})
                yield self._named(other), other, OVERSPILL
        for api in hosted if len(hosted) > 1 else ():
            other = merged(spec, {"hosted": [api]})
            yield self._named(other), other, OVERSPILL
        for api in hosted:
            yield f"{api['name']} alone", merged(spec, {"hosted": [api]}), API_ONLY

    def _named(self, spec: Mapping[str, Any]) -> str:
        apis = [str(api["name"]) for api in spec.get("hosted") or []]
        return " + ".join([str(spec["selfHosted"]["profile"]), *apis])

    def _route(self, spec: Mapping[str, Any]) -> Route:
        assumptions = self._assumptions
        if spec["selfHosted"]["profile"] != self._spec["selfHosted"]["profile"]:
            assumptions = replace(assumptions, engine="", replica_usd_per_hour=None)
        return route_of(ModelRouteSpec.model_validate(spec), assumptions)

    def _simulated(self, name: str, spec: Mapping[str, Any], policy: str = OVERSPILL) -> Setup:
        route = self._route(spec)
        comparison = Comparison(route, self._arrivals, self._on_progress)
        (row,) = comparison.rows([policy])
        if row.outcome is None:
            raise ValueError(f"{policy} is no policy that can be simulated")
        prices = route.setting.prices() if policy != API_ONLY else None
        even = break_even(self._arrivals, route.setting.speed.rates, prices) if prices else None
        return Setup(name, row.outcome, comparison.seconds, even)

    # -- settings ----------------------------------------------------------------------------------------------

    def alternatives(self) -> dict[str, list[Any]]:
        """Values that are tried, by path."""
        scaling = self._spec.get("scaling") or {}
        own = self.comparison.route.scaling.scaling
        fluid, prices = self.comparison.fluid, self.comparison.prices
        values: dict[str, list[Any]] = {}
        if self._spec.get("hosted"):
            setting = self.comparison.route.setting
            most = min(max(map(len, fluid.gains), default=1), max(REPLICAS_MAX, own.max_replicas))
            plan = clairvoyant(fluid, prices, setting.loading.seconds, replicas_max=most)
            best = max(plan.replicas, default=0)
            values["overflow.timeToFirstToken"] = [f"{round(setting.slo_seconds * 1000)}ms"]
            values["scaling.objective"] = ["Cost", "Latency"]
            values["scaling.maxReplicas"] = [max(best, 1), max(-(-best // 2), 1)]
            values["scaling.minReplicas"] = sorted({0, 1, self.comparison.static})
        else:
            peak = min(max(map(len, fluid.gains), default=1), REPLICAS_MAX)
            values["scaling.maxReplicas"] = [peak, 2 * peak]
            values["scaling.minReplicas"] = [0, 1]
        values["scaling.idleAfter"] = ["2m", "10m", "30m"]
        concurrency = own.targets.concurrency
        values["scaling.targets.concurrency"] = [max(concurrency // 2, 1), 2 * concurrency]
        fixed = scaling.get("replicas") is not None or scaling.get("paused") or scaling.get("autoscaler") == "External"
        return {} if fixed else values

    def recommended(
        self, before: Setup, alternatives: Mapping[str, Sequence[Any]], on_tried: Callable[[str], None]
    ) -> Recommendation:
        """Settings that cost less, or serve in time where these do not. ``on_tried``: hears of a path that is done."""
        best, spec = before, self._spec
        changes: dict[str, Change] = {}
        for path, values in alternatives.items():
            for value in values:
                other = merged(spec, patch_of({path: value}))
                if other == spec or not _is_valid(other):
                    continue
                setup = self._simulated(before.name, other)
                if _is_better(setup.outcome, best.outcome):
                    # From the value that was there at first to this one, beside the best of all other settings.
                    earlier = changes.get(path)
                    usd = setup.outcome.usd - best.outcome.usd + (earlier.usd if earlier else 0.0)
                    share = setup.outcome.slo_share - best.outcome.slo_share + (earlier.slo_share if earlier else 0.0)
                    changes[path] = Change(path, value_at(self._spec, path), value, usd, share)
                    best, spec = setup, other
            on_tried(path)
        return Recommendation(before, best, tuple(changes.values()))


def _is_valid(spec: Mapping[str, Any]) -> bool:
    try:
        ModelRouteSpec.model_validate(spec)
    except ValueError:
        return False
    return True


def _is_better(outcome: Outcome, best: Outcome) -> bool:
    """First tokens in time come first, then money; what changes little is not worth a change."""
    late, late_now = (max(SLO_SHARE - each.slo_share, 0.0) for each in (outcome, best))
    if abs(late - late_now) > SLO_STEP:
        return late < late_now
    return outcome.usd < best.usd * (1.0 - WORTH_SHARE)

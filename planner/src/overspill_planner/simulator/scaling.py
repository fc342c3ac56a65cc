"""Who says how many replicas there shall be: Overspill's own ``ScalingState``, or a baseline."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from overspill_api.demand import DEMAND_VERSION, GatewayDemand
from overspill_gateway.core.counters import BackendCounters, RouteCounters
from overspill_gateway.core.flow.demand_line import route_demand
from overspill_operator.core.demand.demand_lines import believed
from overspill_operator.core.demand.recent_work import RecentWork
from overspill_operator.core.demand.traffic import GatewayView, demand_of, engines_of
from overspill_operator.core.demand.work import Work
from overspill_operator.core.scaling.autoscaler import QueueDepth
from overspill_operator.core.scaling.scaling_state import Change, Observation, ScalingPolicy, ScalingState
from overspill_planner.baselines.policy import Gauge, Policy, Sight
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.fleet import Fleet
from overspill_planner.simulator.gateway import Gateway

ROUTE_KEY: Final = "planner/route"
DEMAND_SECONDS: Final = 1.0
"""Between two looks of the operator at demand that is not urgent."""


@dataclass(slots=True)
class Load:
    """Requests in flight, and their mean over a stretch of time."""

    now: float
    in_flight: int = 0
    last_arrival: float | None = None
    _area: float = 0.0
    _since: float = 0.0

    def change(self, by: int, now: float) -> None:
        """One more or one less."""
        self._area += self.in_flight * (now - self.now)
        self.now = now
        self.in_flight += by

    def mean(self, now: float) -> float:
        """Since this was asked last."""
        self.change(0, now)
        seconds = now - self._since
        mean = self._area / seconds if seconds > 0.0 else float(self.in_flight)
        self._area, self._since = 0.0, now
        return mean


@dataclass(frozen=True, slots=True)
class World:
    """What a scaler looks at and acts on."""

    clock: Clock
    gateway: Gateway
    fleet: Fleet
    load: Load
    tally: RouteCounters
    """What the gateway counts of the route."""
    counted: Mapping[str, BackendCounters]
    """And of each backend."""


class Scaler(ABC):
    """Who scales."""

    def __init__(self) -> None:
        self.stopped = False
        """Whether it does nothing any more: the trace is over."""

    @abstractmethod
    def begin(self, world: World) -> None:
        """Time begins."""

    @abstractmethod
    def arrived(self) -> None:
        """A request has come."""

    @abstractmethod
    def demand_changed(self, *, urgent: bool) -> None:
        """What gateways tell has changed; ``urgent``: a request finds no replica at all."""

    @abstractmethod
    def replica_ready(self) -> None:
        """A replica has become ready."""


class PolicyScaler(Scaler):
    """A baseline, which looks at its own times."""

    def __init__(self, policy: Policy[Any]) -> None:
        super().__init__()
        self._policy = policy
        self._world: World | None = None
        self._state: Any = None

    def begin(self, world: World) -> None:
        """Its first replicas, and its first look."""
        self._world = world
        replicas, self._state = self._policy.begin()
        world.fleet.scale(replicas)
        self._look()

    def arrived(self) -> None:
        """Some products wake at once."""
        if self._policy.wakes_at_once and self._world and not self._world.fleet.wanted and not self.stopped:
            self._world.fleet.scale(1)

    def demand_changed(self, *, urgent: bool) -> None:
        """It has its own times."""

    def replica_ready(self) -> None:
        """It sees that when it looks."""

    def _look(self) -> None:
        world = self._world
        if world is None or self.stopped:
            return
        now, fleet = world.clock.now, world.fleet
        gauges = {}
        for name, engine in fleet.engines().items():
            waiting = max(engine.waiting_most, len(engine.waiting))
            engine.waiting_most = len(engine.waiting)
            gauges[name] = Gauge(engine.kv_cache_usage, waiting)
        seen = Sight(fleet.wanted, fleet.ready, float(world.load.in_flight), world.load.mean(now), gauges)
        replicas, self._state = self._policy.decide(seen, self._state, now)
        if replicas != fleet.wanted:
            fleet.scale(replicas)
        world.clock.at(now + self._policy.period_seconds, self._look)


class OverspillScaler(Scaler):
    """The operator's own deciding, on what gateways tell it by contract 2."""

    def __init__(self, policy: ScalingPolicy) -> None:
        super().__init__()
        self.changes: list[Change] = []
        """What was decided of the replicas."""
        self.heard = Work()
        """All that the operator has heard to be done."""
        self._policy = policy
        self._looks_at = float("inf")

    def begin(self, world: World) -> None:
        """The route's least number of replicas."""
        now = world.clock.now
        self._world = world
        self._work = RecentWork()
        self._view = GatewayView(now, now)
        state = ScalingState.begun(now, policy=self._policy)
        self._state = state.accept(self._policy, generation=1, now_unix=now)
        world.fleet.scale(self._state.replicas)
        self._decide()

    def arrived(self) -> None:
        """It hears of that by the gateway's line."""

    def demand_changed(self, *, urgent: bool) -> None:
        """The operator hears of it: at once, or within a second."""
        self._look_at(self._world.clock.now + (0.0 if urgent else DEMAND_SECONDS))

    def replica_ready(self) -> None:
        """It sees that as well."""
        self._look_at(self._world.clock.now)

    def _look_at(self, due: float) -> None:
        if due < self._looks_at and not self.stopped:
            self._looks_at = due
            self._world.clock.at(due, self._look)

    def _look(self) -> None:
        if self._world.clock.now >= self._looks_at and not self.stopped:
            self._decide()

    def _decide(self) -> None:
        now = self._world.clock.now
        self._looks_at = float("inf")
        self._tell(now)
        step = self._state.decide(self._observe(now), now)
        self._state = step.state
        if step.change is not None:
            self.changes.append(step.change)
            self._world.fleet.scale(step.change.after)
        if step.check_unix is not None:
            self._look_at(max(step.check_unix, now + 0.001))

    def _tell(self, now: float) -> None:
        """The operator hears a line."""
        world = self._world
        in_flight = sum(replica.requests for replica in world.gateway.replicas)
        route = route_demand(
            ROUTE_KEY, "u", world.gateway.pool, world.tally, world.counted, now, in_flight_local=in_flight,
            last_arrival_unix_seconds=world.load.last_arrival,
        )  # fmt: skip
        said = GatewayDemand(gateway="g", now_unix_seconds=now, version=DEMAND_VERSION, uptime_seconds=now)
        self._view.last_line_unix = now  # lines without routes have come meanwhile
        for growth in self._view.take(believed(said, (route,), {}, now), now).growth:
            self._work.heard(growth, now)
            if growth.work is not None:
                self.heard = self.heard.plus(growth.work)

    def _observe(self, now: float) -> Observation:
        """What the operator sees, as its ``app.scaler`` puts it together."""
        views = [self._view]
        demand, gauges = demand_of(ROUTE_KEY, views, 0, now, "u"), engines_of(ROUTE_KEY, views, now, "u")
        matters = gauges.waiting is not None and demand.in_flight and self._state.queue_matters(now)
        fleet = self._world.fleet
        return Observation(
            demand, fleet.ready, fleet.ready_since, QueueDepth(gauges.waiting or 0) if matters else None,
            gauges.readings, self._work.of(ROUTE_KEY, "u", now),
        )  # fmt: skip

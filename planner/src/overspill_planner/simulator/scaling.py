"""Who says how many replicas there shall be: Overspill's own ``ScalingState``, or a baseline."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from overspill_gateway.core.counters import BackendCounters, RouteCounters
from overspill_operator.core.demand.work import Work
from overspill_operator.core.scaling.autoscaler import QueueDepth
from overspill_operator.core.scaling.scaling_state import Change, Observation, ScalingPolicy, ScalingState
from overspill_planner.baselines.policy import Gauge, Policy, Sight
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.fleet import Fleet
from overspill_planner.simulator.gateway import Gateway
from overspill_planner.simulator.telling import Telling

BEAT_SECONDS: Final = 2.0
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
        self._policy = policy
        self._looks_at = float("inf")

    @property
    def heard(self) -> Work:
        """All that the operator has heard to be done."""
        return self._told.heard

    def begin(self, world: World) -> None:
        """The route's least number of replicas."""
        now = world.clock.now
        self._world = world
        self._told = Telling(world.gateway, world.tally, world.counted, now)
        state = ScalingState.begun(now, policy=self._policy)
        self._state = state.accept(self._policy, generation=1, now_unix=now)
        world.fleet.scale(self._state.replicas)
        self._decide()

    @property
    def state(self) -> ScalingState:
        """What it knows now; from ``begin`` on."""
        return self._state

    def arrived(self) -> None:
        """It hears of that by the gateway's line."""

    def demand_changed(self, *, urgent: bool) -> None:
        """The operator hears of it: at once, or on its next beat."""
        self._look_at(self._world.clock.now + (0.0 if urgent else BEAT_SECONDS))

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
        world = self._world
        now = world.clock.now
        self._looks_at = float("inf")
        step = self._state.decide(self._observe(now), now)
        self._state = step.state
        if step.change is not None:
            self.changes.append(step.change)
            world.fleet.scale(step.change.after)
        if step.check_unix is not None:
            self._look_at(max(step.check_unix, now + 0.001))
        if world.load.in_flight:
            self._look_at(now + BEAT_SECONDS)

    def _observe(self, now: float) -> Observation:
        """What the operator sees, as its ``app.scaler`` puts it together."""
        told = self._told
        demand, gauges = told.demand(self._world.load.last_arrival, now), told.gauges(now)
        matters = gauges.waiting is not None and demand.in_flight and self._state.queue_matters(now)
        fleet = self._world.fleet
        return Observation(
            demand, fleet.ready, fleet.ready_since, QueueDepth(gauges.waiting or 0) if matters else None,
            gauges.readings, told.work(now), fleet.load_seconds,
        )  # fmt: skip

"""What the operator knows of a simulated route is what it would have heard by contract 2."""

import pytest

from overspill_api.demand import DEMAND_VERSION, GatewayDemand
from overspill_gateway.core.flow.demand_line import route_demand
from overspill_operator.core.demand.demand_lines import believed
from overspill_operator.core.demand.recent_work import RecentWork
from overspill_operator.core.demand.traffic import GatewayView, demand_of, engines_of
from overspill_planner.simulator.fleet import Loading
from overspill_planner.simulator.hosted import HostedModel
from overspill_planner.simulator.run import HostedSetting, Setting, Simulation
from overspill_planner.simulator.scaling import Scaler, World
from overspill_planner.simulator.telling import ROUTE_KEY, UID, Telling
from overspill_planner.traces.arrival import Arrival
from overspill_planner.traces.drawing import lengths_of, poisson

pytestmark = pytest.mark.interpreted
LENGTHS = lengths_of([Arrival(0.0, 800, 100), Arrival(0.0, 200, 300)])


class BothWays(Scaler):
    """Two replicas from the second minute on; looks every second and a bit, by the line and without."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.kinds: set[str] = set()
        """Of what was ever seen."""

    def begin(self, world: World) -> None:
        """Time begins."""
        now = world.clock.now
        self._world = world
        self._told = Telling(world.gateway, world.tally, world.counted, now)
        self._view, self._work = GatewayView(now, now), RecentWork()
        world.clock.at(now + 60.0, lambda: world.fleet.scale(2))
        self._look()

    def arrived(self) -> None:
        """It has its own times."""

    def demand_changed(self, *, urgent: bool) -> None:
        """It has its own times."""

    def replica_ready(self) -> None:
        """It has its own times."""

    def _look(self) -> None:
        world, told, now = self._world, self._told, self._world.clock.now
        last = world.load.last_arrival
        route = route_demand(
            ROUTE_KEY, UID, world.gateway.pool, world.tally, world.counted, now,
            in_flight_local=sum(replica.requests for replica in world.gateway.replicas),
            last_arrival_unix_seconds=last,
        )  # fmt: skip
        said = GatewayDemand(gateway="g", now_unix_seconds=now, version=DEMAND_VERSION, uptime_seconds=now)
        self._view.last_line_unix = now
        for growth in self._view.take(believed(said, (route,), {}, now), now).growth:
            self._work.heard(growth, now)

        work = told.work(now)
        assert told.demand(last, now) == demand_of(ROUTE_KEY, [self._view], 0, now, UID)
        assert told.gauges(now) == engines_of(ROUTE_KEY, [self._view], now, UID)
        assert work == self._work.of(ROUTE_KEY, UID, now)
        if work is not None:
            self.kinds |= {kind for kind in ("local", "hosted", "refused") if self._has(work.work, kind)}
        self.looks += 1
        if not self.stopped:
            world.clock.at(now + 1.37, self._look)

    @staticmethod
    def _has(work: object, kind: str) -> bool:
        seen = getattr(work, kind)
        return bool(seen if kind == "refused" else seen.answers)


@pytest.mark.parametrize("rate", [0.02, 6.0], ids=["few", "many"])
def test_each_look_sees_what_the_line_would_have_told(rate: float) -> None:
    """Demand, gauges and the last minute's work, with replicas, hosted APIs and refusals, busy and idle."""
    hosted = HostedSetting("api", HostedModel(requests_per_minute=60))
    setting = Setting(loading=Loading(2.0, 28.0), hosted=(hosted,), held_max=3)
    scaler = BothWays()
    Simulation(setting, poisson(rate, 500.0, 1, LENGTHS), scaler).run(600.0)

    assert scaler.looks > 400
    assert scaler.kinds >= ({"local", "hosted", "refused"} if rate > 1.0 else {"local"})

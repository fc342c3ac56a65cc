"""What scaling does with bad inputs: each test is a row of the table in docs/autoscaling.md, and each row a test."""

import re
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest

from overspill_api.demand import GatewayDemand, RouteDemand, WorkDemand
from overspill_api.scaling import Scaling
from overspill_operator.core.demand.demand_lines import believed
from overspill_operator.core.demand.recent_work import SeenWork
from overspill_operator.core.demand.traffic import STALE_AFTER_SECONDS, Coverage, Demand, GatewayView, demand_of
from overspill_operator.core.scaling.autoscaler import QueueDepth, Reason, Signal
from overspill_operator.core.scaling.cost import Prices
from overspill_operator.core.scaling.scaling_state import Observation, ScalingPolicy, ScalingState, Step
from unit.operator_.core.scaling.routes_seen import BEGIN, Minute, learned, watched

PAGE = Path(__file__).parents[5] / "docs" / "autoscaling.md"
TARGETS = {"concurrency": 10, "timeToFirstToken": {"p95": "2s"}}


def scaling(**changes: Any) -> Scaling:
    """Up to four replicas, by concurrency and a target."""
    return Scaling.model_validate({"maxReplicas": 4, "idleAfter": "10m", "targets": TARGETS, **changes})


class Route:
    """One that has been watched for long, with so many replicas."""

    def __init__(self, replicas: int = 1, policy: ScalingPolicy | None = None, *, knows: bool = False) -> None:
        policy = policy or ScalingPolicy(scaling(), startup_timeout_seconds=600.0)
        state = ScalingState.begun(BEGIN - 3600.0, known=[replicas])
        self.state = state.accept(policy, generation=1, now_unix=BEGIN - 3600.0)
        self.now = BEGIN
        self.arrivals = 0.0
        if knows:
            service = learned()
            self.now = service.heard_unix
            self.arrivals = service.arrivals or 0.0
            self.state = replace(self.state, service=service)

    def sees(self, seen: Observation, seconds: float = 2.0) -> Step:
        """The next look, so much later."""
        self.now += seconds
        step = self.state.decide(seen, self.now)
        self.state = step.state
        return step

    def runs(self, seen: Observation, seconds: float) -> None:
        """So long alike."""
        for _ in range(round(seconds / 2.0)):
            self.sees(seen)

    def demand(self, in_flight: int = 0, *, coverage: Coverage = Coverage.COMPLETE, **fields: Any) -> Demand:
        """Such requests now."""
        quiet = self.now + 2.0 if in_flight else BEGIN - 3600.0
        return Demand(coverage, in_flight, **{"quiet_since_unix": quiet, "last_arrival_unix": quiet, **fields})


def test_no_gateway_is_heard() -> None:
    """Nothing is known, for however long."""
    route = Route(3)
    route.runs(Observation(Demand(Coverage.NONE), ready=3), 3600.0)
    assert route.state.replicas == 3
    least = ScalingPolicy(scaling(minReplicas=4))
    assert Route(3, least).sees(Observation(Demand(Coverage.NONE), ready=3)).state.replicas == 4


def test_one_gateway_is_silent() -> None:
    """The others' requests are a lower bound."""
    route = Route(2)
    route.runs(Observation(route.demand(1, coverage=Coverage.PARTIAL), ready=2), 3600.0)
    assert route.state.replicas == 2
    assert route.sees(Observation(route.demand(35, coverage=Coverage.PARTIAL), ready=2)).state.replicas == 4


def test_gateways_count_no_work() -> None:
    """Requests that are there are known, and no more."""
    cost = ScalingPolicy(scaling(objective="Cost"), prices=Prices(1000.0, 0.1, 0.1), hosted_stands_in=True)
    step = Route(1, cost).sees(Observation(Demand(Coverage.COMPLETE, 15, quiet_since_unix=BEGIN), ready=1))
    assert step.decision is not None
    assert (step.decision.replicas, step.decision.needs[0].signal) == (2, Signal.CONCURRENCY)


def test_a_figure_cannot_be() -> None:
    """Seconds that are no number: the route's counts are left out, its requests count."""
    route = RouteDemand(route="a/b", in_flight_local=15, work={"local": WorkDemand(request_seconds_total=nan)})
    line = believed(GatewayDemand(gateway="g", now_unix_seconds=BEGIN, version=2), (route,), {}, BEGIN)
    view = GatewayView(BEGIN, BEGIN)
    view.take(line, BEGIN)
    assert not line.work
    seen = Observation(demand_of("a/b", [view], 0, BEGIN), ready=1)
    assert Route(1).sees(seen).state.replicas == 2


def test_counts_go_back() -> None:
    """A gateway's process begins anew: no flood, no silence."""
    route = Route(1, knows=True)
    before = route.state.service
    seen = SeenWork(60.0, Minute(4.0).work, arrivals_so_far=0.0)
    route.sees(Observation(route.demand(3), ready=1, work=seen))
    after = route.state.service
    assert before is not None
    assert after is not None
    assert (after.offered_replicas, after.pace) == (None, before.pace)


def test_answers_are_plain() -> None:
    """Without a stream."""
    plain = watched()
    plain.see(Minute(4.0, streams=False), seconds=120.0)
    assert plain.model.has_learned


def test_answers_are_few() -> None:
    """A target is set, and nobody knows what a replica does."""
    route = Route(1)
    few = SeenWork(60.0, Minute(0.1).work, arrivals_so_far=1.0)
    route.runs(Observation(route.demand(3), ready=1, work=few), 120.0)
    step = route.sees(Observation(route.demand(15), ready=1, work=few))
    assert step.decision is not None
    assert [need.signal for need in step.decision.needs] == [Signal.CONCURRENCY]
    assert step.decision.message.endswith("10 at a time: its pace is not known yet (12 of 20 answers).")
    assert step.state.replicas == 2


def test_gauges_are_missing() -> None:
    """Nothing is known of queues inside engines."""
    route = Route(1)
    step = route.sees(Observation(route.demand(15), ready=1, queue=None, engines=()))
    assert step.change is not None
    assert step.change.reason is Reason.DEMAND


def test_clients_are_gone() -> None:
    """A long queue that nobody waits for: twice as many at most, and none at last."""
    route = Route(1)
    queue = QueueDepth(500)
    assert route.sees(Observation(route.demand(1), ready=1, queue=queue)).state.replicas == 2
    route.runs(Observation(route.demand(1), ready=1, queue=queue), 60.0)
    assert route.state.replicas == 2, "it waits for the one that loads"
    last = route.now
    idle = replace(route.demand(), quiet_since_unix=last, last_arrival_unix=last)
    route.runs(Observation(idle, ready=2, ready_since_unix=last, queue=queue), 610.0)
    assert route.state.replicas == 0


def test_replicas_load() -> None:
    """The same requests, seen again and again while they do."""
    route = Route(1)
    route.runs(Observation(route.demand(35), ready=1), 300.0)
    assert route.state.replicas == 4
    assert len(route.state.decisions) == 1
    route.runs(Observation(route.demand(1), ready=1), 200.0)
    assert route.state.replicas == 4


def test_no_node_has_room() -> None:
    """One of two is pending for want of a node."""
    route = Route(2)
    seen = Observation(route.demand(40), ready=1, unschedulable=1)
    step = route.sees(seen)
    assert step.decision is not None
    assert step.state.replicas == 2
    assert "No node has room" in step.decision.message
    idle = Observation(route.demand(), ready=1, ready_since_unix=BEGIN - 3600.0, unschedulable=1)
    assert route.sees(idle).state.replicas == 0


def test_a_load_never_ends() -> None:
    """Nobody waits any more, but a gateway still wishes for a replica."""
    route = Route(0, ScalingPolicy(scaling(idleAfter="10s"), startup_timeout_seconds=60.0))
    came = replace(route.demand(wants_replica=True), last_arrival_unix=BEGIN + 1.0, quiet_since_unix=BEGIN + 1.0)
    route.runs(Observation(came), 66.0)
    assert [entry["reason"] for entry in route.state.decisions] == ["StartTimeout", "FirstRequest"]
    again = replace(came, last_arrival_unix=route.now + 1.0, quiet_since_unix=route.now + 1.0)
    assert route.sees(Observation(again)).state.replicas == 0
    assert route.sees(Observation(again), seconds=20.0).state.replicas == 1


def test_replicas_vanish() -> None:
    """Of two none is ready any more, and requests are held."""
    route = Route(2)
    route.runs(Observation(route.demand(15), ready=2), 60.0)
    route.runs(Observation(route.demand(0, held=15), ready=0), 300.0)
    assert route.state.replicas == 2


def test_the_clock_is_set_back() -> None:
    """By an hour."""
    route = Route(3)
    route.runs(Observation(route.demand(25), ready=3), 120.0)
    route.now -= 3600.0
    low = Observation(replace(route.demand(5), quiet_since_unix=route.now), ready=3)
    route.runs(low, 50.0)
    assert route.state.replicas == 3
    route.runs(low, 30.0)
    assert route.state.replicas == 1


def test_the_clock_jumps_ahead() -> None:
    """Lines that came before it are old at once."""
    view = GatewayView(BEGIN, BEGIN)
    route = Route(2)
    view.take(believed(GatewayDemand(gateway="g", now_unix_seconds=BEGIN), (), {}, BEGIN), BEGIN)
    route.now = BEGIN + 3600.0 + STALE_AFTER_SECONDS
    assert route.sees(Observation(demand_of("a/b", [view], 1, route.now), ready=2)).state.replicas == 2


def test_a_restart_remembers_nothing() -> None:
    """What was there is in status, why is not."""
    cost = ScalingPolicy(scaling(objective="Cost"), prices=Prices(1000.0, 0.1, 0.1), hosted_stands_in=True)
    for policy in (ScalingPolicy(scaling()), cost):
        route = Route(3, policy)
        route.state = ScalingState.begun(BEGIN, known=[3]).accept(policy, generation=1, now_unix=BEGIN)
        work = SeenWork(60.0, Minute(0.1).work)
        route.runs(Observation(route.demand(1), ready=3, work=work, load_seconds=60.0), 50.0)
        assert route.state.replicas == 3
        route.runs(Observation(route.demand(1), ready=3, work=work, load_seconds=60.0), 300.0)
        assert route.state.replicas < 3


def test_prices_are_not_known() -> None:
    """Objective Cost is asked for all the same."""
    route = Route(0, ScalingPolicy(scaling(objective="Cost"), hosted_stands_in=True))
    step = route.sees(Observation(route.demand(1, wants_replica=True)))
    assert step.decision is not None
    assert step.state.replicas == 1
    assert "needs prices" in step.decision.needs[-1].message


@pytest.mark.parametrize("spent", [0.0, 0.99])
def test_hosted_apis_refuse(spent: float) -> None:
    """More than one in a hundred; or there is no money to ask them with."""
    cost = ScalingPolicy(scaling(objective="Cost"), prices=Prices(1000.0, 0.1, 0.1), hosted_stands_in=True)
    route = Route(0, cost)
    work = replace_refused(5 if not spent else 0)
    seen = Observation(route.demand(1, wants_replica=True), work=work, budget_spent=spent)
    assert route.sees(seen).state.replicas == 1
    fine = Observation(route.demand(1, wants_replica=True), work=replace_refused(0))
    assert Route(0, cost).sees(fine).state.replicas == 0


def replace_refused(count: int) -> SeenWork:
    """A minute of a hundred requests, of which so many were refused."""
    told = RouteDemand(route="a/b", arrivals_total=100, refused_total={"HostedUnable": count} if count else {})
    work = Minute(0.0).work.said(told)
    return SeenWork(60.0, work, arrivals_so_far=100.0)


def test_each_row_of_the_table_is_a_test() -> None:
    """And each test a row."""
    rows = re.findall(r"^\|.*\| `(\w+)` \|$", PAGE.read_text(), re.MULTILINE)
    tests = [name.removeprefix("test_") for name in globals() if name.startswith("test_")]
    tests.remove("each_row_of_the_table_is_a_test")
    assert sorted(rows) == sorted(tests)

"""Objective Cost, as a specification: a replica runs only while it is cheaper than hosted APIs for what it would do."""

from dataclasses import replace
from typing import Any

import pytest

from overspill_api.modelroute import ModelRouteSpec
from overspill_operator.core.demand.recent_work import SeenWork
from overspill_operator.core.demand.traffic import Coverage, Demand
from overspill_operator.core.demand.work import Work
from overspill_operator.core.scaling.autoscaler import Reason, Signal
from overspill_operator.core.scaling.cost import ASSUMED_RHO, Cost, Prices, prices_of
from overspill_operator.core.scaling.scaling_state import Observation, ScalingState, Step, policy_of
from overspill_operator.core.scaling.service_model import Pace, ServiceModel
from unit.operator_.core.scaling.routes_seen import (
    BEGIN,
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    Minute,
    learned,
)

SPEC: dict[str, Any] = {
    "selfHosted": {"source": "hf://a/b", "profile": "p"},
    "scaling": {"maxReplicas": 4, "objective": "Cost", "idleAfter": "1h"},
    "overflow": {"timeToFirstToken": "2s", "onColdStart": "Hosted"},
    "hosted": [{"name": "a", "baseURL": "https://a.test/v1", "model": "m", "price": {"input": "0.2", "output": "0.8"}}],
}
REQUEST_USD = (0.2 * PROMPT_TOKENS + 0.8 * OUTPUT_TOKENS) / 1e6
"""Of one request at the hosted API."""

MOST = 5.0
"""Requests a second that a replica takes; the others spill."""
HELD = Demand(Coverage.COMPLETE, held=3, wants_replica=True, quiet_since_unix=BEGIN, last_arrival_unix=BEGIN)


def spec(**changes: Any) -> ModelRouteSpec:
    """A route with other fields."""
    return ModelRouteSpec.model_validate({**SPEC, **changes})


class Route:
    """A route under objective Cost whose replicas are ready a minute after they were asked for."""

    def __init__(self, usd_per_hour: float | None, fields: ModelRouteSpec | None = None, known: int = 0) -> None:
        self.spec = fields or spec()
        policy = replace(policy_of(self.spec, None), prices=prices_of(self.spec, usd_per_hour))
        state = ScalingState.begun(BEGIN, known=[known], policy=policy)
        self.state = state.accept(policy, generation=1, now_unix=BEGIN)
        self.state = replace(self.state, service=ServiceModel.begun(BEGIN))
        self.now = BEGIN
        self.arrivals = 0.0
        self.asked = [BEGIN - 1000.0] * known
        self.changes: list[tuple[float, int, Reason]] = []
        self.last_arrival: float | None = None

    def teach(self) -> "Route":
        """How fast its replicas are is known."""
        known = learned()
        service = replace(known, heard_unix=self.now, since=replace(known.since, begun_unix=self.now))
        self.state = replace(self.state, service=service)
        self.arrivals = service.arrivals or 0.0
        return self

    def step(self, rate: float, *, seconds: float = 2.0, **seen: Any) -> Step:
        """Time goes on with such a rate of requests."""
        self.now += seconds
        self.arrivals += rate * seconds
        ready = sum(self.now - asked >= 60.0 for asked in self.asked)
        local = min(rate, MOST) if ready else 0.0
        minute = Minute(local, spilled=rate - local)
        if rate:
            self.last_arrival = self.now
        in_flight = round(minute.batch)
        observed = Observation(
            Demand(
                Coverage.COMPLETE, in_flight, spilled=round(3 * minute.spilled), wants_replica=not ready,
                quiet_since_unix=self.last_arrival or BEGIN, last_arrival_unix=self.last_arrival,
            ),
            ready, self.asked[0] + 60.0 if ready else None,
            work=SeenWork(60.0, minute.work, arrivals_so_far=self.arrivals), load_seconds=60.0,
        )  # fmt: skip
        step = self.state.decide(replace(observed, **seen), self.now)
        self.state = step.state
        if step.change:
            self.changes.append((self.now - BEGIN, step.change.after, step.change.reason))
            more = step.change.after - len(self.asked)
            self.asked = self.asked[: step.change.after] + [self.now] * max(more, 0)
        return step

    def run(self, seconds: float, rate: float, **seen: Any) -> None:
        """So long alike."""
        for _ in range(round(seconds / 2.0)):
            self.step(rate, **seen)

    @property
    def message(self) -> str:
        """What money says now."""
        step = self.step(0.0)
        assert step.decision is not None
        return next(need.message for need in step.decision.needs if need.signal is Signal.COST)


def hourly(rate: float) -> float:
    """What hosted APIs are paid for such a rate, in US dollars an hour."""
    return 3600.0 * rate * REQUEST_USD


def test_a_first_request_wakes_nothing_that_is_not_worth_it() -> None:
    """A hosted API answers it, whether the pace of replicas is known or not; and the decision says why."""
    for route in (Route(1.0), Route(1.0).teach()):
        route.run(1200, 0.05)
        assert route.changes == []
    assert "Replica 1 would be busy" in route.message
    assert "pays from" in route.message
    assert "a replica 1.00 USD/h)" in route.message


def test_a_first_replica_comes_when_hosted_apis_are_paid_more_for_its_work() -> None:
    """Within some minutes, before anything is known of its pace: the money is the same."""
    route = Route(0.3 * hourly(2.0))
    route.run(1200, 2.0)
    assert route.changes[0][1:] == (1, Reason.COST)
    assert route.state.replicas == 1, "two are not asked for by what one does"


def test_a_replica_that_costs_nothing_comes_for_little() -> None:
    """Hardware that is there anyway, with a price of 0."""
    route = Route(0.0)
    route.run(600, 0.2)
    assert route.changes[0][1:] == (1, Reason.COST)


def test_a_second_replica_does_not_come_for_the_little_that_it_would_do() -> None:
    """Objective Latency would want it: the first is full for the rest."""
    route = Route(hourly(6.4) / 1.5, known=1).teach()
    work = learned().request_work
    route.run(3600, 1.1 / work)
    assert route.changes == []
    assert "replica 2 would be busy" in route.message


def test_a_replica_goes_when_demand_no_longer_pays_for_it_without_waiting_for_idleness() -> None:
    """Sparse steady traffic reaches zero although it is never quiet for idleAfter."""
    route = Route(hourly(2.0) / 2.0, known=1).teach()
    route.run(1800, 2.0)
    assert route.changes == []
    route.run(3600, 0.02)
    assert route.changes[-1][1:] == (0, Reason.COST)


def test_idle_time_is_the_longest_that_a_replica_stays_for_nothing() -> None:
    """However cheap it is."""
    idle = spec(scaling={**SPEC["scaling"], "idleAfter": "2m"})
    route = Route(1e-6, idle, known=1).teach()
    route.run(1800, 2.0)
    route.run(180, 0.0)
    assert route.changes[-1][1:] == (0, Reason.IDLE)
    route.run(600, 0.0)
    assert len(route.changes) == 1, "nor does it come back before somebody asks"


@pytest.mark.parametrize(
    "seen",
    [
        {"budget_spent": 1.0},
        {"budget_spent": 0.99},
        {"demand": HELD},
        {"work": None},
    ],
)  # fmt: skip
def test_need_decides_where_hosted_apis_cannot_take_it(seen: dict[str, Any]) -> None:
    """The budget is gone or nearly so, requests are held for want of anybody, or nobody knows."""
    route = Route(1000.0).teach()
    step = route.step(0.05, **seen)
    assert step.change is not None
    assert (step.change.after, step.change.reason) == (1, Reason.FIRST_REQUEST)
    assert step.decision is not None
    words = [need.message for need in step.decision.needs if need.signal is Signal.COST]
    assert words == ["Objective Cost has no say while hosted APIs can't take what replicas don't: need decides."]


def test_with_hold_a_first_request_wakes_whatever_it_costs() -> None:
    """It is held until a replica serves it: nobody else would."""
    holds = spec(overflow={"timeToFirstToken": "2s", "onColdStart": "Hold"})
    step = Route(1000.0, holds).teach().step(0.05)
    assert step.change is not None
    assert step.change.reason is Reason.FIRST_REQUEST


def test_without_prices_need_decides_and_status_is_told_why() -> None:
    """The profile says nothing of a replica's price."""
    step = Route(None).step(0.05)
    assert step.change is not None
    assert step.decision is not None
    assert "usdPerReplicaHour of the profile" in step.decision.needs[-1].message


def test_bounds_hold_whatever_it_costs() -> None:
    """minReplicas is a person's word."""
    least = spec(scaling={**SPEC["scaling"], "minReplicas": 1})
    assert Route(1000.0, least).teach().step(0.05).state.replicas == 1


PRICES = Prices(1.0, 0.2, 0.8)


def test_spilled_work_is_priced_at_what_it_cost() -> None:
    """Half of the list price, such as by a discount for cached prompts; a price that cannot be moves little."""
    half, wild = charged_for(30, 0.5), charged_for(30, 1e6)
    cost = Cost.begun(BEGIN)
    for _ in range(40):
        cost = cost.charged_for(PRICES, half)
    assert cost.charged == pytest.approx(0.5, rel=0.01)
    assert Cost.begun(BEGIN).charged_for(PRICES, wild).charged <= 4.0
    assert Cost.begun(BEGIN).charged_for(PRICES, charged_for(1, 0.5)).charged == 1.0


def charged_for(requests: int, times: float) -> Work:
    """A minute of spilled requests that were charged so many times their list price."""
    work = Minute(0.0, spilled=requests / 60.0).work
    place = work.numbers.index(work.spilled.output_tokens) + 2
    numbers = list(work.numbers)
    numbers[place] = times * requests * REQUEST_USD * 1e9
    charged = Work(tuple(numbers))
    assert charged.spilled.cost_nano_usd == numbers[place]
    return charged


def test_until_the_pace_is_known_only_money_counts() -> None:
    """What a replica could do is assumed, so that whether the first one pays does not depend on it."""
    economy = Cost.begun(BEGIN).economy(PRICES, ServiceModel.begun(BEGIN), None)
    assert economy.rho == pytest.approx(ASSUMED_RHO)
    known = Cost.begun(BEGIN).economy(PRICES, learned(), 30.0)
    assert known.hosted_usd_per_replica_second == pytest.approx(REQUEST_USD / learned().request_work, rel=0.2)
    assert known.load_seconds == 30.0


def test_the_figures_of_a_first_burst_do_not_give_a_replica_up() -> None:
    """Twenty answers say that it is ten times as slow as would pay; what is assumed counts more than they."""
    model = learned()
    slow = replace(model, pace=Pace(0.2, 0.01, 0.01, 64.0), fit=replace(model.fit, answers=20.0))
    assert slow.request_work * PRICES.replica_usd_per_hour / 3600.0 > REQUEST_USD, "by its figures it would not pay"
    assert Cost.begun(BEGIN).economy(PRICES, slow, 30.0).rho > 1.0
    sure = replace(slow, fit=replace(model.fit, answers=2000.0))
    assert Cost.begun(BEGIN).economy(PRICES, sure, 30.0).rho < 1.0


def test_prices_are_those_of_the_api_that_is_asked_first() -> None:
    """One without a price is passed over; without any, or without a replica's, nothing is known."""
    entries = [{"name": "b", "baseURL": "https://b.test/v1", "model": "m"}, *SPEC["hosted"]]
    latency = {**SPEC["scaling"], "objective": "Latency"}
    assert prices_of(spec(hosted=entries, scaling=latency), 2.0) == Prices(2.0, 0.2, 0.8)
    assert prices_of(spec(hosted=entries[:1], scaling=latency), 2.0) is None
    assert prices_of(spec(), None) is None


def test_no_level_is_watched_above_the_highest_maximum() -> None:
    """Each takes time in every look, and a gateway that lies would have them all."""
    window = {"name": "day", "from": "09:00", "to": "10:00", "maxReplicas": 6}
    route = Route(1.0, spec(scaling={**SPEC["scaling"], "windows": [window]})).teach()
    route.run(60, 1e6)
    assert route.state.cost is not None
    assert len(route.state.cost.levels.levels) == 6

"""Overspill's own deciding in virtual time: what it learns of engines, what it pays, and when it goes to zero."""

from random import Random

import pytest

from overspill_api.modelroute import ModelRouteSpec
from overspill_operator.core.scaling.autoscaler import Reason
from overspill_planner.baselines.fixed import Static
from overspill_planner.optimum.fluid import Prices, fluid_of
from overspill_planner.profiles import PROFILES
from overspill_planner.route import Assumptions, route_of
from overspill_planner.simulator.outcome import Outcome
from overspill_planner.simulator.run import Simulation
from overspill_planner.simulator.scaling import OverspillScaler, PolicyScaler
from overspill_planner.traces.arrival import Arrival

PRICES = Prices(1.0, 0.15, 0.60)
SPEED = PROFILES["nvidia-l4"].speed
LOAD_SECONDS = 20.0


def poisson(rate: float, seconds: float, *, since: float = 0.0) -> list[Arrival]:
    """Requests by chance, with prompts and answers of some lengths."""
    random = Random(7)
    arrivals: list[Arrival] = []
    now = since + random.expovariate(rate)
    while now < since + seconds:
        arrivals.append(Arrival(now, random.choice((300, 900, 2400)), random.choice((40, 120, 260))))
        now += random.expovariate(rate)
    return arrivals


class Run:
    """One trace under one policy, with a price of replicas that makes a hosted API ``rho`` times as dear."""

    def __init__(self, arrivals: list[Arrival], rho: float, *, objective: str = "Cost", hosted: bool = True) -> None:
        api = {"name": "a", "baseURL": "https://a.test/v1", "model": "m", "price": {"input": "0.15", "output": "0.60"}}
        spec = ModelRouteSpec.model_validate(
            {
                "selfHosted": {"source": "hf://a/b", "profile": "nvidia-l4"},
                "scaling": {
                    "maxReplicas": 6, "idleAfter": "30m", "objective": objective,
                    "targets": {"timeToFirstToken": {"p95": "2s"}},
                },
                "overflow": {"timeToFirstToken": "2s"} if hosted else {},
                "hosted": [api] if hosted else [],
            }
        )  # fmt: skip
        self.arrivals = arrivals
        self.work = sum(map(SPEED.rates.work, arrivals)) / len(arrivals)
        usd = fluid_of(arrivals, SPEED.rates, PRICES).rho(PRICES) / rho
        self.route = route_of(
            spec, Assumptions(load_seconds=LOAD_SECONDS, pod_seconds=0.0, replica_usd_per_hour=usd)
        )  # fmt: skip
        self.scaler = OverspillScaler(self.route.scaling)

    def overspill(self) -> Outcome:
        """Its own scaling."""
        return Simulation(self.route.setting, self.arrivals, self.scaler).run()

    def static(self, replicas: int) -> Outcome:
        """So many all the time."""
        return Simulation(self.route.setting, self.arrivals, PolicyScaler(Static(replicas))).run()


def rate_of(replicas: float) -> float:
    """Requests a second that keep so many busy."""
    few = poisson(5.0, 200.0)
    return replicas * len(few) / sum(map(SPEED.rates.work, few))


@pytest.mark.exhaustive
def test_cost_comes_near_the_better_of_fixed_numbers() -> None:
    """Steady demand for one replica and a half, at two prices: whoever knew all of it would have chosen no better."""
    arrivals = poisson(rate_of(1.5), 900.0)
    for rho in (0.6, 4.0):
        run = Run(arrivals, rho)
        outcome = run.overspill()
        best = min(run.static(count).usd for count in (0, 2))
        assert outcome.usd < 1.2 * best
        assert outcome.slo_share > 0.99


def test_where_hosted_apis_are_cheaper_than_any_replica_next_to_nothing_is_spent_on_one() -> None:
    """Though every request wishes for one; at most it is tried once, as nobody knows yet what it does."""
    run = Run(poisson(rate_of(1.0), 600.0), rho=0.7)
    outcome = run.overspill()
    assert outcome.starts <= 1
    assert outcome.usd < 1.1 * run.static(0).usd


def test_a_replica_goes_when_traffic_is_too_sparse_to_pay_for_it() -> None:
    """A request every minute never leaves it idle for half an hour, and is cheaper elsewhere."""
    busy = poisson(rate_of(0.9), 600.0)
    sparse = [Arrival(600.0 + 60.0 * number, 900, 120) for number in range(40)]
    run = Run(busy + sparse, rho=3.0)
    run.overspill()
    assert [change.after for change in run.scaler.changes] == [1, 0]
    assert run.scaler.changes[-1].reason is Reason.COST
    assert run.scaler.changes[-1].at_unix - run.route.setting.begins_unix < 1500.0


@pytest.mark.exhaustive
def test_objectives_bring_replicas_before_requests_are_late() -> None:
    """Without a hosted API: demand doubles over some minutes, and all but a cold start's requests are in time."""
    rate = rate_of(1.0)
    ramp = [arrival for step in range(6) for arrival in poisson(rate * (0.4 + 0.3 * step), 200.0, since=200.0 * step)]
    run = Run(ramp, rho=1.0, objective="Latency", hosted=False)
    outcome = run.overspill()
    held = sum(arrival.seconds < LOAD_SECONDS + 5.0 for arrival in ramp)
    assert outcome.slo_share > 0.97 - held / outcome.requests
    reasons = [change.reason for change in run.scaler.changes]
    assert reasons[0] is Reason.FIRST_REQUEST
    assert Reason.TIME_TO_FIRST_TOKEN in reasons
    assert outcome.replica_hours < run.static(4).replica_hours


@pytest.mark.parametrize("replicas", [0.3, 0.7])
def test_what_a_request_takes_is_learned(replicas: float) -> None:
    """From counts alone, of a modelled engine: the work that it is known to be, within a fifth."""
    run = Run(poisson(rate_of(replicas), 1200.0), rho=8.0)
    run.overspill()
    service = run.scaler.state.service
    assert service is not None
    assert service.has_learned
    pace, mix = service.pace, service.mix
    assert pace is not None
    assert mix is not None
    # How many answers the fullest batch has cannot be known before it was full.
    output = pace.step_seconds / SPEED.running_max + pace.answer_seconds
    learned = mix.prompt_tokens * pace.prompt_token_seconds + mix.output_tokens * output
    assert learned == pytest.approx(run.work, rel=0.2)

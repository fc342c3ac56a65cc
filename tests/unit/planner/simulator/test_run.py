"""A trace through a route: what is counted, who scales, what is paid for, and that it is the same each time."""

import math
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from overspill_api.scaling import Scaling
from overspill_operator.core.scaling.scaling_state import ScalingPolicy
from overspill_planner.baselines.fixed import Static
from overspill_planner.baselines.hpa import HPA
from overspill_planner.baselines.kubeai import KubeAI
from overspill_planner.baselines.policy import Limits
from overspill_planner.simulator.fleet import Loading
from overspill_planner.simulator.hosted import HostedModel
from overspill_planner.simulator.outcome import Outcome, Percentiles, percentiles
from overspill_planner.simulator.run import HostedSetting, Setting, Simulation
from overspill_planner.simulator.scaling import OverspillScaler, PolicyScaler
from overspill_planner.simulator.timeline import SAMPLES
from overspill_planner.traces.arrival import Arrival
from overspill_planner.traces.drawing import lengths_of, poisson

HOSTED = HostedSetting("api", HostedModel(), input_million=1.0, output_million=2.0)
SETTING = Setting(loading=Loading(2.0, 28.0), replica_hour_usd=3.6, hosted=(HOSTED,))
LENGTHS = lengths_of([Arrival(0.0, 800, 100), Arrival(0.0, 200, 300)])
TRACE = poisson(2.0, 300.0, 1, LENGTHS)


def overspill(**scaling: object) -> OverspillScaler:
    """Overspill's own scaling."""
    fields = {"minReplicas": 0, "maxReplicas": 4, "idleAfter": "1m", "targets": {"concurrency": 16}, **scaling}
    return OverspillScaler(ScalingPolicy(Scaling.model_validate(fields)))


def through(setting: Setting = SETTING, trace: list[Arrival] = TRACE, until: float = 300.0) -> Outcome:
    """A trace through Overspill."""
    return Simulation(setting, trace, overspill()).run(until)


def test_all_requests_are_served_and_counted() -> None:
    """Hosted while the first replica loads, local from then on."""
    outcome = through()

    assert outcome.requests == len(TRACE) == sum(outcome.outcomes.values())
    assert set(outcome.outcomes) == {"hosted", "local"}
    assert outcome.reasons["ColdStart"] == pytest.approx(30 * 2, abs=25)
    assert outcome.tokens == sum(prompt + output for _, prompt, output, _ in TRACE)
    assert outcome.slo_share == 1.0
    assert outcome.first_token.p50 is not None
    assert 0.0 < outcome.first_token.p50 < 0.5


def test_the_same_seed_is_the_same_run() -> None:
    """Every request's way; another load time is another one."""
    first = through()
    assert first == through()
    assert first.digest != through(Setting(loading=Loading(2.0, 58.0), hosted=(HOSTED,))).digest


def test_replicas_are_paid_for_from_when_they_are_asked_for() -> None:
    """Two of them for 300 s at a tenth of a cent a second, and none beyond the trace."""
    outcome = Simulation(SETTING, TRACE, PolicyScaler(Static(2))).run(300.0)

    assert outcome.replica_usd == pytest.approx(0.6)
    assert outcome.replica_hours == pytest.approx(600 / 3600)
    assert outcome.starts == outcome.most == 2
    assert 0.1 <= outcome.idle_share < 0.5, "30 s of loading are a tenth of it"


def test_hosted_apis_are_paid_by_token() -> None:
    """With no replica at all, everything at the price of its tokens."""
    outcome = Simulation(SETTING, TRACE, PolicyScaler(Static(0))).run(300.0)

    usd = sum(prompt * 1e-6 + output * 2e-6 for _, prompt, output, _ in TRACE)
    assert outcome.outcomes == {"hosted": len(TRACE)}
    assert outcome.hosted_usd == pytest.approx(usd)
    assert (outcome.replica_usd, outcome.idle_share, outcome.spilled_share) == (0.0, 0.0, 1.0)
    assert outcome.first_token.p50 == outcome.first_token.p99 == pytest.approx(0.5)
    assert outcome.inter_token.p95 == pytest.approx(0.012)


def test_a_route_without_hosted_apis_holds_its_requests() -> None:
    """The first ones wait for the replica, as long as it loads, and are late."""
    outcome = through(Setting(loading=Loading(2.0, 28.0)))

    assert outcome.outcomes == {"local": len(TRACE)}
    assert outcome.first_token.p99 is not None
    assert outcome.first_token.p99 > 20.0
    assert outcome.slo_share < 0.95


def test_limits_of_a_hosted_api_hold() -> None:
    """Ten requests a minute: the others wait, and those for whom it is too long are refused."""
    limited = HostedSetting("api", HostedModel(requests_per_minute=10))
    outcome = Simulation(Setting(hosted=(limited,)), TRACE, PolicyScaler(Static(0))).run(300.0)

    assert 40 <= outcome.outcomes["hosted"] <= 80
    assert outcome.outcomes["refused"] + outcome.outcomes["hosted"] == len(TRACE)
    assert outcome.slo_share < 0.1


def test_a_replica_that_goes_finishes_what_it_has() -> None:
    """And is paid for until then: its last answer of 60 s was begun before it had to go."""
    trace = [Arrival(0.0, 10, 10), Arrival(60.0, 10, 4_500)]
    scaler = overspill(replicas=None, windows=[
        {"name": "off", "from": "00:02", "to": "23:00", "timeZone": "UTC", "maxReplicas": 0},
    ])  # fmt: skip

    outcome = Simulation(SETTING, trace, scaler).run(300.0)

    assert outcome.outcomes == {"hosted": 1, "local": 1}
    assert [change.after for change in scaler.changes] == [1, 0]
    seconds = 60.0 + 4_500 * (SETTING.speed.step_seconds + SETTING.speed.answer_seconds)
    assert outcome.replica_hours * 3600.0 == pytest.approx(seconds, abs=1.0)


def test_a_baseline_looks_at_its_own_times() -> None:
    """HPA begins with one replica and sees all that is offered, spilled requests too."""
    trace = poisson(8.0, 200.0, 1, LENGTHS)
    outcome = Simulation(SETTING, trace, PolicyScaler(HPA(Limits(1, 4), target=12.0))).run(200.0)

    assert outcome.most > 1
    assert outcome.outcomes["local"] > outcome.outcomes["hosted"]


def test_a_product_that_wakes_at_once_does() -> None:
    """KubeAI starts the first replica with the first request, not with its next look ten seconds later."""
    trace = [Arrival(5.0, 10, 10), Arrival(36.0, 10, 10)]
    outcome = Simulation(SETTING, trace, PolicyScaler(KubeAI(Limits(0, 4)))).run(60.0)

    assert outcome.outcomes == {"hosted": 1, "local": 1}
    assert outcome.replica_hours * 3600.0 == pytest.approx(35.0), "the fourth look that sees nothing takes it away"


def test_a_replica_given_up_while_it_loads_is_paid_for_until_then() -> None:
    """It never serves."""
    trace = [Arrival(0.0, 10, 10), Arrival(20.0, 10, 10)]
    scaler = overspill(windows=[
        {"name": "off", "from": "00:01", "to": "23:00", "timeZone": "UTC", "maxReplicas": 0},
    ])  # fmt: skip
    outcome = Simulation(Setting(loading=Loading(0.0, 600.0), hosted=(HOSTED,)), trace, scaler).run(120.0)

    assert outcome.outcomes == {"hosted": 2}
    assert outcome.replica_hours * 3600.0 == pytest.approx(60.0, abs=1.1)


def test_starts_differ_where_they_are_told_to() -> None:
    """Around their median, the same for the same seed; without a spread each takes as long as the others."""
    random = Random(1)
    starts = sorted(Loading(2.0, 58.0, spread=0.3).drawn(random) for _ in range(1_001))
    assert starts[500] == pytest.approx(60.0, rel=0.05)
    assert starts[950] == pytest.approx(60.0 * math.exp(1.645 * 0.3), rel=0.1)
    assert Loading(2.0, 58.0).drawn(random) == 60.0

    spread = replace(SETTING, loading=Loading(2.0, 28.0, spread=0.5))
    assert through(spread) == through(spread)
    assert through(spread).outcomes != through().outcomes
    assert through(spread).digest != through(replace(spread, seed=2)).digest


def test_percentiles_are_by_nearest_rank() -> None:
    """Of 1 to 100: 50, 95, 99; of nothing: none."""
    assert percentiles([float(value) for value in range(100, 0, -1)]) == Percentiles(50.0, 95.0, 99.0)
    assert percentiles([3.0]) == Percentiles(3.0, 3.0, 3.0)
    assert percentiles([]) == Percentiles(None, None, None)


def test_a_trace_without_requests_costs_its_least_replicas() -> None:
    """And nothing is late."""
    outcome = Simulation(SETTING, [], overspill(minReplicas=1)).run(100.0)

    assert outcome.replica_usd == pytest.approx(0.1)
    assert outcome.slo_share == 1.0


def test_a_run_is_looked_at_while_it_goes() -> None:
    """From its first moment to its last; what was paid and done grows to what came of it all."""
    shares: list[float] = []
    simulation = Simulation(SETTING, TRACE, overspill(), shares.append)
    outcome = simulation.run(300.0)
    first, last = simulation.samples[0], simulation.samples[-1]

    assert (first.seconds, last.seconds, len(simulation.samples)) == (0.0, 300.0, SAMPLES + 1)
    assert (last.replica_usd, last.hosted_usd) == pytest.approx((outcome.replica_usd, outcome.hosted_usd), abs=0.01)
    assert len(TRACE) - 30 < last.local + last.hosted <= len(TRACE), "the last ones are still under way"
    for before, after in pairwise(simulation.samples):
        assert (before.usd, before.local, before.hosted) <= (after.usd, after.local, after.hosted)
    waking = [sample for sample in simulation.samples if sample.seconds == 15.0]
    assert [(sample.wanted, sample.ready) for sample in waking] == [(1, 0)], "a replica loads for 30 s"
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

"""Replicas that objectives of latency need: before requests are late, and not more than that."""

from dataclasses import replace

import pytest

from overspill_api.scaling import Scaling
from overspill_operator.core.demand.recent_work import SeenWork
from overspill_operator.core.demand.traffic import Coverage, Demand
from overspill_operator.core.scaling.autoscaler import Need, Signal
from overspill_operator.core.scaling.latency import REPLICAS_MOST, Correction, Objectives, is_late, needs_of
from overspill_operator.core.scaling.scaling_state import Observation, ScalingPolicy, ScalingState
from overspill_operator.core.scaling.service_model import ServiceModel
from unit.operator_.core.scaling.routes_seen import BEGIN, Minute, learned

TWO_SECONDS = Objectives(first_token_seconds=2.0)
SIXTY_MS = Objectives(inter_token_seconds=0.06)


def need(model: ServiceModel, objectives: Objectives = TWO_SECONDS, replicas: int = 1, load: float = 0.0) -> Need:
    """The only one."""
    (only,) = needs_of(model, objectives, Correction(), replicas, load)
    return only


def test_more_requests_need_more_replicas() -> None:
    """Never fewer, and never below what the work itself takes."""
    before = 0
    for rate in (0.5, 2.0, 5.0, 8.0, 12.0, 20.0, 40.0):
        model = learned(rate)
        needed = need(model).replicas
        assert needed >= before
        assert needed >= rate * model.request_work
        before = needed
    assert before > 4


def test_a_replica_is_called_for_before_first_tokens_are_late() -> None:
    """At the rate where another is called for the prediction is still below the target."""
    for tenth in range(10, 200):
        called = need(learned(tenth / 10.0))
        if called.replicas == 2:
            break
    assert called.signal is Signal.TIME_TO_FIRST_TOKEN
    assert "with 1 replica (target 2 s): 2 needed." in called.message
    assert called.message.startswith(("p95 TTFT is predicted at 1.", "p95 TTFT is not to be kept"))


def test_one_fewer_must_be_well_enough() -> None:
    """Between the need on the way up and that on the way down the number stays."""
    kept = [need(learned(tenth / 10.0)) for tenth in range(10, 300, 6)]
    assert all(one.least >= one.replicas for one in kept)
    assert any(one.least > one.replicas for one in kept)


def test_time_between_tokens_is_an_objective_as_well() -> None:
    """More in the batch makes everybody's tokens later."""
    slow = need(learned(7.0), SIXTY_MS)
    assert slow.signal is Signal.INTER_TOKEN_LATENCY
    assert slow.replicas > need(learned(1.0), SIXTY_MS).replicas == 1
    assert "p95 ITL is" in slow.message
    assert "(target 60 ms)" in slow.message


def test_what_no_number_of_replicas_can_keep_asks_for_no_more_than_the_load() -> None:
    """A target below what an idle replica takes."""
    assert need(learned(1.0), Objectives(first_token_seconds=0.01)).replicas == 1


def test_a_rate_that_rises_is_carried_on_while_a_replica_loads() -> None:
    """What will have come by then counts; a rate that only trembles does not rise."""
    rises, steady = learned(6.0, slow=2.0), learned(6.0)
    assert need(rises, load=120.0).replicas > need(steady, load=120.0).replicas
    assert need(rises, load=120.0).replicas >= need(rises, load=5.0).replicas


def test_nothing_is_needed_of_objectives_before_the_pace_is_known() -> None:
    """Concurrency is the fallback."""
    assert needs_of(ServiceModel.begun(BEGIN), TWO_SECONDS, Correction(), 1, 0.0) == ()


def test_no_request_needs_no_replica() -> None:
    """Whatever the objective."""
    assert need(learned(0.0)).replicas == 0


def test_what_was_measured_corrects_what_is_predicted() -> None:
    """Percentiles that are later than predicted: within bounds, minute by minute, and not by what spilled meanwhile."""
    model, minute = learned(4.0), Minute(4.0)
    later = Correction()
    for _ in range(30):
        later = later.measured(model, minute.work, 60.0, 1)
    once = Correction().measured(model, minute.work, 60.0, 1)
    assert later.first_token == pytest.approx(0.5, rel=0.01)
    assert later.first_token < once.first_token < 1.0, "its prompts are all alike, so that its p95 is early"
    spilling = replace(minute, spilled=4.0)
    assert Correction().measured(model, spilling.work, 60.0, 1) == Correction()


def test_never_more_replicas_are_needed_than_a_spec_may_allow() -> None:
    """Whatever gateways count: a number of more than 64 bits would keep the API server from taking the status."""
    (flood,) = needs_of(learned(1e30), TWO_SECONDS, Correction(), 1, 0.0)
    assert (flood.replicas, flood.least) == (REPLICAS_MOST, REPLICAS_MOST)


def test_a_minute_that_was_late_lets_no_replica_go() -> None:
    """Whatever is predicted; as soon as a minute was in time it may."""
    minute = Minute(4.0)
    assert not is_late(TWO_SECONDS, minute.work)
    assert is_late(Objectives(first_token_seconds=0.05), minute.work)
    assert not is_late(SIXTY_MS, minute.work)
    for target, after in (("50ms", 3), ("2s", 1)):
        scaling = Scaling.model_validate({"maxReplicas": 3, "targets": {"timeToFirstToken": {"p95": target}}})
        policy = ScalingPolicy(scaling)
        state = ScalingState.begun(BEGIN, known=[3]).accept(policy, generation=1, now_unix=BEGIN)
        state = replace(state, service=learned())
        now, came = learned().heard_unix, learned().arrivals or 0.0
        for number in range(60):
            demand = Demand(Coverage.COMPLETE, 4, quiet_since_unix=now, last_arrival_unix=now)
            seen = SeenWork(60.0, minute.work, arrivals_so_far=came + 8.0 * number)
            state = state.decide(Observation(demand, ready=3, work=seen), now + 2.0 * number).state
        assert state.replicas == after

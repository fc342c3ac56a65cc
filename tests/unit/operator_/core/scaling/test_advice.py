"""What another autoscaler is advised: by Overspill's own rules, over time, and only where another one decides."""

from overspill_api.scaling import Scaling
from overspill_operator.core.demand.traffic import Coverage, Demand
from overspill_operator.core.scaling.advice import Advice, advised, advising
from overspill_operator.core.scaling.scaling_state import Observation, ScalingPolicy, ScalingState

NOW = 1_700_000_000.0


def policy(**scaling: object) -> ScalingPolicy:
    """Of at most four replicas that another autoscaler scales."""
    usual = {"autoscaler": "External", "replicas": 1, "maxReplicas": 4, "targets": {"concurrency": 10}}
    return ScalingPolicy(Scaling.model_validate({**usual, **scaling}))


def following(**scaling: object) -> ScalingState:
    """A route that follows it."""
    return ScalingState.begun(NOW, known=[1]).accept(policy(**scaling), generation=1, now_unix=NOW)


def busy(in_flight: int, ready: int = 1) -> Observation:
    """So many requests, the last one just now."""
    return Observation(Demand(Coverage.COMPLETE, in_flight=in_flight, last_arrival_unix=NOW), ready=ready)


def test_it_is_what_overspill_would_run() -> None:
    """More at once, within its bounds; less after a minute, as ever."""
    state, advice = following(), None
    steps: list[int] = []
    for second, in_flight in [(0, 25), (1, 99), (2, 5), (30, 5), (70, 5)]:
        advice = advised(advice, state, busy(in_flight, ready=4), NOW + second)
        assert advice is not None
        steps.append(advice.replicas)
    assert steps == [3, 4, 4, 4, 1]


def test_it_says_why() -> None:
    """With the needs of each signal, for status."""
    advice = advised(None, following(), busy(25), NOW)
    assert advice is not None
    assert advice.decision is not None
    assert [(need.signal.value, need.replicas) for need in advice.decision.needs] == [("Concurrency", 3)]


def test_it_goes_on_while_scaling_is_paused() -> None:
    """A pause keeps the number that there is; what it should be may be looked at all the same."""
    advice = advised(None, following(paused=True), busy(25), NOW)
    assert advice is not None
    assert advice.replicas == 3


def test_there_is_none_where_overspill_decides() -> None:
    """Nor of a route without an engine; one from before is forgotten."""
    before = advised(None, following(), busy(25), NOW)
    assert isinstance(before, Advice)
    own = following(autoscaler="Overspill", replicas=None)
    assert advised(before, own, busy(25), NOW) is None
    assert advising(ScalingPolicy(policy().scaling, has_engine=False)) is None


def test_another_spec_counts_at_once() -> None:
    """Its bounds are those of the spec in force."""
    before = advised(None, following(), busy(99), NOW)
    lower = following(maxReplicas=2)
    after = advised(before, lower, busy(99), NOW + 1)
    assert after is not None
    assert after.replicas == 2

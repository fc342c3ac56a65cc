"""What status says, case by case, and when it is worth writing."""

from typing import Any

from overspill_api.status import ModelRouteStatus, Spend
from overspill_operator.core.demand.traffic import Coverage
from overspill_operator.core.engine_state import EngineState
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.pod_problems import PodProblem
from overspill_operator.core.route_status import ScalingFacts, TrafficFigures, status_document
from overspill_operator.core.scaling.autoscaler import Rules
from overspill_operator.core.scaling.windows import Bounds
from overspill_operator.core.status_changes import same, transitions, urgent_part
from unit.operator_.core.builders import route

ENGINE = "selfHosted: {source: hf://a/b, profile: cpu}"
HOSTED = "hosted: [{name: api, baseURL: 'https://x.test', model: m}]"
NOW = 1_800_000_000.0
Json = dict[str, Any]


def facts(desired: int = 1, maximum: int = 2, **changes: Any) -> ScalingFacts:
    """Scaling as it usually is."""
    bounds = Bounds(0, maximum, changes.pop("windows", ()), None)
    rules = Rules(
        changes.pop("fixed", None), changes.pop("external", False), bounds, 1, 1, 1.0, 1.0,
        paused=changes.pop("paused", False),
    )  # fmt: skip
    usual: Json = {"coverage": Coverage.COMPLETE, "gateways": 1, "starting": False, "queue_unread": ""}
    return ScalingFacts(desired=desired, rules=rules, **(usual | changes))


def document(subject: str | RouteObject, **changes: Any) -> Json:
    """The status of a route in which nothing is wrong, unless said otherwise."""
    usual: Json = {
        "faults": (),
        "engine": EngineState(exists=True),
        "problem": None,
        "scaling": None,
        "usable_hosted": frozenset(),
        "traffic": None,
        "decisions": [],
        "url": "http://gateway/v1",
        "now_unix": NOW,
    }
    return status_document(route(subject) if isinstance(subject, str) else subject, **(usual | changes))


def says(status: Json, kind: str) -> tuple[str, str] | None:
    """Status and reason of a condition."""
    found = [(c["status"], c["reason"]) for c in status["conditions"] if c["type"] == kind]
    return found[0] if found else None


def test_a_ready_replica_makes_it_ready() -> None:
    """And figures are shown."""
    status = document(ENGINE, engine=EngineState(exists=True, replicas=2, ready=1), scaling=facts(2))
    assert says(status, "Ready") == says(status, "EngineAvailable") == ("True", "ReplicasReady")
    assert (status["replicas"], status["readyReplicas"], status["desiredReplicas"]) == (2, 1, 2)
    ModelRouteStatus.model_validate({k: v for k, v in status.items() if v is not None})


def test_zero_is_ready_where_a_request_wakes() -> None:
    """Not where a window or a fixed number holds it there."""
    assert says(document(ENGINE, scaling=facts(0)), "Ready") == ("True", "ScaledToZero")
    assert says(document(ENGINE, scaling=facts(0, 0, windows=("night",))), "Ready") == ("False", "ScaledToZero")
    assert says(document(ENGINE, scaling=facts(0, fixed=0)), "Ready") == ("False", "ScaledToZero")


def test_status_says_that_scaling_is_paused() -> None:
    """And, at zero, that a request wakes nothing: such a route is not ready unless a hosted API stands in."""
    running = document(ENGINE, scaling=facts(2, fixed=2, paused=True), engine=EngineState(exists=True, ready=2))
    assert says(running, "ScalingActive") == ("False", "Paused")
    assert says(running, "Ready") == ("True", "ReplicasReady")
    asleep = document(ENGINE, scaling=facts(0, fixed=0, paused=True))
    assert says(asleep, "ScalingActive") == ("False", "Paused")
    assert says(asleep, "Ready") == ("False", "ScaledToZero")
    assert "spec.scaling.paused" in next(c["message"] for c in asleep["conditions"] if c["type"] == "Ready")
    spilling = document(
        f"{{{ENGINE}, {HOSTED}}}", scaling=facts(0, fixed=0, paused=True), usable_hosted=frozenset({"api"})
    )
    assert says(spilling, "Ready") == ("True", "HostedStandsIn")


def test_status_says_that_another_autoscaler_decides() -> None:
    """Also while its first number is being written, and where it holds the engine at zero."""
    for fixed in (None, 0, 2):
        status = document(ENGINE, scaling=facts(fixed or 0, fixed=fixed, external=True))
        assert says(status, "ScalingActive") == ("False", "ExternalAutoscaler")
    at_zero = document(ENGINE, scaling=facts(0, fixed=0, external=True))
    engine = next(c for c in at_zero["conditions"] if c["type"] == "EngineAvailable")
    assert "spec.scaling.autoscaler is External" in engine["message"]


def test_an_engine_that_did_not_start_is_not_ready_at_zero() -> None:
    """The next request tries again, and may find the same: that is no promise of an answer."""
    status = document(ENGINE, scaling=facts(0, start_failed=True))
    assert says(status, "EngineAvailable") == says(status, "Ready") == ("False", "StartTimeout")
    status = document(f"{{{ENGINE}, {HOSTED}}}", scaling=facts(0, start_failed=True), usable_hosted=frozenset({"api"}))
    assert says(status, "Ready") == ("True", "HostedStandsIn")


def test_figures_that_are_not_believed_are_told() -> None:
    """With the gateway and the field."""
    status = document(ENGINE, scaling=facts(doubts="g1: held is below 0"))
    assert says(status, "MetricsAvailable") == ("False", "FiguresNotBelieved")
    assert any("g1: held is below 0" in condition["message"] for condition in status["conditions"])


def test_loading_is_not_ready_unless_a_hosted_api_stands_in() -> None:
    """Ready means that a request will be answered."""
    assert says(document(ENGINE, scaling=facts()), "Ready") == ("False", "Loading")
    both = document(f"{{{ENGINE}, {HOSTED}}}", scaling=facts(), usable_hosted=frozenset({"api"}))
    assert says(both, "Ready") == ("True", "HostedStandsIn")
    assert says(both, "EngineAvailable") == ("False", "Loading")


def test_a_hosted_route_speaks_of_no_engine() -> None:
    """Conditions that do not apply are absent."""
    status = document(HOSTED, usable_hosted=frozenset({"api"}))
    assert says(status, "Ready") == ("True", "HostedAvailable")
    assert {c["type"] for c in status["conditions"]} == {"Ready", "HostedAvailable", "Programmed", "SpecEnforced"}
    assert status["desiredReplicas"] is None


def test_a_fault_of_the_spec_wins_over_what_runs() -> None:
    """The message holds all of them and says what stays."""
    wrong = (
        Fault(FaultReason.PROFILE_NOT_FOUND, "No profile."),
        Fault(FaultReason.CREDENTIALS_MISSING, "No Secret."),
    )
    running = EngineState(exists=True, replicas=1, ready=1)
    status = document(f"{{{ENGINE}, {HOSTED}}}", faults=wrong, engine=running, scaling=facts())
    assert says(status, "Ready") == ("False", "ProfileNotFound")
    message = status["conditions"][0]["message"]
    assert message == "No profile. No Secret. Until then the last good configuration stays in force."
    assert says(status, "EngineAvailable") == ("False", "ProfileNotFound")
    assert says(status, "HostedAvailable") == ("False", "CredentialsMissing")


def test_why_it_does_not_start() -> None:
    """A problem of a pod, or of making pods, replaces the hope that it loads."""
    problem = PodProblem("Unschedulable", "no node")
    assert says(document(ENGINE, scaling=facts(), problem=problem), "EngineAvailable") == ("False", "Unschedulable")
    refused = EngineState(exists=True, refused="quota")
    assert says(document(ENGINE, scaling=facts(), engine=refused), "EngineAvailable") == ("False", "PodsRefused")


def test_metrics() -> None:
    """Each gap has its reason; a start keeps what was said before."""

    def metrics(**changes: Any) -> tuple[str, str] | None:
        return says(document(ENGINE, scaling=facts(**changes)), "MetricsAvailable")

    assert metrics() == ("True", "GatewaysReport")
    assert metrics(queue_unread="No.") == ("False", "EngineMetricsMissing")
    assert metrics(coverage=Coverage.NONE, gateways=0) == ("False", "NoGateways")
    assert metrics(coverage=Coverage.NONE) == ("False", "GatewaysSilent")
    assert metrics(coverage=Coverage.PARTIAL) == ("False", "GatewaySilent")
    assert metrics(coverage=Coverage.NONE, starting=True) == ("Unknown", "Starting")
    before = document(ENGINE, scaling=facts())
    again = document(route(ENGINE, status=before), scaling=facts(coverage=Coverage.NONE, starting=True))
    assert says(again, "MetricsAvailable") == ("True", "GatewaysReport")


def test_a_condition_keeps_the_time_at_which_it_changed() -> None:
    """The same status later is the same condition; another one has its own time."""
    before = document(ENGINE, scaling=facts(0))
    same_later = document(route(ENGINE, status=before), scaling=facts(0), now_unix=NOW + 100)
    assert same(before, same_later)
    woken = document(route(ENGINE, status=before), scaling=facts(1), now_unix=NOW + 100)
    times = {c["type"]: c["lastTransitionTime"] for c in woken["conditions"]}
    assert times["Ready"] != times["EngineAvailable"] == before["conditions"][0]["lastTransitionTime"]


def test_figures_are_kept_until_there_are_newer_ones() -> None:
    """Between samples status shows the last."""
    figures = TrafficFigures("local 100%", NOW - 30, Spend(usd="1.00"))
    before = document(ENGINE, scaling=facts(0), traffic=figures)
    assert before["servedBy"] == "local 100%"
    assert before["lastRequestTime"].endswith(":00Z")
    later = document(route(ENGINE, status=before), scaling=facts(0), now_unix=NOW + 20)
    assert same(before, later)


def test_zero_replicas_are_a_number() -> None:
    """`kubectl get mr` shows 0, not nothing; an empty list is as good as none."""
    assert not same({}, {"replicas": 0})
    assert same({}, {"decisions": []})


def test_what_is_urgent() -> None:
    """Reasons, decisions and wanted numbers at once; counts and figures may gather."""
    before = document(ENGINE, scaling=facts(2), engine=EngineState(exists=True, replicas=1, ready=1))
    counts = document(ENGINE, scaling=facts(2), engine=EngineState(exists=True, replicas=2, ready=2))
    woken = document(ENGINE, scaling=facts(1), engine=EngineState(exists=True, replicas=1, ready=1))
    assert urgent_part(before) == urgent_part(counts)
    assert urgent_part(before) != urgent_part(woken)


def test_what_is_worth_an_event() -> None:
    """Faults and their mending; not that an engine sleeps, loads or wakes."""
    asleep = document(ENGINE, scaling=facts(0))
    loading = document(ENGINE, scaling=facts(1))
    wrong = document(ENGINE, scaling=facts(0), faults=(Fault(FaultReason.PROFILE_NOT_FOUND, "No."),))
    assert transitions({}, asleep) == []
    assert transitions(asleep, loading) == []
    assert [(c["reason"], warning) for c, warning in transitions(asleep, wrong)] == [("ProfileNotFound", True)]
    assert transitions(wrong, wrong) == []
    assert [(c["type"], warning) for c, warning in transitions(wrong, asleep)] == [("Ready", False)]


def test_fields_without_effect() -> None:
    """Named, so that nobody believes in them."""
    full = f"""{{{ENGINE}, cache: {{ttl: 1m}}, overflow: {{timeToFirstToken: 1s}}, budget: {{limit: "1"}},
      scaling: {{objective: Cost, targets: {{timeToFirstToken: {{p95: 1s}}}}}},
      rateLimit: {{perConsumer: {{requestsPerMinute: 1}}}},
      hosted: [{{name: a, baseURL: 'https://x.test', model: m, limits: {{concurrency: 1}},
        price: {{input: "1", output: "1"}}}}]}}"""
    status = document(full, scaling=facts(0), usable_hosted=frozenset({"a"}))
    assert says(status, "SpecEnforced") == ("False", "FieldsNotEnforced")
    message = status["conditions"][-1]["message"]
    paths = {"spec.cache"}
    assert set(message.partition(": ")[2].rstrip(".").split(", ")) == paths


def test_a_person_who_waits_for_a_load_is_told_how_long_it_takes() -> None:
    """As a rule, by the last starts; and status has where their time went."""
    loading = document(ENGINE, scaling=facts(1), load_time={"seconds": 74.0})
    (told,) = [c["message"] for c in loading["conditions"] if c["type"] == "EngineAvailable"]
    assert told == "Starting or loading the model: 1 replica. A start takes 74 s as a rule."
    assert loading["loadTime"] == {"seconds": 74.0}
    assert document(ENGINE, scaling=facts(1))["loadTime"] is None

"""Plans: what shall be, and what is wrong, from a route and its world."""

import json

import pytest

from overspill_operator.core.credentials import why_unread
from overspill_operator.core.engine_access import EngineAccess
from overspill_operator.core.faults import FaultReason
from overspill_operator.core.plan import plan_route
from unit.operator_.core.builders import objects, route, world

ENGINE = "selfHosted: {source: hf://a/b, profile: cpu}"


def test_a_good_route_has_an_engine_a_service_and_a_document() -> None:
    """Nothing wrong, everything planned."""
    plan = plan_route(route(ENGINE), world(replicas=2))
    assert plan.faults == ()
    deployment = objects(plan).deployment
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 2
    assert objects(plan).service is not None
    assert plan.document is not None
    assert not objects(plan).remove_engine


def test_a_hosted_route_has_no_engine() -> None:
    """And whatever engine there was is to go."""
    plan = plan_route(route("hosted: [{name: a, baseURL: 'https://x.test', model: m}]"), world(api_keys={"a": None}))
    assert (objects(plan).deployment, objects(plan).service) == (None, None)
    assert objects(plan).remove_engine
    assert objects(plan).remove_claim


def test_a_spec_that_cannot_be_read_changes_nothing() -> None:
    """Every wrong field is named by its path."""
    plan = plan_route(route("{model: 'no spaces', selfHosted: {source: ftp://x, profile: cpu}}"), world())
    fault = plan.faults[0]
    assert fault.reason is FaultReason.INVALID_SPEC
    assert "spec.model" in fault.message
    assert "spec.selfHosted.source" in fault.message
    assert (objects(plan).deployment, plan.document, objects(plan).remove_engine) == (None, None, False)


def test_faults_of_the_spec_are_all_told_and_nothing_is_planned() -> None:
    """Profile, zone, argument, and what is missing beside the spec."""
    bad = """
    selfHosted: {source: hf://a/b, profile: none, args: [--port=1], sourceSecretName: s}
    scaling: {windows: [{name: w, from: "00:00", to: "01:00", timeZone: Mars/Base, minReplicas: 1}]}
    hosted: [{name: a, baseURL: "https://x.test", model: m, credentials: {secretName: c}}]
    """
    plan = plan_route(route(bad), world(source_secret_problem="no", missing_credentials={"a": "no Secret c."}))
    assert {fault.reason for fault in plan.faults} == {
        FaultReason.UNKNOWN_TIME_ZONE,
        FaultReason.RESERVED_ARGUMENT,
        FaultReason.PROFILE_NOT_FOUND,
        FaultReason.SOURCE_SECRET_MISSING,
        FaultReason.CREDENTIALS_MISSING,
    }
    assert (objects(plan).deployment, objects(plan).service, plan.document) == (None, None, None)


def test_what_is_wrong_with_a_source_secret_is_told() -> None:
    """That it is missing, or that the operator may not read it: never the one for the other."""
    secret = "selfHosted: {source: hf://a/b, profile: cpu, sourceSecretName: s}"
    problem = why_unread("s", "chat", 403, 'secrets "s" is forbidden: no.')
    (fault,) = plan_route(route(secret), world(source_secret_problem=problem)).faults
    assert fault.message == (
        "spec.selfHosted.sourceSecretName: the operator may not read Secret 's': its account needs the right to get "
        "secrets in namespace chat, which the chart's roles give in every namespace of the release "
        '(operator.watchNamespaces). The API server says: secrets "s" is forbidden: no.'
    )
    assert why_unread("s", "chat", 500, "etcd.") == "Secret 's' cannot be read: etcd"


def test_a_missing_source_secret_keeps_the_engine_and_not_the_route() -> None:
    """Hosted requests go on; an engine that does not exist cannot be woken, one that does still can."""
    secret = "selfHosted: {source: hf://a/b, profile: cpu, sourceSecretName: s}"
    new = plan_route(route(secret), world(source_secret_problem="no"))
    assert objects(new).deployment is None
    assert new.document is not None
    assert json.loads(new.document)["local"]["may_wake"] is False
    assert json.loads(new.document)["local"]["refused"] is True
    old = plan_route(route(secret), world(source_secret_problem="no", live_engine={}))
    assert old.document is not None
    assert json.loads(old.document)["local"]["may_wake"] is True
    assert json.loads(old.document)["local"]["refused"] is False


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("podTemplate: {spec: {containers: no}}", FaultReason.INVALID_POD_TEMPLATE),
        (
            "podTemplate: {spec: {containers: [{name: engine, env: [{name: VLLM_API_KEY, value: x}]}]}}",
            FaultReason.RESERVED_ARGUMENT,
        ),
    ],
)
def test_an_engine_whose_form_is_wrong_keeps_what_protects_the_one_that_runs(wrong: str, reason: FaultReason) -> None:
    """Its NetworkPolicy, its disruption budget; and a cache that is not wanted any more goes."""
    spec = f"selfHosted: {{source: hf://a/b, profile: cpu, {wrong}}}"
    plan = plan_route(route(spec), world(live_engine={}, engine_access=EngineAccess("overspill-system")))
    assert [fault.reason for fault in plan.faults] == [reason]
    made = objects(plan)
    assert (made.deployment, made.service, made.remove_engine, made.remove_claim) == (None, None, False, True)
    assert made.disruption_budget is not None
    assert made.network_policy is not None
    assert plan.document is not None


def test_a_name_too_long_for_a_service() -> None:
    """Refused with the limit and the way out, before Kubernetes refuses it in its own words."""
    assert plan_route(route(ENGINE, name="a" * 56), world()).faults == ()
    for name in ("a" * 57, "with.dot"):
        fault = plan_route(route(ENGINE, name=name), world()).faults[0]
        assert fault.reason is FaultReason.INVALID_NAME
        assert "spec.model" in fault.message
    hosted = "hosted: [{name: a, baseURL: 'https://x.test', model: m}]"
    assert plan_route(route(hosted, name="with.dot"), world(api_keys={"a": None})).faults == ()


def test_a_lost_model_name_keeps_the_last_good_document_unless_it_holds_that_name() -> None:
    """Two documents with one name would leave it to chance who serves."""
    keeper = route(ENGINE, name="elder")
    loser = route("{model: wanted, selfHosted: {source: hf://a/b, profile: cpu}}")
    edited = plan_route(loser, world(lost_names={"wanted": keeper}, compiled_names=frozenset({"old-name"})))
    assert not edited.drop_document
    overtaken = plan_route(loser, world(lost_names={"wanted": keeper}, compiled_names=frozenset({"wanted"})))
    assert overtaken.drop_document
    assert overtaken.document is None


def test_a_lost_alias_leaves_the_rest_in_force() -> None:
    """The route's own name is served, and the conflict is said."""
    loser = route("{aliases: [wanted], selfHosted: {source: hf://a/b, profile: cpu}}")
    plan = plan_route(loser, world(lost_names={"wanted": route(ENGINE, name="elder")}))
    assert plan.faults[0].reason is FaultReason.MODEL_NAME_CONFLICT
    assert plan.document is not None
    assert json.loads(plan.document)["aliases"] == []
    assert objects(plan).deployment is not None


def test_a_drain_may_take_the_only_replica_where_hosted_apis_stand_in() -> None:
    """Elsewhere half of them stay, rounded up; a person's own budget has no second one beside it."""

    def bounds(spec: str, **changes: object) -> dict[str, object] | None:
        budget = objects(plan_route(route(spec), world(**changes))).disruption_budget
        return {k: v for k, v in budget["spec"].items() if k.startswith("m")} if budget else None

    hosted = "hosted: [{name: a, baseURL: 'https://x.test', model: m}]"
    assert bounds(ENGINE) == {"minAvailable": "50%"}
    assert bounds(f"{{{ENGINE}, {hosted}}}", api_keys={"a": None}) == {"maxUnavailable": 1}
    assert bounds(f"{{{ENGINE}, {hosted}}}") == {"minAvailable": "50%"}
    held = f"{{{ENGINE}, {hosted}, overflow: {{onColdStart: Hold}}}}"
    assert bounds(held, api_keys={"a": None}) == {"minAvailable": "50%"}
    assert bounds(hosted, api_keys={"a": None}) is None
    assert bounds("selfHosted: {source: hf://a/b, profile: cpu, disruptionBudget: None}") is None


def test_an_unknown_time_zone_of_a_budget_is_told() -> None:
    """As of a window: the gateways could not say when its period begins, and would not use the hosted APIs."""
    entry = "{name: a, baseURL: 'https://x.test', model: m, price: {input: '1', output: '1'}}"
    for zone, is_known in (("Mars/Phobos", False), ("America", False), ("Europe/Berlin", True)):
        spec = f"{{hosted: [{entry}], budget: {{limit: '5', timeZone: {zone}}}}}"
        plan = plan_route(route(spec), world(api_keys={"a": None}))
        assert [fault.reason for fault in plan.faults] == ([] if is_known else [FaultReason.UNKNOWN_TIME_ZONE])
        assert all(f"spec.budget.timeZone: '{zone}' is no time zone" in fault.message for fault in plan.faults)

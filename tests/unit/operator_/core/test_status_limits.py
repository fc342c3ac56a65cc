"""A status is cut to what the CRD's schema takes, whatever it is made of."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from overspill_api.status import ConsumerStatus, ModelRouteStatus
from overspill_operator.core.budget_status import BudgetReport
from overspill_operator.core.demand.traffic import Coverage
from overspill_operator.core.engine_state import EngineState
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.gateway_refusals import Refusal
from overspill_operator.core.hosted_health import HostedReport
from overspill_operator.core.route_status import GatewayFacts, ScalingFacts, status_document
from overspill_operator.core.scaling.autoscaler import Rules
from overspill_operator.core.scaling.windows import Bounds
from overspill_operator.core.status_limits import CONSUMER_STATUS, INTEGER_MAX, ROUTE_STATUS, fitted
from unit.operator_.core.builders import route

NOW = 1_800_000_000.0
AT = "2026-01-01T00:00:00Z"
CONDITION = {"type": "Ready", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": AT}


def accepted(status: dict[str, Any], model: type[ModelRouteStatus] | type[ConsumerStatus] = ModelRouteStatus) -> None:
    """What the API server checks: the types, and that it is text in UTF-8."""
    model.model_validate_json(json.dumps({name: value for name, value in status.items() if value is not None}))
    json.dumps(status, ensure_ascii=False).encode()
    for name in ("replicas", "readyReplicas", "desiredReplicas"):
        assert status.get(name) is None or abs(status[name]) <= INTEGER_MAX


def test_what_fits_stays_as_it_is() -> None:
    """Also None, which takes a field away in a merge patch."""
    status = {"observedGeneration": 3, "conditions": [CONDITION], "replicas": None, "url": "http://g/v1"}
    assert fitted(status, ROUTE_STATUS) == status


def test_each_kind_of_excess_is_cut_by_itself() -> None:
    """Long texts end in dots, lists lose their last items, what cannot be is left out, the rest stays."""
    decision = {"time": "2026-01-01T00:00:00Z", "from": -1, "to": 2, "reason": "x" * 100, "message": "y" * 5000}
    status = {
        "observedGeneration": 10**30,
        "conditions": [
            {**CONDITION, "message": "\ud83d" + "z" * 40_000},
            CONDITION,
            {**CONDITION, "type": "Other", "status": "Maybe"},
        ],
        "decisions": [decision] * 12 + ["none"],
        "lastRequestTime": "yesterday",
        "unknown": 1,
        "desiredReplicas": float("nan"),
    }
    cut = fitted(status, ROUTE_STATUS)
    accepted(cut)
    assert cut["observedGeneration"] == INTEGER_MAX
    assert [condition["type"] for condition in cut["conditions"]] == ["Ready"]
    assert len(cut["conditions"][0]["message"]) == 32768
    assert cut["conditions"][0]["message"].endswith("z...")
    assert len(cut["decisions"]) == 10
    assert (cut["decisions"][0]["from"], len(cut["decisions"][0]["reason"])) == (0, 64)
    assert (cut["lastRequestTime"], cut["desiredReplicas"]) == (None, None)
    assert "unknown" not in cut


def test_cutting_twice_cuts_nothing_more() -> None:
    """So that a status that was cut is not taken for a changed one for ever."""
    once = fitted({"conditions": [{**CONDITION, "message": "z" * 40_000}]}, ROUTE_STATUS)
    assert fitted(once, ROUTE_STATUS) == once


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
conditions = st.lists(
    st.fixed_dictionaries({name: anything | st.just(value) for name, value in CONDITION.items()}) | anything
)


@given(st.dictionaries(st.sampled_from(sorted(ROUTE_STATUS["properties"])), anything), conditions)
def test_whatever_is_said_is_accepted(status: dict[str, Any], several: list[Any]) -> None:
    """By the schema of ModelRoutes and of Consumers alike."""
    accepted(fitted({**status, "conditions": several}, ROUTE_STATUS))
    accepted(fitted({"observedGeneration": 1, "conditions": several}, CONSUMER_STATUS), ConsumerStatus)


numbers = st.integers(-(10**30), 10**30)


@given(
    faults=st.lists(st.builds(Fault, st.sampled_from(FaultReason), st.text(max_size=9000))),
    engine=st.builds(EngineState, replicas=numbers, ready=numbers, refused=st.text()),
    desired=numbers,
    words=st.text(max_size=9000),
    gateways=st.builds(
        GatewayFacts,
        hosted=st.tuples(st.builds(HostedReport, st.just("a"), failing=numbers, asked=numbers)),
        refusal=st.none() | st.builds(Refusal, st.text(max_size=9000), numbers, numbers),
        budget=st.none() | st.builds(BudgetReport, st.just(NOW), numbers, numbers, numbers, numbers),
    ),
)
def test_a_status_of_any_faults_and_numbers_is_accepted(
    faults: list[Fault], engine: EngineState, desired: int, words: str, gateways: GatewayFacts
) -> None:
    """Whatever kubelets, providers and gateways say."""
    spec = """{selfHosted: {source: hf://a/b, profile: cpu}, budget: {limit: "1"},
      hosted: [{name: a, baseURL: 'https://x.test', model: m, price: {input: "1", output: "1"}}]}"""
    rules = Rules(None, False, Bounds(0, 2, (words,), None), 1, 1, 1.0, 1.0)
    document = status_document(
        route(spec),
        faults=tuple(faults),
        engine=engine,
        problem=None,
        scaling=ScalingFacts(desired, rules, Coverage.COMPLETE, 1, False, words, words, False),
        usable_hosted=frozenset({"a"}),
        traffic=None,
        gateways=gateways,
        decisions=[{"time": "2026-01-01T00:00:00Z", "from": desired, "to": desired, "reason": words, "message": words}],
        url="http://g/v1",
        now_unix=NOW,
    )
    try:
        accepted(fitted(document, ROUTE_STATUS))
    except ValidationError as error:
        raise AssertionError(str(error)) from error


def test_what_can_be_no_value_of_its_kind_is_left_out() -> None:
    """Types, values, lengths and times that a field does not have; numbers are bounded instead."""
    schema = {
        "properties": {
            "flag": {"type": "boolean"},
            "kind": {"type": "string", "enum": ["A", "B"]},
            "name": {"type": "string", "minLength": 3},
            "at": {"type": "string", "format": "date-time"},
            "share": {"type": "number", "minimum": 0, "maximum": 1},
            "items": {"type": "array", "items": {"type": "boolean"}},
            "free": {},
        }
    }
    bad = {"flag": "yes", "kind": "C", "name": "ab", "at": "2026-01-01T00:00:00", "share": True, "items": {"a": 1}}
    good = {"flag": True, "kind": "A", "name": "abc", "at": AT, "share": 0.5, "items": [True], "free": {"a": [1]}}

    assert fitted(bad, schema) == dict.fromkeys(bad)
    assert fitted(good, schema) == good
    assert fitted({"at": "2026-01-01", "share": 7.5, "items": [1, True]}, schema) == {
        "at": None, "share": 1, "items": [True],
    }  # fmt: skip

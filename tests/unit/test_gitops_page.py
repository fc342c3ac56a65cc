"""The health check in Lua that docs/gitops.md gives, run on statuses as the operator writes them."""

from pathlib import Path
from typing import Any

import pytest
from lupa import LuaRuntime

from overspill_operator.core.demand.traffic import Coverage
from overspill_operator.core.engine_state import EngineState
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.objects import RouteObject, read_route
from overspill_operator.core.route_status import ScalingFacts, status_document
from overspill_operator.core.scaling.autoscaler import Rules
from overspill_operator.core.scaling.windows import Bounds

PAGE = (Path(__file__).parents[2] / "docs" / "gitops.md").read_text()
(LUA,) = (block.partition("```")[0] for block in PAGE.split("```lua\n")[1:])
HOSTED = [{"name": "api", "baseURL": "https://x.test", "model": "m"}]
READY = EngineState(exists=True, replicas=1, ready=1, updated=1, is_observed=True)


def route(**spec: Any) -> RouteObject:
    """With an engine, at its second generation."""
    engine = {"source": "hf://a/b", "profile": "cpu"}
    meta = {"namespace": "ns", "name": "r", "uid": "u", "generation": 2}
    return read_route({"metadata": meta, "spec": {"selfHosted": engine, **spec}, "status": {}}, None)


def written(desired: int, engine: EngineState, *, fixed: int | None = None, **changes: Any) -> dict[str, Any]:
    """A ModelRoute with its status."""
    rules = Rules(fixed, False, Bounds(0, 4, (), None), 1, 1, 1.0, 1.0, paused=changes.pop("paused", False))
    usual: dict[str, Any] = {
        "faults": (), "problem": None, "usable_hosted": frozenset(), "traffic": None, "decisions": [],
        "url": "http://gateway/v1", "now_unix": 1_800_000_000.0,
        "scaling": ScalingFacts(desired, rules, Coverage.COMPLETE, 1, starting=False, queue_unread=""),
    }  # fmt: skip
    subject = changes.pop("route", None) or route()
    status = status_document(subject, engine=engine, **(usual | changes))
    return {"metadata": {"generation": 2}, "status": status}


def health(live: dict[str, Any]) -> tuple[str, str]:
    """What Argo CD would say: status and message."""
    lua = LuaRuntime()
    check = lua.eval(f"function(obj)\n{LUA}\nend")
    answer = check(lua.table_from(live, recursive=True))
    return answer["status"], answer["message"]


@pytest.mark.parametrize(
    ("live", "status"),
    [
        (written(1, READY), "Healthy"),
        (written(0, EngineState(exists=True)), "Healthy"),
        (written(1, EngineState(exists=True)), "Progressing"),
        (written(0, EngineState(exists=True), fixed=0), "Suspended"),
        (written(0, EngineState(exists=True), fixed=0, paused=True), "Suspended"),
        (written(1, READY, faults=(Fault(FaultReason.PROFILE_NOT_FOUND, "No."),)), "Degraded"),
        (
            written(0, EngineState(exists=True), fixed=0, route=route(hosted=HOSTED), usable_hosted=frozenset({"api"})),
            "Healthy",
        ),
    ],
    ids=["ready", "asleep", "loading", "held at zero", "paused at zero", "a fault", "a hosted API stands in"],
)
def test_health_is_what_a_caller_would_find(live: dict[str, Any], status: str) -> None:
    """And its message is that of the condition."""
    said, message = health(live)
    assert said == status
    assert message == next(c["message"] for c in live["status"]["conditions"] if c["type"] == "Ready")


def test_what_the_operator_has_not_seen_is_progressing() -> None:
    """No status at all, or that of another spec."""
    assert health({"metadata": {"generation": 1}})[0] == "Progressing"
    assert health({"metadata": {"generation": 3}, "status": written(1, READY)["status"]})[0] == "Progressing"


def test_a_roll_out_is_progressing_though_requests_are_answered() -> None:
    """A sync is over when what is in Git serves."""
    live = written(1, READY)
    for condition in live["status"]["conditions"]:
        if condition["type"] == "RolledOut":
            condition |= {"status": "False", "reason": "RollingOut", "message": "1 of 2."}
    assert health(live) == ("Progressing", "1 of 2.")

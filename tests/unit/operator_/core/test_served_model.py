"""The name that gateways send is one that every replica knows, whatever a route is renamed to."""

import json
from typing import Any

import pytest

from overspill_operator.core.plan import plan_route
from overspill_operator.core.served_model import arguments, served_model
from unit.operator_.core.builders import objects, route, world

ENGINE = "selfHosted: {source: hf://a/b, profile: cpu}"


def spec(model: str) -> str:
    """A route's spec with a model name."""
    return f"{{model: {model}, {ENGINE}}}"


def engine_of(
    model: str, live: dict[str, Any] | None = None, replicas: int = 1
) -> tuple[list[str], str, dict[str, Any]]:
    """Names that a new replica gets, the name that gateways send, and the Deployment, as it then runs."""
    plan = plan_route(route(spec(model)), world(live_engine=live, replicas=replicas))
    deployment = objects(plan).deployment
    assert deployment is not None
    assert plan.document is not None
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    start = next(index for index, argument in enumerate(args) if argument.startswith("--served-model-name"))
    port = args.index("--port=8000")
    names = [argument.removeprefix("--served-model-name=") for argument in args[start:port]]
    sent = json.loads(plan.document)["local"]["served_model"]
    running = {**deployment, "status": {"replicas": replicas}}
    return [name for name in names if not name.startswith("-")], sent, running


def test_an_engine_that_was_never_renamed_has_one_name() -> None:
    """As before: an upgrade restarts nothing for it."""
    names, sent, live = engine_of("one")
    assert (names, sent) == (["one"], "one")
    assert engine_of("one", live)[:2] == (["one"], "one")


def test_every_rename_keeps_the_name_that_running_replicas_know() -> None:
    """Once, again and back: the first name is the one in answers, the last the one that is asked for."""
    live = engine_of("one")[2]
    for model, names in (("two", ["two", "one"]), ("three", ["three", "one"]), ("one", ["one"])):
        given, sent, live = engine_of(model, live)
        assert (given, sent) == (names, "one")


def test_without_replicas_a_new_name_is_the_only_one() -> None:
    """None runs and none is on its way."""
    live = engine_of("one", replicas=0)[2]
    assert engine_of("two", live, replicas=0)[:2] == (["two"], "two")
    assert engine_of("two", live, replicas=1)[:2] == (["two", "one"], "one")
    ends = {**live, "status": {"replicas": 1}}
    assert engine_of("two", ends, replicas=0)[:2] == (["two", "one"], "one")


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["m", "--served-model-name=old", "--port=8000"], "old"),
        (["m", "--served-model-name", "newer", "old", "--port=8000"], "old"),
        (["m", "--served-model-name", "newer", "old"], "old"),
        (["m", "--served-model-name"], "now"),
        (["m"], "now"),
    ],
)
def test_an_engine_that_an_older_operator_started(args: list[str], name: str) -> None:
    """It has no annotation: its arguments say what it knows."""
    containers = [{"name": "sidecar", "args": ["--served-model-name=x"]}, {"name": "engine", "args": args}]
    live = {"metadata": {}, "spec": {"replicas": 1, "template": {"spec": {"containers": containers}}}}
    assert served_model("now", live, 1) == name


def test_a_spec_that_is_refused_is_asked_for_by_the_old_name() -> None:
    """The document has the new name for clients, and the one that replicas know for replicas."""
    live = engine_of("one")[2]
    broken = f"{{model: two, {ENGINE[:-1]}, sourceSecretName: s}}}}"
    plan = plan_route(route(broken), world(live_engine=live, replicas=1, source_secret_problem="no"))
    assert objects(plan).deployment is None
    assert plan.document is not None
    document = json.loads(plan.document)
    assert (document["model"], document["local"]["served_model"]) == ("two", "one")


def test_two_names_are_written_so_that_vllm_reads_two() -> None:
    """Behind an equals sign it reads one alone."""
    assert arguments("a", "a") == ["--served-model-name=a"]
    assert arguments("b", "a") == ["--served-model-name", "b", "a"]

"""A restart against a real API server: whatever is as it should be is not written again."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from operator_rig import Json, Operator, Rig, deployment_path, rig, route_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROUTES = 100
CALL = re.compile(
    r'^overspill_operator_api_call_seconds_count\{method="(\w+)",resource="(\w+)"\} ([0-9.]+)', re.MULTILINE
)
WITHOUT = {"leases", "events", "selfsubjectaccessreviews"}
"""The last is a question that is asked by POST, and changes nothing."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Rig]:
    """A control plane without controllers."""
    with rig(tmp_path, controllers=False) as made:
        yield made


def spec(number: int) -> Json:
    """Specs of every kind: values that the API server writes in its own way, or leaves out."""
    engine: Json = {"source": "hf://org/model", "profile": ("cpu", "gpu")[number % 2]}
    engine["env"] = [{"name": "EMPTY", "value": ""}]
    if number % 3 == 0:
        engine["cache"] = {"size": "1024Mi"}
    if number % 5 == 0:
        resources = {"requests": {"cpu": "1500m", "memory": "0.5Gi"}, "limits": {"memory": "1024Mi"}}
        sidecar = {"name": "sidecar", "image": "example.test/sidecar:1", "resources": resources, "command": []}
        scratch = {"name": "more", "emptyDir": {"sizeLimit": "2048Mi"}}
        engine["podTemplate"] = {"spec": {"containers": [sidecar], "volumes": [scratch], "hostNetwork": False}}
    hosted = {"name": "api", "baseURL": "https://api.example.test/v1", "model": "big"}
    hosted["credentials"] = {"secretName": "provider"}  # type: ignore[assignment]
    made: Json = {"selfHosted": engine, "scaling": {"minReplicas": int(number % 10 == 0), "maxReplicas": 3}}
    return made | ({"hosted": [hosted]} if number % 4 == 0 else {})


def writes(operator: Operator) -> Counter[str]:
    """Calls that change something, by kind, without those of leading and telling."""
    found = CALL.findall(operator.get("/metrics")[1])
    counts: Counter[str] = Counter()
    for method, resource, count in found:
        if method != "GET" and resource not in WITHOUT:
            counts[f"{method} {resource}"] += int(float(count))
    return counts


def settled(operator: Operator) -> bool:
    """Whether nothing waits to be reconciled."""
    return "overspill_operator_queue_length 0.0" in operator.get("/metrics")[1]


def calm(operator: Operator) -> None:
    """Wait until what is put off, for a few seconds at most, has been done as well."""
    since = time.monotonic()
    wait_for("what is put off", lambda: time.monotonic() - since > 4 and settled(operator))


def test_a_restart_writes_nothing_that_is_as_it_should_be(world: Rig) -> None:
    """The next process reads what there is, compares, and leaves it."""
    world.secret("provider", {"api-key": "k"})
    with world.operator() as first:
        for number in range(ROUTES):
            world.route(f"r{number}", spec(number))
        for number in range(ROUTES):
            reason = "ScaledToZero" if number % 10 else "Loading"
            wait_for(f"status of r{number}", lambda n=number, r=reason: says(world, n) == r, 120)  # type: ignore[misc]
        wait_for("every engine", lambda: all(world.get(deployment_path(f"r{n}")) for n in range(ROUTES)), 120)
        calm(first)

    with world.operator("operator-2") as second:
        reconciled = re.compile(r'reconcile_seconds_count\{kind="ModelRoute",result="ok"\} ([0-9.]+)')

        def is_done() -> bool:
            match = reconciled.search(second.get("/metrics")[1])
            return match is not None and float(match.group(1)) >= ROUTES and settled(second)

        wait_for("every route was looked at", is_done, 120)
        calm(second)
        assert writes(second) == Counter()


def test_a_restart_forgets_no_problem_of_a_pod(tmp_path: Path) -> None:
    """What hangs hangs on: nothing is written, and no second event comes."""
    engine: Json = {"source": "hf://org/model", "profile": "gpu"}
    with rig(tmp_path, kwok_nodes=1) as world:
        with world.operator() as first:
            world.route("fine", {"selfHosted": engine, "scaling": {"minReplicas": 1}})
            world.wait_condition("fine", "RolledOut", "True", "ReplicasCurrent")
            world.route("fine", {"selfHosted": {**engine, "tensorParallelSize": 64}, "scaling": {"minReplicas": 1}})
            world.wait_condition("fine", "RolledOut", "False", "Unschedulable")
            calm(first)
        before, events = world.live(route_path("fine")), len(world.events("fine"))
        with world.operator("operator-2") as second:
            calm(second)
            assert world.live(route_path("fine")) == before
            assert len(world.events("fine")) == events
            assert writes(second) == Counter()


def says(world: Rig, number: int) -> str:
    """The reason of EngineAvailable."""
    return str(world.condition(f"r{number}", "EngineAvailable").get("reason"))

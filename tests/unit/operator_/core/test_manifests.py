"""The objects of a route, whole, as YAML beside the input that makes them.

After an intended change: ``python tests/unit/operator_/core/test_manifests.py`` writes them anew; read the difference.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from overspill_api.profile import Profile
from overspill_operator.core import manifests
from overspill_operator.core.objects import RouteObject, read_route
from overspill_operator.core.plan import EngineSpec

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".input.yaml") for path in GOLDEN.glob("*.input.yaml"))
META = {
    "name": "llama",
    "namespace": "chat",
    "uid": "0000-1111",
    "generation": 3,
    "resourceVersion": "7",
    "creationTimestamp": "2026-01-01T00:00:00Z",
}


def engine_of(route: RouteObject, profile: Profile, replicas: int = 0) -> EngineSpec:
    """The engine that the route asks for."""
    assert route.spec is not None, route.spec_errors
    assert route.spec.self_hosted is not None
    most = route.spec.scaling.max_replicas
    return EngineSpec(route.spec.self_hosted, profile, most, model=route.model, served=route.model, replicas=replicas)


def made(case: str) -> list[dict[str, Any]]:
    """Deployment, Service and claim of a case."""
    given = yaml.safe_load((GOLDEN / f"{case}.input.yaml").read_text())
    route = read_route({"metadata": META, "spec": given["spec"]})
    engine = engine_of(route, Profile.model_validate(given["profile"]), replicas=2)
    objects = [manifests.deployment(route.meta, engine), manifests.service(route.meta)]
    if engine.self_hosted.cache:
        objects.append(manifests.cache_claim(route.meta, engine, None))
    return objects


@pytest.mark.parametrize("case", CASES)
def test_objects_are_as_written_down(case: str) -> None:
    """What a spec and a profile make of each other, field by field."""
    expected = list(yaml.safe_load_all((GOLDEN / f"{case}.output.yaml").read_text()))
    assert made(case) == expected


def test_the_number_of_replicas_is_no_part_of_the_hash() -> None:
    """Scaling is no change of the engine: it must not look like one."""
    route = read_route({"metadata": META, "spec": {"selfHosted": {"source": "hf://a/b", "profile": "x"}}})
    profile = Profile(image="i")
    one = manifests.deployment(route.meta, engine_of(route, profile, replicas=1))
    two = manifests.deployment(route.meta, engine_of(route, profile, replicas=2))
    assert one["metadata"]["annotations"] == two["metadata"]["annotations"]
    assert one != two


def test_a_claim_keeps_the_access_modes_it_has() -> None:
    """They cannot be changed, and a refused claim would stop everything behind it."""
    spec = {
        "selfHosted": {"source": "hf://a/b", "profile": "x", "cache": {"size": "1Gi"}},
        "scaling": {"maxReplicas": 2},
    }
    route = read_route({"metadata": META, "spec": spec})
    engine = engine_of(route, Profile(image="i"))
    fresh = manifests.cache_claim(route.meta, engine, None)
    assert fresh["spec"]["accessModes"] == ["ReadWriteMany"]
    live = {"spec": {"accessModes": ["ReadWriteOnce"]}}
    kept = manifests.cache_claim(route.meta, engine, live)
    assert kept["spec"]["accessModes"] == ["ReadWriteOnce"]


if __name__ == "__main__":
    for name in CASES:
        (GOLDEN / f"{name}.output.yaml").write_text(yaml.safe_dump_all(made(name), sort_keys=False))
        sys.stdout.write(f"{name}.output.yaml\n")

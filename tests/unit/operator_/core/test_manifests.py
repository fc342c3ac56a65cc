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
from overspill_operator.core.objects import read_route

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


def made(case: str) -> list[dict[str, Any]]:
    """Deployment, Service and claim of a case."""
    given = yaml.safe_load((GOLDEN / f"{case}.input.yaml").read_text())
    route = read_route({"metadata": META, "spec": given["spec"]})
    assert route.spec is not None, route.spec_errors
    engine = route.spec.self_hosted
    assert engine is not None
    profile = Profile.model_validate(given["profile"])
    objects = [
        manifests.deployment(route.meta, engine, profile, model=route.model, replicas=2),
        manifests.service(route.meta),
    ]
    if engine.cache:
        objects.append(manifests.cache_claim(route.meta, route.spec, engine, None))
    return objects


@pytest.mark.parametrize("case", CASES)
def test_objects_are_as_written_down(case: str) -> None:
    """What a spec and a profile make of each other, field by field."""
    expected = list(yaml.safe_load_all((GOLDEN / f"{case}.output.yaml").read_text()))
    assert made(case) == expected


def test_the_number_of_replicas_is_no_part_of_the_hash() -> None:
    """Scaling is no change of the engine: it must not look like one."""
    route = read_route({"metadata": META, "spec": {"selfHosted": {"source": "hf://a/b", "profile": "x"}}})
    assert route.spec is not None
    assert route.spec.self_hosted is not None
    profile = Profile(image="i")
    one = manifests.deployment(route.meta, route.spec.self_hosted, profile, model="m", replicas=1)
    two = manifests.deployment(route.meta, route.spec.self_hosted, profile, model="m", replicas=2)
    assert one["metadata"]["annotations"] == two["metadata"]["annotations"]
    assert one != two


def test_a_claim_keeps_the_access_modes_it_has() -> None:
    """They cannot be changed, and a refused claim would stop everything behind it."""
    spec = {
        "selfHosted": {"source": "hf://a/b", "profile": "x", "cache": {"size": "1Gi"}},
        "scaling": {"maxReplicas": 2},
    }
    route = read_route({"metadata": META, "spec": spec})
    assert route.spec is not None
    assert route.spec.self_hosted is not None
    fresh = manifests.cache_claim(route.meta, route.spec, route.spec.self_hosted, None)
    assert fresh["spec"]["accessModes"] == ["ReadWriteMany"]
    live = {"spec": {"accessModes": ["ReadWriteOnce"]}}
    kept = manifests.cache_claim(route.meta, route.spec, route.spec.self_hosted, live)
    assert kept["spec"]["accessModes"] == ["ReadWriteOnce"]


if __name__ == "__main__":
    for name in CASES:
        (GOLDEN / f"{name}.output.yaml").write_text(yaml.safe_dump_all(made(name), sort_keys=False))
        sys.stdout.write(f"{name}.output.yaml\n")

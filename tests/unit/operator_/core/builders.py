"""Objects for the tests of deciding: routes from specs as a person writes them."""

from dataclasses import fields
from typing import Any

import yaml

from overspill_api.profile import Profile
from overspill_operator.core.kubernetes_engine import EngineObjects, KubernetesEngineView
from overspill_operator.core.objects import RouteObject, read_route
from overspill_operator.core.plan import RoutePlan, RouteWorld

Json = dict[str, Any]

PROFILES = {"cpu": Profile(image="example.test/engine:1")}


def raw_route(
    spec: str | Json, *, name: str = "tiny", namespace: str = "chat", created: str = "2026-01-01T00:00:00Z", **more: Any
) -> Json:
    """A ModelRoute as the API server sends it; ``spec`` as YAML or as a value."""
    content = yaml.safe_load(spec) if isinstance(spec, str) else spec
    meta = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-of-{namespace}-{name}",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": created,
    }
    return {"metadata": meta, "spec": content, **more}


def route(spec: str | Json, **where: Any) -> RouteObject:
    """The same, read."""
    return read_route(raw_route(spec, **where))


OF_ENGINE = frozenset(field.name for field in fields(KubernetesEngineView))


def world(**changes: Any) -> RouteWorld[EngineObjects]:
    """A world in which nothing is wrong; ``changes`` of it or of the engine as Kubernetes has it."""
    usual: Json = {
        "profiles": PROFILES,
        "replicas": 0,
        "may_wake": True,
        "lost_names": {},
        "api_keys": {},
        "missing_credentials": {},
        "source_secret_problem": "",
        "compiled_names": frozenset(),
    }
    seen = {name: value for name, value in changes.items() if name in OF_ENGINE}
    others = {name: value for name, value in changes.items() if name not in OF_ENGINE}
    return RouteWorld(engine=KubernetesEngineView(**seen), **(usual | others))


def objects(plan: RoutePlan[EngineObjects]) -> EngineObjects:
    """What a plan makes of the engine; nothing where it leaves it as it is."""
    return plan.engine or EngineObjects()

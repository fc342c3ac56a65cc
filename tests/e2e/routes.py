"""ModelRoutes as the benchmarks apply them.

The stand-in is the engine, so that only Overspill and Kubernetes are measured.
"""

import json
from typing import Any


def route(  # one YAML object, its knobs by name
    name: str,
    *,
    profile: str = "instant",
    minimum: int = 0,
    maximum: int = 1,
    on_cold_start: str = "Hold",
    hosted: bool = False,
    idle_after: str = "10m",
    engine_environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """One ModelRoute as a mapping."""
    spec: dict[str, Any] = {
        "selfHosted": {"source": "file:///models/tiny", "profile": profile},
        "scaling": {"minReplicas": minimum, "maxReplicas": maximum, "idleAfter": idle_after},
        "overflow": {"onColdStart": on_cold_start},
    }
    if engine_environment:
        spec["selfHosted"]["env"] = [{"name": key, "value": value} for key, value in engine_environment.items()]
    if hosted:
        spec["hosted"] = [
            {
                "name": "standin",
                "baseURL": "http://hosted.bench.svc.cluster.local/v1",
                "model": "hosted-model",
                "credentials": {"secretName": "hosted"},
            }
        ]
    return {
        "apiVersion": "overspill.dev/v1alpha1",
        "kind": "ModelRoute",
        "metadata": {"name": name},
        "spec": spec,
    }


def as_list(routes: list[dict[str, Any]]) -> str:
    """Several objects as one document for kubectl."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": routes})

"""A route that can be simulated, and a short trace, for tests of the planner."""

from typing import Any

from overspill_api.modelroute import ModelRouteSpec
from overspill_planner.route import Assumptions, Route, route_of
from overspill_planner.traces.arrival import Arrival
from overspill_planner.traces.drawing import lengths_of, on_off

SPEC: dict[str, Any] = {
    "selfHosted": {"source": "hf://a/b", "profile": "nvidia-l4"},
    "scaling": {"minReplicas": 0, "maxReplicas": 3, "targets": {"concurrency": 24}},
    "hosted": [
        {
            "name": "api",
            "baseURL": "https://api.example.com/v1",
            "model": "m",
            "price": {"input": "0.3", "output": "1.2"},
        }
    ],
    "overflow": {"timeToFirstToken": "1500ms"},
}
TRACE = on_off(3.0, 100.0, 40.0, 300.0, 4, lengths_of([Arrival(0.0, 900, 120)]))


def a_route(changes: dict[str, Any] | None = None, assumptions: Assumptions | None = None) -> Route:
    """The route with other fields; None takes one away."""
    fields = {name: value for name, value in (SPEC | (changes or {})).items() if value is not None}
    return route_of(ModelRouteSpec.model_validate(fields), assumptions or Assumptions())

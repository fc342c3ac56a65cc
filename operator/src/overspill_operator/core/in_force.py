"""Which spec is in force: the last good one, kept beside the document that was made from it.

So a spec with a fault changes nothing that runs, whoever leads and since when: keys are rotated, replicas scaled and
objects repaired by the last good one.
"""

import json
from dataclasses import replace

from pydantic import ValidationError

from overspill_api.modelroute import ModelRouteSpec
from overspill_operator.core.objects import RouteObject


def accepted_spec(route: RouteObject) -> bytes:
    """The spec of a route as it is kept, with the generation and the identity that it belongs to."""
    spec = route.spec.model_dump(mode="json", by_alias=True, exclude_unset=True) if route.spec else {}
    kept = {"uid": route.meta.uid, "generation": route.meta.generation, "spec": spec}
    return json.dumps(kept, separators=(",", ":"), sort_keys=True).encode()


def last_good(route: RouteObject, kept: bytes | None) -> RouteObject | None:
    """The route with the spec that is in force instead of its own; None: none is known.

    One of a route that was deleted and made again under the name is not this route's.
    """
    try:
        content = json.loads(kept or b"{}")
        if content.get("uid") != route.meta.uid:
            return None
        meta = replace(route.meta, generation=content["generation"])
        return RouteObject(meta, ModelRouteSpec.model_validate(content["spec"]), (), route.status)
    except (ValueError, KeyError, AttributeError, ValidationError):
        return None  # written by hand, or by a version whose rules were others


def names(document: bytes | None) -> frozenset[str]:
    """Model names in a route's compiled document, which it holds; none where it is no document."""
    try:
        content = json.loads(document or b"{}")
        return frozenset(name for name in (content.get("model"), *content.get("aliases", ())) if isinstance(name, str))
    except (ValueError, AttributeError, TypeError):
        return frozenset()  # written by somebody else, and soon put right

"""Whether a live object still is what was applied. Fields that others add are theirs; fields that we set are ours."""

from collections.abc import Mapping
from typing import Any

from overspill_operator.core.pod_merge import merge_key


def project(desired: object, live: object, field: str = "") -> object:  # noqa: PLR0911 - one return a case
    """The part of ``live`` that ``desired`` speaks of, in the shape of ``desired``; None where it is not there.

    Equal to ``desired`` when nothing differs. Lists that Kubernetes keys are compared by key, so that a sidecar
    which an admission webhook adds is not drift; others whole.
    """
    if isinstance(desired, Mapping):
        if not isinstance(live, Mapping):
            return None
        return {name: project(value, live.get(name), name) for name, value in desired.items()}
    if isinstance(desired, list):
        if not isinstance(live, list):
            # An empty list is not stored at all.
            return [] if live is None and not desired else None
        key = merge_key(field, desired) if desired else None
        if key is None or merge_key(field, live) != key:
            return live
        found = {item[key]: item for item in live}
        return [project(item, found.get(item[key])) for item in desired]
    if isinstance(desired, bool) and not desired and live is None:
        return False
    return live


def has_drifted(desired: Mapping[str, Any], live: Mapping[str, Any], accepted: object | None) -> bool:
    """Whether ``live`` must be applied again.

    ``accepted`` is the projection of what the API server answered to the last apply: it writes some values in its
    own way (``2048Mi`` as ``2Gi``), which is no drift.
    """
    found = project(desired, live)
    return found != desired and (accepted is None or found != accepted)

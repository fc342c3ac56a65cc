"""JSON merge patches (RFC 7396), which ``kubectl patch --type merge`` takes: made by path, and applied."""

from collections.abc import Mapping
from typing import Any


def patch_of(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that sets values by their paths, such as ``scaling.minReplicas``."""
    patch: dict[str, Any] = {}
    for path, value in changes.items():
        *above, name = path.split(".")
        place = patch
        for step in above:
            place = place.setdefault(step, {})
        place[name] = value
    return patch


def merged(target: Any, patch: Any) -> Any:
    """The target with a patch; both stay as they are. None takes a field away."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def value_at(target: Any, path: str) -> Any:
    """What stands at a path; None where nothing does."""
    for step in path.split("."):
        target = target.get(step) if isinstance(target, Mapping) else None
    return target

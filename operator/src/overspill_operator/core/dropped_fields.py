"""Fields that an API server leaves out of what it is given: those it does not know, or has switched off.

An engine without its volume starts and serves nothing, so a manifest of which a part is dropped counts as refused.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from overspill_operator.core.drift import is_nothing
from overspill_operator.core.pod_merge import merge_key

_NAMED_MAX: Final = 8
_IMAGE_VOLUME: Final = re.compile(r"volumes\[[^]]*\](\.image)?$")
_IMAGE_VOLUME_NEEDS: Final = (
    "An image volume (source oci://) needs Kubernetes 1.35, or an older one from 1.31 with the feature gate "
    "ImageVolume switched on in the API server and the kubelets; else use another source, such as pvc:// or hf://"
)


def dropped_fields(desired: object, answer: object, path: str = "", field: str = "") -> list[str]:
    """Paths in ``desired`` of which nothing is in ``answer``, the API server's answer to it."""
    if answer is None:
        return [] if is_nothing(desired) else [path]
    if isinstance(desired, Mapping) and isinstance(answer, Mapping):
        below = (
            dropped_fields(value, answer.get(name), f"{path}.{name}" if path else name, name)
            for name, value in desired.items()
        )
        return [dropped for paths in below for dropped in paths]
    if isinstance(desired, list) and isinstance(answer, list):
        return _dropped_items(desired, answer, path, field)
    return []


def _dropped_items(desired: Sequence[Any], answer: Sequence[Any], path: str, field: str) -> list[str]:
    key = merge_key(field, desired) if desired else None
    if key is None or merge_key(field, answer) != key:
        padded = [*answer, *[None] * len(desired)]
        pairs = [(str(index), item, padded[index]) for index, item in enumerate(desired)]
    else:
        by_key = {item[key]: item for item in answer}
        pairs = [(str(item[key]), item, by_key.get(item[key])) for item in desired]
    return [dropped for name, item, live in pairs for dropped in dropped_fields(item, live, f"{path}[{name}]", field)]


def explanation(paths: Sequence[str]) -> str:
    """What was dropped, and what it needs."""
    more = f" and {len(paths) - _NAMED_MAX} more" if len(paths) > _NAMED_MAX else ""
    said = f"it drops {', '.join(paths[:_NAMED_MAX])}{more}: it does not know the field or has it switched off"
    if any(_IMAGE_VOLUME.search(path) for path in paths):
        return f"{said}. {_IMAGE_VOLUME_NEEDS}"
    return f"{said}; remove it from spec.selfHosted, or upgrade Kubernetes"

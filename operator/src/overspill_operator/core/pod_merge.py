"""The escape hatch: a person's pod template merged over the generated one as a strategic merge patch does.

Maps are merged; lists that Kubernetes keys (containers, volumes, env, ...) are merged by their key; other lists are
replaced; null removes. Not a validator: the API server judges the result.
"""

from collections.abc import Mapping, Sequence
from typing import Any

MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "port"),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "resourceClaims": ("name",),
    "ownerReferences": ("uid",),
}
"""List fields of a pod template (and of the other objects made here) that Kubernetes merges by a key."""


class MergeError(ValueError):
    """The template does not have the form of a pod template; says where."""


def merge(base: Mapping[str, Any], patch: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``patch`` over ``base``. Raises MergeError, which names the place below ``where``, on a mismatch of form."""
    merged = dict(base)
    for field, value in patch.items():
        place = f"{where}.{field}"
        if value is None:
            merged.pop(field, None)
        elif field not in merged:
            merged[field] = value
        else:
            merged[field] = _merge_value(field, merged[field], value, place)
    return merged


def _merge_value(field: str, base: object, patch: object, place: str) -> object:
    if isinstance(base, Mapping):
        if not isinstance(patch, Mapping):
            raise MergeError(f"{place} must be a map")
        return merge(base, patch, place)
    if isinstance(base, list):
        if not isinstance(patch, list):
            raise MergeError(f"{place} must be a list")
        key = merge_key(field, [*base, *patch])
        if key is None and merge_key(field, base) is not None:
            raise MergeError(f"{place} must be a list of maps that each have {' or '.join(MERGE_KEYS[field])}")
        return _merge_keyed(key, base, patch, place) if key else patch
    if isinstance(patch, Mapping | list):
        raise MergeError(f"{place} must be a single value")
    return patch


def merge_key(field: str, items: Sequence[object]) -> str | None:
    """The key by which a list's items are told apart; None: the list is one value."""
    for key in MERGE_KEYS.get(field, ()):
        if all(isinstance(item, Mapping) and key in item for item in items):
            return key
    return None


def _merge_keyed(key: str, base: list[Any], patch: list[Any], place: str) -> list[Any]:
    merged = {item[key]: item for item in base}
    for item in patch:
        name = item[key]
        known = merged.get(name)
        merged[name] = merge(known, item, f"{place}[{key}={name}]") if known is not None else item
    return list(merged.values())

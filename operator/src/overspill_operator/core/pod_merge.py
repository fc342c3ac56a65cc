"""The escape hatch: a person's pod template merged over the generated one as a strategic merge patch does.

Maps are merged; lists that Kubernetes keys (containers, volumes, env, ...) are merged by their key; other lists are
replaced. What takes something away is a directive, as in every strategic merge patch, because ``kubectl apply`` drops
a null before it is stored: ``$patch: delete`` removes a map or an item of a keyed list, ``$patch: replace`` puts a
map, an item or a whole list in the place of the generated one, ``$retainKeys`` keeps the fields that it lists and no
others, ``$deleteFromPrimitiveList/<field>`` takes values out of a list, ``$setElementOrder/<field>`` orders one. A null
that does arrive removes as well. Not a validator: the API server judges the result.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

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


_PATCH: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_DELETE_VALUES: Final = "$deleteFromPrimitiveList/"
_ORDER: Final = "$setElementOrder/"


class MergeError(ValueError):
    """The template does not have the form of a pod template; says where."""


def merge(base: Mapping[str, Any], patch: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``patch`` over ``base``. Raises MergeError, which names the place below ``where``, on a mismatch of form."""
    action = _action(patch, where)
    if action == "delete":
        return {}
    merged = {} if action == "replace" else dict(base)
    fields = {name: value for name, value in patch.items() if not name.startswith("$")}
    for field, value in fields.items():
        place = f"{where}.{field}"
        if value is None or _is_deleted(value, place):
            merged.pop(field, None)
        else:
            merged[field] = _merge_value(field, merged.get(field), value, place)
    _direct(merged, patch, where)
    return merged


def _action(patch: Mapping[str, Any], where: str) -> str:
    action = patch.get(_PATCH, "merge")
    if action not in ("merge", "replace", "delete"):
        raise MergeError(f"{where}.{_PATCH} must be merge, replace or delete")
    return str(action)


def _is_deleted(value: object, place: str) -> bool:
    return isinstance(value, Mapping) and _action(value, place) == "delete"


def _direct(merged: dict[str, Any], patch: Mapping[str, Any], where: str) -> None:
    """Carry out the directives of a map, but for ``$patch``."""
    for name, value in patch.items():
        place = f"{where}.{name}"
        if not name.startswith("$") or name == _PATCH:
            continue
        if not isinstance(value, list):
            raise MergeError(f"{place} must be a list")
        if name == _RETAIN:
            for field in [field for field in merged if field not in value]:
                del merged[field]
        elif name.startswith(_DELETE_VALUES):
            field = name.removeprefix(_DELETE_VALUES)
            merged[field] = [item for item in _list(merged, field, place) if item not in value]
        elif name.startswith(_ORDER):
            field = name.removeprefix(_ORDER)
            merged[field] = _ordered(field, _list(merged, field, place), value)
        else:
            raise MergeError(f"{place} is no directive of a strategic merge patch")


def _list(merged: Mapping[str, Any], field: str, place: str) -> list[Any]:
    items = merged.get(field, [])
    if not isinstance(items, list):
        raise MergeError(f"{place} speaks of a field that is no list")
    return items


def _ordered(field: str, items: list[Any], order: list[Any]) -> list[Any]:
    """Items that the order names first, in its order; the others behind them as they were."""
    key = merge_key(field, [*items, *order])
    names = [item[key] if key else item for item in order]
    rank = {str(name): place for place, name in enumerate(names)}
    return sorted(items, key=lambda item: rank.get(str(item[key] if key else item), len(rank)))


def _merge_value(field: str, base: object, patch: object, place: str) -> object:
    if isinstance(patch, Mapping):
        if base is not None and not isinstance(base, Mapping):
            raise MergeError(f"{place} must be {'a list' if isinstance(base, list) else 'a single value'}")
        return merge(base or {}, patch, place)
    if isinstance(patch, list):
        if base is not None and not isinstance(base, list):
            raise MergeError(f"{place} must be {'a map' if isinstance(base, Mapping) else 'a single value'}")
        return _merge_list(field, base or [], patch, place)
    if isinstance(base, Mapping | list):
        raise MergeError(f"{place} must be {'a map' if isinstance(base, Mapping) else 'a list'}")
    return patch


def _merge_list(field: str, base: list[Any], patch: list[Any], place: str) -> list[Any]:
    items = [item for item in patch if item != {_PATCH: "replace"}]
    if len(items) < len(patch):
        base = []
    key = merge_key(field, [*base, *items])
    if key is None and merge_key(field, base) is not None and base:
        raise MergeError(f"{place} must be a list of maps that each have {' or '.join(MERGE_KEYS[field])}")
    if key is not None:
        return _merge_keyed(key, base, items, place)
    numbered = enumerate(items)
    return [merge({}, item, f"{place}[{n}]") if isinstance(item, Mapping) else item for n, item in numbered]


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
        where = f"{place}[{key}={name}]"
        if _is_deleted(item, where):
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name, {}), item, where)
    return list(merged.values())

"""Whether a live object still is what was applied. Fields that others add are theirs; fields that we set are ours.

Values that say the same in another way are no difference: ``2048Mi`` and ``2Gi``, an empty list and none. So a process
that has just begun, and remembers nothing, writes nothing that is as it should be.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from overspill_operator.core.pod_merge import merge_key

_QUANTITY_MAPS: Final = frozenset({"limits", "requests", "overhead"})
_QUANTITIES: Final = frozenset({"sizeLimit", "divisor"})
_QUANTITY: Final = re.compile(r"^([+-]?[0-9.]+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]+)?$")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def project(desired: object, live: object, field: str = "") -> object:
    """The part of ``live`` that ``desired`` speaks of, in the shape of ``desired``; None where it is not there.

    Equal to ``desired`` when nothing differs. Lists that Kubernetes keys are compared by key, so that a sidecar
    which an admission webhook adds is not drift; others whole.
    """
    if live is None and is_nothing(desired):
        return desired
    if isinstance(desired, Mapping):
        return _project_map(desired, live, field)
    if isinstance(desired, list):
        return _project_list(desired, live, field)
    if field in _QUANTITIES and same_quantity(desired, live):
        return desired
    return live


def _project_map(desired: Mapping[str, Any], live: object, field: str) -> object:
    if not isinstance(live, Mapping):
        return None
    quantities = field in _QUANTITY_MAPS
    return {
        name: value if quantities and same_quantity(value, live.get(name)) else project(value, live.get(name), name)
        for name, value in desired.items()
    }


def _project_list(desired: list[Any], live: object, field: str) -> object:
    if not isinstance(live, list):
        return None
    key = merge_key(field, desired) if desired else None
    if key is None or merge_key(field, live) != key:
        return live
    by_key = {item[key]: item for item in live}
    return [project(item, by_key.get(item[key])) for item in desired]


def has_drifted(desired: Mapping[str, Any], live: Mapping[str, Any], accepted: object | None) -> bool:
    """Whether ``live`` must be applied again.

    ``accepted`` is ``projected`` of what the API server answered to the last apply: a webhook may have changed a
    value, which is no drift.
    """
    actual = projected(desired, live)
    return actual != _content(desired) and (accepted is None or actual != accepted)


def projected(desired: Mapping[str, Any], live: Mapping[str, Any]) -> object:
    """The part of a whole live object that its manifest speaks of."""
    return project(_content(desired), live)


def _content(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest without its kind, which the items of a list do not have."""
    return {name: value for name, value in manifest.items() if name not in ("apiVersion", "kind")}


def is_nothing(value: object) -> bool:
    """Whether the API server stores nothing for a value: zero, no text, or a map or list of nothing."""
    if isinstance(value, Mapping):
        return all(is_nothing(item) for item in value.values())
    return not value


def same_quantity(first: object, other: object) -> bool:
    """Whether two texts are the same Kubernetes quantity."""
    amounts = [amount(value) for value in (first, other)]
    return amounts[0] is not None and amounts[0] == amounts[1]


def amount(value: object) -> Decimal | None:
    """See https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/."""
    match = _QUANTITY.match(str(value)) if isinstance(value, str | int | float) else None
    if match is None or match.group(1).count(".") > 1:
        return None
    number, suffix = match.group(1), match.group(2) or ""
    if suffix.endswith("i"):
        return Decimal(number) * Decimal(1024) ** ("KMGTPE".index(suffix[0]) + 1)
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    return Decimal(number).scaleb(exponent) if abs(exponent) < 100 else None

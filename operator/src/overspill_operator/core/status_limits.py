"""A status that the API server takes: every field cut to what the CRD's schema allows, from the schema itself.

What a status says comes from many places (kubelets, providers, gateways). One word too long must not keep all the rest
from being written.
"""

from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Any, Final

from overspill_api.crd import Schema, structural
from overspill_api.status import ConsumerStatus, ModelRouteStatus

ROUTE_STATUS: Final = structural(ModelRouteStatus, friendly=False)
CONSUMER_STATUS: Final = structural(ConsumerStatus, friendly=False)

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
"""What the API server reads as an integer."""

CUT: Final = "..."


class _Unfit(Exception):  # noqa: N818 - it never leaves this module
    """A value of which nothing can be kept."""


def fitted(status: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The status as the API server takes it: too long is cut, out of range is bounded, what is neither is left out.

    None stays where it is: in a merge patch it takes a field away.
    """
    fields: Mapping[str, Schema] = schema["properties"]
    return {name: _field(value, fields[name]) for name, value in status.items() if name in fields}


def _field(value: object, schema: Schema) -> object:
    if value is None:
        return None
    try:
        return _fit(value, schema)
    except _Unfit:
        return None


def _fit(value: object, schema: Schema) -> object:
    match schema.get("type"):
        case "object":
            return _object(value, schema)
        case "array":
            return _array(value, schema)
        case "string":
            return _text(value, schema)
        case "integer" | "number":
            return _number(value, schema)
        case "boolean":
            if not isinstance(value, bool):
                raise _Unfit
            return value
        case _:
            return value


def _object(value: object, schema: Schema) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _Unfit
    fields = schema.get("properties", {})
    result: dict[str, Any] = {}
    for name, item in value.items():
        if name in fields and item is not None:
            try:
                result[name] = _fit(item, fields[name])
            except _Unfit:
                continue
    if not result.keys() >= set(schema.get("required", ())):
        raise _Unfit
    return result


def _array(value: object, schema: Schema) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _Unfit
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    seen: set[tuple[object, ...]] = set()
    result = []
    for item in value:
        try:
            fit = _fit(item, schema["items"])
        except _Unfit:
            continue
        if keys and isinstance(fit, dict):
            identity = tuple(fit.get(key) for key in keys)
            if identity in seen:
                continue
            seen.add(identity)
        result.append(fit)
    return result[: schema.get("maxItems", len(result))]


def _text(value: object, schema: Schema) -> str:
    if not isinstance(value, str):
        raise _Unfit
    # Half a character (a lone surrogate) is no text in any encoding.
    text = value.encode(errors="replace").decode()
    if "enum" in schema and text not in schema["enum"]:
        raise _Unfit
    if schema.get("format") == "date-time":
        return _time(text)
    most = schema.get("maxLength")
    if most is not None and len(text) > most:
        text = text[: max(most - len(CUT), 0)] + CUT[:most]
    if len(text) < schema.get("minLength", 0):
        raise _Unfit
    return text


def _time(text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _Unfit from None
    if at.tzinfo is None or "T" not in text:
        raise _Unfit
    return text


def _number(value: object, schema: Schema) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _Unfit
    low, high = schema.get("minimum"), schema.get("maximum")
    if schema["type"] == "integer":
        low = INTEGER_MIN if low is None else low
        high = INTEGER_MAX if high is None else high
        return int(min(max(int(value), low), high))
    low, high = (value if low is None else low), (value if high is None else high)
    return min(max(value, low), high)

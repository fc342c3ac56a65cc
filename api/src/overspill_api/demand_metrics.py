"""Contract 2 as metrics: what a gateway tells of demand, as series that Prometheus scrapes, and read back from them.

The figures are those of ``overspill_api.demand``, spelled as Prometheus' users expect them: counters end in ``_total``,
histograms have cumulative buckets. Both directions are here, so that a figure that one side knows the other does too.
Read back they are JSON of one line again, and believed or not as a line is: NaN stays what it is, and is no number.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import inf, isfinite
from typing import Any, Final

from overspill_api.demand import (
    FIRST_TOKEN_BOUNDS,
    INTER_TOKEN_BOUNDS,
    EngineDemand,
    HistogramDemand,
    RouteDemand,
    SpilledDemand,
    WorkDemand,
    bound_name,
)

PREFIX: Final = "overspill_demand_"
"""Of every series."""
PROCESS: Final = f"{PREFIX}process"
"""One a gateway process: its label ``gateway`` says who speaks, its value is the contract's version."""
NOW: Final = f"{PREFIX}now_timestamp_seconds"
UPTIME: Final = f"{PREFIX}uptime_seconds"
ROUTE: Final = f"{PREFIX}route"

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]
"""A series' name, its labels and its value."""

_OF_ROUTE: Final[Mapping[str, tuple[str, Labels]]] = {
    "in_flight_local": (f"{PREFIX}in_flight_requests", (("kind", "local"),)),
    "in_flight_spilled": (f"{PREFIX}in_flight_requests", (("kind", "hosted"),)),
    "held": (f"{PREFIX}held_requests", ()),
    "wants_replica": (f"{PREFIX}wants_replica", ()),
    "last_arrival_unix_seconds": (f"{PREFIX}last_arrival_timestamp_seconds", ()),
    "arrivals_total": (f"{PREFIX}arrivals_total", ()),
}
_SPILLED: Final = {field: f"{PREFIX}spilled_{field}" for field in SpilledDemand.model_fields}
_WORK: Final = {field: f"{PREFIX}{field}" for field in WorkDemand.model_fields if field.endswith("_total")}
_HISTOGRAMS: Final[Mapping[str, tuple[str, tuple[float, ...]]]] = {
    "first_token": (f"{PREFIX}first_token_seconds", FIRST_TOKEN_BOUNDS),
    "first_token_since_sent": (f"{PREFIX}first_token_since_sent_seconds", FIRST_TOKEN_BOUNDS),
    "inter_token": (f"{PREFIX}inter_token_seconds", INTER_TOKEN_BOUNDS),
}
_REFUSED: Final = f"{PREFIX}refused_total"
_ENGINE: Final = {field: f"{PREFIX}engine_{field}" for field in EngineDemand.model_fields if field != "served_by"}

_ROUTE_FIELDS: Final = {(name, labels): field for field, (name, labels) in _OF_ROUTE.items()}
_SPILLED_FIELDS: Final = {name: field for field, name in _SPILLED.items()}
_WORK_FIELDS: Final = {name: field for field, name in _WORK.items()}
_HISTOGRAM_FIELDS: Final = {name: field for field, (name, _) in _HISTOGRAMS.items()}
_ENGINE_FIELDS: Final = {name: field for field, name in _ENGINE.items()}
_FLOATS: Final = frozenset({
    "last_arrival_unix_seconds", "request_seconds_total", "kv_cache_usage", "age_seconds",
})  # fmt: skip


def kind_of(name: str) -> str:
    """A family's type, as its ``# TYPE`` line has it."""
    if name in _HISTOGRAM_FIELDS:
        return "histogram"
    return "counter" if name.endswith("_total") else "gauge"


def family_of(name: str) -> str:
    """The family that a series belongs to."""
    for ending in ("_bucket", "_sum", "_count"):
        if name.removesuffix(ending) in _HISTOGRAM_FIELDS:
            return name.removesuffix(ending)
    return name


def process_samples(gateway: str, version: int, now_unix: float, uptime_seconds: float) -> Iterator[Sample]:
    """What is said of the process."""
    yield PROCESS, (("gateway", gateway),), float(version)
    yield NOW, (), now_unix
    yield UPTIME, (), uptime_seconds


def route_samples(route: RouteDemand) -> Iterator[Sample]:
    """What is said of a route; kinds of backends that have done nothing are left out."""
    key = ("route", route.route)
    yield ROUTE, (key, ("uid", route.uid)), 1.0
    for field, (name, labels) in _OF_ROUTE.items():
        value = getattr(route, field)
        if value is not None:
            yield name, (key, *labels), float(value)
    for field, name in _SPILLED.items():
        yield name, (key,), float(getattr(route.spilled, field))
    for reason, count in route.refused_total.items():
        yield _REFUSED, (key, ("reason", reason)), float(count)
    for kind, work in route.work.items():
        yield from _work_samples((key, ("kind", kind)), work)
    for engine in route.engines:
        for field, name in _ENGINE.items():
            value = getattr(engine, field)
            if value is not None:
                yield name, (key, ("served_by", engine.served_by)), float(value)


def _work_samples(labels: Labels, work: WorkDemand) -> Iterator[Sample]:
    for field, name in _WORK.items():
        yield name, labels, float(getattr(work, field))
    for field, (name, bounds) in _HISTOGRAMS.items():
        yield from _histogram(name, labels, getattr(work, field), bounds)


def _histogram(name: str, labels: Labels, said: HistogramDemand, bounds: Sequence[float]) -> Iterator[Sample]:
    total = 0
    for bound in bounds:
        total += said.counts.get(bound_name(bound), 0)
        yield f"{name}_bucket", (*labels, ("le", bound_name(bound))), float(total)
    yield f"{name}_sum", labels, said.seconds_sum
    yield f"{name}_count", labels, float(total)


class Gathered:
    """Series of one gateway process, in any order, that become the line which it would have written."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._routes: dict[str, dict[str, Any]] = {}
        self._buckets: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        self._engines: dict[tuple[str, str], dict[str, Any]] = {}

    def take(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """One series; one that this version does not know is left out."""
        if name == PROCESS:
            self._head |= {"gateway": labels.get("gateway", ""), "version": _whole(value)}
        elif name == NOW:
            self._head["now_unix_seconds"] = _number(value)
        elif name == UPTIME:
            self._head["uptime_seconds"] = _number(value)
        elif "route" in labels:
            self._take(name, labels["route"], labels, value)

    def line(self) -> dict[str, Any]:
        """The line, JSON-able; without ``gateway`` where no process was among the series."""
        for (key, kind, field), buckets in self._buckets.items():
            counts: dict[str, Any] = {}
            before = 0.0
            for bound, cumulative in sorted(buckets):
                if cumulative != before:  # NaN differs from everything, and is told as what it is
                    counts[bound_name(bound)] = _whole(cumulative - before)
                before = cumulative
            self._histogram_of(key, kind, field)["counts"] = counts
        for (key, served_by), engine in self._engines.items():
            self._routes[key].setdefault("engines", []).append({"served_by": served_by, **engine})
        return {**self._head, "routes": list(self._routes.values())}

    def _take(self, name: str, key: str, labels: Mapping[str, str], value: float) -> None:
        route = self._routes.setdefault(key, {"route": key})
        kind = (("kind", labels["kind"]),) if "kind" in labels else ()
        if name == ROUTE:
            route["uid"] = labels.get("uid", "")
        elif field := _ROUTE_FIELDS.get((name, kind)):
            route[field] = bool(value) if field == "wants_replica" and isfinite(value) else _as(field, value)
        elif field := _SPILLED_FIELDS.get(name):
            route.setdefault("spilled", {})[field] = _as(field, value)
        elif name == _REFUSED:
            route.setdefault("refused_total", {})[labels.get("reason", "")] = _whole(value)
        elif field := _ENGINE_FIELDS.get(name):
            self._engines.setdefault((key, labels.get("served_by", "")), {})[field] = _as(field, value)
        elif field := _WORK_FIELDS.get(name):
            self._work_of(key, labels.get("kind", ""))[field] = _as(field, value)
        else:
            self._take_histogram(name, key, labels, value)

    def _take_histogram(self, name: str, key: str, labels: Mapping[str, str], value: float) -> None:
        field, kind = _HISTOGRAM_FIELDS.get(family_of(name)), labels.get("kind", "")
        if field is None:
            return
        if name.endswith("_sum"):
            self._histogram_of(key, kind, field)["seconds_sum"] = _number(value)
        elif name.endswith("_bucket"):
            bound = _bound(labels.get("le", ""))
            self._buckets.setdefault((key, kind, field), []).append((bound, value))

    def _work_of(self, key: str, kind: str) -> dict[str, Any]:
        work: dict[str, Any] = self._routes[key].setdefault("work", {}).setdefault(kind, {})
        return work

    def _histogram_of(self, key: str, kind: str, field: str) -> dict[str, Any]:
        histogram: dict[str, Any] = self._work_of(key, kind).setdefault(field, {})
        return histogram


def _as(field: str, value: float) -> object:
    return _number(value) if field in _FLOATS or field.endswith("_seconds_total") else _whole(value)


def _whole(value: float) -> object:
    """A count; what is none stays a text, which no reader takes for a number."""
    return int(value) if isfinite(value) and value.is_integer() else str(value)


def _number(value: float) -> object:
    return value if isfinite(value) else str(value)


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return inf

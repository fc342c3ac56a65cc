"""What is believed of a line of a gateway's demand stream: each figure within its bounds, each route by itself.

A gateway is a process that faces the world, and may be of another version. A figure that cannot be is left out and
said to be, the rest of the line counts. Adding the gateways up is ``core.traffic``.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, Final, cast

from pydantic import ValidationError

from overspill_api.demand import (
    BackendDemand,
    BackendProblem,
    BudgetDemand,
    GatewayDemand,
    RefusedDocument,
    RouteDemand,
)
from overspill_operator.core.demand.engine_gauges import EngineReading
from overspill_operator.core.demand.engine_gauges import believed as believed_engines
from overspill_operator.core.demand.line_pieces import STEP_BYTES, LineError, is_too_long, name_in, taken_apart
from overspill_operator.core.demand.work import TOTAL_MAX, Work, WorkError

REQUESTS_MAX: Final = 1_000_000
"""Requests at the same time at one gateway process: some thirty times what one can hold open."""

ROUTES_MAX: Final = 10_000
"""Routes that one gateway may speak of: ten times what a cluster of a thousand models has."""

BACKENDS_MAX: Final = 32
"""Backends of one route: the replicas and sixteen hosted APIs, and as many that were renamed meanwhile."""

REFUSED_MAX: Final = 1_000
IDENTITY_LENGTH_MAX: Final = 300
KEY_LENGTH_MAX: Final = 320
UID_LENGTH_MAX: Final = 128
"""Kubernetes' have 36 characters."""
TEN_YEARS_SECONDS: Final = 315_360_000.0
COUNTS_SINCE_VERSION: Final = 2
"""Of the contract: an older gateway does not say what it has counted, nor what engines say."""
WHOLE_BYTES_MAX: Final = 32 * 1024
"""A longer line is read route by route."""
ERRORS_MAX: Final = 100
"""Of one route: where more cannot be read, nothing is, for naming all of them takes long."""
INTEGER_DIGITS_MAX: Final = 30
"""Longer numbers are not read: reading one of a million digits takes seconds."""

_REQUESTS: Final = ("in_flight_local", "in_flight_spilled", "held")
_OF_WORK: Final = frozenset({"arrivals_total", "work", "spilled", "refused_total"})
_HIDES_NO_DEMAND: Final = _OF_WORK | {"engines"}
"""Fields that may be wrong while it is known how many requests there are."""
_KEPT_ELSEWHERE: Final[Mapping[str, Any]] = {
    name: RouteDemand.model_fields[name].get_default(call_default_factory=True)
    for name in ("work", "spilled", "refused_total", "engines")
}
"""Fields whose content ``Line.work`` and ``Line.engines`` have, in a tenth of the room and within bounds: a gateway's
last word on each route is kept for as long as it runs."""
_BACKEND_TOTALS: Final = ("served_total", "errors_total", "cost_nano_usd_total")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Figures of one route that are not believed."""

    route: str
    """``namespace/name``."""
    message: str
    """Which, and why."""
    is_unknown: bool
    """Whether demand may be more than what was left: the number of replicas then only goes up."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is believed of one line."""

    gateway: str
    """Identity of the gateway process."""
    routes: tuple[RouteDemand, ...]
    """What it says of routes, with times by the operator's clock."""
    refused: tuple[RefusedDocument, ...] | None
    """Documents that it can't use; None: as before."""
    doubts: tuple[Doubt, ...]
    """What is not believed."""
    sends_engine_keys: bool = False
    """Whether it sends replicas their keys."""
    work: Mapping[str, Work] = field(default_factory=dict)
    """By route: what it has counted since it began; of those of which it is not said, or not believed, nothing."""
    engines: Mapping[str, tuple[EngineReading, ...]] = field(default_factory=dict)
    """By route: its engines' gauges."""
    uptime_seconds: float = inf
    """How long the gateway process has run; infinite: nobody knows."""
    version: int = 1
    """Of the contract, as the gateway keeps it."""

    @property
    def counts_work(self) -> bool:
        """Whether it says what it has counted, and what engines say."""
        return self.version >= COUNTS_SINCE_VERSION


def read_line(content: bytes, now_unix: float) -> Line:
    """The line; raises ``LineError`` where it is none, or does not say who speaks."""
    steps = reading(content, now_unix)
    while True:
        try:
            next(steps)
        except StopIteration as over:
            return cast("Line", over.value)


def reading(content: bytes, now_unix: float) -> Generator[None, None, Line]:
    """The same in steps, after each of which it stops: none takes long, whatever the line says."""
    if len(content) <= WHOLE_BYTES_MAX:
        return believed(*_read(content), now_unix)
    pieces = yield from taken_apart(content, ROUTES_MAX)
    said, _, _ = _read(pieces.rest)
    yield
    believing = _Believing(said, now_unix)
    read_bytes = 0
    for start, end in pieces.routes:
        route, wrong = _route_in(content[start:end])
        if route is not None:
            believing.take(route, wrong)
        read_bytes += end - start
        if read_bytes >= STEP_BYTES:
            read_bytes = 0
            yield
    return believing.line()


def believed(
    said: GatewayDemand, routes: Sequence[RouteDemand], unreadable: Mapping[str, Sequence[str]], now_unix: float
) -> Line:
    """What is believed of what a gateway says; ``unreadable``: fields of routes that can't be read, by the route."""
    believing = _Believing(said, now_unix)
    for route in routes[:ROUTES_MAX]:
        believing.take(route, unreadable.get(route.route, ()))
    return believing.line()


class _Believing:
    """A line of which one route after the other is taken."""

    def __init__(self, said: GatewayDemand, now_unix: float) -> None:
        if not 0 < len(said.gateway) <= IDENTITY_LENGTH_MAX:
            raise LineError("gateway: must say who speaks, in at most 300 characters")
        self._said = said
        self._now = now_unix
        self._ahead = said.now_unix_seconds - now_unix if isfinite(said.now_unix_seconds) else 0.0
        self._counts = said.version >= COUNTS_SINCE_VERSION
        self._routes: list[RouteDemand] = []
        self._doubts: list[Doubt] = []
        self._works: dict[str, Work] = {}
        self._engines: dict[str, tuple[EngineReading, ...]] = {}

    def take(self, route: RouteDemand, wrong: Sequence[str]) -> None:
        """The next route; ``wrong``: fields of it that can't be read."""
        if not _is_key(route.route):
            return
        bounded, words, is_unknown = _bounded(route, self._ahead, self._now)
        self._routes.append(bounded.model_copy(update=_KEPT_ELSEWHERE))
        if wrong:
            words.insert(0, f"{', '.join(wrong)} cannot be read")
            is_unknown |= not _HIDES_NO_DEMAND.issuperset(wrong)
        if self._counts:
            self._engines[route.route], odd = believed_engines(route.engines, self._now)
            try:
                if _OF_WORK.isdisjoint(wrong):
                    self._works[route.route] = Work.said(route)
            except WorkError as error:
                words.append(str(error))
            words += [odd] if odd else []
        if words:
            self._doubts.append(Doubt(route.route, "; ".join(words), is_unknown))

    def line(self) -> Line:
        """All of it."""
        said, refused = self._said, self._said.refused
        if refused is not None:
            refused = tuple(document for document in refused[:REFUSED_MAX] if _is_key(document.key))
        uptime = said.uptime_seconds if self._counts and said.uptime_seconds >= 0.0 else inf
        return Line(
            said.gateway,
            tuple(self._routes),
            refused,
            tuple(self._doubts),
            said.sends_engine_keys,
            self._works,
            self._engines,
            uptime,
            said.version,
        )


def _read(content: bytes) -> tuple[GatewayDemand, Sequence[RouteDemand], dict[str, list[str]]]:
    """What a line says, its routes, and fields of these that can't be read."""
    try:
        said = GatewayDemand.model_validate_json(content)
    except (ValueError, OverflowError, RecursionError):
        return _salvage(content)
    return said, said.routes, {}


def _route_in(text: bytes) -> tuple[RouteDemand | None, list[str]]:
    """A route by its text, and fields that can't be read; None: it does not even say its name."""
    if not is_too_long(text):
        try:
            return RouteDemand.model_validate_json(text), []
        except (ValueError, OverflowError, RecursionError):
            pass
        try:
            entry = json.loads(text, parse_int=_integer)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict) and isinstance(entry.get("route"), str):
            return _salvaged_route(entry)
    name = name_in(text)
    return (None if name is None else RouteDemand(route=name)), [f"a text of {len(text)} bytes"]


def _salvage(content: bytes) -> tuple[GatewayDemand, list[RouteDemand], dict[str, list[str]]]:
    """A line that is not as it should be, piece by piece."""
    try:
        raw = json.loads(content, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise LineError(f"no JSON: {type(error).__name__}") from error
    if not isinstance(raw, dict):
        raise LineError("must be a JSON object")
    entries, documents = raw.pop("routes", ()), raw.pop("refused", None)
    try:
        said = GatewayDemand.model_validate({"now_unix_seconds": 0.0, **raw})
    except ValidationError:
        try:
            said = GatewayDemand(gateway=raw.get("gateway", ""), now_unix_seconds=float("nan"))
        except ValidationError as error:
            raise LineError("gateway: must be a text") from error
    if "now_unix_seconds" not in raw:
        said = said.model_copy(update={"now_unix_seconds": float("nan")})
    if isinstance(documents, list):
        readable = [_document(entry) for entry in documents[:REFUSED_MAX]]
        said = said.model_copy(update={"refused": tuple(document for document in readable if document)})
    routes: list[RouteDemand] = []
    unreadable: dict[str, list[str]] = {}
    for entry in entries[:ROUTES_MAX] if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("route"), str):
            continue
        route, wrong = _salvaged_route(entry)
        routes.append(route)
        if wrong:
            unreadable[route.route] = wrong
    return said, routes, unreadable


def _salvaged_route(entry: Mapping[str, Any]) -> tuple[RouteDemand, list[str]]:
    """What can be read of a route, and the fields that cannot."""
    try:
        return RouteDemand.model_validate(entry), []
    except ValidationError as error:
        if error.error_count() > ERRORS_MAX:
            return RouteDemand.model_construct(route=entry["route"]), [f"{error.error_count()} figures"]
        places = [problem["loc"] for problem in error.errors(include_url=False, include_input=False)]
    kept = dict(entry)
    if isinstance(kept.get("backends"), dict):
        bad = {place[1] for place in places if place[0] == "backends" and len(place) > 1}
        kept["backends"] = {name: value for name, value in kept["backends"].items() if name not in bad}
    wrong = sorted({str(place[0]) for place in places})
    for name in wrong:
        if name != "backends" or not isinstance(kept["backends"], dict):
            kept.pop(name, None)
    try:
        return RouteDemand.model_validate(kept), wrong
    except ValidationError:
        return RouteDemand.model_construct(route=entry["route"]), wrong


def _document(entry: object) -> RefusedDocument | None:
    try:
        return RefusedDocument.model_validate(entry)
    except ValidationError:
        return None


def _bounded(route: RouteDemand, ahead: float, now_unix: float) -> tuple[RouteDemand, list[str], bool]:
    """The route within bounds, what was out of them, and whether that hides demand.

    A count below zero is none: a counter that was lowered once too often. One that is too high may be anything.
    """
    words: list[str] = []
    changes: dict[str, Any] = {}
    is_unknown = False
    for name in _REQUESTS:
        value = getattr(route, name)
        if not 0 <= value <= REQUESTS_MAX:
            changes[name] = 0
            words.append(f"{name} is {'below 0' if value < 0 else f'above {REQUESTS_MAX}'}")
            is_unknown |= value > REQUESTS_MAX
    arrival = route.last_arrival_unix_seconds
    if arrival is not None:
        changes["last_arrival_unix_seconds"] = _past(arrival, ahead, now_unix)
        if not isfinite(arrival):
            words.append("last_arrival_unix_seconds is no time")
    backends = {
        name: _bounded_backend(figures, ahead, now_unix)
        for name, figures in list(route.backends.items())[:BACKENDS_MAX]
        if name == "local" or (name.startswith("hosted/") and len(name) <= KEY_LENGTH_MAX)
    }
    if backends != route.backends:
        changes["backends"] = backends
    if len(route.uid) > UID_LENGTH_MAX:  # cut, it is still none of a route that there is
        changes["uid"] = route.uid[:UID_LENGTH_MAX]
        words.append("uid is too long")
    if route.budget is not None and not _is_budget(route.budget, now_unix):
        changes["budget"] = None
        words.append("budget cannot be")
    return (route.model_copy(update=changes) if changes else route), words, is_unknown


def _is_budget(budget: BudgetDemand, now_unix: float) -> bool:
    """Whether a budget is one that there can be: amounts within bounds, in a period that has begun not long ago."""
    amounts = 0 <= budget.limit_nano_usd <= TOTAL_MAX and 0 <= budget.charged_nano_usd <= TOTAL_MAX
    return amounts and abs(now_unix - budget.period_start_unix_seconds) < TEN_YEARS_SECONDS


def _bounded_backend(figures: BackendDemand, ahead: float, now_unix: float) -> BackendDemand:
    """Counters out of bounds say nothing; they are for people to read and decide nothing."""
    changes: dict[str, Any] = {name: 0 for name in _BACKEND_TOTALS if not 0 <= getattr(figures, name) <= TOTAL_MAX}
    problem = figures.problem
    if problem is not None:
        changes["problem"] = BackendProblem(
            reason=problem.reason,
            message=problem.message,
            since_unix_seconds=_past(problem.since_unix_seconds, ahead, now_unix) or now_unix,
            failures=min(max(problem.failures, 1), TOTAL_MAX),
        )
    return figures.model_copy(update=changes) if changes else figures


def _past(unix: float, ahead: float, now_unix: float) -> float | None:
    """A time of the gateway's clock by the operator's: never in the future; None: no time, or too long ago to be."""
    if not isfinite(unix):
        return None
    here = min(unix - ahead, now_unix)
    return here if here > now_unix - TEN_YEARS_SECONDS else None


def _is_key(text: str) -> bool:
    """Whether it is ``namespace/name``; for whom that says nothing it is left out."""
    namespace, slash, name = text.partition("/")
    return bool(namespace and slash and name) and len(text) <= KEY_LENGTH_MAX and text.isprintable()


def _integer(text: str) -> int:
    return int(text) if len(text) <= INTEGER_DIGITS_MAX else 10**INTEGER_DIGITS_MAX * (-1 if text[0] == "-" else 1)

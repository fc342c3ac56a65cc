"""What all gateways together say about a route: the demand that scaling follows, and the figures that status shows.

Each gateway process reports for itself (contract 2). One that is silent makes the sum a lower bound, which may
scale up and never down.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from overspill_api.demand import RefusedDocument, RouteDemand
from overspill_operator.core.demand.demand_lines import ROUTES_MAX, Doubt, Line
from overspill_operator.core.demand.engine_gauges import EngineGauges, EngineReading, gauges_of
from overspill_operator.core.demand.recent_work import WINDOW_SECONDS, Growth
from overspill_operator.core.demand.work import Work, WorkError
from overspill_operator.core.engine_access import KeySenders

STALE_AFTER_SECONDS = 25.0
"""A gateway writes at least every 10 s; two and a half times that is silence and not a slow network."""

DOUBTS_TOLD_MAX = 3

DOUBTS_SECONDS = 60.0
"""How long status speaks of figures that were not believed after they were last heard."""


class Coverage(StrEnum):
    """How much of the demand is known."""

    COMPLETE = "Complete"
    PARTIAL = "Partial"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class Heard:
    """What is new in a line."""

    keys: list[str]
    """Routes that it speaks of."""
    growth: list[Growth]
    """What its counts have grown by."""
    doubts: list[Doubt]
    """What is not believed of it."""


@dataclass(slots=True)
class GatewayView:
    """What one gateway process has said so far."""

    first_seen_unix: float
    """When its first line came, by the operator's clock."""
    last_line_unix: float
    """When its last line came, by the operator's clock."""
    identity: str = ""
    """The process's own name, from its lines."""
    routes: dict[str, RouteDemand] = field(default_factory=dict)
    """Its last word on each route, with times by the operator's clock."""
    refused: dict[tuple[str, str], RefusedDocument] = field(default_factory=dict)
    """Documents that it can't use, by kind and key."""
    doubts: dict[str, Doubt] = field(default_factory=dict)
    """By route: what of its last word is not believed."""
    sends_engine_keys: bool = False
    """Whether it sends replicas their keys, by its last line."""
    version: int = 1
    """Of the contract, by its last line."""
    counts_work: bool = False
    """Whether it says what it has counted, by its last line."""
    work: dict[str, tuple[str, Work]] = field(default_factory=dict)
    """By route: the ModelRoute's uid, and what it has counted for that since it began."""
    engines: dict[str, tuple[EngineReading, ...]] = field(default_factory=dict)
    """By route: gauges of its engines."""

    def take(self, line: Line, now_unix: float) -> Heard:
        """Remember a line; what is new in it."""
        is_first = line.gateway != self.identity
        if is_first:
            self.identity, self.first_seen_unix = line.gateway, now_unix
            self.routes, self.refused, self.doubts, self.work, self.engines = {}, {}, {}, {}, {}
        was_silent = not is_first and self.is_stale(now_unix)
        if was_silent:
            self.work = {}  # what was done meanwhile was done at any time
        # A route that is new here began at zero lately, unless the process is old and heard for the first time.
        begins_lately = line.uptime_seconds <= WINDOW_SECONDS if is_first else not was_silent
        self.last_line_unix = now_unix
        self.sends_engine_keys = line.sends_engine_keys
        self.version, self.counts_work = line.version, line.counts_work
        taken = [route for route in line.routes if route.route in self.routes or len(self.routes) < ROUTES_MAX]
        begun = {route.route for route in taken if begins_lately and route.route not in self.routes}
        for route in taken:
            self.routes[route.route] = route
            self.engines[route.route] = line.engines.get(route.route, ())
            self.doubts.pop(route.route, None)
        self.doubts |= {doubt.route: doubt for doubt in line.doubts if doubt.route in self.routes}
        if line.refused is not None:
            self.refused = {(document.kind, document.key): document for document in line.refused}
        growth: list[Growth] = []
        doubts = list(line.doubts)
        for route in taken:
            try:
                growth += self._growth(route, line.work.get(route.route), begun)
            except WorkError as error:
                doubts.append(self._doubt(route.route, str(error)))
        return Heard([route.route for route in taken], growth, doubts)

    def _growth(self, route: RouteDemand, work: Work | None, begun: Collection[str]) -> Iterator[Growth]:
        """What its counts have grown by, if it says; raises WorkError. ``begun``: routes that began at zero lately."""
        if work is None:
            return
        key, uid = route.route, route.uid
        before = self.work.get(key)
        self.work[key] = uid, work
        if before is None:
            yield Growth(key, uid, work if key in begun else None)
        else:
            is_same = uid == before[0] or not uid or not before[0]
            yield Growth(key, uid, work.minus(before[1]) if is_same else work)

    def _doubt(self, key: str, message: str) -> Doubt:
        """One more of a route."""
        before = self.doubts.get(key)
        said = f"{before.message}; {message}" if before else message
        doubt = self.doubts[key] = Doubt(key, said, is_unknown=before is not None and before.is_unknown)
        return doubt

    def said(self, key: str, uid: str) -> RouteDemand | None:
        """Its last word on a route; what it says of another object of that name is none."""
        report = self.routes.get(key)
        return None if report is None or (report.uid and uid and report.uid != uid) else report

    def forget(self, key: str) -> None:
        """The route is gone."""
        self.routes.pop(key, None)
        self.doubts.pop(key, None)
        self.work.pop(key, None)
        self.engines.pop(key, None)

    def is_stale(self, now_unix: float) -> bool:
        """Whether it has been silent for too long."""
        return now_unix - self.last_line_unix > STALE_AFTER_SECONDS


@dataclass(frozen=True, slots=True)
class Demand:
    """Demand for one route, all gateways together."""

    coverage: Coverage
    """How much of it is known."""
    in_flight: int = 0
    """Requests at replicas now."""
    spilled: int = 0
    """Requests at hosted APIs now."""
    held: int = 0
    """Requests that wait for a replica now."""
    wants_replica: bool = False
    """Some gateway has had a request that no replica could serve, and still none can."""
    quiet_since_unix: float | None = None
    """The time since which no request came: the last arrival, or for a gateway process that has had none the
    moment it was first heard. None: not known."""
    last_arrival_unix: float | None = None
    """When the last request came."""

    @property
    def concurrency(self) -> int:
        """Requests that want a replica now: a spilled or held one counts like one that is served."""
        return self.in_flight + self.spilled + self.held


def key_senders(views: Iterable[GatewayView], unheard: int, now_unix: float) -> KeySenders:
    """Which gateways send replicas their keys; ``unheard`` is how many are silent. One that drains counts as well."""
    fresh = [view for view in views if not view.is_stale(now_unix)]
    if not all(view.sends_engine_keys for view in fresh):
        return KeySenders.NOT_ALL
    return KeySenders.ALL if fresh and not unheard else KeySenders.UNKNOWN


def all_count_work(views: Iterable[GatewayView], unheard: int, now_unix: float) -> bool:
    """Whether what gateways count is all that was done: while an older one runs, or one is silent, it is not."""
    return not unheard and all(view.counts_work for view in views if not view.is_stale(now_unix))


def demand_of(key: str, views: Iterable[GatewayView], unheard: int, now_unix: float, uid: str = "") -> Demand:
    """Demand for the route ``key`` from the gateways that have spoken; ``unheard`` is how many are silent.

    ``uid``: identity of the route, so that what was said of a former one of its name does not count.
    """
    fresh = [view for view in views if not view.is_stale(now_unix)]
    if not fresh:
        return Demand(Coverage.NONE)
    reports = [(view, view.said(key, uid)) for view in fresh]
    heard = [report for _, report in reports if report]
    arrivals = [report.last_arrival_unix_seconds for report in heard if report.last_arrival_unix_seconds is not None]
    is_unknown = any(key in view.doubts and view.doubts[key].is_unknown for view in fresh)
    quiet = [
        view.first_seen_unix for view, report in reports if report is None or report.last_arrival_unix_seconds is None
    ]
    return Demand(
        coverage=Coverage.PARTIAL if unheard or is_unknown else Coverage.COMPLETE,
        in_flight=sum(report.in_flight_local for report in heard),
        spilled=sum(report.in_flight_spilled for report in heard),
        held=sum(report.held for report in heard),
        wants_replica=any(report.wants_replica for report in heard),
        quiet_since_unix=max([*arrivals, *quiet]),
        last_arrival_unix=max(arrivals, default=None),
    )


def engines_of(key: str, views: Iterable[GatewayView], now_unix: float, uid: str = "") -> EngineGauges:
    """What the replicas of the route ``key`` say of themselves."""
    fresh = (view for view in views if not view.is_stale(now_unix) and view.said(key, uid))
    return gauges_of((view.engines.get(key, ()) for view in fresh), now_unix)


def doubts_of(key: str, views: Iterable[GatewayView]) -> str:
    """What of the gateways' figures for a route is not believed; empty: all is."""
    doubts = [f"{view.identity}: {view.doubts[key].message}" for view in views if key in view.doubts]
    more = f", and {len(doubts) - DOUBTS_TOLD_MAX} more gateways" if len(doubts) > DOUBTS_TOLD_MAX else ""
    return ", ".join(doubts[:DOUBTS_TOLD_MAX]) + more


@dataclass(frozen=True, slots=True)
class ToldDoubts:
    """What status says of a route's figures that are not believed: for a while, so that it does not flutter."""

    text: str = ""
    """What was heard last."""
    until_unix: float = 0.0
    """How long it is told."""

    def heard(self, doubts: str, now_unix: float) -> "ToldDoubts":
        """After a look at what is not believed now; empty: nothing."""
        return ToldDoubts(doubts, now_unix + DOUBTS_SECONDS) if doubts else self

    def told(self, now_unix: float) -> str:
        """What is told now; empty: nothing."""
        return self.text if now_unix < self.until_unix else ""

    def is_news(self, doubts: str, now_unix: float) -> bool:
        """Whether there are doubts while status speaks of none."""
        return bool(doubts) and now_unix >= self.until_unix


def has_traffic(key: str, views: Iterable[GatewayView], uid: str = "") -> bool:
    """Whether any gateway process has had a request for the route."""
    reports = (view.said(key, uid) for view in views)
    return any(report and (report.last_arrival_unix_seconds is not None or report.backends) for report in reports)


def served_by(key: str, views: Iterable[GatewayView], uid: str = "") -> str | None:
    """Share of answered requests by kind of backend, such as ``local 93%, hosted 7%``; None before the first."""
    totals: dict[str, int] = {}
    for view in views:
        report = view.said(key, uid)
        for backend, figures in (report.backends if report else {}).items():
            kind = backend.partition("/")[0]
            totals[kind] = totals.get(kind, 0) + figures.served_total
    everything = sum(totals.values())
    if not everything:
        return None
    shares = sorted(((count, kind) for kind, count in totals.items() if count), key=lambda item: (-item[0], item[1]))
    return ", ".join(f"{kind} {_percent(count, everything)}" for count, kind in shares)


def costs(key: str, views: Iterable[GatewayView], uid: str = "") -> Mapping[str, int]:
    """Nano-dollars that each gateway process has counted for the route."""
    totals: dict[str, int] = {}
    for view in views:
        report = view.said(key, uid)
        if report and view.identity:
            cost = sum(backend.cost_nano_usd_total for backend in report.backends.values())
            totals[view.identity] = max(cost, totals.get(view.identity, 0))
    return totals


def _percent(part: int, whole: int) -> str:
    """A share in whole per cent; a small one is not rounded away, nor a large one up to all."""
    share = 100 * part / whole
    return f"{min(max(round(share), 1), 99 if part < whole else 100)}%"

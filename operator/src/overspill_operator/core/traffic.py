"""What all gateways together say about a route: the demand that scaling follows, and the figures that status shows.

Each gateway process reports for itself (contract 2). One that is silent makes the sum a lower bound, which may
scale up and never down.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from overspill_api.demand import GatewayDemand, RouteDemand

STALE_AFTER_SECONDS = 25.0
"""A gateway writes at least every 10 s; two and a half times that is silence and not a slow network."""


class Coverage(StrEnum):
    """How much of the demand is known."""

    COMPLETE = "Complete"
    PARTIAL = "Partial"
    NONE = "None"


@dataclass(slots=True)
class GatewayView:
    """What one gateway process has said so far."""

    first_seen_unix: float
    """When its first line came, by the operator's clock."""
    last_line_unix: float
    """When its last line came, by the operator's clock."""
    identity: str = ""
    """The process's own name, from its lines."""
    ahead_seconds: float = 0.0
    """How much its clock is ahead of the operator's, the line's travel included."""
    routes: dict[str, RouteDemand] = field(default_factory=dict)
    """Its last word on each route."""

    def take(self, line: GatewayDemand, now_unix: float) -> list[str]:
        """Remember a line; the keys of the routes it spoke of."""
        if line.gateway != self.identity:
            self.identity, self.first_seen_unix, self.routes = line.gateway, now_unix, {}
        self.last_line_unix = now_unix
        self.ahead_seconds = line.now_unix_seconds - now_unix
        for route in line.routes:
            self.routes[route.route] = route
        return [route.route for route in line.routes]

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


def demand_of(key: str, views: Iterable[GatewayView], unheard: int, now_unix: float) -> Demand:
    """Demand for the route ``key`` from the gateways that have spoken; ``unheard`` is how many are silent."""
    fresh = [view for view in views if not view.is_stale(now_unix)]
    if not fresh:
        return Demand(Coverage.NONE)
    reports = [(view, view.routes.get(key)) for view in fresh]
    known = [report for _, report in reports if report]
    arrivals = [
        report.last_arrival_unix_seconds - view.ahead_seconds
        for view, report in reports
        if report and report.last_arrival_unix_seconds is not None
    ]
    quiet = [
        view.first_seen_unix for view, report in reports if report is None or report.last_arrival_unix_seconds is None
    ]
    return Demand(
        coverage=Coverage.PARTIAL if unheard else Coverage.COMPLETE,
        in_flight=sum(report.in_flight_local for report in known),
        spilled=sum(report.in_flight_spilled for report in known),
        held=sum(report.held for report in known),
        wants_replica=any(report.wants_replica for report in known),
        quiet_since_unix=max([*arrivals, *quiet]),
        last_arrival_unix=max(arrivals, default=None),
    )


def has_traffic(key: str, views: Iterable[GatewayView]) -> bool:
    """Whether any gateway process has had a request for the route."""
    reports = (view.routes.get(key) for view in views)
    return any(report and (report.last_arrival_unix_seconds is not None or report.backends) for report in reports)


def served_by(key: str, views: Iterable[GatewayView]) -> str | None:
    """Share of answered requests by kind of backend, such as ``local 93%, hosted 7%``; None before the first."""
    totals: dict[str, int] = {}
    for view in views:
        report = view.routes.get(key)
        for backend, figures in (report.backends if report else {}).items():
            kind = backend.partition("/")[0]
            totals[kind] = totals.get(kind, 0) + figures.served_total
    everything = sum(totals.values())
    if not everything:
        return None
    shares = sorted(((count, kind) for kind, count in totals.items() if count), key=lambda item: (-item[0], item[1]))
    return ", ".join(f"{kind} {_percent(count, everything)}" for count, kind in shares)


def costs(key: str, views: Iterable[GatewayView]) -> Mapping[str, int]:
    """Nano-dollars that each gateway process has counted for the route."""
    found: dict[str, int] = {}
    for view in views:
        report = view.routes.get(key)
        if report and view.identity:
            found[view.identity] = sum(backend.cost_nano_usd_total for backend in report.backends.values())
    return found


def _percent(part: int, whole: int) -> str:
    """A share in whole per cent; a small one is not rounded away, nor a large one up to all."""
    share = 100 * part / whole
    return f"{min(max(round(share), 1), 99 if part < whole else 100)}%"

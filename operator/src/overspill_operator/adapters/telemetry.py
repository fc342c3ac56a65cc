"""The operator's own metrics, as /metrics shows them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

LEADER = Gauge("overspill_operator_leader", "1 while this process is the leader.", registry=REGISTRY)
RECONCILES = Histogram(
    "overspill_operator_reconcile_seconds",
    "Duration of one reconcile of one object.",
    ["kind", "result"],
    buckets=_FAST,
    registry=REGISTRY,
)
QUEUE_LENGTH = Gauge("overspill_operator_queue_length", "Objects that wait to be reconciled.", registry=REGISTRY)
APPLIES = Counter(
    "overspill_operator_applies_total",
    "Objects applied, by kind and why: Created, Changed or Drifted.",
    ["kind", "why"],
    registry=REGISTRY,
)
STATUS_WRITES = Counter("overspill_operator_status_writes_total", "Status documents written.", registry=REGISTRY)
WAKES = Histogram(
    "overspill_operator_wake_seconds",
    "From a gateway's line that asks for a replica to the scale written.",
    buckets=_FAST,
    registry=REGISTRY,
)
DECISIONS = Counter(
    "overspill_operator_scaling_decisions_total",
    "Changes of a number of replicas, by reason.",
    ["reason"],
    registry=REGISTRY,
)
BEAT_SECONDS = Histogram(
    "overspill_operator_beat_seconds",
    "Time spent on one look at all routes of which something was heard, waits left out.",
    buckets=_FAST,
    registry=REGISTRY,
)
BEAT_ROUTES = Counter(
    "overspill_operator_beat_routes_total",
    "Routes looked at because something was heard or was due.",
    registry=REGISTRY,
)
API_CALLS = Histogram(
    "overspill_operator_api_call_seconds",
    "Duration of calls to the API server, watches left out.",
    ["method", "resource"],
    buckets=_FAST,
    registry=REGISTRY,
)
API_ERRORS = Counter(
    "overspill_operator_api_errors_total",
    "Calls to the API server that it refused (by HTTP status) or that did not reach it (0).",
    ["method", "resource", "status"],
    registry=REGISTRY,
)
WATCH_BROKEN = Gauge(
    "overspill_operator_watch_broken",
    "1 while objects of a kind can be neither listed nor watched (a missing right, an API server that is away).",
    ["resource"],
    registry=REGISTRY,
)
RELISTS = Counter(
    "overspill_operator_watch_failures_total",
    "Lists and watches that failed, by HTTP status (0: not reached; 410: too old, listed again).",
    ["resource", "status"],
    registry=REGISTRY,
)
GATEWAY_STREAMS = Gauge(
    "overspill_operator_gateway_streams", "Demand streams of gateways that are open.", registry=REGISTRY
)
GATEWAYS = Gauge(
    "overspill_operator_gateways",
    "Gateways that are heard, by the version of what they tell: 1, 2 or newer.",
    ["demand_version"],
    registry=REGISTRY,
)
DEMAND_REFUSED = Counter(
    "overspill_operator_demand_refused_total",
    "What gateways said and is not believed: whole lines (line), or figures of one route in a line (route).",
    ["what"],
    registry=REGISTRY,
)
LOADS = Histogram(
    "overspill_operator_load_seconds",
    "From a replica that was asked for to its first answer.",
    buckets=(1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1800, 3600),
    registry=REGISTRY,
)
LAST_LOAD = Gauge(
    "overspill_operator_last_load_seconds",
    "The last start of a route's replica, by phase: their sum is all of it.",
    ["namespace", "route", "phase"],
    registry=REGISTRY,
)
EXPECTED_LOAD = Gauge(
    "overspill_operator_expected_load_seconds",
    "What the next start of a route's replica is expected to take.",
    ["namespace", "route"],
    registry=REGISTRY,
)
LOAD_ROUTES_MAX = 2000
"""Routes whose load times are shown each on its own: some ten thousand series."""
_load_phases: dict[tuple[str, str], tuple[str, ...]] = {}
EVENTS_DROPPED = Counter(
    "overspill_operator_events_dropped_total", "Kubernetes Events given up: too many, or refused.", registry=REGISTRY
)


def show_load(namespace: str, route: str, phases: Mapping[str, float], expected_seconds: float | None) -> None:
    """Show a route's load times in place of those before; no phases: nothing is known, or the route is gone."""
    shown = _load_phases.pop((namespace, route), ())
    for phase in shown:
        LAST_LOAD.remove(namespace, route, phase)
    if shown:
        EXPECTED_LOAD.remove(namespace, route)
    if not phases or expected_seconds is None or len(_load_phases) >= LOAD_ROUTES_MAX:
        return
    _load_phases[namespace, route] = tuple(phases)
    EXPECTED_LOAD.labels(namespace, route).set(expected_seconds)
    for phase, seconds in phases.items():
        LAST_LOAD.labels(namespace, route, phase).set(seconds)


_ROUTE = ["namespace", "route"]
"""Two labels: what a HorizontalPodAutoscaler selects by may have no slash in it."""


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """What is decided of one route that has an engine."""

    namespace: str
    """The route's."""
    route: str
    """Its name."""
    desired: int
    """Replicas that there shall be."""
    ready: int
    """Replicas that can answer."""
    needed: tuple[tuple[str, int], ...]
    """By signal, replicas that it calls for; none: the number is fixed."""
    advised: int | None = None
    """Replicas that Overspill would run; None: it decides itself."""
    learned: Mapping[str, float] = field(default_factory=dict)
    """What is known of a replica's pace and of the work that comes, by the names of ``LEARNED``; none: not yet."""


LEARNED: Final[Mapping[str, str]] = {
    "offered_replicas": "Work that comes, served or not, in replicas that it would keep busy.",
    "read_tokens_per_second": "Prompt tokens that one replica reads in a second.",
    "written_tokens_per_second": "Output tokens that one replica writes in a second, in its fullest batch.",
    "batch_answers": "Answers in a replica's fullest batch.",
}
"""Figures that are learned of a route's replicas, each a gauge."""


class RouteCollector(Collector):
    """Figures of routes, asked for when somebody scrapes: routes that are gone leave no series behind."""

    def __init__(self) -> None:
        self.source: Callable[[], Iterable[RouteFigures]] = tuple
        """A leader's; others have none."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See ``Collector``."""
        desired = GaugeMetricFamily(
            "overspill_operator_route_desired_replicas", "Replicas that scaling wants.", labels=_ROUTE
        )
        ready = GaugeMetricFamily("overspill_operator_route_ready_replicas", "Replicas that can answer.", labels=_ROUTE)
        needed = GaugeMetricFamily(
            "overspill_operator_route_needed_replicas",
            "Replicas that a signal calls for, before bounds; none where the number is fixed.",
            labels=[*_ROUTE, "signal"],
        )
        advised = GaugeMetricFamily(
            "overspill_operator_route_advised_replicas",
            "Replicas that Overspill would run where another autoscaler decides.",
            labels=_ROUTE,
        )
        learned = {
            name: GaugeMetricFamily(f"overspill_operator_route_{name}", text, labels=_ROUTE)
            for name, text in LEARNED.items()
        }
        for figures in self.source():
            route = [figures.namespace, figures.route]
            desired.add_metric(route, figures.desired)
            ready.add_metric(route, figures.ready)
            for signal, replicas in figures.needed:
                needed.add_metric([*route, signal], replicas)
            if figures.advised is not None:
                advised.add_metric(route, figures.advised)
            for name, value in figures.learned.items():
                learned[name].add_metric(route, value)
        yield from (desired, ready, needed, advised, *learned.values())


ROUTES = RouteCollector()
REGISTRY.register(ROUTES)

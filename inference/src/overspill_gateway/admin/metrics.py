"""The gateway's metrics in Prometheus' format, read from the counters of routes when somebody asks.

Counting on the path of a request is adding to an integer; names and labels are made here.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from overspill_gateway.admin.money_metrics import consumer_lines, money_metrics
from overspill_gateway.admin.resilience_metrics import ejection_metrics, retry_metrics, route_metrics
from overspill_gateway.proxy.counting import LATENCY_BUCKETS, BackendCounters, Histogram

if TYPE_CHECKING:
    from overspill_gateway.core.retry_budget import RetryBudget
    from overspill_gateway.proxy.metering import Metering
    from overspill_gateway.proxy.route import Route

_BOUNDS = [*(f"{bound:g}" for bound in LATENCY_BUCKETS[:-1]), "+Inf"]


class _RouteCollector(Collector):
    """Reads the routes."""

    def __init__(
        self,
        routes: "dict[str, Route]",
        others: Callable[[], Iterable[Metric]],
        metering: "Metering | None",
        retries: "RetryBudget | None",
    ) -> None:
        self._routes = routes
        self._others = others
        self._metering = metering
        self._retries = retries

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges()
        yield from self._counters()
        yield from self._backends()
        yield from route_metrics(self._routes)
        yield from ejection_metrics(self._routes)
        if self._retries is not None:
            yield from retry_metrics(self._retries)
        if self._metering is not None:
            yield from money_metrics(self._metering)
        yield from self._others()

    def _gauges(self) -> Iterator[Metric]:
        gauges: list[tuple[str, str, Callable[[Route], float]]] = [
            ("overspill_held_requests", "Requests that wait for a replica.", lambda route: len(route.held)),
            ("overspill_endpoints_usable", "Replicas that can serve.", lambda route: len(route.pool.replicas)),
            ("overspill_endpoints", "Replicas that are listed.", lambda route: len(route.replicas)),
            ("overspill_wants_replica", "1 while requests find no replica.", lambda route: int(route.wants_replica)),
        ]
        for name, text, value in gauges:
            gauge = GaugeMetricFamily(name, text, labels=["route"])
            for key, route in self._routes.items():
                gauge.add_metric([key], value(route))
            yield gauge
        flying = GaugeMetricFamily("overspill_in_flight_requests", "Requests at backends.", labels=["route", "backend"])
        for key, route in self._routes.items():
            flying.add_metric([key, "local"], route.in_flight_local)
            flying.add_metric([key, "hosted"], route.in_flight_spilled)
        yield flying

    def _counters(self) -> Iterator[Metric]:
        counters: list[tuple[str, str, Callable[[Route], float]]] = [
            ("overspill_arrivals", "Requests that were let in.", lambda route: route.arrivals),
            ("overspill_spilled_requests", "Requests that left a pool for a hosted API.", lambda route: route.spilled),
            ("overspill_retries", "Attempts after a failed one.", lambda route: route.retries),
            ("overspill_refused_requests", "Requests that nobody served.", lambda route: route.refused),
        ]
        for name, text, value in counters:
            counter = CounterMetricFamily(name, text, labels=["route"])
            for key, route in self._routes.items():
                counter.add_metric([key], value(route))
            yield counter

    def _backends(self) -> Iterator[Metric]:
        both = ["route", "backend"]
        requests = CounterMetricFamily("overspill_requests", "Answers by status.", labels=[*both, "status_class"])
        failures = CounterMetricFamily("overspill_attempt_failures", "Attempts that failed.", labels=[*both, "kind"])
        outcomes = CounterMetricFamily("overspill_attempts", "Attempts by how they ended.", labels=[*both, "outcome"])
        tokens = CounterMetricFamily(
            "overspill_tokens", "Tokens, by who counted them.", labels=[*both, "token_type", "usage_source"]
        )
        cost = CounterMetricFamily("overspill_cost_nano_usd", "Nano-dollars of the hosted APIs.", labels=both)
        first = HistogramMetricFamily("overspill_time_to_first_byte_seconds", "Arrival to first byte.", labels=both)
        whole = HistogramMetricFamily("overspill_request_duration_seconds", "Arrival to the end.", labels=both)
        for key, route in self._routes.items():
            for name, counted in route.backends.items():
                labels = [key, name]
                for status_class, count in _by_class(counted).items():
                    requests.add_metric([*labels, status_class], count)
                for kind, count in counted.failures.items():
                    failures.add_metric([*labels, kind], count)
                for outcome, count in counted.outcomes.items():
                    outcomes.add_metric([*labels, outcome], count)
                for kind, source, amount in _tokens(counted):
                    tokens.add_metric([*labels, kind, source], amount)
                cost.add_metric(labels, counted.cost_nano_usd)
                first.add_metric(labels, _buckets(counted.first_byte), counted.first_byte.sum)
                whole.add_metric(labels, _buckets(counted.duration), counted.duration.sum)
        yield from (requests, failures, outcomes, tokens, cost, first, whole)


def _tokens(counters: BackendCounters) -> list[tuple[str, str, int]]:
    """Counts by type and source; estimated ones only where there are any."""
    prompt, output = counters.prompt_tokens_estimated, counters.output_tokens_estimated
    counts = [
        ("input", "reported", counters.prompt_tokens - prompt),
        ("output", "reported", counters.output_tokens - output),
    ]
    return counts + ([("input", "estimated", prompt), ("output", "estimated", output)] if prompt or output else [])


def _by_class(counters: BackendCounters) -> dict[str, int]:
    classes: dict[str, int] = {}
    for status, count in counters.statuses.items():
        name = f"{status // 100}xx"
        classes[name] = classes.get(name, 0) + count
    return classes


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(_BOUNDS, histogram.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


class Metrics:
    """Renders /metrics."""

    def __init__(
        self,
        routes: "dict[str, Route]",
        others: Callable[[], Iterable[Metric]],
        metering: "Metering | None" = None,
        retries: "RetryBudget | None" = None,
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_RouteCollector(routes, others, metering, retries))
        self._metering = metering

    def render(self) -> bytes:
        """The text of /metrics."""
        text: bytes = generate_latest(self._registry)
        if self._metering is None:
            return text
        return text + consumer_lines(self._metering.records).encode()

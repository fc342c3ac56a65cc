"""The gateway's metrics in Prometheus' format, read from the counters of routes when somebody asks.

Counting on the path of a request is adding to an integer; names and labels are made here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from overspill_gateway.admin.exposition import head_of, samples_of
from overspill_gateway.admin.money_metrics import CONSUMER_FAMILIES, consumer_lines, ledger_metrics, money_metrics
from overspill_gateway.admin.resilience_metrics import ejection_metrics, retry_metrics, route_metrics
from overspill_gateway.admin.sliced_page import SLICE_SECONDS, SlicedPage
from overspill_gateway.clock import Clock
from overspill_gateway.core.counters import BackendCounters
from overspill_gateway.core.prediction.foregone import Verdict
from overspill_gateway.wire.time_slice import TimeSlice

if TYPE_CHECKING:
    from overspill_gateway.core.admission.retry_budget import RetryBudget
    from overspill_gateway.money.metering import Metering
    from overspill_gateway.routes.route import Route

_SLICE_ROUTES = 2
_SLICE_CONSUMERS = 200


def _gauges(routes: "Mapping[str, Route]") -> Iterator[Metric]:
    gauges: list[tuple[str, str, Callable[[Route], float]]] = [
        ("overspill_held_requests", "Requests that wait for a replica.", lambda route: len(route.pool.queue)),
        ("overspill_endpoints_usable", "Replicas that can serve.", lambda route: len(route.pool.replicas)),
        ("overspill_endpoints", "Replicas that are listed.", lambda route: len(route.replicas)),
        ("overspill_endpoints_slow", "Replicas slower than the rest.", lambda route: route.pool.rates.slow_replicas),
        ("overspill_wants_replica", "1 while requests find no replica.", lambda route: int(route.pool.wants_replica)),
    ]
    for name, text, value in gauges:
        gauge = GaugeMetricFamily(name, text, labels=["route"])
        for key, route in routes.items():
            gauge.add_metric([key], value(route))
        yield gauge
    flying = GaugeMetricFamily("overspill_in_flight_requests", "Requests at backends.", labels=["route", "backend"])
    for key, route in routes.items():
        flying.add_metric([key, "local"], route.in_flight_local)
        flying.add_metric([key, "hosted"], route.pool.in_flight_spilled)
    yield flying


def _counters(routes: "Mapping[str, Route]") -> Iterator[Metric]:
    counters: list[tuple[str, str, Callable[[Route], float]]] = [
        ("overspill_arrivals", "Requests that were let in.", lambda route: route.pool.arrivals),
        ("overspill_spilled_requests", "Requests that left a pool for a hosted API.", lambda route: route.pool.spilled),
        ("overspill_late_holds", "Streams late at replicas, not at hosted APIs.", lambda route: route.tally.late_holds),
        ("overspill_spill_regret_nano_usd", "Cost of regretted spills.", lambda route: route.tally.regret_nano_usd),
        ("overspill_retries", "Attempts after a failed one.", lambda route: route.tally.retries),
        ("overspill_refused_requests", "Requests that nobody served.", lambda route: route.tally.refused),
    ]
    for name, text, value in counters:
        counter = CounterMetricFamily(name, text, labels=["route"])
        for key, route in routes.items():
            counter.add_metric([key], value(route))
        yield counter


def _judged(routes: "Mapping[str, Route]") -> Iterator[Metric]:
    judged = CounterMetricFamily("overspill_spills_judged", "Spills by what came of them.", labels=["route", "verdict"])
    for key, route in routes.items():
        tally = route.tally
        judged.add_metric([key, Verdict.NEEDED.value], tally.spills_needed)
        judged.add_metric([key, Verdict.REGRETTED.value], tally.spills_regretted)
        judged.add_metric([key, Verdict.UNKNOWN.value], tally.spills_unknown)
    yield judged


def _backends(routes: "Mapping[str, Route]") -> Iterator[Metric]:
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
    for key, route in routes.items():
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
            first.add_metric(labels, counted.first_byte.cumulative(), counted.first_byte.sum)
            whole.add_metric(labels, counted.duration.cumulative(), counted.duration.sum)
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


class _Family:
    """One metric with the lines that it has so far."""

    __slots__ = ("head", "lines")

    def __init__(self, head: str) -> None:
        self.head = head
        self.lines: list[str] = []


class Metrics(SlicedPage):
    """Renders /metrics, a few routes at a time: with a thousand of them the whole takes a second."""

    def __init__(
        self,
        routes: "dict[str, Route]",
        others: Callable[[], Iterable[Metric]],
        metering: "Metering | None" = None,
        retries: "RetryBudget | None" = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._clock = clock or Clock()
        self._routes = routes
        self._others = others
        self._metering = metering
        self._retries = retries

    async def _in_slices(self) -> bytes:
        families: dict[str, _Family] = {}
        turn = TimeSlice(SLICE_SECONDS)
        for _ in self._steps(families):
            await turn.give_way()
        texts: list[bytes] = []
        for family in families.values():
            texts.append("".join((family.head, *family.lines)).encode())
            await turn.give_way()
        return b"".join(texts)

    def _steps(self, families: dict[str, _Family]) -> Iterator[None]:
        """Add all there is, with a stop wherever others may have their turn."""
        metered = self._metering.routes if self._metering is not None else {}
        keys = list(dict.fromkeys((*self._routes, *metered)))
        for start in range(0, max(len(keys), 1), _SLICE_ROUTES):
            chunk = keys[start : start + _SLICE_ROUTES]
            routes = {key: self._routes[key] for key in chunk if key in self._routes}
            for collect in (_gauges, _counters, _judged, _backends, route_metrics):
                _add(families, collect(routes))
                yield
            _add(families, ejection_metrics(routes, self._clock.monotonic()))
            yield
            if self._metering is not None:
                meters = {key: metered[key] for key in chunk if key in metered}
                _add(families, money_metrics(meters, self._metering.ledger))
                yield
        if self._retries is not None:
            _add(families, retry_metrics(self._retries))
        if self._metering is not None:
            _add(families, ledger_metrics(self._metering.ledger))
            yield
            yield from _add_consumers(families, self._metering)
        _add(families, self._others())
        yield


def _add(families: dict[str, _Family], metrics: Iterable[Metric]) -> None:
    """Write metrics, and put the lines to their families."""
    for metric in metrics:
        family = families.get(metric.name)
        if family is None:
            family = families[metric.name] = _Family(head_of(metric))
        family.lines.append(samples_of(metric))


def _add_consumers(families: dict[str, _Family], metering: "Metering") -> Iterator[None]:
    mine = []
    for name, words in CONSUMER_FAMILIES:
        family = families[name] = _Family(f"# HELP {name} {words}\n# TYPE {name} counter\n")
        mine.append(family)
    for number, (consumer, row) in enumerate(list(metering.records.rows.items())):
        for family, lines in zip(mine, consumer_lines(consumer, row), strict=True):
            family.lines += [f"{line}\n" for line in lines]
        if number % _SLICE_CONSUMERS == 0:
            yield

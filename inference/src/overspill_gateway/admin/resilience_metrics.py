"""Metrics of what a gateway does against slow, failing and wrong backends: ejections, retries, hedges, going on."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from overspill_gateway.core.admission.retry_budget import RetryBudget

if TYPE_CHECKING:
    from overspill_gateway.routes.route import Route

_COUNTED = [
    ("hedges", "overspill_hedges", "Second backends asked because the first was slow to begin."),
    ("hedges_won", "overspill_hedges_won", "Hedges whose answer the client got."),
    ("continuations", "overspill_continuations", "Answers that broke off and went on elsewhere."),
    ("outputs_valid", "overspill_structured_outputs_valid", "Structured answers that keep to their schema."),
    ("outputs_invalid", "overspill_structured_outputs_invalid", "Structured answers that do not."),
    ("outputs_unchecked", "overspill_structured_outputs_unchecked", "Structured answers whose check took too long."),
    ("output_retries", "overspill_structured_output_retries", "Attempts after an answer that broke its schema."),
    ("predictions", "overspill_predictions", "Predicted times to first token that were seen."),
    ("predicted_seconds_sum", "overspill_predicted_first_token_seconds", "Sum of the predictions."),
    ("seen_seconds_sum", "overspill_seen_first_token_seconds", "Sum of what came."),
    ("prediction_error_seconds_sum", "overspill_prediction_error_seconds", "Sum of the absolute differences."),
]


def route_metrics(routes: "Mapping[str, Route]") -> Iterator[Metric]:
    """Counters of routes."""
    for attribute, name, text in _COUNTED:
        counter = CounterMetricFamily(name, text, labels=["route"])
        for key, route in routes.items():
            counter.add_metric([key], getattr(route.tally, attribute))
        yield counter
    denied = CounterMetricFamily("overspill_hedges_denied", "Hedges that a limit forbade.", labels=["route"])
    for key, route in routes.items():
        denied.add_metric([key], route.pool.hedges.denied_total)
    yield denied
    ratio = HistogramMetricFamily(
        "overspill_first_token_ratio", "Seen over predicted time to first token.", labels=["route"]
    )
    for key, route in routes.items():
        seen = route.tally.first_token_ratio
        ratio.add_metric([key], seen.cumulative(), seen.sum)
    yield ratio


def ejection_metrics(routes: "Mapping[str, Route]", now: float) -> Iterator[Metric]:
    """Who is out of the choice, and how often that happened. Pods come and go, so replicas count together."""
    both = ["route", "backend"]
    ejected = GaugeMetricFamily("overspill_ejected_backends", "Backends left out after failures.", labels=both)
    ejections = CounterMetricFamily("overspill_ejections", "How often backends were left out.", labels=both)
    for key, route in routes.items():
        present = {"local": [replica.outlier for replica in route.replicas.values()]}
        present |= {hosted.served_by: [hosted.outlier] for hosted in route.pool.hosted}
        for name, counters in route.backends.items():
            outliers = present.get(name, [])
            ejected.add_metric([key, name], sum(outlier.ejected(now) for outlier in outliers))
            total = sum(outlier.ejections_total for outlier in outliers)
            ejections.add_metric([key, name], counters.ejections_gone + total)
    yield from (ejected, ejections)


def retry_metrics(retries: RetryBudget) -> Iterator[Metric]:
    """The retry budget of the process."""
    yield GaugeMetricFamily("overspill_retries_running", "Further attempts that run now.", value=retries.active)
    yield CounterMetricFamily("overspill_retries_granted", "Further attempts begun.", value=retries.granted_total)
    yield CounterMetricFamily(
        "overspill_retries_denied", "Attempts that the budget forbade.", value=retries.denied_total
    )

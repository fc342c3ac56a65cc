"""What /metrics is written as: what prometheus-client writes, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from overspill_gateway.admin.exposition import head_of, samples_of


class One(CollectorRegistry):
    """A registry of one metric that is there already."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(auto_describe=False)
        self.metric = metric

    def collect(self) -> Iterator[Metric]:
        """The metric."""
        yield self.metric


def same(metric: Metric) -> None:
    """Holds what is written here to what the library writes."""
    assert head_of(metric) + samples_of(metric) == generate_latest(One(metric)).decode()


@given(
    value=st.floats() | st.integers(-(10**20), 10**20),
    labels=st.lists(st.tuples(st.text(), st.text()), max_size=3),
    words=st.text(),
)
def test_it_is_what_the_library_writes(value: float, labels: list[tuple[str, str]], words: str) -> None:
    """Of every kind of metric, with any number, any text in the values of labels and in its description."""
    counter = CounterMetricFamily("x_requests", words, labels=["route", "backend"])
    gauge = GaugeMetricFamily("x_room", words, labels=["backend", "a"])
    histogram = HistogramMetricFamily("x_seconds", words, labels=["route", "backend"])
    for pair in labels:
        counter.add_metric(pair, value)
        gauge.add_metric(pair, value)
        histogram.add_metric(pair, [("0.1", 1), ("+Inf", 3)], value)
    for metric in (counter, gauge, histogram, GaugeMetricFamily("x_alone", words, value=value)):
        same(metric)

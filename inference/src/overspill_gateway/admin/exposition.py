"""Metrics in Prometheus' text format, as prometheus-client writes them, in a fraction of its time.

That one checks the name of each label of each sample by a regular expression. Names here are our own; only the values
of labels are others'. What a metric is and how it is made stays prometheus-client's.
"""

from collections.abc import Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

_PLAIN_COUNTS = 1_000_000
"""Counts below it are written as they are; Go writes larger ones in powers of ten."""


def head_of(metric: Metric) -> str:
    """The two lines before the samples of a counter, a gauge or a histogram."""
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    words = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {words}\n# TYPE {name} {metric.type}\n"


def samples_of(metric: Metric) -> str:
    """A line for each sample."""
    return "".join([f"{one[0]}{_labels(one[1])} {_number(one[2])}\n" for one in metric.samples])


def _number(value: float) -> str:
    if type(value) is int and 0 <= value < _PLAIN_COUNTS:
        return f"{value}.0"
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    text = ",".join([f'{name}="{value}"' for name, value in sorted(labels.items())])
    if "\\" in text or "\n" in text or text.count('"') > 2 * len(labels):
        text = ",".join([f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items())])
    return "{" + text + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

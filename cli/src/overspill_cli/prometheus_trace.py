"""Demand as Prometheus has it of the gateways' own metrics: rates by the minute and mean lengths, to draw a trace of.

What happened within a minute or two is not in it: a recording knows more.
"""

import argparse
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from overspill_cli.errors import CommandError
from overspill_planner.traces.drawing import LogNormalLengths, RateWindow

STEP_SECONDS: Final = 60.0
"""Between two rates."""
RATE_WINDOW: Final = "2m"
"""Over which a rate is taken: at least two scrapes of the usual 15 to 60 s."""
DAYS_MAX: Final = 7.0
"""Prometheus gives 11,000 values of a series at most; a week of minutes is 10,080."""
ANSWER_SECONDS: Final = 60


class Asks(Protocol):
    """As much of ``prometheus_api_client.PrometheusConnect`` as is used here."""

    def custom_query(self, query: str) -> Any:
        """The result of an instant query. Raises what the library raises."""

    def custom_query_range(self, query: str, start_time: datetime, end_time: datetime, step: str) -> Any:
        """The result of a range query."""


def connect(url: str) -> Asks:
    """The client. It is imported only where it is used: it is no part of the smallest installation."""
    from prometheus_api_client import PrometheusConnect  # noqa: PLC0415 - see above

    client: Asks = PrometheusConnect(url=url.rstrip("/"), retry=0, timeout=ANSWER_SECONDS)
    return client


class PrometheusTrace:
    """Windows of rates and lengths of a route."""

    def __init__(self, windows: Sequence[RateWindow], lengths: LogNormalLengths, begins_unix: float) -> None:
        self.windows = windows
        """By the minute; those without a request are left out."""
        self.lengths = lengths
        """Around the means that were counted."""
        self.begins_unix = begins_unix
        """When the first window begins."""


def trace_from(client: Asks, route: str, days: float, now_unix: float) -> PrometheusTrace:
    """What gateways have counted of a route in the days before now; raises CommandError."""
    seconds = days * 86_400.0
    begins = now_unix - seconds
    times = (datetime.fromtimestamp(begins, UTC), datetime.fromtimestamp(now_unix, UTC))
    of = f'{{route="{route}"}}'
    rates = client.custom_query_range(f"sum(rate(overspill_arrivals_total{of}[{RATE_WINDOW}]))", *times, "60s")
    whole = f"[{round(seconds)}s]"
    tokens = client.custom_query(f"sum by (token_type) (increase(overspill_tokens_total{of}{whole}))")
    counted = client.custom_query(f"sum(increase(overspill_arrivals_total{of}{whole}))")
    values = rates[0]["values"] if rates else []
    windows = [
        RateWindow(float(at) - begins, STEP_SECONDS, rate)
        for at, rate in ((at, _number(text)) for at, text in values)
        if rate > 0.0
    ]  # fmt: skip
    sums = {entry["metric"].get("token_type", ""): _number(entry["value"][1]) for entry in tokens}
    requests = _number(counted[0]["value"][1]) if counted else 0.0
    if not windows or requests <= 0.0:
        raise CommandError(
            f"Prometheus knows of no requests of {route} in {days:g} days; see that it scrapes the gateways' /metrics, "
            "and that the route's namespace and name are those of the YAML"
        )
    lengths = lengths_around(max(sums.get("input", 0.0) / requests, 1.0), max(sums.get("output", 0.0) / requests, 1.0))
    return PrometheusTrace(windows, lengths, begins)


def lengths_around(prompt: float, output: float) -> LogNormalLengths:
    """Log-normal lengths with these means, as far spread as those of other traces."""
    usual = LogNormalLengths()
    prompt_times, output_times = usual.prompt_p99 / usual.prompt_median, usual.output_p99 / usual.output_median
    prompt_median, output_median = _median(prompt, prompt_times), _median(output, output_times)
    return LogNormalLengths(prompt_median, prompt_median * prompt_times, output_median, output_median * output_times)


def _median(mean: float, p99_times: float) -> float:
    """Of a log-normal distribution with this mean, whose 99th percentile is so many times its median."""
    spread = math.log(p99_times) / 2.3263
    return mean / math.exp(spread**2 / 2.0)


def _number(text: object) -> float:
    value = float(str(text))
    return value if math.isfinite(value) and value > 0.0 else 0.0


def asked(options: argparse.Namespace, route: str) -> PrometheusTrace:
    """What the options ask for; raises CommandError."""
    if not 0.0 < options.days <= DAYS_MAX:
        raise CommandError(f"--days is {options.days:g}; write a number above 0, and at most {DAYS_MAX:g}")
    url = options.from_prometheus
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"--from-prometheus is {url!r}; write a URL such as http://localhost:9090")
    client = connect(url)
    # The library raises its own and those of what it stands on.
    from prometheus_api_client.exceptions import PrometheusApiClientException  # noqa: PLC0415 - as above
    from requests import RequestException  # noqa: PLC0415 - as above

    try:
        return trace_from(client, route, options.days, time.time())
    except (PrometheusApiClientException, RequestException, KeyError, IndexError, TypeError, ValueError) as error:
        raise CommandError(f"Prometheus at {url} gave no answer that can be used: {_shown(error)}") from error


def _shown(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:300]

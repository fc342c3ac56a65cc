"""The stand-in's numbers, under the names and labels that vLLM 0.32 gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

SECONDS_TO_FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
SECONDS_BETWEEN_TOKENS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)


class Histogram:
    """Counts by upper bound, as Prometheus has them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*bounds, float("inf"))
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[next(place for place, bound in enumerate(self._bounds) if value <= bound)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """In Prometheus' text format, labels in vLLM's order."""
        engine, model = labels.split(",", 1)
        for bound, count in zip(self._bounds, accumulate(self._counts), strict=True):
            upper = "+Inf" if bound == float("inf") else str(bound)
            yield f'{name}_bucket{{{engine},le="{upper}",{model}}} {float(count)}'
        yield f"{name}_count{{{labels}}} {float(sum(self._counts))}"
        yield f"{name}_sum{{{labels}}} {self._sum}"


class Metrics:
    """All numbers of one stand-in."""

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.finished = {"stop": 0, "length": 0, "abort": 0}
        self.time_to_first_token = Histogram(SECONDS_TO_FIRST_TOKEN)
        self.inter_token_latency = Histogram(SECONDS_BETWEEN_TOKENS)

    def text(self, model: str, *, slots: int) -> str:
        """The body of GET /metrics; `slots` is how many running requests fill the KV cache."""
        labels = f'engine="0",model_name="{model}"'
        gauges = {
            "vllm:num_requests_running": self.running,
            "vllm:num_requests_waiting": self.waiting,
            "vllm:kv_cache_usage_perc": min(1.0, self.running / slots),
        }
        counters = {
            "vllm:prompt_tokens_total": self.prompt_tokens,
            "vllm:generation_tokens_total": self.generation_tokens,
        }
        lines: list[str] = []
        for kind, values in (("gauge", gauges), ("counter", counters)):
            for name, value in values.items():
                lines += [f"# TYPE {name} {kind}", f"{name}{{{labels}}} {float(value)}"]
        success = "vllm:request_success_total"
        lines.append(f"# TYPE {success} counter")
        for reason, count in self.finished.items():
            lines.append(f'{success}{{engine="0",finished_reason="{reason}",model_name="{model}"}} {float(count)}')
        histograms = {
            "vllm:time_to_first_token_seconds": self.time_to_first_token,
            "vllm:inter_token_latency_seconds": self.inter_token_latency,
        }
        for name, histogram in histograms.items():
            lines += [f"# TYPE {name} histogram", *histogram.lines(name, labels)]
        return "\n".join(lines) + "\n"

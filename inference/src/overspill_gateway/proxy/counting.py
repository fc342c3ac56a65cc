"""What is counted of each backend. On the path of a request counting is adding to a number; names come later."""

import math
from bisect import bisect_left
from typing import Final

LATENCY_BUCKETS: Final = (
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, math.inf,
)  # fmt: skip


class Histogram:
    """Counts by upper bound, and a sum; cheaper to add to than a metrics library's."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * len(LATENCY_BUCKETS)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.sum += seconds


class BackendCounters:
    """What one backend of a route (``local`` or ``hosted/<name>``) has done in this process's life."""

    __slots__ = ("cost_nano_usd", "duration", "errors", "failures", "first_byte", "output_tokens", "prompt_tokens",
                 "served", "statuses")  # fmt: skip

    def __init__(self) -> None:
        self.served = 0
        self.errors = 0
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.cost_nano_usd = 0
        self.statuses: dict[int, int] = {}
        self.failures: dict[str, int] = {}
        self.first_byte = Histogram()
        self.duration = Histogram()

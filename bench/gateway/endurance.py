"""A million requests and more at 64 connections: whether memory grows, and whether it gets slower."""

import json
import time
from statistics import median
from typing import Any, Final

from bench.gateway.driving import begin
from bench.gateway.gateways import kind_named
from bench.gateway.noise import Listener
from bench.gateway.running import Bench, Subject, bench

SECONDS: Final = 200.0
REQUESTS: Final = 1_000_000
CONNECTIONS: Final = 64
SAMPLE_SECONDS: Final = 5.0
WARM_SECONDS: Final = 20.0
"""Until then memory may grow: pools fill, and the allocator finds its size."""
GROWTH_MB_MAX: Final = 1.0
THROUGHPUT_TOLERANCE: Final = 0.98
"""Of the first minute's: what the machine's own noise makes of equal minutes."""
_MINUTE: Final = 60


def measure(seconds: float) -> dict[str, Any]:
    """Load the gateway for this long, and longer until there were a million requests."""
    with bench() as made:
        subject = made.start(kind_named("overspill"))
        memory: list[tuple[float, float]] = []
        cpu: list[tuple[float, float]] = []
        listener = Listener.begin(made.processes)
        began = time.monotonic()
        per_second = _load(made, subject, ["-for", f"{seconds}s"], began, memory, cpu)
        failures = per_second.pop()
        missing = REQUESTS - sum(per_second)
        if missing > 0:
            print(f"{missing} of a million requests are missing: going on", flush=True)
            more = _load(made, subject, ["-requests", str(missing)], began, memory, cpu)
            failures += more.pop()
            per_second += more
        noise = listener.noise()
    figures = _figures(per_second, failures, memory, cpu)
    figures["noise"] = {
        "foreign_cores": round(noise.foreign_cores, 2),
        "steal_percent": round(noise.steal_percent, 1),
    }
    return figures


def _load(
    made: Bench,
    subject: Subject,
    length: list[str],
    began: float,
    memory: list[tuple[float, float]],
    cpu: list[tuple[float, float]],
) -> list[int]:
    """Requests of each second, and last the number of failures; memory and CPU are sampled meanwhile."""
    begin(
        made, "plain", "-to", subject.address, "-request", str(subject.plain), "-connections", str(CONNECTIONS), *length
    )
    line: bytes | None = None
    while line is None:
        at = time.monotonic() - began
        memory.append((at, subject.process.resident_mb()))
        cpu.append((at, subject.process.cpu_seconds()))
        print(f"  {at:5.0f} s: {memory[-1][1]:.1f} MiB", flush=True)
        subject.process.check()
        made.engine.check()
        line = made.engine.says(SAMPLE_SECONDS)
    printed = json.loads(line)
    if printed["failures"]:
        print(f"{printed['failures']} requests failed: {printed['first_failure']}", flush=True)
    return [*printed["per_second"], printed["failures"]]


def _figures(
    per_second: list[int], failures: int, memory: list[tuple[float, float]], cpu: list[tuple[float, float]]
) -> dict[str, Any]:
    minutes = [sum(per_second[start : start + _MINUTE]) / _MINUTE for start in range(0, len(per_second), _MINUTE)]
    whole = minutes[: len(per_second) // _MINUTE]
    warm = [mb for at, mb in memory if WARM_SECONDS <= at <= WARM_SECONDS + 30] or [memory[0][1]]
    first, last = median(warm), median(mb for _, mb in memory[-6:])
    third = whole[2] / whole[0] if len(whole) > 2 else None
    requests = sum(per_second)
    return {
        "requests": requests,
        "failures": failures,
        "connections": CONNECTIONS,
        "requests_per_second_by_minute": [round(rate) for rate in whole],
        "third_minute_over_first": round(third, 3) if third else None,
        "cpu_us_per_request_by_minute": _cpu_by_minute(whole, cpu),
        "mb_after_warm_up": round(first, 1),
        "mb_at_the_end": round(last, 1),
        "mb_growth": round(last - first, 2),
        "bars": {
            "a_million_requests_none_failed": requests >= REQUESTS and not failures,
            "memory_does_not_grow": last - first <= GROWTH_MB_MAX,
            "third_minute_no_slower_than_the_first": None if third is None else third >= THROUGHPUT_TOLERANCE,
        },
    }


def _cpu_by_minute(rates: list[float], cpu: list[tuple[float, float]]) -> list[float]:
    """Unlike throughput, this hardly depends on what else the machine does."""

    def at_second(second: float) -> float:
        """CPU seconds at a time, between two samples in proportion."""
        before = max((one for one in cpu if one[0] <= second), default=cpu[0])
        after = min((one for one in cpu if one[0] > second), default=cpu[-1])
        part = (second - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
        return before[1] + part * (after[1] - before[1])

    return [
        round((at_second((minute + 1) * _MINUTE) - at_second(minute * _MINUTE)) / (rate * _MINUTE) * 1e6, 1)
        for minute, rate in enumerate(rates)
    ]

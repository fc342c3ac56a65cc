"""A million requests and more at 64 connections: whether memory grows, and whether it gets slower.

The machine itself gets slower and faster, by a sixth within minutes: so nginx is measured before and after each minute,
and a minute is compared with another by what nginx did meanwhile.
"""

import json
import time
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final

from bench.gateway.driving import LoadFailedError, begin, plain_requests, target
from bench.gateway.gateways import kind_named
from bench.gateway.installing import NotInstalledError
from bench.gateway.noise import Listener
from bench.gateway.running import Bench, NotReadyError, Subject, bench

MINUTES: Final = 3
MINUTE_SECONDS: Final = 60.0
REQUESTS: Final = 1_000_000
CONNECTIONS: Final = 64
SAMPLE_SECONDS: Final = 5.0
CONTROL_SECONDS: Final = 2.0
WARM_SECONDS: Final = 20.0
"""Until then memory may grow: pools fill, and the allocator finds its size."""
GROWTH_MB_MAX: Final = 1.0
THROUGHPUT_TOLERANCE: Final = 0.98
"""Of the first minute's: what the machine's own noise makes of equal minutes."""


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute of requests."""

    requests: int
    """Answered."""
    failures: int
    """Not answered."""
    per_second: float
    """Requests."""
    cpu_us: float
    """Of the gateway, for each request."""


def measure() -> dict[str, Any]:
    """Load the gateway for three minutes, and for more until there were a million requests."""
    with bench() as made:
        subject = made.start(kind_named("overspill"))
        control = _control(made)
        memory: list[tuple[float, float]] = []
        done: list[Minute] = []
        speeds = [_speed(made, control)]
        listener = Listener.begin(made.processes)
        began = time.monotonic()
        while len(done) < MINUTES or sum(minute.requests for minute in done) < REQUESTS:
            done.append(_minute(made, subject, began, memory))
            speeds.append(_speed(made, control))
        noise = listener.noise()
    figures = figures_of(done, memory, speeds)
    figures["noise"] = {
        "foreign_cores": round(noise.foreign_cores, 2),
        "steal_percent": round(noise.steal_percent, 1),
    }
    return figures


def _control(made: Bench) -> Subject | None:
    try:
        return made.start(kind_named("nginx"))
    except (NotInstalledError, NotReadyError) as error:
        print(f"without nginx the machine's own changes stay in the figures: {error}", flush=True)
        return None


def _speed(made: Bench, control: Subject | None) -> float | None:
    """What the machine can do now: requests a second for each core that nginx uses."""
    if control is None:
        return None
    return 1e6 / plain_requests(made, control, connections=CONNECTIONS, seconds=CONTROL_SECONDS).cpu_us


def _minute(made: Bench, subject: Subject, began: float, memory: list[tuple[float, float]]) -> Minute:
    """Requests for a minute; memory is sampled meanwhile."""
    before = subject.process.cpu_seconds()
    begin(made, "plain", *target(subject, subject.plain, CONNECTIONS), "-for", f"{MINUTE_SECONDS}s")
    line: bytes | None = None
    while line is None:
        at = time.monotonic() - began
        memory.append((at, subject.process.resident_mb()))
        print(f"  {at:5.0f} s: {memory[-1][1]:.1f} MiB", flush=True)
        subject.process.check()
        made.engine.check()
        line = made.engine.says(SAMPLE_SECONDS)
    printed = json.loads(line)
    if printed["failures"]:
        print(f"{printed['failures']} requests failed: {printed['first_failure']}", flush=True)
    requests = printed["requests"]
    if not requests:
        raise LoadFailedError("no request was answered")
    spent = subject.process.cpu_seconds() - before
    return Minute(requests, printed["failures"], requests / printed["seconds"], spent / requests * 1e6)


def figures_of(minutes: list[Minute], memory: list[tuple[float, float]], speeds: list[float | None]) -> dict[str, Any]:
    """Memory after the warm-up and at the end, and throughput of each minute beside the machine's own speed."""
    warm = [mb for at, mb in memory if WARM_SECONDS <= at <= WARM_SECONDS + 30] or [memory[0][1]]
    first, last = median(warm), median(mb for _, mb in memory[-6:])
    known = [speed for speed in speeds if speed is not None]
    machine = [fmean(known[at : at + 2]) for at in range(len(minutes))] if known else [1.0] * len(minutes)
    third = minutes[2].per_second / minutes[0].per_second
    changed = machine[2] / machine[0]
    requests, failures = sum(one.requests for one in minutes), sum(one.failures for one in minutes)
    return {
        "requests": requests,
        "failures": failures,
        "connections": CONNECTIONS,
        "requests_per_second_by_minute": [round(one.per_second) for one in minutes],
        "cpu_us_per_request_by_minute": [round(one.cpu_us, 1) for one in minutes],
        "nginx_cpu_us_per_request_around": [round(1e6 / speed, 1) for speed in known],
        "third_minute_over_first": round(third, 3),
        "machine_over_first": round(changed, 3),
        "third_minute_over_first_by_machine": round(third / changed, 3),
        "mb_after_warm_up": round(first, 1),
        "mb_at_the_end": round(last, 1),
        "mb_growth": round(last - first, 2),
        "bars": {
            "a_million_requests_none_failed": requests >= REQUESTS and not failures,
            "memory_does_not_grow": last - first <= GROWTH_MB_MAX,
            "third_minute_no_slower_than_the_first": third / changed >= THROUGHPUT_TOLERANCE,
        },
    }

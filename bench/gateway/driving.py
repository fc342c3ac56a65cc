"""Drives one subject with the load command and says what it cost."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.gateway.running import Bench, Subject

PATIENCE_SECONDS: Final = 120.0


class LoadFailedError(Exception):
    """Requests failed, so that the figures would be of something else."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of many requests or streams."""

    cpu_us: float
    """Microseconds of CPU, user and system, of the gateway's processes for each request or chunk."""
    per_second: float
    """Requests or streams a second."""
    cores: float
    """How much of its core the gateway used meanwhile."""
    p50_ms: float
    """Duration of a request or stream at half of them, under this load."""
    event_p50_us: float = 0.0
    """Microseconds from the engine to the client, of half of a stream's events."""
    event_p99_us: float = 0.0
    """The same of 99 in 100."""


def begin(made: Bench, command: str, *arguments: str) -> None:
    """Give the load command an order."""
    made.engine.order(command, *arguments)


def result(made: Bench, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """What it prints when it has carried it out; raises LoadFailedError."""
    line = made.engine.says(seconds)
    if not line:
        raise LoadFailedError(f"the load command said nothing within {seconds:g} s: {made.engine.last_words()}")
    printed: dict[str, Any] = json.loads(line)
    if "error" in printed:
        raise LoadFailedError(printed["error"])
    return printed


def plain_requests(made: Bench, subject: Subject, *, connections: int, seconds: float, differing: bool = False) -> Cost:
    """Requests as fast as they are answered, all alike or each another."""
    before = subject.process.cpu_seconds()
    requests = subject.differing if differing else subject.plain
    begin(made, "plain", *target(subject, requests, connections), "-for", f"{seconds}s")
    printed = result(made)
    return _cost(subject, before, printed, printed["requests"])


def streams(made: Bench, subject: Subject, *, connections: int, streams_each: int) -> Cost:
    """Streams at the pace of the engine; the cost is for each event, [DONE] among them."""
    before = subject.process.cpu_seconds()
    begin(made, "streams", *target(subject, subject.stream, connections), "-requests", str(connections * streams_each))
    printed = result(made)
    return _cost(subject, before, printed, printed["events"])


def target(subject: Subject, request: Path, connections: int) -> list[str]:
    """What an order says of where its requests go."""
    return ["-to", subject.address, "-request", str(request), "-connections", str(connections)]


def _cost(subject: Subject, before: float, printed: dict[str, Any], units: int) -> Cost:
    spent = subject.process.cpu_seconds() - before
    if printed["failures"] or not units:
        first = printed.get("first_failure", "none was answered")
        raise LoadFailedError(f"{printed['failures']} requests failed: {first}")
    seconds = printed["seconds"]
    return Cost(
        cpu_us=spent / units * 1e6,
        per_second=printed["requests"] / seconds,
        cores=spent / seconds,
        p50_ms=printed["p50_us"] / 1000,
        event_p50_us=printed["event_p50_us"],
        event_p99_us=printed["event_p99_us"],
    )


def latencies(made: Bench, subjects: Sequence[Subject], turns: int) -> dict[str, dict[str, Any]]:
    """One request at a time to each in turn: microseconds at p50 and p99, by name."""
    targets = [f"-to={subject.name}={subject.address}={subject.plain}" for subject in subjects]
    begin(made, "sequential", "-turns", str(turns), *targets)
    return result(made)

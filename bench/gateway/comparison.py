"""Rounds in which every gateway is measured once, so that what else the machine does befalls all alike."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from bench.gateway import memory
from bench.gateway.driving import Cost, LoadFailedError, latencies, plain_requests, streams
from bench.gateway.gateways import KINDS, Kind
from bench.gateway.installing import NotInstalledError
from bench.gateway.noise import Listener, Noise
from bench.gateway.overspill_settings import HOSTED_MODEL
from bench.gateway.peer_settings import MODEL
from bench.gateway.processes import DiedError
from bench.gateway.running import Bench, NotReadyError, Subject, bench, own_metrics

CONNECTIONS: Final = 32
CONNECTIONS_SLOW: Final = 8
SECONDS: Final = 2.0
SECONDS_SLOW: Final = 3.0
STREAMS: Final = 20
STREAMS_SLOW: Final = 4
MANY_STREAMS: Final = 100
TURNS: Final = 600
TURNS_SLOW: Final = 40
FAILURES: Final = (NotInstalledError, NotReadyError, DiedError, LoadFailedError, OSError)


@dataclass(slots=True)
class Series:
    """What was measured of one subject, by round; a round in which it failed is missing."""

    plain: dict[int, Cost] = field(default_factory=dict)
    """Whole answers to requests that are alike."""
    differing: dict[int, Cost] = field(default_factory=dict)
    """Whole answers to requests that differ."""
    stream: dict[int, Cost] = field(default_factory=dict)
    """Streams."""
    many_streams: dict[int, Cost] = field(default_factory=dict)
    """Streams, five times as many at a time."""
    added_p50: dict[int, float] = field(default_factory=dict)
    """Microseconds more than direct."""
    added_p99: dict[int, float] = field(default_factory=dict)
    """Microseconds more than direct."""
    noise: list[Noise] = field(default_factory=list)
    """While it was measured."""
    errors: list[str] = field(default_factory=list)
    """What went wrong."""
    held: memory.Held | None = None
    """Its memory with open streams."""
    version: str = ""
    """Which one it is."""
    system_share: float = 0.0
    """Part of its CPU that was spent in the kernel."""


@dataclass(slots=True)
class Comparison:
    """All series, and what says whether they can be believed."""

    series: dict[str, Series]
    """By subject."""
    direct_p50: list[float] = field(default_factory=list)
    """Microseconds of a request without a gateway, by round."""
    direct_p99: list[float] = field(default_factory=list)
    """The same at p99."""
    rounds: int = 0
    """How many were run."""
    spilled: float = 0.0
    """Requests for the replica that went to the hosted API: the figures would be of something else."""


def compare(rounds: int, until: float, only: Iterable[str]) -> Comparison:
    """Run the rounds, as many as fit until this monotonic time, then the memory of each gateway."""
    wanted = set(only) or {kind.name for kind in KINDS}
    kinds = [kind for kind in KINDS if kind.name in wanted]
    comparison = Comparison({kind.name: Series() for kind in kinds})
    _run_rounds(comparison, kinds, rounds, until - 25 * len(kinds))
    for kind in kinds:
        series = comparison.series[kind.name]
        if series.errors and not series.plain:
            continue
        _say(f"memory: {kind.name}")
        try:
            series.held = memory.measure(kind)
        except FAILURES as error:
            series.errors.append(f"memory: {error}")
    return comparison


def _run_rounds(comparison: Comparison, kinds: list[Kind], rounds: int, until: float) -> None:
    with bench() as made:
        subjects = _start(comparison, made, kinds)
        longest = 0.0
        for number in range(rounds):
            began = time.monotonic()
            if number >= 2 and began + longest > until:
                _say(f"the time for rounds is over after {number}")
                break
            _say(f"round {number + 1} of {rounds}")
            shift = number % len(subjects) if subjects else 0
            for subject in subjects[shift:] + subjects[:shift]:
                _measure(comparison.series[subject.name], made, subject, number)
            _measure_latency(comparison, made, subjects, number)
            comparison.rounds += 1
            longest = max(longest, time.monotonic() - began)
        for subject in subjects:
            comparison.series[subject.name].system_share = subject.process.system_share()
            if subject.name == "overspill":
                metrics = own_metrics(subject)
                comparison.spilled = metrics.get(f'overspill_spilled_requests_total{{route="ns/{MODEL}"}}', 0.0)


def _start(comparison: Comparison, made: Bench, kinds: list[Kind]) -> list[Subject]:
    subjects: list[Subject] = []
    for kind in kinds:
        _say(f"starting {kind.name}")
        series = comparison.series[kind.name]
        try:
            series.version = kind.version()
            subject = made.start(kind)
            subjects.append(subject)
            if kind.name == "overspill":
                hosted = made.other_model(subject, HOSTED_MODEL)
                hosted.name = "overspill-hosted"
                comparison.series[hosted.name] = Series(version=series.version)
                subjects.append(hosted)
        except FAILURES as error:
            series.errors.append(f"start: {error}")
            _say(f"{kind.name}: {error}")
            continue
        if kind.slow:
            subject.process.stop_for_now()
    return subjects


def _measure(series: Series, made: Bench, subject: Subject, number: int) -> None:
    slow = subject.kind.slow
    listener = Listener.begin(made.processes)
    try:
        subject.process.go_on()
        subject.process.check()
        connections, seconds = (CONNECTIONS_SLOW, SECONDS_SLOW) if slow else (CONNECTIONS, SECONDS)
        series.plain[number] = plain_requests(made, subject, connections=connections, seconds=seconds)
        series.differing[number] = plain_requests(
            made, subject, connections=connections, seconds=seconds, differing=True
        )
        series.stream[number] = streams(
            made, subject, connections=STREAMS_SLOW if slow else STREAMS, streams_each=2 if slow else 3
        )
        if not slow:
            series.many_streams[number] = streams(made, subject, connections=MANY_STREAMS, streams_each=1)
        alike, differing, chunk = (one[number].cpu_us for one in (series.plain, series.differing, series.stream))
        _say(f"  {subject.name}: {alike:.1f} us/request, {differing:.1f} if they differ, {chunk:.1f} us/chunk")
    except FAILURES as error:
        series.errors.append(f"round {number + 1}: {error}")
        _say(f"  {subject.name}: {error}")
    finally:
        series.noise.append(listener.noise())
        if slow:
            subject.process.stop_for_now()


def _measure_latency(comparison: Comparison, made: Bench, subjects: list[Subject], number: int) -> None:
    fast = [subject for subject in subjects if not subject.kind.slow]
    _latency_of(comparison, made, fast, TURNS, number)
    for subject in subjects:
        if subject.kind.slow:
            subject.process.go_on()
            _latency_of(comparison, made, [subject], TURNS_SLOW, number)
            subject.process.stop_for_now()


def _latency_of(comparison: Comparison, made: Bench, subjects: list[Subject], turns: int, number: int) -> None:
    try:
        measured: dict[str, dict[str, Any]] = latencies(made, [made.direct, *subjects], turns)
    except FAILURES as error:
        _say(f"  latency: {error}")
        for subject in subjects:
            comparison.series[subject.name].errors.append(f"round {number + 1}, latency: {error}")
        return
    direct = measured["direct"]
    if turns == TURNS:
        comparison.direct_p50.append(direct["p50_us"])
        comparison.direct_p99.append(direct["p99_us"])
    for subject in subjects:
        taken, series = measured[subject.name], comparison.series[subject.name]
        if taken["failures"]:
            series.errors.append(f"round {number + 1}, latency: {taken['first_failure']}")
            continue
        series.added_p50[number] = taken["p50_us"] - direct["p50_us"]
        series.added_p99[number] = taken["p99_us"] - direct["p99_us"]


def _say(text: str) -> None:
    print(text, flush=True)

"""Whether hosted APIs answer, as the gateways have found out. What status says of it is ``core.hosted_status``.

One failure of a kind that passes is no news, and an API that comes and goes is not told at each turn: after it has
recovered twice within a while, it counts as failing until it has been quiet for longer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from overspill_api.demand import BackendDemand, BackendProblem
from overspill_operator.core.demand.traffic import GatewayView

FAILURES_NEEDED: Final = {
    "CredentialsRefused": 1,
    "NameNotResolved": 1,
    "CertificateRefused": 1,
    "ModelNotFound": 1,
    "PathNotFound": 1,
    "PaymentRequired": 1,
    "RateLimited": 10,
}
"""Failures in a row before an API counts as failing: what does not pass by itself is believed at once."""

FAILURES_NEEDED_ELSE: Final = 3

FLUTTER_SECONDS: Final = 300.0
"""A second recovery within this time of the last one is believed only after ``CALM_SECONDS``."""

CALM_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class HostedReport:
    """One entry of ``spec.hosted``, all gateways together."""

    name: str
    """Name of the entry."""
    problem: BackendProblem | None = None
    """Why it fails; None: it does not, or has not been asked."""
    failing: int = 0
    """Gateways at which it fails."""
    asked: int = 0
    """Gateways that have asked it."""
    answers: bool = False
    """Whether it has answered some gateway."""


@dataclass(frozen=True, slots=True)
class HostedMemory:
    """What is remembered of one entry; losing it only means that a fluttering API is told once more."""

    failed: HostedReport | None = None
    """The report by which it counts as failing."""
    failed_unix: float = 0.0
    """When it last failed."""
    recovered_unix: float | None = None
    """When it last recovered."""
    changed_unix: float = 0.0
    """When the reason for which it fails last changed."""


def hosted_reports(key: str, uid: str, names: Sequence[str], views: Iterable[GatewayView]) -> tuple[HostedReport, ...]:
    """What the gateways say of the entries of a route, in their order."""
    said = [report.backends for view in views if (report := view.said(key, uid))]
    return tuple(_report(name, [backends.get(f"hosted/{name}") for backends in said]) for name in names)


def _report(name: str, figures: Iterable[BackendDemand | None]) -> HostedReport:
    known = [counters for counters in figures if counters is not None]
    problems = [entry.problem for entry in known if entry.problem is not None and _counts(entry.problem)]
    # The longest run of failures is the surest; by reason where that is equal, so that the words do not flutter.
    worst = max(problems, key=lambda problem: (problem.failures, problem.reason), default=None)
    return HostedReport(
        name=name,
        problem=worst,
        failing=len(problems),
        asked=sum(1 for entry in known if entry.served_total or entry.errors_total or entry.problem),
        answers=any(entry.served_total and entry.problem is None for entry in known),
    )


def _counts(problem: BackendProblem) -> bool:
    return problem.failures >= FAILURES_NEEDED.get(problem.reason, FAILURES_NEEDED_ELSE)


def steadied(
    reports: Sequence[HostedReport], memories: Mapping[str, HostedMemory], now_unix: float
) -> tuple[tuple[HostedReport, ...], dict[str, HostedMemory], float | None]:
    """Reports as they are to be told, what to remember, and when to look again (None: when something is heard)."""
    steady: list[HostedReport] = []
    after: dict[str, HostedMemory] = {}
    checks: list[float] = []
    for report in reports:
        memory = memories.get(report.name, HostedMemory())
        if report.problem is not None:
            shown, changed_unix = _shown(report, memory, now_unix)
            after[report.name] = HostedMemory(shown, now_unix, memory.recovered_unix, changed_unix)
            if shown is not report:
                checks.append(changed_unix + CALM_SECONDS)
            steady.append(shown)
        elif memory.failed is not None and _flutters(memory, now_unix):
            # A recovery that is not believed keeps the next one from being believed as well.
            after[report.name] = replace(memory, recovered_unix=now_unix)
            checks.append(memory.failed_unix + CALM_SECONDS)
            steady.append(memory.failed)
        else:
            recovered = now_unix if memory.failed is not None else memory.recovered_unix
            after[report.name] = HostedMemory(None, memory.failed_unix, recovered)
            steady.append(report)
    return tuple(steady), after, min(checks, default=None)


def _shown(report: HostedReport, memory: HostedMemory, now_unix: float) -> tuple[HostedReport, float]:
    """The report to tell of an API that fails, and when its reason last changed: not at every turn either."""
    before = memory.failed
    if before is None or before.problem is None or report.problem is None:
        return report, now_unix
    if before.problem.reason == report.problem.reason:
        return report, memory.changed_unix
    if now_unix - memory.changed_unix < CALM_SECONDS:
        return before, memory.changed_unix
    return report, now_unix


def _flutters(memory: HostedMemory, now_unix: float) -> bool:
    recovered = memory.recovered_unix
    lately = recovered is not None and abs(memory.failed_unix - recovered) < FLUTTER_SECONDS
    return lately and now_unix - memory.failed_unix < CALM_SECONDS

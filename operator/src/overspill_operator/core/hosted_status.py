"""What status says of hosted APIs: whether their credentials are there, and whether they answer."""

from collections.abc import Sequence

from overspill_api.modelroute import ModelRouteSpec
from overspill_api.status import ConditionType as Type
from overspill_operator.core.conditions import Statement, false, timestamp, true
from overspill_operator.core.faults import Fault, summary
from overspill_operator.core.hosted_health import HostedReport

WORDS_LENGTH_MAX = 600
"""Of a provider's own words, in each entry's part of the message."""

MEANING = {
    "CredentialsRefused": "the provider refuses the API key: put a valid one into the Secret",
    "NameNotResolved": "its host's name is not found: check baseURL and the cluster's DNS",
    "CertificateRefused": "its TLS certificate is not trusted: check baseURL, or give the gateways its CA",
    "ModelNotFound": "the provider knows no such model: check hosted[].model",
    "PathNotFound": "its server knows no such path: check baseURL, which often ends in /v1",
    "PaymentRequired": "the provider asks for payment: look at its console",
    "Unreachable": "it cannot be reached: check baseURL and what the cluster's network lets out",
    "RateLimited": "the provider's rate limit is used up: lower hosted[].limits to what it allows",
}
"""What a reason means and what mends it; others speak for themselves."""


def hosted_statement(
    spec: ModelRouteSpec | None, faults: tuple[Fault, ...], usable: frozenset[str], reports: Sequence[HostedReport]
) -> Statement | None:
    """HostedAvailable; None: the route lists none."""
    if spec is None or not spec.hosted:
        return None
    missing = tuple(fault for fault in faults if fault.reason.value == "CredentialsMissing")
    if missing:
        return false(Type.HOSTED_AVAILABLE, "CredentialsMissing", summary(missing))
    known = {report.name: report for report in reports}
    entries = [known.get(entry.name, HostedReport(entry.name)) for entry in spec.hosted if entry.name in usable]
    failing = [report for report in entries if report.problem is not None]
    if failing:
        rest = [report.name for report in entries if report.problem is None]
        others = f" Requests go to {', '.join(rest)}." if rest else ""
        message = " ".join(_failure(report) for report in failing)
        return false(Type.HOSTED_AVAILABLE, failing[0].problem.reason if failing[0].problem else "", message + others)
    order = ", ".join(report.name for report in entries)
    if any(report.answers for report in entries):
        silent = [report.name for report in entries if not report.answers]
        more = f" Not asked yet: {', '.join(silent)}." if silent else ""
        return true(Type.HOSTED_AVAILABLE, "Answering", f"In order of preference: {order}.{more}")
    unasked = "None has been asked yet: whether they answer shows with the first request."
    return true(Type.HOSTED_AVAILABLE, "CredentialsFound", f"In order of preference: {order}. {unasked}")


def answering(usable: frozenset[str], reports: Sequence[HostedReport]) -> frozenset[str]:
    """Entries that are usable and do not fail."""
    return usable - {report.name for report in reports if report.problem is not None}


def _failure(report: HostedReport) -> str:
    problem = report.problem
    if problem is None:
        return ""
    meaning = MEANING.get(problem.reason)
    since = timestamp(problem.since_unix_seconds)
    where = f"at {report.failing} of {report.asked} gateways" if report.asked > 1 else f"since {since}"
    words = problem.message.strip()[:WORDS_LENGTH_MAX].rstrip(".")
    what = f"{report.name} fails ({problem.reason}) {where}{f': {meaning}' if meaning else ''}."
    return f"{what} It said: {words}." if words else what

"""What status says of what the gateways have found out: hosted APIs, documents that they refuse, budgets."""

from typing import Any

from overspill_api.demand import BackendProblem, BudgetDemand, RefusedDocument, RouteDemand
from overspill_operator.core.budget_status import alert_record, budget_report, due_alert
from overspill_operator.core.demand.traffic import GatewayView
from overspill_operator.core.gateway_refusals import Refusal, refusal_of
from overspill_operator.core.hosted_health import HostedReport
from overspill_operator.core.route_status import GatewayFacts
from overspill_operator.core.status_changes import transitions
from unit.operator_.core.builders import route
from unit.operator_.core.test_route_status import document, says

NOW = 1_800_000_000.0
TWO = "hosted: [{name: a, baseURL: 'https://x.test', model: m}, {name: b, baseURL: 'https://y.test', model: m}]"
BUDGET = """{budget: {limit: "2", alerts: [50, 75, 100]}, hosted: [{name: a, baseURL: 'https://x.test', model: m,
  price: {input: "1", output: "1"}}]}"""
BOTH = frozenset({"a", "b"})
REFUSED_KEY = BackendProblem(
    reason="CredentialsRefused", message="Incorrect API key provided", since_unix_seconds=NOW, failures=13
)


def message(status: dict[str, Any], kind: str) -> str:
    """A condition's message."""
    return str(next(c["message"] for c in status["conditions"] if c["type"] == kind))


def hosted(*reports: HostedReport) -> dict[str, Any]:
    """Status of a route with two hosted APIs of which so much is known."""
    return document(TWO, usable_hosted=BOTH, gateways=GatewayFacts(hosted=reports))


def test_before_any_request_nobody_claims_that_an_api_answers() -> None:
    """Credentials are there, and that is all."""
    status = hosted(HostedReport("a"), HostedReport("b"))
    assert says(status, "HostedAvailable") == ("True", "CredentialsFound")
    assert "None has been asked yet" in message(status, "HostedAvailable")
    assert "answer" not in message(status, "Ready").replace("none has been asked yet", "")


def test_an_api_that_answers() -> None:
    """And which have not been asked."""
    status = hosted(HostedReport("a", asked=1, answers=True), HostedReport("b"))
    assert says(status, "HostedAvailable") == ("True", "Answering")
    assert "Not asked yet: b" in message(status, "HostedAvailable")


def test_a_refused_key_is_told_with_the_providers_words() -> None:
    """And what mends it; requests go to the other one."""
    status = hosted(HostedReport("a", REFUSED_KEY, failing=2, asked=3), HostedReport("b", asked=1, answers=True))
    assert says(status, "HostedAvailable") == ("False", "CredentialsRefused")
    words = message(status, "HostedAvailable")
    assert "Incorrect API key provided" in words
    assert "2 of 3 gateways" in words
    assert "Requests go to b." in words
    assert says(status, "Ready") == ("True", "HostedAvailable")
    assert message(status, "Ready") == "Requests go to hosted APIs: b."


def test_nobody_is_ready_where_every_api_fails() -> None:
    """Ready is True when a request will be answered. An event tells of it, and one of its end."""
    good = hosted(HostedReport("a", asked=1, answers=True), HostedReport("b"))
    bad = hosted(HostedReport("a", REFUSED_KEY, 1, 1), HostedReport("b", REFUSED_KEY, 1, 1))
    assert says(bad, "Ready") == ("False", "CredentialsRefused")
    assert [(c["type"], warning) for c, warning in transitions(good, bad)] == [("HostedAvailable", True)]
    back = dict(transitions_by_type(bad, good))
    assert back["HostedAvailable"] is False


def transitions_by_type(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, bool]]:
    """Type and whether it is a warning."""
    return [(condition["type"], warning) for condition, warning in transitions(before, after)]


def test_a_document_that_gateways_refuse() -> None:
    """How many of how many, and in whose words; and back when it is mended."""
    good = document(TWO, usable_hosted=BOTH)
    status = document(
        TWO, usable_hosted=BOTH, gateways=GatewayFacts(refusal=Refusal("hosted[0].baseURL: no port", 2, 3))
    )
    assert says(good, "Programmed") == ("True", "NoGatewayRefuses")
    assert says(status, "Programmed") == says(status, "Ready") == ("False", "RefusedByGateway")
    assert message(status, "Programmed").startswith(
        "2 of 3 gateways cannot use this ModelRoute: hosted[0].baseURL: no port."
    )
    assert ("Programmed", True) in transitions_by_type(good, status)
    assert ("Programmed", False) in transitions_by_type(status, good)


def test_who_refuses() -> None:
    """Gateways that are silent are not asked."""
    loud, silent = GatewayView(NOW, NOW, "a"), GatewayView(NOW - 100, NOW - 100, "b")
    for view in (loud, silent):
        view.refused[("route", "a/b")] = RefusedDocument(kind="route", key="a/b", generation=2, message="no")
    assert refusal_of("route", "a/b", [loud, silent, GatewayView(NOW, NOW, "c")], NOW) == Refusal("no", 1, 2)
    assert refusal_of("consumer", "a/b", [loud], NOW) is None


def spending(charged: int, *, exhausted: bool = False, start: float = NOW - 100) -> GatewayView:
    """A gateway that keeps the budget of 2 USD."""
    made = GatewayView(NOW, NOW, f"g{charged}")
    budget = BudgetDemand(
        period_start_unix_seconds=start, limit_nano_usd=2 * 10**9, charged_nano_usd=charged, exhausted=exhausted
    )
    made.routes["a/b"] = RouteDemand(route="a/b", budget=budget)
    return made


def test_a_budget_is_told_by_what_was_spent() -> None:
    """Not known before a gateway has told; then by the one that has spent the most; then that it is spent."""

    def status(*views: GatewayView) -> dict[str, Any]:
        facts = GatewayFacts(budget=budget_report("a/b", "", views))
        return document(BUDGET, usable_hosted=frozenset({"a"}), gateways=facts)

    assert says(status(), "WithinBudget") == ("Unknown", "NotReported")
    within = status(spending(10**9), spending(5))
    assert says(within, "WithinBudget") == ("True", "WithinBudget")
    assert "1.00 of 2.00 USD" in message(within, "WithinBudget")
    assert says(status(spending(2 * 10**9, exhausted=True)), "WithinBudget") == ("False", "BudgetExhausted")
    assert says(within, "SpecEnforced") == ("True", "AllFields")
    assert says(document(TWO, usable_hosted=BOTH), "WithinBudget") is None


def test_each_alert_is_due_once_a_period() -> None:
    """Over restarts too, by what status remembers; the next period begins anew."""
    spec = route(BUDGET).spec
    assert spec is not None
    half, most = budget_report("a/b", "", [spending(10**9)]), budget_report("a/b", "", [spending(1_600_000_000)])
    assert half is not None
    assert most is not None
    assert due_alert(spec.budget, budget_report("a/b", "", [spending(1)]), None) is None
    assert due_alert(spec.budget, half, None) == 50
    told = alert_record(50, half)
    assert due_alert(spec.budget, half, told) is None
    assert due_alert(spec.budget, most, told) == 75
    later = budget_report("a/b", "", [spending(10**9, start=NOW + 86400)])
    assert due_alert(spec.budget, later, told) == 50
    assert due_alert(None, half, None) is None

"""Whether hosted APIs answer, by what the gateways say: believed at once where it does not pass, never fluttering."""

from itertools import pairwise
from typing import Any

from overspill_api.demand import BackendDemand, BackendProblem, RouteDemand
from overspill_operator.core.demand.traffic import GatewayView
from overspill_operator.core.hosted_health import (
    CALM_SECONDS,
    FAILURES_NEEDED_ELSE,
    HostedMemory,
    HostedReport,
    hosted_reports,
    steadied,
)

NOW = 1_800_000_000.0


def problem(
    reason: str = "CredentialsRefused", failures: int = 13, message: str = "Incorrect API key"
) -> BackendProblem:
    """A backend's problem as a gateway tells it."""
    return BackendProblem(reason=reason, message=message, since_unix_seconds=NOW, failures=failures)


def view(identity: str = "g", uid: str = "", **backends: Any) -> GatewayView:
    """A gateway that has asked these hosted APIs."""
    made = GatewayView(NOW, NOW, identity)
    said = {f"hosted/{name}": BackendDemand(**figures) for name, figures in backends.items()}
    made.routes["a/b"] = RouteDemand(route="a/b", uid=uid, backends=said)
    return made


def test_nobody_has_asked() -> None:
    """Nothing is known, in either direction."""
    assert hosted_reports("a/b", "", ["api"], [view()]) == (HostedReport("api"),)


def test_all_gateways_together() -> None:
    """How many have asked, at how many it fails, and whether it answers anywhere."""
    views = [
        view(api={"errors_total": 13, "problem": problem()}),
        view("h", api={"served_total": 2}),
        view("i", other={"served_total": 1}),
    ]
    (report,) = hosted_reports("a/b", "", ["api"], views)
    assert (report.failing, report.asked, report.answers) == (1, 2, True)
    assert report.problem == problem()


def test_what_was_said_of_a_former_route_does_not_count() -> None:
    """Another object of the name."""
    spoke = view(uid="first", api={"problem": problem()})
    assert hosted_reports("a/b", "second", ["api"], [spoke]) == (HostedReport("api"),)


def test_what_passes_by_itself_is_believed_when_it_lasts() -> None:
    """One 500 is no news; one refused key is."""
    once = view(api={"problem": problem("Failing", FAILURES_NEEDED_ELSE - 1)})
    assert hosted_reports("a/b", "", ["api"], [once])[0].problem is None
    lasting = view(api={"problem": problem("Failing", FAILURES_NEEDED_ELSE)})
    assert hosted_reports("a/b", "", ["api"], [lasting])[0].problem is not None
    assert hosted_reports("a/b", "", ["api"], [view(api={"problem": problem(failures=1)})])[0].problem is not None


class Teller:
    """Tells reports one after the other."""

    def __init__(self) -> None:
        self.now = NOW
        self.memories: dict[str, HostedMemory] = {}
        self.look_again: float | None = None

    def tell(self, told: BackendProblem | None, after: float = 1.0) -> str:
        """The reason that is told after so many seconds; empty: it does not fail."""
        self.now += after
        reports, self.memories, self.look_again = steadied([HostedReport("api", told)], self.memories, self.now)
        return reports[0].problem.reason if reports[0].problem else ""


def test_a_failure_and_its_end_are_told_at_once() -> None:
    """Once."""
    teller = Teller()
    assert [teller.tell(problem()), teller.tell(problem()), teller.tell(None)] == [
        "CredentialsRefused",
        "CredentialsRefused",
        "",
    ]


def test_an_api_that_comes_and_goes_is_told_seldom() -> None:
    """600 turns in ten minutes are a handful of changes, and calm is told."""
    teller = Teller()
    told = [teller.tell(problem() if second % 2 else None) for second in range(600)]
    changes = sum(1 for before, after in pairwise(told) if before != after)
    assert changes <= 4
    assert teller.tell(problem()) == "CredentialsRefused"
    assert teller.tell(None) == "CredentialsRefused"
    assert teller.look_again is not None
    assert teller.tell(None, after=CALM_SECONDS) == ""


def test_a_reason_that_changes_at_every_turn_is_told_seldom() -> None:
    """The new one is told when it lasts."""
    teller = Teller()
    told = [teller.tell(problem(("Unreachable", "Failing")[second % 2])) for second in range(50)]
    assert set(told) == {"Unreachable"}
    assert teller.tell(problem("Failing"), after=CALM_SECONDS) == "Failing"

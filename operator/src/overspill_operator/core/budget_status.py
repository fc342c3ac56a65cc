"""What status says of a route's budget, by what each gateway process counts, and which alerts are due."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from overspill_api.modelroute import Budget
from overspill_api.quantities import nano_to_usd
from overspill_api.status import ConditionType as Type
from overspill_operator.core.conditions import Statement, false, parse_timestamp, timestamp, true, unknown
from overspill_operator.core.demand.traffic import GatewayView


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """The budget of one route, all gateways together."""

    period_start_unix: float
    """When the newest period began that a gateway speaks of."""
    limit_nano_usd: int
    """The cap, as the gateways have it."""
    charged_nano_usd: int
    """The most that one of them has counted in that period."""
    exhausted: int
    """Gateways that ask no hosted API for lack of money."""
    gateways: int
    """Gateways that keep it."""

    @property
    def percent(self) -> int:
        """How much of the cap is gone, at the gateway where the most is."""
        return self.charged_nano_usd * 100 // max(self.limit_nano_usd, 1)


def budget_report(key: str, uid: str, views: Iterable[GatewayView]) -> BudgetReport | None:
    """What the gateways say of a route's budget; None: nothing."""
    said = [report.budget for view in views if (report := view.said(key, uid)) and report.budget]
    if not said:
        return None
    newest = max(budget.period_start_unix_seconds for budget in said)
    current = [budget for budget in said if budget.period_start_unix_seconds == newest]
    return BudgetReport(
        period_start_unix=newest,
        limit_nano_usd=min(budget.limit_nano_usd for budget in current),
        charged_nano_usd=max(budget.charged_nano_usd for budget in current),
        exhausted=sum(1 for budget in current if budget.exhausted),
        gateways=len(said),
    )


def budget_statement(budget: Budget | None, report: BudgetReport | None) -> Statement | None:
    """WithinBudget; None: the route has no budget."""
    if budget is None:
        return None
    kind, each = Type.WITHIN_BUDGET, "Each gateway process keeps the whole cap by what it counts itself."
    if report is None:
        return unknown(kind, "NotReported", f"No gateway has told what was spent. {each}")
    spent = (
        f"{nano_to_usd(report.charged_nano_usd)} of {nano_to_usd(report.limit_nano_usd)} USD of this "
        f"{budget.period.value.lower()}, which began {timestamp(report.period_start_unix)}"
    )
    if report.exhausted:
        then = "wait for replicas" if budget.on_exhausted.value == "SelfHostedOnly" else "are answered with 429"
        where = f"{report.exhausted} of {report.gateways} gateways" if report.gateways > 1 else "The gateway"
        message = f"{where} must not ask hosted APIs any more ({spent}): requests {then}. Raise spec.budget.limit."
        return false(kind, "BudgetExhausted", message)
    where = f" at the gateway that has spent the most of {report.gateways}" if report.gateways > 1 else ""
    return true(kind, "WithinBudget", f"Spent: {spent}{where}. {each}")


def due_alert(budget: Budget | None, report: BudgetReport | None, before: Mapping[str, Any] | None) -> int | None:
    """The highest of ``spec.budget.alerts`` that was passed and not told yet in this period; None: none."""
    if budget is None or report is None or report.limit_nano_usd == 0:
        return None
    reached = max((percent for percent in budget.alerts if percent <= report.percent), default=0)
    told = 0
    if before:
        try:
            is_same = parse_timestamp(str(before["periodStart"])) >= report.period_start_unix // 1
            told = int(before["percent"]) if is_same else 0
        except (KeyError, ValueError, TypeError):
            told = 0  # written by hand
    return reached if reached > told else None


def alert_record(percent: int, report: BudgetReport) -> dict[str, Any]:
    """What status keeps of an alert, so that it is told once, over restarts too."""
    return {"percent": percent, "periodStart": timestamp(report.period_start_unix)}

"""What the gateways have found out about routes, made steady enough to be told."""

from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.core.budget_status import budget_report
from overspill_operator.core.gateway_refusals import refusal_of
from overspill_operator.core.hosted_health import HostedMemory, hosted_reports, steadied
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.route_status import GatewayFacts


class GatewayNews:
    """Facts of each route, and what was remembered to make them."""

    def __init__(self, gateways: GatewayStreams) -> None:
        """From what ``gateways`` have said."""
        self._gateways = gateways
        self._memories: dict[str, dict[str, HostedMemory]] = {}
        self._told: dict[str, object] = {}

    def has_changed(self, route: RouteObject) -> bool:
        """Whether something is known that status does not say: an API that fails or answers, a budget's step."""
        signature = self._signature(route)
        before = self._told.get(route.key)
        self._told[route.key] = signature
        return signature != before and (before is not None or signature != ((), None))

    def facts(self, route: RouteObject, now_unix: float) -> tuple[GatewayFacts, float | None]:
        """What is to be told, and when to look again (None: when something is heard)."""
        key, uid, views = route.key, route.meta.uid, self._gateways.views.values()
        hosted, memories, look_again = steadied(
            hosted_reports(key, uid, _names(route), views), self._memories.get(key, {}), now_unix
        )
        self._memories[key] = memories
        facts = GatewayFacts(hosted, refusal_of("route", key, views, now_unix), budget_report(key, uid, views))
        return facts, look_again

    def forget(self, key: str) -> None:
        """The route is gone."""
        self._memories.pop(key, None)
        self._told.pop(key, None)

    def _signature(self, route: RouteObject) -> object:
        key, uid, views = route.key, route.meta.uid, self._gateways.views.values()
        reports = hosted_reports(key, uid, _names(route), views)
        health = tuple(
            (report.name, report.problem.reason if report.problem else "", report.answers)
            for report in reports
            if report.problem or report.answers
        )
        budget = route.spec.budget if route.spec else None
        spent = budget_report(key, uid, views) if budget else None
        if budget is None or spent is None:
            return health, None
        passed = sum(1 for percent in budget.alerts if percent <= spent.percent)
        return health, (passed, spent.exhausted > 0)


def _names(route: RouteObject) -> tuple[str, ...]:
    return tuple(entry.name for entry in route.spec.hosted) if route.spec else ()

"""What is said of a ModelRoute: its status with what the gateways report, and events. What is so: the reconciler."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.app.gateway_news import GatewayNews
from overspill_operator.app.objects import Routes
from overspill_operator.app.scaler import Scaler
from overspill_operator.app.work_queue import WorkQueue
from overspill_operator.clock import Clock
from overspill_operator.core.budget_status import alert_record, due_alert
from overspill_operator.core.demand.traffic import Coverage, costs, demand_of, has_traffic, served_by
from overspill_operator.core.demand.work import regret_text
from overspill_operator.core.engine_state import EngineState
from overspill_operator.core.faults import Fault
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.pod_problems import PodProblem
from overspill_operator.core.route_status import GatewayFacts, ScalingFacts, TrafficFigures, status_document
from overspill_operator.core.spend import add_reports, read_spend
from overspill_operator.core.status_changes import same, transitions, urgent_part
from overspill_operator.core.status_limits import ROUTE_STATUS, fitted
from overspill_operator.ports import Events, Json, Outcome, Statuses

logger = logging.getLogger(__name__)

ROUTE = "ModelRoute"
"""Kind of the keys in the queue."""

STATUS_PAUSE_SECONDS = 2.0
"""Between two writes of one status that nobody waits for."""

TRAFFIC_SECONDS = 30.0
"""How often figures of traffic and spend are written."""


class Problems(Protocol):
    """What keeps replicas from starting, wherever they run."""

    def suspect(self, key: str, *, waiting: bool) -> PodProblem | None:
        """Note whether a route's engine waits for replicas; what is known to keep it."""

    async def look_at_once(self, key: str) -> PodProblem | None:
        """Look at a suspect that nobody has looked at yet, without waiting for its turn."""


class RouteTeller:
    """Writes status and posts events."""

    def __init__(
        self,
        *,
        routes: Routes,
        engine_of: Callable[[RouteObject, Outcome], EngineState],
        scaler: Scaler,
        gateways: GatewayStreams,
        diagnosis: Problems,
        retained_cache: Callable[[RouteObject], str],
        scaling_of: Callable[[RouteObject], ScalingFacts | None],
        load_time_of: Callable[[RouteObject], Json | None],
        queue: WorkQueue,
        statuses: Statuses,
        events: Events,
        url: str,
        clock: Clock,
    ) -> None:
        """``engine_of``: a route's engine, after what came of its plan; ``url``: ``status.url`` of every route.

        ``scaling_of``: what scaling knows of it; ``load_time_of``: ``status.loadTime``; ``retained_cache``: what is
        said of a cache that is kept although it is not wanted, empty: there is none.
        """
        self._routes = routes
        self._engine_of = engine_of
        self._scaler = scaler
        self._gateways = gateways
        self._diagnosis = diagnosis
        self._retained_cache = retained_cache
        self._scaling_of = scaling_of
        self._load_time_of = load_time_of
        self._queue = queue
        self._statuses = statuses
        self._events = events
        self._url = url
        self._clock = clock
        self._news = GatewayNews(gateways)
        self._written: dict[str, float] = {}
        self._sampled: dict[str, float] = {}

    def forget(self, key: str) -> None:
        """The route is gone."""
        self._news.forget(key)
        self._written.pop(key, None)
        self._sampled.pop(key, None)

    def note_demand(self, key: str) -> None:
        """A gateway has spoken of the route: what it has found out is told at once, figures within a while."""
        route = self._routes.get(key)
        if route is None:
            return
        if self._news.has_changed(route):
            self._queue.add((ROUTE, key))
        if has_traffic(key, self._gateways.views.values(), route.meta.uid):
            due = self._sampled.get(key, 0.0) + TRAFFIC_SECONDS - self._clock.monotonic()
            self._queue.add_after((ROUTE, key), max(1.0, due), background=True)

    async def say(
        self,
        route: RouteObject,
        faults: tuple[Fault, ...],
        usable_hosted: frozenset[str],
        outcome: Outcome,
    ) -> None:
        """Say what is so of ``route``."""
        engine = self._engine_of(route, outcome)
        scaling = self._scaling_of(route)
        lacks = scaling is not None and scaling.desired > 0 and (scaling.desired > engine.ready or engine.rolls)
        waiting = engine.exists and lacks
        problem = self._diagnosis.suspect(route.key, waiting=waiting)
        if waiting and problem is None and _had_problem(route):
            # This process has only just begun, and what was known is no less true for that.
            problem = await self._diagnosis.look_at_once(route.key)
        current = self._routes.get(route.key)
        if current is None or current.meta.generation != route.meta.generation:
            return  # there is a newer one, and it is in the queue
        traffic = self._traffic(current)
        gateways, look_again = self._news.facts(current, self._clock.unix())
        if look_again is not None:
            self._queue.add_after((ROUTE, route.key), look_again - self._clock.unix() + 0.1, background=True)
        document = status_document(
            current,
            faults=faults,
            engine=engine if scaling else EngineState(),
            problem=problem,
            scaling=scaling,
            usable_hosted=usable_hosted,
            traffic=traffic,
            gateways=gateways,
            decisions=self._scaler.decisions(route),
            url=self._url,
            now_unix=self._clock.unix(),
            retained_cache=self._retained_cache(route),
            load_time=self._load_time_of(current) if scaling else None,
        )
        self._alert(current, gateways, document)
        if await self._write(current, document) and traffic:
            self._sampled[route.key] = self._clock.monotonic()

    def _alert(self, route: RouteObject, gateways: GatewayFacts, document: dict[str, Any]) -> None:
        """An event for each of budget.alerts, once each a period; status remembers which was told."""
        budget = route.spec.budget if route.spec else None
        percent = due_alert(budget, gateways.budget, route.status.get("budgetAlert"))
        if percent is None or gateways.budget is None:
            return
        document["budgetAlert"] = alert_record(percent, gateways.budget)
        message = next(c["message"] for c in document["conditions"] if c["type"] == "WithinBudget")
        note = f"{percent} % of spec.budget.limit are spent. {message}"
        self._events.record(
            ROUTE, route.meta, warning=percent >= 100, reason="BudgetAlert", note=note, action="Account"
        )
        logger.info("budget alert: %s", note, extra={"route": route.key, "percent": percent})

    async def _write(self, route: RouteObject, document: Mapping[str, Any]) -> bool:
        """Write what has changed; false: it can wait, and will be looked at again."""
        before = route.status
        document = fitted(document, ROUTE_STATUS)  # else what was cut would differ for ever
        if same(before, document):
            return True
        if urgent_part(before) == urgent_part(document):
            pause = self._written.get(route.key, 0.0) + STATUS_PAUSE_SECONDS - self._clock.monotonic()
            if pause > 0:
                self._queue.add_after((ROUTE, route.key), pause, background=True)
                return False
        with self._routes.writing(route.key):
            written = await self._statuses.report(ROUTE, route.meta, document)
        if written is None:
            return True
        self._written[route.key] = self._clock.monotonic()
        if before.get("observedGeneration") != written.get("observedGeneration"):
            self._log_taken(route, written)
        for condition, is_warning in transitions(before, written):
            note = f"{condition['type']} is {condition['status']}. {condition['message']}"
            context = {"route": route.key, "reason": condition["reason"]}
            logger.log(logging.WARNING if is_warning else logging.INFO, "%s", note, extra=context)
            self._events.record(
                ROUTE, route.meta, warning=is_warning, reason=condition["reason"], note=note, action="Reconcile"
            )
        return True

    def _log_taken(self, route: RouteObject, written: Mapping[str, Any]) -> None:
        """One line for each generation of a spec: taken, or why not. The warning beside it names the condition."""
        ready: Mapping[str, Any] = next((c for c in written.get("conditions") or () if c["type"] == "Ready"), {})
        known = "changed" if route.status.get("observedGeneration") else "new"
        logger.info(
            "route %s: Ready is %s (%s)", known, ready.get("status"), ready.get("reason"),
            extra={"route": route.key, "generation": route.meta.generation, "model": route.model},
        )  # fmt: skip

    def _traffic(self, route: RouteObject) -> TrafficFigures | None:
        """Fresh figures, every now and then; None: leave those that status has."""
        now, uid = self._clock.monotonic(), route.meta.uid
        views = [view for view in self._gateways.views.values() if has_traffic(route.key, [view], uid)]
        due = now - self._sampled.get(route.key, -TRAFFIC_SECONDS) >= TRAFFIC_SECONDS
        if not views or not due:
            return None
        unix = self._clock.unix()
        spend = read_spend(route.status)
        gone: frozenset[str] = frozenset()
        if self._gateways.coverage(unix) is Coverage.COMPLETE and not self._gateways.starting:
            gone = frozenset(entry.gateway for entry in spend.gateways) - self._gateways.identities
        demand = demand_of(route.key, views, 0, unix, uid)
        seen = self._gateways.work.of(route.key, uid, unix)
        return TrafficFigures(
            served_by=served_by(route.key, views, uid),
            last_request_unix=demand.last_arrival_unix,
            spend=add_reports(spend, costs(route.key, views, uid), gone),
            spill_regret=regret_text(seen.work.spilled) if seen else None,
        )


def _had_problem(route: RouteObject) -> bool:
    """Whether status says that a pod has a problem."""
    return any(c.get("reason") in ("PodFailed", "Unschedulable") for c in route.status.get("conditions") or ())

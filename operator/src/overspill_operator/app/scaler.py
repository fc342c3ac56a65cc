"""Scaling of every route as it is driven: listens, looks again when it is time, and writes. ``ScalingState`` decides.

Routes are looked at on a beat (``app.beat``). A wake waits neither for that nor for a reconcile: the decision is made
where the gateway's line is read, and the number is written in a task of its own. Reconciling then finds it written and
only says so in status.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from overspill_api.profile import Profile
from overspill_operator.adapters import telemetry
from overspill_operator.adapters.telemetry import RouteFigures
from overspill_operator.app.beat import BEAT_SECONDS, Beat
from overspill_operator.app.objects import Routes
from overspill_operator.clock import Clock
from overspill_operator.core.budget_status import budget_report
from overspill_operator.core.demand.engine_gauges import EngineGauges
from overspill_operator.core.demand.traffic import (
    Demand,
    ToldDoubts,
    all_count_work,
    demand_of,
    doubts_of,
    engines_of,
)
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.route_status import ScalingFacts
from overspill_operator.core.scaling.advice import Advice, advised, advising
from overspill_operator.core.scaling.autoscaler import Need, QueueDepth
from overspill_operator.core.scaling.scaling_state import Change, Observation, ScalingState, policy_of
from overspill_operator.ports import DemandSource, EngineError, Engines, Events, Json

logger = logging.getLogger(__name__)

UNREAD = "No replica gives vllm:num_requests_waiting at /metrics on its port."


@dataclass(slots=True)
class _Scaled:
    """One route."""

    uid: str
    state: ScalingState
    doubts: ToldDoubts = field(default_factory=ToldDoubts)
    looked_unix: float = 0.0
    """When it was decided upon last."""
    wished: bool = False
    """Whether a gateway wished for a replica then."""
    needs: tuple[Need, ...] | None = None
    """What each signal called for then; None: nothing was decided yet."""
    advice: Advice | None = None
    """What Overspill would run where another autoscaler decides."""
    writing: "asyncio.Task[None] | None" = None


class Scaler:
    """The number of replicas of every route."""

    def __init__(
        self,
        engines: Engines,
        clock: Clock,
        routes: Routes,
        gateways: DemandSource,
        events: Events,
        on_decided: Callable[[str], None],
        load_seconds: Callable[[RouteObject], float | None] = lambda _: None,
        unschedulable: Callable[[str], int] = lambda _: 0,
    ) -> None:
        """``on_decided`` gets the keys of routes whose number has changed.

        ``load_seconds``: what a replica takes to start, as it was measured; ``unschedulable``: how many find no room.
        """
        self._engines = engines
        self._clock = clock
        self._routes = routes
        self._gateways = gateways
        self._events = events
        self._on_decided = on_decided
        self._load_seconds = load_seconds
        self._unschedulable = unschedulable
        self._scaled: dict[str, _Scaled] = {}
        self._beat = Beat(clock, self._its_turn)

    async def run(self) -> None:
        """Look at what was heard of, beat by beat, for ever."""
        await self._beat.run()

    @property
    def waiting(self) -> int:
        """Routes that are to be looked at on the next beat."""
        return self._beat.waiting

    def heard(self, key: str, heard_at: float) -> None:
        """A gateway's line speaks of the route (``heard_at``: when it came, monotonic): look at once if it may wake it.

        One that has been at zero for long, with its requests at hosted APIs, is spoken of all the time: what it wishes
        is old, and waits for the beat.
        """
        scaled, route = self._scaled.get(key), self._routes.get(key)
        if scaled is None or (route is not None and scaled.state.replicas == 0 and self._is_wake(route, scaled)):
            self.evaluate(key, heard_at)
        else:
            self._beat.next_time(key)

    def _is_wake(self, route: RouteObject, scaled: _Scaled) -> bool:
        """Whether some gateway wishes for a replica, and this is news or was not looked at for a beat."""
        uid = route.meta.uid
        reports = (view.said(route.key, uid) for view in self._gateways.views.values())
        wishes = any(report is not None and (report.wants_replica or report.held) for report in reports)
        rested = abs(self._clock.unix() - scaled.looked_unix) >= BEAT_SECONDS
        return wishes and (rested or not scaled.wished)

    def accept(self, route: RouteObject, profile: Profile | None) -> None:
        """The route's spec is in force: scale by it from now on. One with a fault does not get here."""
        scaled = self._of(route)
        if route.spec is None:
            return
        policy = policy_of(route.spec, profile, scaled.state.policy)
        scaled.state = scaled.state.accept(policy, generation=route.meta.generation, now_unix=self._clock.unix())
        self.evaluate(route.key)

    def forget(self, key: str) -> None:
        """The route is gone, and what was said of it."""
        self._gateways.forget(key)
        self._scaled.pop(key, None)
        self._beat.forget(key)

    def desired(self, route: RouteObject) -> int:
        """Replicas that are decided."""
        return self._of(route).state.replicas

    def is_writing(self, route: RouteObject) -> bool:
        """Whether a number is on its way to the engine."""
        return self._of(route).writing is not None

    def may_wake(self, route: RouteObject) -> bool:
        """Whether the rules let the engine run now."""
        return self._in_force(route).may_wake(self._clock.unix())

    def decisions(self, route: RouteObject) -> Sequence[Json]:
        """The last decisions, newest first, as status shows them."""
        return self._of(route).state.decisions

    def facts(self, route: RouteObject) -> ScalingFacts | None:
        """What status says about scaling; None: the route has no engine."""
        scaled, now = self._of(route), self._clock.unix()
        rules = self._in_force(route).rules(now)
        if rules is None:
            return None
        scaled.doubts = scaled.doubts.heard(doubts_of(route.key, self._gateways.views.values()), now)
        matters = self._queue_matters(route, self._demand(route, now), now)
        return ScalingFacts(
            desired=scaled.state.replicas,
            rules=rules,
            coverage=self._gateways.reported,
            gateways=self._gateways.expected,
            starting=self._gateways.starting,
            queue_unread=UNREAD if matters and self._gauges(route, now).unread else "",
            doubts=scaled.doubts.told(now),
            start_failed=scaled.state.start_failed,
            needs=scaled.needs,
            source_trouble=self._gateways.trouble,
            advised=scaled.advice.replicas if scaled.advice else None,
        )

    def figures(self) -> Iterator[RouteFigures]:
        """What is decided of each route that has an engine, for metrics."""
        for route in self._routes:
            scaled = self._scaled.get(route.key)
            if scaled is not None and scaled.state.policy is not None and scaled.state.policy.has_engine:
                live = self._engines.replicas(route)
                needs = tuple((need.signal.value, need.replicas) for need in scaled.needs or ())
                advice = scaled.advice.replicas if scaled.advice else None
                ready = live.ready if live else 0
                meta = route.meta
                service = (scaled.advice.state if scaled.advice else scaled.state).service
                learned = service.figures if service else {}
                yield RouteFigures(meta.namespace, meta.name, scaled.state.replicas, ready, needs, advice, learned)

    def evaluate(self, key: str, heard_at: float | None = None) -> None:
        """Decide for a route and act on it. ``heard_at``: when (monotonic) the line came that asked for it."""
        route = self._routes.get(key)
        if route is None or not self._engines.are_known:
            return
        scaled, now = self._of(route), self._clock.unix()
        if scaled.state.policy is None:
            self._on_decided(key)  # which spec is in force is for the reconcile to say, which then comes back here
            return
        if scaled.doubts.is_news(doubts_of(key, self._gateways.views.values()), now):
            self._on_decided(key)  # status is to say so
        seen = self._observe(route, now)
        step = scaled.state.decide(seen, now)
        scaled.state, scaled.looked_unix = step.state, now
        scaled.wished = seen.demand.wants_replica or seen.demand.held > 0
        scaled.needs = step.decision.needs if step.decision else ()
        checks = [step.check_unix]
        scaled.advice = advised(scaled.advice, scaled.state, seen, now)
        if scaled.advice and scaled.advice.decision:
            scaled.needs = scaled.advice.decision.needs
            checks.append(scaled.advice.decision.check_unix)
        due = min((check for check in checks if check is not None), default=None)
        self._beat.looked(key, None if due is None else due - now)
        if step.change:
            self._tell(route, step.change)
            self.write(route, heard_at)

    def write(self, route: RouteObject, heard_at: float | None = None) -> None:
        """Write the decided number where the engine has another one."""
        scaled = self._of(route)
        if scaled.writing is None:  # else the write under way sees the new number when it comes back
            scaled.writing = asyncio.create_task(self._write(route, scaled, heard_at), name=f"scale {route.key}")

    async def _write(self, route: RouteObject, scaled: _Scaled, heard_at: float | None) -> None:
        try:
            while True:
                live, number = self._engines.replicas(route), scaled.state.replicas
                if live is None or live.wanted == number:
                    break
                await self._engines.set_replicas(route, number)
                if heard_at is not None:
                    telemetry.WAKES.observe(self._clock.monotonic() - heard_at)
                    heard_at = None
        except EngineError as error:
            logger.warning("scale not written, reconciling: %s", error, extra={"route": route.key})
        finally:
            scaled.writing = None
            self._on_decided(route.key)

    def _tell(self, route: RouteObject, change: Change) -> None:
        telemetry.DECISIONS.labels(change.reason.value).inc()
        figures = {"from": change.before, "to": change.after, "reason": change.reason.value}
        logger.info("scaled: %s", change.message, extra={"route": route.key, **figures})
        self._events.record(
            "ModelRoute",
            route.meta,
            warning=False,
            reason="ScaledUp" if change.after > change.before else "ScaledDown",
            note=f"From {change.before} to {change.after} replicas: {change.reason.value}. {change.message}",
            action="Scale",
        )

    def _its_turn(self, key: str, on_time: bool) -> None:  # noqa: FBT001 - one private caller
        """A beat, or a time that has come: a window's edge may also change what the gateways must know."""
        self.evaluate(key)
        if on_time:
            self._on_decided(key)

    def _observe(self, route: RouteObject, now: float) -> Observation:
        live, gauges, demand = self._engines.replicas(route), self._gauges(route, now), self._demand(route, now)
        waiting = gauges.waiting if self._queue_matters(route, demand, now) else None
        return Observation(
            demand,
            ready=live.ready if live else 0,
            ready_since_unix=live.ready_since_unix if live else None,
            queue=QueueDepth(waiting) if waiting is not None else None,
            engines=gauges.readings,
            work=self._gateways.work.of(route.key, route.meta.uid, now, is_whole=self._all_count_work(now)),
            load_seconds=self._load_seconds(route),
            unschedulable=self._unschedulable(route.key),
            budget_spent=self._budget_spent(route),
        )

    def _budget_spent(self, route: RouteObject) -> float:
        """Share of its budget that is gone, at the gateway where most is; one that asks no hosted API has none left."""
        if route.spec is None or route.spec.budget is None:
            return 0.0
        report = budget_report(route.key, route.meta.uid, self._gateways.views.values())
        return 0.0 if report is None else 1.0 if report.exhausted else report.percent / 100.0

    def _demand(self, route: RouteObject, now: float) -> Demand:
        views = self._gateways.views.values()
        return demand_of(route.key, views, self._gateways.unheard(now), now, route.meta.uid)

    def _all_count_work(self, now: float) -> bool:
        return all_count_work(self._gateways.views.values(), self._gateways.unheard(now), now)

    def _gauges(self, route: RouteObject, now: float) -> EngineGauges:
        return engines_of(route.key, self._gateways.views.values(), now, route.meta.uid)

    def _queue_matters(self, route: RouteObject, demand: Demand, now: float) -> bool:
        """Whether the replicas' own queues can change the number now: where no request is at one, none waits inside."""
        state = self._in_force(route)
        advice = state.policy is not None and advising(state.policy) is not None
        return demand.in_flight > 0 and (advice or state.queue_matters(now))

    def _in_force(self, route: RouteObject) -> ScalingState:
        """The route's state; where no spec is in force yet, as if the one that is written were."""
        state = self._of(route).state
        if state.policy is None and route.spec is not None:
            return replace(state, policy=policy_of(route.spec, None))
        return state

    def _of(self, route: RouteObject) -> _Scaled:
        """What is kept of a route; one made anew under its name brings nothing along."""
        scaled = self._scaled.get(route.key)
        if scaled is not None and scaled.uid != route.meta.uid:
            self.forget(route.key)
            scaled = None
        if scaled is None:
            scaled = self._scaled[route.key] = _Scaled(route.meta.uid, self._begun(route))
        return scaled

    def _begun(self, route: RouteObject) -> ScalingState:
        live, recorded = self._engines.replicas(route), route.status.get("desiredReplicas")
        numbers = (recorded, live.wanted if live else None)
        return ScalingState.begun(
            self._clock.unix(),
            known=[int(number) for number in numbers if number is not None],
            decisions=[dict(entry) for entry in route.status.get("decisions") or ()],
            policy=policy_of(route.spec, None) if route.spec else None,
        )

"""Scaling of every route: asks ``core.autoscaler`` when something was heard or a time has come, and writes the scale.

A wake never waits for a reconcile: the decision is made where the gateway's line is read, and the Deployment's
/scale is patched in a task of its own. Reconciling then finds the number written and only says so in status.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from overspill_api.names import engine_name
from overspill_api.profile import Profile
from overspill_api.scaling import Autoscaler, Scaling
from overspill_operator.adapters import telemetry
from overspill_operator.adapters.event_recorder import EventRecorder
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.objects import Routes
from overspill_operator.clock import Clock, Timer
from overspill_operator.core.autoscaler import Decision, Memory, Pool, QueueDepth, Reason, Rules, decide
from overspill_operator.core.conditions import parse_timestamp, timestamp
from overspill_operator.core.engine_state import engine_state
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.ownership import is_owned
from overspill_operator.core.route_status import DECISIONS_MAX, ScalingFacts
from overspill_operator.core.traffic import Demand, demand_of, doubts_of
from overspill_operator.core.windows import Bounds, bounds_at
from overspill_operator.ports import DEPLOYMENTS, Cluster, ClusterError, Json

logger = logging.getLogger(__name__)

DOUBTS_SECONDS = 60.0
"""How long status speaks of figures that were not believed after they were last heard."""


class QueueSource(Protocol):
    """Where requests that wait inside the replicas are known."""

    def queue(self, key: str, now_unix: float) -> QueueDepth | None:
        """The last fresh reading of a route; None: there is none."""

    def unread(self, key: str) -> str:
        """Why there is none although there should be; empty: nothing is wrong."""


@dataclass(slots=True)
class _State:
    uid: str
    desired: int
    memory: Memory
    decisions: list[dict[str, Any]]
    scaling: Scaling | None = None
    has_engine: bool = False
    generation: int = 0
    startup_seconds: float = 1800.0
    idle_seconds: float = 600.0
    doubts: str = ""
    doubts_until_unix: float = 0.0
    timer: Timer | None = None
    bounds: Bounds | None = None
    bounds_of: Scaling | None = None
    writing: bool = False
    writes: set["asyncio.Task[None]"] = field(default_factory=set)


class Scaler:
    """The number of replicas of every route."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        routes: Routes,
        deployments: WatchCache,
        gateways: GatewayStreams,
        queues: QueueSource,
        events: EventRecorder,
        on_decided: Callable[[str], None],
    ) -> None:
        """``on_decided`` gets the keys of routes whose number has changed."""
        self._cluster = cluster
        self._clock = clock
        self._routes = routes
        self._deployments = deployments
        self._gateways = gateways
        self._queues = queues
        self._events = events
        self._on_decided = on_decided
        self._states: dict[str, _State] = {}

    def accept(self, route: RouteObject, profile: Profile | None) -> None:
        """The route's spec is in force: scale by it from now on. One with a fault does not get here."""
        state = self._state(route)
        if route.spec is None:
            return
        if profile is not None:
            state.startup_seconds = profile.startup_timeout.seconds
        if state.scaling != route.spec.scaling:
            state.scaling = route.spec.scaling
            state.idle_seconds = route.spec.scaling.idle_after.seconds
        if state.generation != route.meta.generation:
            # What kept the engine from starting may have been mended by this change.
            state.generation = route.meta.generation
            state.memory = replace(state.memory, failed_starts=0, next_wake_unix=None)
        if route.spec.self_hosted is None:
            # An engine that is added again later begins anew: without the former one's replicas and wishes.
            state.desired = 0
            state.memory = Memory(watching_since_unix=self._clock.unix(), wishes_since_unix=self._clock.unix())
        state.has_engine = route.spec.self_hosted is not None
        self.evaluate(route.key)

    def desired(self, route: RouteObject) -> int:
        """Replicas that are decided."""
        return self._state(route).desired

    def is_writing(self, route: RouteObject) -> bool:
        """Whether a number is on its way to the Deployment."""
        return self._state(route).writing

    def may_wake(self, route: RouteObject) -> bool:
        """Whether the rules let the engine run now."""
        rules = self._rules(self._state(route), route, self._clock.unix())
        return rules is not None and (rules.bounds.maximum > 0 if rules.fixed is None else rules.fixed > 0)

    def decisions(self, route: RouteObject) -> list[dict[str, Any]]:
        """The last decisions, newest first, as status shows them."""
        return self._state(route).decisions

    def facts(self, route: RouteObject) -> ScalingFacts | None:
        """What status says about scaling; None: the route has no engine."""
        state, now = self._state(route), self._clock.unix()
        rules = self._rules(state, route, now)
        if rules is None:
            return None
        return ScalingFacts(
            desired=state.desired,
            rules=rules,
            coverage=self._gateways.reported,
            gateways=self._gateways.expected,
            starting=self._gateways.starting,
            queue_unread=self._queues.unread(route.key),
            doubts=self._doubts(state, route.key, now),
            start_failed=state.memory.failed_starts > 0 and state.desired == 0,
        )

    def _doubts(self, state: _State, key: str, now: float) -> str:
        """What of the gateways' figures is not believed; kept for a while, so that status does not flutter."""
        doubts = doubts_of(key, self._gateways.views.values())
        if doubts:
            state.doubts, state.doubts_until_unix = doubts, now + DOUBTS_SECONDS
        return state.doubts if now < state.doubts_until_unix else ""

    def wants_queue_depth(self, route: RouteObject) -> bool:
        """Whether vLLM's own queues can change the number: some replica serves, and more are allowed."""
        state = self._states.get(route.key)
        if state is None or state.desired == 0:
            return False
        now = self._clock.unix()
        rules = self._rules(state, route, now)
        if rules is None or rules.fixed is not None or state.desired >= rules.bounds.maximum:
            return False
        return self._demand(route, now).in_flight > 0

    def _demand(self, route: RouteObject, now: float) -> Demand:
        views = self._gateways.views.values()
        return demand_of(route.key, views, self._gateways.unheard(now), now, route.meta.uid)

    def forget(self, key: str) -> None:
        """The route is gone, and what was said of it."""
        self._gateways.forget(key)
        state = self._states.pop(key, None)
        if state and state.timer:
            state.timer.cancel()

    def evaluate(self, key: str, heard_at: float | None = None) -> None:
        """Decide for a route and act on it. ``heard_at``: when (monotonic) the line came that asked for it."""
        route = self._routes.get(key)
        if route is None or not self._deployments.synced.is_set():
            return
        now = self._clock.unix()
        state = self._state(route)
        if state.scaling is None:
            self._on_decided(key)  # which spec is in force is for the reconcile to say, which then comes back here
            return
        rules = self._rules(state, route, now)
        if rules is None:
            return
        engine = engine_state(self._engine(route))
        pool = Pool(state.desired, engine.ready, engine.ready_since_unix)
        demand = self._demand(route, now)
        if doubts_of(key, self._gateways.views.values()) and now >= state.doubts_until_unix:
            self._on_decided(key)  # status is to say so
        decision = decide(rules, pool, demand, self._queues.queue(key, now), state.memory, now)
        state.memory = decision.memory
        self._schedule(key, state, decision.check_unix, now)
        if decision.replicas != state.desired:
            self._decided(route, state, decision, now)
            self.write(route, heard_at)

    def write(self, route: RouteObject, heard_at: float | None = None) -> None:
        """Write the decided number where the live Deployment has another one."""
        state = self._state(route)
        if state.writing:
            return  # the write under way sees the new number when it comes back
        state.writing = True
        task = asyncio.create_task(self._write(route, state, heard_at), name=f"scale {route.key}")
        state.writes.add(task)
        task.add_done_callback(state.writes.discard)

    async def _write(self, route: RouteObject, state: _State, heard_at: float | None) -> None:
        namespace, name = route.meta.namespace, engine_name(route.meta.name)
        path = DEPLOYMENTS.path(namespace, name, "scale")
        try:
            while True:
                live = self._engine(route)
                number = state.desired
                if live is None or live["spec"].get("replicas") == number:
                    break
                with self._deployments.writing(namespace, name):
                    answer = await self._cluster.merge_patch(path, {"spec": {"replicas": number}})
                    self._deployments.wrote(_scaled(live, number, answer))
                if heard_at is not None:
                    telemetry.WAKES.observe(self._clock.monotonic() - heard_at)
                    heard_at = None
        except ClusterError as error:
            logger.warning("scale not written, reconciling: %s", error, extra={"route": route.key})
        finally:
            state.writing = False
            self._on_decided(route.key)

    def _decided(self, route: RouteObject, state: _State, decision: Decision, now: float) -> None:
        before, state.desired = state.desired, decision.replicas
        entry = {
            "time": timestamp(now),
            "from": before,
            "to": decision.replicas,
            "reason": decision.reason.value,
            "message": decision.message,
        }
        state.decisions = [entry, *state.decisions][:DECISIONS_MAX]
        telemetry.DECISIONS.labels(decision.reason.value).inc()
        change = {"from": before, "to": decision.replicas, "reason": decision.reason.value}
        logger.info("scaled: %s", decision.message, extra={"route": route.key, **change})
        self._events.record(
            "ModelRoute",
            route.meta,
            warning=False,
            reason="ScaledUp" if decision.replicas > before else "ScaledDown",
            note=f"From {before} to {decision.replicas} replicas: {decision.reason.value}. {decision.message}",
            action="Scale",
        )

    def _schedule(self, key: str, state: _State, check_unix: float | None, now: float) -> None:
        if state.timer:
            state.timer.cancel()
            state.timer = None
        if check_unix is not None:
            state.timer = self._clock.call_later(max(0.01, check_unix - now + 0.01), partial(self._due, key))

    def _due(self, key: str) -> None:
        """A time has come: a window's edge may also change what the gateways must know."""
        self.evaluate(key)
        self._on_decided(key)

    def _state(self, route: RouteObject) -> _State:
        state = self._states.get(route.key)
        if state is not None and state.uid != route.meta.uid:
            self.forget(route.key)
            state = None
        if state is None:
            decisions = [dict(entry) for entry in route.status.get("decisions") or ()]
            state = self._states[route.key] = _State(
                uid=route.meta.uid,
                desired=self._first_number(route),
                memory=Memory(watching_since_unix=self._clock.unix(), wishes_since_unix=_given_up_unix(decisions)),
                decisions=decisions,
            )
        return state

    def _engine(self, route: RouteObject) -> Json | None:
        """The route's own Deployment: another one of its name is not scaled."""
        live = self._deployments.get(route.meta.namespace, engine_name(route.meta.name))
        return live if is_owned(live, route.meta.uid) else None

    def _first_number(self, route: RouteObject) -> int:
        """What was decided before this process began; for a new route the least that its rules allow."""
        live = self._engine(route)
        recorded = route.status.get("desiredReplicas")
        known = [number for number in (recorded, live["spec"].get("replicas") if live else None) if number is not None]
        if known:
            return int(max(known))
        if route.spec is None:
            return 0
        scaling = route.spec.scaling
        return scaling.replicas if scaling.replicas is not None else bounds_at(scaling, self._clock.unix()).minimum

    def _rules(self, state: _State, route: RouteObject, now: float) -> Rules | None:
        scaling = state.scaling
        if scaling is not None and not state.has_engine:
            return None
        if scaling is None:  # nothing is in force yet
            if route.spec is None or route.spec.self_hosted is None:
                return None
            scaling = route.spec.scaling
        bounds = state.bounds
        stale = bounds is None or (bounds.next_change_unix is not None and now >= bounds.next_change_unix)
        if bounds is None or stale or state.bounds_of is not scaling:
            bounds = state.bounds = bounds_at(scaling, now)
            state.bounds_of = scaling
        return Rules(
            fixed=scaling.replicas,
            external=scaling.autoscaler is Autoscaler.EXTERNAL,
            bounds=bounds,
            concurrency=scaling.targets.concurrency,
            queue_depth=scaling.targets.queue_depth,
            idle_after_seconds=state.idle_seconds,
            startup_timeout_seconds=state.startup_seconds,
        )


def _given_up_unix(decisions: list[dict[str, Any]]) -> float | None:
    """When the engine was last given up, as status has it: a wish from before was heard by the process before."""
    last = decisions[0] if decisions else {}
    if last.get("reason") not in (Reason.IDLE.value, Reason.START_TIMEOUT.value):
        return None
    try:
        return parse_timestamp(last["time"])
    except (KeyError, TypeError, ValueError):
        return None  # written by hand


def _scaled(live: Json, number: int, answer: Json) -> Mapping[str, Any]:
    """The Deployment as it is after its scale was written."""
    version = answer["metadata"]["resourceVersion"]
    return {
        **live,
        "metadata": {**live["metadata"], "resourceVersion": version},
        "spec": {**live["spec"], "replicas": number},
    }

"""How many replicas one route has, over time: what is remembered of it, what is decided next, and why.

What is seen and the time come in, the next state and the reasons go out; no clock, no I/O, no log, nothing global. What
the rules are is in ``autoscaler``. ``app.scaler`` drives it in the operator: it listens, looks again when it is time,
and writes. A simulator drives it in virtual time, without asyncio, as fast as the processor goes::

    state = ScalingState.begun(now)
    state = state.accept(ScalingPolicy(Scaling(max_replicas=4), startup_timeout_seconds=300.0), generation=1, now=now)
    while now < end:
        step = state.decide(Observation(demand, ready, ready_since_unix, queue), now)
        state = step.state  # state.replicas is what there shall be; step.change says what has changed, and why
        now = min(next_event_unix, step.check_unix or math.inf)

``demand`` is a ``traffic.Demand``: made directly, or by ``traffic.demand_of`` from what each gateway has said and when.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from overspill_api.modelroute import ColdStart, ModelRouteSpec
from overspill_api.profile import Profile
from overspill_api.scaling import Autoscaler, Objective, Scaling
from overspill_operator.core.conditions import parse_timestamp, timestamp
from overspill_operator.core.demand.engine_gauges import EngineReading
from overspill_operator.core.demand.recent_work import SeenWork
from overspill_operator.core.demand.traffic import Demand
from overspill_operator.core.scaling.autoscaler import (
    DOWN_STABILIZATION_SECONDS,
    DOWN_STABILIZATION_SECONDS_MAX,
    Decision,
    Memory,
    Need,
    Pool,
    QueueDepth,
    Reason,
    Rules,
    Signal,
    decide,
)
from overspill_operator.core.scaling.cost import Cost, Prices, prices_of
from overspill_operator.core.scaling.latency import Correction, Objectives, is_late, needs_of
from overspill_operator.core.scaling.service_model import ServiceModel
from overspill_operator.core.scaling.windows import Bounds, bounds_at
from overspill_operator.core.vllm_bounds import batch_size

Json = Mapping[str, Any]

DECISIONS_MAX = 10
STARTUP_SECONDS = 1800.0
"""Of an engine whose profile is not known."""
BUDGET_NEARLY = 0.98
"""Of a budget: from then on replicas come by need, as they take time to load and what is left is soon gone."""
REFUSED_MOST = 0.01
"""Of a minute's requests: where more than that are refused, hosted APIs don't take what replicas don't."""


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """What a spec and its profile say about scaling."""

    scaling: Scaling
    """``spec.scaling``."""
    startup_timeout_seconds: float = STARTUP_SECONDS
    """The longest that loading may take; a replica that takes longer does not count as loading."""
    has_engine: bool = True
    """Whether there is anything to scale: else the route is served by hosted APIs alone."""
    prices: Prices | None = None
    """Of replicas and of hosted APIs; None: not all are known."""
    hosted_stands_in: bool = False
    """Whether hosted APIs answer what comes while no replica is ready (``overflow.onColdStart``)."""
    batch_most: int | None = None
    """Answers in a replica's fullest batch (``--max-num-seqs``); None: its arguments do not say."""

    @property
    def objectives(self) -> Objectives:
        """Its objectives of latency."""
        targets = self.scaling.targets
        first, between = targets.time_to_first_token, targets.inter_token_latency
        return Objectives(first.p95.seconds if first else None, between.p95.seconds if between else None)

    @property
    def most_replicas(self) -> int:
        """The highest maximum of all times."""
        of_windows = (window.max_replicas or 0 for window in self.scaling.windows)
        return max([self.scaling.max_replicas, *of_windows])


def policy_of(spec: ModelRouteSpec, profile: Profile | None, before: ScalingPolicy | None = None) -> ScalingPolicy:
    """The policy of a spec; without a profile the start-up time is that of the policy ``before``."""
    startup, prices, batch = STARTUP_SECONDS, None, None
    if before is not None:
        startup, prices, batch = before.startup_timeout_seconds, before.prices, before.batch_most
    if profile is not None:
        startup = profile.startup_timeout.seconds
        usd = profile.usd_per_replica_hour
        prices = prices_of(spec, None if usd is None else float(usd))
        given = spec.self_hosted.args if spec.self_hosted is not None else []
        batch = batch_size([*profile.args, *given])
    stands_in = bool(spec.hosted) and spec.overflow.on_cold_start is not ColdStart.HOLD
    return ScalingPolicy(spec.scaling, startup, spec.self_hosted is not None, prices, stands_in, batch)


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen of a route when it is decided upon."""

    demand: Demand
    """What the gateways say, all together."""
    ready: int = 0
    """Replicas that can answer."""
    ready_since_unix: float | None = None
    """Since when the engine as a whole has been available; None: it is not, or nobody knows."""
    queue: QueueDepth | None = None
    """Requests that wait inside the replicas; None: not read, or too long ago."""
    engines: tuple[EngineReading, ...] = ()
    """What the replicas say of themselves: those that were lately read."""
    work: SeenWork | None = None
    """What was done in the last minute, by kind of backend; None: not known, or not for long enough."""
    load_seconds: float | None = None
    """From asking for a replica to its first answer, as measured of those before; None: none has been seen to start."""
    unschedulable: int = 0
    """Replicas that are wanted and that no node has room for."""
    budget_spent: float = 0.0
    """Share of the route's budget for hosted APIs that is gone, 0 to 1; 0: it has none."""


@dataclass(frozen=True, slots=True)
class Change:
    """Another number of replicas."""

    at_unix: float
    """When it was decided."""
    before: int
    """How many there were to be."""
    after: int
    """How many there shall be."""
    reason: Reason
    """Why, for programs."""
    message: str
    """Why, for people, with the figures behind it."""

    def as_status(self) -> dict[str, Any]:
        """An entry of ``status.decisions``."""
        return {
            "time": timestamp(self.at_unix),
            "from": self.before,
            "to": self.after,
            "reason": self.reason.value,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class ScalingState:
    """What is known and remembered of one route's scaling."""

    replicas: int
    """How many there shall be."""
    memory: Memory
    """What the rules remember."""
    policy: ScalingPolicy | None = None
    """In force; None: which spec is in force is not known yet, so nothing is decided."""
    generation: int = 0
    """Of the route, when its policy came into force."""
    bounds: Bounds | None = None
    """Of the policy when it was decided last; they hold until their next change."""
    decisions: tuple[Json, ...] = ()
    """The last ones, newest first, as status shows them."""
    service: ServiceModel | None = None
    """What is known of how fast a replica is; None: nothing was seen yet."""
    cost: Cost | None = None
    """What is known of its money; None: nothing yet, or it does not matter."""
    correction: Correction = Correction()  # noqa: RUF009 - it is frozen
    """Of what is predicted of latencies."""
    load_seconds: float | None = None
    """From asking for a replica to its first answer, as seen last; None: none has been seen to start."""

    @classmethod
    def begun(
        cls,
        now_unix: float,
        *,
        known: Sequence[int] = (),
        decisions: Sequence[Json] = (),
        policy: ScalingPolicy | None = None,
    ) -> "ScalingState":
        """State of a route that is watched from now on.

        ``known``: numbers that a process before this one has left, in status or with the engine; of several the
        highest counts, because one too many costs less than one too few. ``decisions``: what it wrote of them.
        ``policy``: of a new route, which begins with the least that this allows; it is not in force by that.
        """
        replicas = max(known, default=0)
        if not known and policy is not None:
            fixed = policy.scaling.replicas
            replicas = fixed if fixed is not None else bounds_at(policy.scaling, now_unix).minimum
        memory = Memory(watching_since_unix=now_unix, wishes_since_unix=_given_up_unix(decisions))
        return cls(replicas, memory, decisions=tuple(decisions))

    def accept(self, policy: ScalingPolicy, *, generation: int, now_unix: float) -> "ScalingState":
        """The state once ``policy`` is in force."""
        replicas, memory = self.replicas, self.memory
        if generation != self.generation:
            # What kept the engine from starting may have been mended by this change.
            memory = replace(memory, failed_starts=0, next_wake_unix=None)
        if not policy.has_engine:
            # An engine that is added again later begins anew: without the former one's replicas and wishes.
            replicas, memory = 0, Memory(watching_since_unix=now_unix, wishes_since_unix=now_unix)
        same = self.policy is not None and self.policy.scaling == policy.scaling
        bounds = self.bounds if same else None
        return replace(self, replicas=replicas, memory=memory, policy=policy, generation=generation, bounds=bounds)

    def rules(self, now_unix: float) -> Rules | None:
        """The policy as it holds now; None: no policy is in force, or there is no engine."""
        policy = self.policy
        if policy is None or not policy.has_engine:
            return None
        scaling = policy.scaling
        external = scaling.autoscaler is Autoscaler.EXTERNAL
        # What a person writes into replicas holds also in a pause; what another autoscaler writes does not.
        paused = scaling.paused and (scaling.replicas is None or external)
        return Rules(
            fixed=min(self.replicas, scaling.max_replicas) if paused else scaling.replicas,
            external=external,
            paused=paused,
            bounds=self._with_ahead(self._bounds_at(scaling, now_unix), now_unix),
            concurrency=scaling.targets.concurrency,
            queue_depth=scaling.targets.queue_depth,
            idle_after_seconds=scaling.idle_after.seconds,
            startup_timeout_seconds=policy.startup_timeout_seconds,
            down_seconds=min(max(self.load_seconds or 0.0, DOWN_STABILIZATION_SECONDS), DOWN_STABILIZATION_SECONDS_MAX),
        )

    def _bounds_at(self, scaling: Scaling, now_unix: float) -> Bounds:
        """Bounds that hold now: as they were, until their next change."""
        bounds = self.bounds
        if bounds is None or (bounds.next_change_unix is not None and now_unix >= bounds.next_change_unix):
            return bounds_at(scaling, now_unix)
        return bounds

    def _with_ahead(self, bounds: Bounds, now_unix: float) -> Bounds:
        """With the least that a window will ask for by when a replica that is asked for now could serve."""
        load, change = self.load_seconds, bounds.next_change_unix
        if not load or change is None or self.policy is None:
            return bounds
        if change - load > now_unix:
            return replace(bounds, next_change_unix=change - load)
        ahead = bounds_at(self.policy.scaling, now_unix + load)
        if ahead.minimum <= bounds.minimum:
            return bounds
        return replace(bounds, minimum=min(ahead.minimum, bounds.maximum), windows=ahead.windows)

    def may_wake(self, now_unix: float) -> bool:
        """Whether the policy lets the engine run now."""
        rules = self.rules(now_unix)
        return rules is not None and (rules.bounds.maximum > 0 if rules.fixed is None else rules.fixed > 0)

    def queue_matters(self, now_unix: float) -> bool:
        """Whether queues inside the replicas can change the number: some replica is wanted, and more are allowed."""
        if self.replicas == 0:
            return False
        rules = self.rules(now_unix)
        return rules is not None and rules.fixed is None and self.replicas < rules.bounds.maximum

    @property
    def start_failed(self) -> bool:
        """Whether the engine is at zero because no replica was ready in time."""
        return self.memory.failed_starts > 0 and self.replicas == 0

    def decide(self, seen: Observation, now_unix: float) -> "Step":
        """What to do now."""
        rules, policy = self.rules(now_unix), self.policy
        if rules is None or policy is None:
            return Step(self, None, None)
        pool = Pool(self.replicas, seen.ready, seen.ready_since_unix, seen.unschedulable)
        before = self.service or ServiceModel.begun(now_unix)
        service = before.heard(seen.demand, seen.ready, seen.engines, seen.work, now_unix, policy.batch_most)
        correction = self.correction
        settled = seen.ready == self.replicas and now_unix - (self.memory.raised_unix or 0.0) > before.since.seconds
        if seen.work is not None and settled and service.since.begun_unix > before.since.begun_unix:
            correction = correction.measured(service, seen.work.work, seen.work.seconds, seen.ready)
        load_seconds = self.load_seconds if seen.load_seconds is None else seen.load_seconds
        needs, cost = self._objectives(service, correction), self.cost
        if needs and seen.work is not None and is_late(policy.objectives, seen.work.work):
            # What was predicted to be enough was not: nothing goes before a minute was in time.
            needs = tuple(replace(need, keeps=max(need.least, self.replicas)) for need in needs)
        if policy.scaling.objective is Objective.COST and policy.prices is not None:
            cost, by_cost = self._by_cost(policy, policy.prices, seen, service, before, rules.bounds.maximum)
            if self._hosted_takes_the_rest(policy, seen):
                rules, needs = replace(rules, by_money=True, down_seconds=0.0), (by_cost,)
        if policy.objectives.are_set and not needs:
            rules = replace(rules, stands_in=service.words)
        decision = decide(rules, pool, seen.demand, seen.queue, self.memory, now_unix, needs)
        if policy.scaling.objective is Objective.COST and not rules.by_money and rules.fixed is None:
            decision = replace(decision, needs=(*decision.needs, Need(Signal.COST, 0, _why_not_money(policy))))
        state = replace(
            self,
            memory=decision.memory,
            bounds=self._bounds_at(policy.scaling, now_unix),
            service=service,
            correction=correction,
            cost=cost,
            load_seconds=load_seconds,
        )
        if decision.replicas == self.replicas:
            return Step(state, decision, None)
        change = Change(now_unix, self.replicas, decision.replicas, decision.reason, decision.message)
        decisions = (change.as_status(), *self.decisions)[:DECISIONS_MAX]
        return Step(replace(state, replicas=decision.replicas, decisions=decisions), decision, change)

    def _by_cost(
        self,
        policy: ScalingPolicy,
        prices: Prices,
        seen: Observation,
        service: ServiceModel,
        before: ServiceModel,
        maximum: int,
    ) -> tuple[Cost, Need]:
        """What is known of money now, and what it says."""
        now_unix = service.heard_unix
        cost = self.cost or Cost.begun(now_unix)
        if seen.work is not None and service.since.begun_unix > before.since.begun_unix:
            cost = cost.charged_for(prices, seen.work.work)
        load = seen.load_seconds if seen.load_seconds is not None else self.load_seconds
        economy = cost.economy(prices, service, load)
        cost = cost.heard(prices, service, economy, policy.most_replicas)
        return cost, cost.need(economy, service, self.replicas, maximum, now_unix)

    @staticmethod
    def _hosted_takes_the_rest(policy: ScalingPolicy, seen: Observation) -> bool:
        """Whether hosted APIs answer whatever replicas don't, as far as can be seen."""
        if not policy.hosted_stands_in or seen.budget_spent >= BUDGET_NEARLY or seen.work is None:
            return False
        if not seen.work.is_whole or (seen.demand.held and not seen.ready):
            return False
        work = seen.work.work
        return sum(work.refused.values()) <= REFUSED_MOST * work.arrivals

    def _objectives(self, service: ServiceModel, correction: Correction) -> tuple[Need, ...]:
        """What objectives of latency need."""
        objectives = self.policy.objectives if self.policy else Objectives()
        if not objectives.are_set:
            return ()
        return needs_of(service, objectives, correction, self.replicas, self.load_seconds or 0.0)


@dataclass(frozen=True, slots=True)
class Step:
    """What comes of deciding."""

    state: ScalingState
    """From now on."""
    decision: Decision | None
    """By the rules, with its reasons also where nothing changes; None: nothing is to be decided."""
    change: Change | None
    """Another number; None: it stays."""

    @property
    def check_unix(self) -> float | None:
        """When to decide again even if nothing is heard; None: only when something is."""
        return self.decision.check_unix if self.decision else None


def _why_not_money(policy: ScalingPolicy) -> str:
    """Why objective Cost has no say now."""
    if policy.prices is None:
        return "Objective Cost needs prices: usdPerReplicaHour of the profile, and price of a hosted API. Need decides."
    if not policy.hosted_stands_in:
        return "Objective Cost has no say, as requests are held while no replica is ready: need decides."
    return "Objective Cost has no say while hosted APIs can't take what replicas don't: need decides."


def _given_up_unix(decisions: Sequence[Json]) -> float | None:
    """When the engine was last given up, as status has it: a wish from before was heard by the process before."""
    last = decisions[0] if decisions else {}
    if last.get("reason") not in (Reason.IDLE.value, Reason.START_TIMEOUT.value):
        return None
    try:
        return parse_timestamp(last["time"])
    except (KeyError, TypeError, ValueError):
        return None  # written by hand

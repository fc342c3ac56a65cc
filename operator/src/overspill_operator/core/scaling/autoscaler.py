"""Why did it scale? How many replicas a route shall have, as a function of what is seen and the time.

The rules, in the order in which they win:
1. ``spec.scaling.replicas`` fixes the number, or ``spec.scaling.paused`` the one that there is.
2. Bounds (min/max, windows) always hold, whatever is known of demand.
3. Up at once, to the largest need: to at least one when a gateway asks for it; to what objectives of latency need
   (``latency``), or where there are none, or the pace of replicas is not learned yet, to what the requests in flight,
   spilled and held need by ``targets.concurrency``; further, where all replicas are ready and vLLM's own queues are
   longer than ``targets.queueDepth`` a replica, by what the excess needs, at most doubling.
   With objective Cost, where hosted APIs answer whatever replicas don't, money decides instead (``levels``), also
   whether the first request is worth a replica.
4. Down to the minimum after ``idleAfter`` without a request; otherwise to the highest number that any signal has still
   needed in the last minute, or in as long as a replica loads, and not below one.
   An engine of which no replica was ready within its start-up time goes there too, however much a request that was
   served elsewhere had wished for it; the next request wakes it again, after a pause.
5. Nothing goes down while demand is not wholly known, while a replica is loading, or before this process has
   watched for a whole stabilization window.

6. While no node has room for a replica that is wanted, no more are asked for: requests spill or wait meanwhile.

Replicas that load count as capacity: rule 3 computes totals, not additions, and the queue rule waits for them.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil
from typing import Final

from overspill_operator.core.demand.traffic import Coverage, Demand
from overspill_operator.core.scaling.windows import Bounds

WAKE_PAUSE_SECONDS = 15.0
WAKE_PAUSE_SECONDS_MAX = 300.0
"""An engine that could not start is asked for again by the next request, after a pause that doubles up to this: what
kept it from starting is mended by people, and who comes then shall not wait for long."""

DOWN_STABILIZATION_SECONDS = 60.0
DOWN_STABILIZATION_SECONDS_MAX = 600.0
"""A replica given away too early costs one load, which takes a minute for small models and ten for large ones: it is
kept for as long as it would take to load again, within these."""


QUEUE_SECONDS = 10.0
"""How long a queue inside replicas must last to call for more where objectives of latency are kept by prediction:
prompts that are read queue for a moment."""
MONEY_LOOK_SECONDS = 10.0
"""Between two looks at replicas that run for money: also while nobody asks for them."""


class Reason(StrEnum):
    """Why the number is what it is."""

    FIXED = "Fixed"
    PAUSED = "Paused"
    WINDOW = "Window"
    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"
    FIRST_REQUEST = "FirstRequest"
    DEMAND = "Demand"
    QUEUE_DEPTH = "QueueDepth"
    TIME_TO_FIRST_TOKEN = "TimeToFirstToken"  # noqa: S105 - a name
    INTER_TOKEN_LATENCY = "InterTokenLatency"  # noqa: S105 - a name
    COST = "Cost"
    IDLE = "Idle"
    LOW_DEMAND = "LowDemand"
    START_TIMEOUT = "StartTimeout"
    UNCHANGED = "Unchanged"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the spec says."""

    fixed: int | None
    """``spec.scaling.replicas``, or the number that there is where scaling is paused."""
    external: bool
    """Whether another autoscaler writes that number."""
    bounds: Bounds
    """Bounds that hold now."""
    concurrency: int
    """Requests that one replica shall serve at the same time."""
    queue_depth: int
    """Requests waiting inside vLLM per replica above which replicas are added."""
    idle_after_seconds: float
    """Time without a request after which the engine goes to the minimum."""
    startup_timeout_seconds: float
    """The longest that loading may take; a replica that takes longer does not count as loading."""
    paused: bool = False
    """Whether ``fixed`` is there because of ``spec.scaling.paused``."""
    down_seconds: float = DOWN_STABILIZATION_SECONDS
    """How long fewer replicas must have been enough before there are fewer."""
    stands_in: str = ""
    """Why concurrency decides in place of objectives that are set; empty: there are none."""
    by_money: bool = False
    """Whether the number goes by money alone: hosted APIs answer whatever replicas don't, the first request as well."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The replicas."""

    desired: int
    """The number decided last."""
    ready: int
    """Replicas that can answer."""
    ready_since_unix: float | None
    """Since when the engine as a whole has been available; None: it is not, or nobody knows."""
    unschedulable: int = 0
    """Replicas that are wanted and that no node has room for."""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Requests that wait inside the replicas, from their own metrics."""

    waiting: int
    """Sum over the replicas that answered: a lower bound where some did not."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What deciding remembers between calls; losing it only delays scaling down."""

    watching_since_unix: float
    """When this process began to watch the route."""
    raised_unix: float | None = None
    """When the number was last raised."""
    called_for: tuple[tuple[float, int], ...] = ()
    """Times and numbers that demand has called for in the last minute; later numbers are smaller."""
    wishes_since_unix: float | None = None
    """A gateway's wish for a replica counts only where a request came after this; None: any counts. A gateway
    keeps its wish until a replica serves, also after the engine was given up or might not run."""
    has_started: bool = False
    """Whether a replica was ready since the number was last raised from zero."""
    queued_since_unix: float | None = None
    """Since when more requests wait inside the replicas than may; None: they don't."""
    failed_starts: int = 0
    """Wakes in a row that ended without a ready replica."""
    next_wake_unix: float | None = None
    """After wakes that failed: no new one before this."""


class Signal(StrEnum):
    """What replicas are called for by."""

    WISH = "Wish"
    """A request found no replica that could serve it."""
    CONCURRENCY = "Concurrency"
    """Requests in flight, spilled and held, against ``targets.concurrency``."""
    QUEUE_DEPTH = "QueueDepth"
    """Requests that wait inside the replicas, against ``targets.queueDepth``."""
    TIME_TO_FIRST_TOKEN = "TimeToFirstToken"  # noqa: S105 - a name
    """The predicted time to first token, against ``targets.timeToFirstToken``."""
    INTER_TOKEN_LATENCY = "InterTokenLatency"  # noqa: S105 - a name
    """The predicted inter-token latency, against ``targets.interTokenLatency``."""
    COST = "Cost"
    """What replicas cost, against hosted APIs for the same work."""


@dataclass(frozen=True, slots=True)
class Need:
    """How many replicas one signal calls for. The largest need wins on the way up; the way down needs all of them."""

    signal: Signal
    """Whose need it is."""
    replicas: int
    """How many it calls for, before bounds."""
    message: str
    """The figures behind it, for people."""
    keeps: int | None = None
    """How many it still needs where there are more; None: as many as it calls for."""

    @property
    def least(self) -> int:
        """The number below which it does not let replicas go."""
        return self.replicas if self.keeps is None else self.keeps


@dataclass(frozen=True, slots=True)
class Decision:
    """The number of replicas, and why."""

    replicas: int
    """How many there shall be."""
    reason: Reason
    """For programs."""
    message: str
    """The figures behind it."""
    check_unix: float | None
    """When to decide again even if nothing is heard; None: only when something is heard."""
    memory: Memory
    """For the next call."""
    needs: tuple[Need, ...] = ()
    """What each signal calls for, the largest first; none: the number is fixed."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What is called for, and what for."""

    wanted: int
    """Replicas that there shall be at least."""
    least: int
    """Replicas below which it does not go."""
    reason: Reason
    message: str


def decide(
    rules: Rules,
    pool: Pool,
    demand: Demand,
    queue: QueueDepth | None,
    memory: Memory,
    now_unix: float,
    given: tuple[Need, ...] = (),
) -> Decision:
    """How many replicas there shall be now. ``given``: needs of objectives or of money, in place of concurrency's."""
    if rules.fixed is not None:
        return _fixed(rules.fixed, memory, now_unix, paused=rules.paused)
    memory = _remember_sight(memory, rules, pool, now_unix)
    idle_unix = _idle_unix(rules, pool, demand, memory, now_unix)
    loading = _is_loading(rules, pool, memory, now_unix)
    # A second replica that finds no node must not keep the first one busy doing nothing.
    is_idle = idle_unix is not None and now_unix >= idle_unix and (pool.ready > 0 or not loading)
    wish = demand.wants_replica and _is_new(demand, memory) and not (is_idle and pool.desired)
    memory, lasts = _remember_queue(memory, rules, pool, queue, now_unix)
    needs = _needs(rules, pool, demand, queue if lasts or not given else None, given, wish=wish)
    call = _called_for(rules, pool, needs, is_idle=is_idle, asked=wish or demand.concurrency > 0)
    checks = [rules.bounds.next_change_unix]
    if _must_pause(pool, memory, now_unix):
        checks += [memory.next_wake_unix] if call.wanted else []
        call = replace(call, wanted=0, least=0)
    called_for = _remember(memory.called_for, call.least, rules.down_seconds, now_unix)
    target, reason, message = pool.desired, call.reason, call.message
    if call.wanted > pool.desired:
        target = call.wanted
    elif call.least < pool.desired and demand.coverage is Coverage.COMPLETE and (is_idle or not loading):
        highest = max(number for _, number in called_for)
        watches = max(rules.down_seconds, DOWN_STABILIZATION_SECONDS)
        if is_idle:
            target = call.least
            reason, message = _idle_reason(rules, memory)
        elif now_unix - memory.watching_since_unix >= watches and highest < pool.desired:
            target = highest
            reason, message = _low_demand(rules, pool, demand, needs, highest)
        else:
            watched_unix = memory.watching_since_unix + watches
            checks.append(watched_unix if highest < pool.desired else called_for[0][0] + rules.down_seconds)
    bounded = min(max(target, rules.bounds.minimum), rules.bounds.maximum)
    if bounded != target:
        reason, limit = _bound_reason(rules.bounds, bounded > target)
        message = f"{limit} {message}"
    if bounded > rules.bounds.minimum:
        checks += [idle_unix, _loading_ends(rules, memory) if loading else None] if bounded == pool.desired else []
        checks += [now_unix + MONEY_LOOK_SECONDS] if rules.by_money else []
    memory = replace(memory, called_for=called_for)
    return Decision(
        replicas=bounded,
        reason=reason if bounded != pool.desired else Reason.UNCHANGED,
        message=message,
        check_unix=min((check for check in checks if check is not None and check > now_unix), default=None),
        memory=_remember_change(memory, pool.desired, bounded, reason, now_unix),
        needs=needs,
    )


def _fixed(number: int, memory: Memory, now_unix: float, *, paused: bool) -> Decision:
    """By a person's word; who came while that was zero wishes for nothing once it is taken back."""
    if number == 0:
        memory = replace(memory, wishes_since_unix=now_unix)
    if paused:
        message = f"spec.scaling.paused is true, and spec.scaling.maxReplicas {number}."
        return Decision(number, Reason.PAUSED, message, None, memory)
    return Decision(number, Reason.FIXED, f"spec.scaling.replicas is {number}.", None, memory)


def _is_new(demand: Demand, memory: Memory) -> bool:
    """Whether a request has come since wishes began to count."""
    since = memory.wishes_since_unix
    return since is None or (demand.last_arrival_unix is not None and demand.last_arrival_unix > since)


def _must_pause(pool: Pool, memory: Memory, now_unix: float) -> bool:
    """Whether an engine that did not start is not to be tried again yet."""
    return not pool.desired and memory.next_wake_unix is not None and now_unix < memory.next_wake_unix


def _idle_reason(rules: Rules, memory: Memory) -> tuple[Reason, str]:
    quiet = f"request for {rules.idle_after_seconds:g} s."
    if memory.has_started:
        return Reason.IDLE, f"No {quiet}"
    return Reason.START_TIMEOUT, f"No replica was ready within {rules.startup_timeout_seconds:g} s, and no {quiet}"


def _remember_sight(memory: Memory, rules: Rules, pool: Pool, now_unix: float) -> Memory:
    """What is remembered of what is seen, before anything is decided."""
    seen_unix = memory.called_for[-1][0] if memory.called_for else memory.watching_since_unix
    if seen_unix > now_unix:  # the clock was set back: it is watched anew, and what lies ahead was not long ago
        raised = None if memory.raised_unix is None else min(memory.raised_unix, now_unix)
        memory = replace(memory, watching_since_unix=now_unix, raised_unix=raised)
    if rules.bounds.maximum == 0:
        memory = replace(memory, wishes_since_unix=now_unix)
    if pool.ready:
        memory = replace(memory, has_started=True, failed_starts=0, next_wake_unix=None)
    return memory


def _remember_change(memory: Memory, before: int, after: int, reason: Reason, now_unix: float) -> Memory:
    """What is remembered of a decision."""
    if after > before:
        return replace(memory, raised_unix=now_unix, has_started=memory.has_started and before > 0)
    if after < before and reason in (Reason.IDLE, Reason.START_TIMEOUT):
        memory = replace(memory, wishes_since_unix=now_unix)
    if after < before and reason is Reason.START_TIMEOUT:
        pause = min(WAKE_PAUSE_SECONDS * 2.0 ** min(memory.failed_starts, 20), WAKE_PAUSE_SECONDS_MAX)
        memory = replace(memory, failed_starts=memory.failed_starts + 1, next_wake_unix=now_unix + pause)
    return memory


def _needs(
    rules: Rules, pool: Pool, demand: Demand, queue: QueueDepth | None, given: tuple[Need, ...], *, wish: bool
) -> tuple[Need, ...]:
    """What each signal calls for (rule 3), the largest first; none of it is bounded."""
    if rules.by_money:
        return given
    needs = list(given)
    if not needs:
        figures = f"{demand.in_flight} in flight, {demand.spilled} spilled, {demand.held} held"
        message = f"{figures}; one replica serves {rules.concurrency} at a time."
        if rules.stands_in:
            message = f"{message[:-1]}: {rules.stands_in}."
        needs.append(Need(Signal.CONCURRENCY, ceil(demand.concurrency / rules.concurrency), message))
    if wish:
        # The gateway writes this line before it has sent the request on, so that nothing is counted yet.
        needs.append(Need(Signal.WISH, 1, "A request came while no replica could serve it."))
    if queue and _is_long(queue, rules, pool):
        # 9 waiting at 1 replica with depth 4: 5 too many, which 2 more would take; but at most doubled, so 2.
        excess = queue.waiting - rules.queue_depth * pool.ready
        by_queue = min(pool.ready + ceil(excess / rules.queue_depth), 2 * pool.ready)
        message = f"{queue.waiting} requests wait inside {pool.ready} replicas; {rules.queue_depth} each may."
        needs.append(Need(Signal.QUEUE_DEPTH, by_queue, message))
    return tuple(sorted(needs, key=lambda need: -need.replicas))


def _is_long(queue: QueueDepth, rules: Rules, pool: Pool) -> bool:
    """Whether more wait inside the replicas than may, and all that are wanted are there."""
    return bool(pool.ready) and pool.ready >= pool.desired and queue.waiting > rules.queue_depth * pool.ready


def _remember_queue(
    memory: Memory, rules: Rules, pool: Pool, queue: QueueDepth | None, now_unix: float
) -> tuple[Memory, bool]:
    """What is remembered of the queue, and whether it has lasted."""
    if queue is None or not _is_long(queue, rules, pool):
        return (memory if memory.queued_since_unix is None else replace(memory, queued_since_unix=None)), False
    if memory.queued_since_unix is None:
        memory = replace(memory, queued_since_unix=now_unix)
    since = memory.queued_since_unix
    return memory, since is not None and now_unix - since >= QUEUE_SECONDS


_REASONS: Final = {
    Signal.QUEUE_DEPTH: Reason.QUEUE_DEPTH,
    Signal.TIME_TO_FIRST_TOKEN: Reason.TIME_TO_FIRST_TOKEN,
    Signal.INTER_TOKEN_LATENCY: Reason.INTER_TOKEN_LATENCY,
    Signal.COST: Reason.COST,
}


def _called_for(rules: Rules, pool: Pool, needs: tuple[Need, ...], *, is_idle: bool, asked: bool) -> _Call:
    """The largest need, what all of them still need, and how that is told. ``asked``: there is a request."""
    largest = needs[0]
    reason = _REASONS.get(largest.signal, Reason.DEMAND)
    if not pool.desired and largest.signal is not Signal.COST:
        reason = Reason.FIRST_REQUEST
    wanted, least, message = largest.replicas, max(need.least for need in needs), largest.message
    if is_idle and (pool.desired or rules.by_money):
        wanted = least = 0
    elif not rules.by_money:
        # One stays until it is idle; and a rate that fades is no request.
        wanted, least = (max(wanted, 1), max(least, 1)) if pool.desired else (wanted, least) if asked else (0, 0)
    if pool.unschedulable and wanted > pool.desired:
        wanted, message = pool.desired, f"{message} {_no_room(pool)}"
    return _Call(wanted, least, reason, message)


def _low_demand(rules: Rules, pool: Pool, demand: Demand, needs: tuple[Need, ...], highest: int) -> tuple[Reason, str]:
    """Why fewer replicas are enough: by the signal that needs most."""
    most = max(needs, key=lambda need: need.least)
    if most.signal is Signal.COST:
        return Reason.COST, most.message
    lately = "a minute" if rules.down_seconds <= DOWN_STABILIZATION_SECONDS else f"{rules.down_seconds:g} s"
    if most.signal in (Signal.TIME_TO_FIRST_TOKEN, Signal.INTER_TOKEN_LATENCY):
        return Reason.LOW_DEMAND, f"{most.message} For {lately} {highest} of {pool.desired} have been enough."
    needed = f"{demand.concurrency} requests at most need {highest} of {pool.desired} replicas for {lately}."
    return Reason.LOW_DEMAND, needed


def _no_room(pool: Pool) -> str:
    are = "1 replica" if pool.unschedulable == 1 else f"{pool.unschedulable} replicas"
    return f"No node has room for {are} of the {pool.desired} that are wanted, so that no more are asked for."


def _is_loading(rules: Rules, pool: Pool, memory: Memory, now_unix: float) -> bool:
    """Whether replicas are on their way: giving them up now would throw the load away."""
    if pool.ready + pool.unschedulable >= pool.desired:
        return False
    ends = _loading_ends(rules, memory)
    return ends is not None and now_unix < ends


def _loading_ends(rules: Rules, memory: Memory) -> float | None:
    began = memory.raised_unix if memory.raised_unix is not None else memory.watching_since_unix
    return began + rules.startup_timeout_seconds


def _idle_unix(rules: Rules, pool: Pool, demand: Demand, memory: Memory, now_unix: float) -> float | None:
    """When the route is or will be idle; None: it is busy, or nobody can know."""
    if demand.concurrency or demand.coverage is not Coverage.COMPLETE:
        return None
    if demand.quiet_since_unix is None:
        return None
    # A replica that has only now become ready was asked for: it gets its idle time from then on.
    since = max(demand.quiet_since_unix, pool.ready_since_unix or memory.raised_unix or 0.0)
    return min(since, now_unix) + rules.idle_after_seconds


def _remember(
    called_for: tuple[tuple[float, int], ...], least: int, seconds: float, now_unix: float
) -> tuple[tuple[float, int], ...]:
    """Numbers of the last while that can still be its highest, oldest first."""
    recent = (entry for entry in called_for if 0.0 <= now_unix - entry[0] < seconds and entry[1] > least)
    return (*recent, (now_unix, least))


def _bound_reason(bounds: Bounds, raised: bool) -> tuple[Reason, str]:  # noqa: FBT001 - one private caller
    by = f"window {', '.join(bounds.windows)}" if bounds.windows else "spec.scaling"
    limit = f"At least {bounds.minimum}" if raised else f"At most {bounds.maximum}"
    if bounds.windows:
        return Reason.WINDOW, f"{limit} by {by}."
    return (Reason.MIN_REPLICAS if raised else Reason.MAX_REPLICAS), f"{limit} by {by}."

"""Which engines may yield their room to a replica that is wanted, from when on, and in which order. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import inf

from overspill_box.core.room import EngineFact, RouteNeed, Stage


@dataclass(frozen=True, slots=True)
class Turns:
    """How engines take turns."""

    turn_seconds: float = 30.0
    """A busy engine yields no sooner after it became ready; loading is no part of it. Longer: fewer swaps, longer
    waits."""
    idle_seconds: float = 1.0
    """An engine without requests counts as idle after so long: whoever asks one thing after another keeps its turn."""
    first_request_seconds: float = 10.0
    """One that has become ready and has had no request yet is left for so long: who woke it is about to ask."""


class Urgency(IntEnum):
    """How much a replica that is not there is missed; the lower, the more."""

    REQUESTS_WAIT = 0
    """Requests wait or spill, and the route has no replica."""
    MORE_REPLICAS = 1
    """Requests wait or spill, and the route has replicas, too few."""
    LEAST = 2
    """``minReplicas`` wants it, and nobody waits."""
    WANTED = 3
    """Scaling wants it (still), and nobody waits."""


class _Order(IntEnum):
    """Who yields first."""

    ON_ITS_WAY = 0
    """It drains already, or is made from what the route's engine was before."""
    ASLEEP = 1
    NOBODY_WAITS_FOR_IT = 2
    IDLE = 3
    IDLE_LEAST = 4
    """Idle, and one of those that ``minReplicas`` keeps."""
    ASLEEP_AND_WAITED_FOR = 5
    BUSY_ONE_OF_SEVERAL = 6
    BUSY = 7
    WAITED_FOR = 8
    """It is loading, and requests wait for it."""


@dataclass(frozen=True, slots=True)
class Yielding:
    """One engine that may yield."""

    engine: EngineFact
    """Which."""
    from_unix: float
    """From when on; infinite where that is not known yet."""
    may_sleep: bool
    """Whether it may sleep instead of ending."""
    order: tuple[int, float, str]
    """The lower, the sooner among those that may."""


class Yields:
    """Who yields to whom, of engines as they are."""

    def __init__(
        self, needs: Mapping[str, RouteNeed], engines: Iterable[EngineFact], turns: Turns, now_unix: float
    ) -> None:
        self._needs = needs
        self._engines = tuple(engines)
        self._turns = turns
        self._now = now_unix

    def to(self, key: str, urgency: Urgency, staying: Collection[str] = ()) -> list[Yielding]:
        """Engines that may yield to a replica of the route ``key``, now or later, those first that may first.

        ``staying``: names of engines that are not asked.
        """
        found = []
        for engine in self._engines:
            if engine.name in staying:
                continue
            term = self._own(engine) if engine.route == key else self._other(engine, urgency)
            if term is not None:
                order, from_unix, tie = term
                found.append(Yielding(engine, from_unix, self.may_sleep(engine), (order, tie, engine.name)))
        return sorted(found, key=lambda one: (max(one.from_unix, self._now), one.order))

    def to_fit(self) -> list[Yielding]:
        """Engines in the order in which they go where all together are more than the machine has."""
        found = []
        for engine in self._engines:
            term = self._other(engine, Urgency.REQUESTS_WAIT)
            if term is not None:
                order, _, tie = term
                found.append(Yielding(engine, self._now, self.may_sleep(engine), (order, tie, engine.name)))
        return sorted(found, key=lambda one: one.order)

    def may_sleep(self, engine: EngineFact) -> bool:
        """Whether it may be put to sleep, rather than end."""
        awake = engine.stage in (Stage.READY, Stage.DRAINING)
        return awake and engine.claim.can_sleep and engine.is_current and engine.route in self._needs

    def _own(self, engine: EngineFact) -> tuple[_Order, float, float] | None:
        """To a replica of its own route an engine yields that is made from what the route's engine was before."""
        if engine.is_current or engine.stage in (Stage.STOPPING, Stage.FALLING_ASLEEP):
            return None
        return _Order.ON_ITS_WAY, self._now, engine.last_used_unix or 0.0

    def _other(  # noqa: PLR0911 - one return a stage
        self, engine: EngineFact, urgency: Urgency
    ) -> tuple[_Order, float, float] | None:
        need = self._needs.get(engine.route)
        is_waited_for = need is not None and need.waiting_since_unix is not None
        used = engine.last_used_unix or 0.0
        if engine.stage is Stage.ASLEEP and urgency is not Urgency.WANTED:
            return (_Order.ASLEEP_AND_WAITED_FOR if is_waited_for else _Order.ASLEEP), self._now, used
        if urgency > Urgency.MORE_REPLICAS or engine.stage is Stage.STOPPING:
            return None
        if engine.stage is Stage.DRAINING:
            return _Order.ON_ITS_WAY, self._now, used
        if engine.stage is Stage.READY:
            return self._ready(engine, urgency)
        if urgency is not Urgency.REQUESTS_WAIT:
            return None
        if is_waited_for or engine.stage is Stage.FALLING_ASLEEP:
            return _Order.WAITED_FOR, inf, engine.since_unix
        return _Order.NOBODY_WAITS_FOR_IT, self._now, engine.since_unix

    def _ready(self, engine: EngineFact, urgency: Urgency) -> tuple[_Order, float, float] | None:
        need, used, turns = self._needs.get(engine.route), engine.last_used_unix, self._turns
        serving = sum(one.route == engine.route and one.stage is Stage.READY for one in self._engines)
        idle_from = inf
        if engine.in_flight == 0:
            idle_from = (
                engine.since_unix + turns.first_request_seconds
                if used is None
                else max(used, engine.since_unix) + turns.idle_seconds
            )
        if idle_from <= self._now:
            is_least = need is not None and serving <= need.least
            return (_Order.IDLE_LEAST if is_least else _Order.IDLE), idle_from, used or engine.since_unix
        if urgency is not Urgency.REQUESTS_WAIT:
            return (_Order.IDLE, idle_from, used or engine.since_unix) if idle_from < inf else None
        order = _Order.BUSY if serving < 2 else _Order.BUSY_ONE_OF_SEVERAL
        return order, min(idle_from, engine.since_unix + turns.turn_seconds), engine.since_unix

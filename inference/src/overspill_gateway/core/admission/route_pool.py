"""The pool of one route as it is now: its replicas and hosted APIs, who waits for a replica, and what is wanted.

State and what follows from it, without sockets, timers or a clock: whoever owns the pool is told what has changed
(``PoolListener``), and tells it the time. Not here: who serves one request (``plan``), what becomes of it
(``core.flow.request_flow``), and where replicas come from.
"""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar, cast

from mypy_extensions import mypyc_attr

from overspill_api.compiled import HedgingRules
from overspill_gateway.core.admission.balance import choose_replica
from overspill_gateway.core.admission.hedging import HedgeLedger
from overspill_gateway.core.admission.plan import History, Pool, Refuse, Step, next_step
from overspill_gateway.core.admission.request_state import Waiter
from overspill_gateway.core.admission.waiting import WaitingQueue
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.prediction.load import work_of
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.prediction.release import next_release_at
from overspill_gateway.core.prediction.target import FirstTokenTarget
from overspill_gateway.core.requests.ask import Ask

R = TypeVar("R", bound=ReplicaState)
H = TypeVar("H", bound=HostedState)

RECENT_SPILL_SECONDS: Final = 10.0
INVALID_OUTPUTS_MAX: Final = 2
"""Answers that break their request's schema before it is given up."""


@dataclass(frozen=True, slots=True)
class FlowRules:
    """What a route's document says of the way of a request; a request keeps those that it began with."""

    total_seconds: float = 600.0
    """From its arrival to the end of its answer."""
    hold_timeout_seconds: float = 60.0
    """How long it waits for a replica, in all."""
    hedging: HedgingRules | None = None
    """When a second backend is asked beside one that is slow to begin; None: never."""
    continues: bool = False
    """Whether another backend goes on with an answer that broke off."""


@mypyc_attr(allow_interpreted_subclasses=True)  # a simulator is plain Python
class PoolListener(Generic[R]):
    """Who acts for a pool: publishes its demand, asks replicas for their health, has a timer."""

    def demand_changed(self, *, urgent: bool = False) -> None:
        """What the operator needs to know has changed; ``urgent``: it has to know at once."""
        raise NotImplementedError

    def replica_is_lacking(self) -> None:
        """A request finds no replica: whoever may become one is asked more often."""
        raise NotImplementedError

    def replica_broke(self, replica: R) -> None:
        """A connection to a replica failed: it gets nothing until its health check answers."""
        raise NotImplementedError

    def look_again_at(self, due: float) -> None:
        """Call ``RoutePool.look_again`` then: silence settles as well."""
        raise NotImplementedError


class RouteMoney:
    """The budget of a route, as far as a request's way depends on it; this one has none."""

    def rejects(self, ask: Ask) -> bool:  # noqa: ARG002 - for those that have a budget
        """Whether a request that no replica takes at once is refused: the money is spent, and the route says so."""
        return False


class RoutePool(Pool[R, H], Generic[R, H]):
    """A route's pool. Times are seconds of one monotonic clock."""

    def __init__(self, listener: PoolListener[R], rates: ServiceRates, money: RouteMoney) -> None:
        super().__init__(
            has_local=False, may_wake=False, replicas=[], hosted=[], cold_start_hosted=False, held=0, held_max=0,
            attempts_max=1, rates=rates, target=FirstTokenTarget(tuning=rates.tuning, caution=rates.caution),
        )  # fmt: skip
        self.listener = listener
        self.money = money
        self.rules = FlowRules()
        self.queue: WaitingQueue[Waiter] = WaitingQueue()
        """Requests that wait for a replica."""
        self.hedges = HedgeLedger()
        self.arrivals = 0
        self.in_flight_spilled = 0
        """Requests at hosted APIs."""
        self.spilled = 0
        """Requests that left replicas, or the lack of them, for hosted APIs."""
        self.wants_replica = False
        self._last_spill = float("-inf")
        self._turn = 0
        """Counts decisions: among equals each has its turn."""
        self._looks_again = False
        self._releasing = False

    # -- what can serve ----------------------------------------------------------------------------------------

    def take_replicas(self, replicas: list[R], now: float) -> None:
        """Those that can serve, from now on; if there are any, those who wait go."""
        before = self.replicas
        self.replicas = replicas
        if before:  # the first ones of all have nobody to hand their work to meanwhile
            for replica in replicas:
                if replica not in before:
                    replica.load.usable_since = now
        if replicas:
            self.wants_replica = False
        if len(replicas) != len(before):
            self.listener.demand_changed()
        self.release(now)

    def may_not_wake(self, now: float) -> None:
        """No replica will come: those who wait find out."""
        self.wants_replica = False
        for waiter in self.queue:
            if waiter in self.queue:  # what another one was told may have ended it
                waiter.release(now)

    # -- waiting -----------------------------------------------------------------------------------------------

    def hold(self, waiter: Waiter, ask: Ask, now: float) -> None:
        """Let a request wait for a replica."""
        self.queue.add(waiter, ask.priority, ask.consumer, work_of(ask, self.rates.tuning))
        self._look_again_later(now)
        self.listener.demand_changed()

    def makes_room(self, ask: Ask, full: Refuse, now: float) -> bool:
        """Whether somebody of less priority, or who takes more than a fair share, leaves the full queue for this."""
        other = self.queue.displaced_by(ask.priority, ask.consumer)
        if other is None:
            return False
        self.queue.discard(other)
        other.give_up(full, now)
        return True

    def release(self, now: float) -> None:
        """Let as many of those who wait go as the replicas take in."""
        if self.queue and not self._releasing:
            self._release(now)

    def look_again(self, now: float) -> None:
        """It is the time that ``look_again_at`` asked for."""
        self._looks_again = False
        self.release(now)

    def _release(self, now: float) -> None:
        self._releasing = True
        try:
            for _ in range(len(self.queue)):  # each asks what is to be done with it, and the first who stays ends it
                waiter = self.queue.first()
                if waiter is None or not waiter.release(now):
                    break
        finally:
            self._releasing = False
        self._look_again_later(now)

    def _look_again_later(self, now: float) -> None:
        """Silence settles as well: without a timer a request could wait for an event that never comes."""
        if self.queue and not self._looks_again:
            self._looks_again = True
            self.listener.look_again_at(next_release_at([replica.window for replica in self.replicas], now))

    # -- requests ----------------------------------------------------------------------------------------------

    def next_step(self, history: History, ask: Ask, now: float) -> Step[R, H]:
        """What to do with a request now."""
        self._turn += 1
        self.held = len(self.queue)
        return next_step(self, history, self._turn, ask, now)

    def arrived(self) -> None:
        """A request was let in."""
        self.arrivals += 1
        self.listener.demand_changed()

    def lacks_replica(self, now: float) -> None:
        """A request finds no replica: the pool is wanted, and whoever may become one is asked more often."""
        if not self.has_local:
            return
        self._last_spill = now
        if self.may_wake and not self.replicas and not self.wants_replica:
            self.wants_replica = True
            self.listener.demand_changed(urgent=True)
        self.listener.replica_is_lacking()

    def is_spilling(self, now: float) -> bool:
        """Whether a request lately found no replica."""
        return now - self._last_spill < RECENT_SPILL_SECONDS

    def second_backend(self, first: BackendState, history: History, ask: Ask, now: float) -> R | H | None:
        """Who is asked beside a backend that is slow to begin: another replica, else a hosted API with a price.

        What an unknown price may cost an hour nobody can tell.
        """
        avoid = (*history.failed_replicas, first)
        replica = choose_replica(self.replicas, ask, now, self._turn, avoid, self.rates.tuning)
        if replica is not None and not replica.outlier.ejected(now):
            return replica
        if ask.local_only:
            return None
        asked = (*history.failed_hosted, first.served_by)
        for hosted in self.hosted:
            if hosted.served_by in asked or hosted.price is None:
                continue
            if hosted.may_take(ask, now) and not hosted.lacks(ask, now):
                return hosted
        return None

    def backend_for_output(self, before: BackendState, ask: Ask, broken: int, now: float) -> R | H | None:
        """Who answers anew after so many answers that broke their schema: the same backend once, then the fallback."""
        if broken == 1:
            for replica in self.replicas:
                if replica is before:
                    return replica
        if broken > INVALID_OUTPUTS_MAX or ask.local_only:
            return None
        own = [hosted for hosted in self.hosted if hosted is before]
        others = [hosted for hosted in self.hosted if hosted is not before]
        return next((hosted for hosted in (own if broken == 1 else []) + others if hosted.may_take(ask, now)), None)

    def lost(self, backend: BackendState) -> None:
        """A connection to a backend failed; a replica gets nothing until its health check answers."""
        if backend.is_local:
            self.listener.replica_broke(cast("R", backend))

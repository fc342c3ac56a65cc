"""Requests go through all that can happen to them, by chance: what is counted of them adds up at each step."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from overspill_api.compiled import HedgingRules
from overspill_gateway.core.admission.plan import Refuse
from overspill_gateway.core.admission.request_state import RequestState, Waiter
from overspill_gateway.core.admission.retry_budget import RetryBudget
from overspill_gateway.core.admission.route_pool import FlowRules, PoolListener, RouteMoney, RoutePool
from overspill_gateway.core.answers.usage import Price
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.outcome import Failure, FailureKind
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending
from overspill_gateway.core.flow.flow_actions import BREAK_OFF, CONTINUE, PASS_ON, NotSent, Send
from overspill_gateway.core.flow.flow_observer import FlowObserver
from overspill_gateway.core.flow.learning import Learning
from overspill_gateway.core.flow.phase import Phase
from overspill_gateway.core.flow.request_flow import RequestFlow
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.requests.ask import Ask
from unit.tiers import exhaustively

pytestmark = pytest.mark.interpreted  # its world is made of subclasses of what is compiled

Attempt = AttemptState[Any]
HEDGING = HedgingRules(after_seconds=0.5, max_percent=50, hosted_nano_usd_per_hour=10**12)
BEFORE_TOKEN = tuple(set(FailureKind) - {FailureKind.INVALID_OUTPUT})
REFUSALS = (FailureKind.STATUS, FailureKind.CREDENTIALS, FailureKind.REDIRECT, FailureKind.UNABLE)
STEPS = 1500
REQUESTS_MAX = 12


class Api(HostedState):
    """A hosted API with few places."""

    def affords(self, ask: Ask, now: float) -> bool:  # noqa: ARG002 - all ask alike
        """Whether there is room."""
        return self.requests < 3

    @property
    def price(self) -> Price:
        """A dollar a million."""
        return Price(10**9, 10**9, 10**9)

    def worst_case(self, ask: Ask) -> int:  # noqa: ARG002 - all ask alike
        """A cent."""
        return 10**7


class Books(FlowObserver[Attempt]):
    """Hears that each attempt begins and is settled once, and each request ends once, with nothing after it."""

    def __init__(self) -> None:
        self.running: list[Attempt] = []
        self.ended_requests: list[RequestState] = []

    def began(self, request: RequestState, attempt: Attempt, now: float) -> None:  # noqa: ARG002
        """One more."""
        assert request not in self.ended_requests
        assert attempt not in self.running
        self.running.append(attempt)

    def settled(self, request: RequestState, attempt: Attempt, *_: object) -> None:
        """One less."""
        assert request not in self.ended_requests
        self.running.remove(attempt)

    def ended(self, request: RequestState, now: float) -> None:  # noqa: ARG002
        """Once."""
        assert request not in self.ended_requests
        self.ended_requests.append(request)


class World(PoolListener[ReplicaState]):
    """A route, its requests, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = 1000.0
        self.retries = RetryBudget()
        self.books = Books()
        self.requests: list[Walker] = []
        pool = self.pool = RoutePool[ReplicaState, Api](self, ServiceRates(), RouteMoney())
        self.replicas = [ReplicaState(f"local/{number}", pool.rates) for number in range(2)]
        pool.has_local = pool.may_wake = True
        pool.hosted = [Api("hosted/a"), Api("hosted/b")]
        pool.held_max, pool.attempts_max = 3, 3
        pool.target.seconds = 2.0
        pool.rules = FlowRules(total_seconds=20.0, hold_timeout_seconds=5.0, hedging=HEDGING, continues=True)
        pool.take_replicas(list(self.replicas), self.now)

    def demand_changed(self, *, urgent: bool = False) -> None:
        """Nobody scales here."""

    def replica_is_lacking(self) -> None:
        """Replicas come and go by chance."""

    def look_again_at(self, due: float) -> None:
        """By chance as well."""

    def replica_broke(self, replica: ReplicaState) -> None:
        """It is out until it comes back."""
        self.pool.take_replicas([one for one in self.pool.replicas if one is not replica], self.now)

    def step(self) -> None:
        """Something happens."""
        self.now += self.chance.choice([0.0, 0.01, 0.2, 1.0])
        events: list[Callable[[], None]] = [self._replicas, lambda: self.pool.look_again(self.now)]
        if len(self.requests) < REQUESTS_MAX:
            events += [self._arrives] * 3
        if self.requests:
            events += [self.chance.choice(self.requests).step] * 8
        self.chance.choice(events)()
        self.requests = [one for one in self.requests if one.flow.phase is not Phase.DONE]

    def _arrives(self) -> None:
        walker = Walker(self)
        self.requests.append(walker)
        walker.do(walker.flow.arrived(self.now))

    def _replicas(self) -> None:
        there = [one for one in self.replicas if self.chance.random() < 0.7]
        self.pool.may_wake = self.chance.random() < 0.9
        self.pool.take_replicas(there, self.now)
        if not self.pool.may_wake:
            self.pool.may_not_wake(self.now)

    def check(self) -> None:
        """Everything that is counted is what there is."""
        live = [one.flow for one in self.requests if one.flow.phase is not Phase.DONE]
        attempts = [one for flow in live for one in (flow.attempt, flow.rival) if one is not None]
        hosted = [one for one in attempts if not one.backend.is_local]
        assert sorted(map(id, self.books.running)) == sorted(map(id, attempts))
        assert self.retries.requests_in_flight == len(live)
        assert self.retries.active == sum(one.is_retry for one in attempts)
        assert self.pool.in_flight_spilled == len(hosted)
        for backend in (*self.replicas, *self.pool.hosted):
            assert backend.requests == sum(one.backend is backend for one in attempts)
        assert len(self.pool.queue) == sum(flow.phase is Phase.HELD for flow in live)
        for flow in live:
            assert (flow.attempt is None) <= (flow.rival is None)
            assert flow.attempt is not None or flow.waits or flow.phase is Phase.CHECKING or flow.goes_on


class Walker(Waiter):
    """One request: carries out what is decided, and lets something happen to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.checked: Attempt | None = None
        """Whose answer is being checked."""
        observers: list[FlowObserver[Attempt]] = [world.books, Learning(world.pool.rates)]
        ask = Ask(prompt_tokens=world.chance.randint(1, 2000), consumer=world.chance.choice("ab"))
        ask.priority = world.chance.randint(0, 1)
        self.flow: RequestFlow[ReplicaState, Api, Attempt] = RequestFlow(
            self, world.pool, ask, world.retries, world.chance.random, observers, world.now, streams=True
        )

    def release(self, now: float) -> bool:
        """Try again."""
        assert self.flow.phase is Phase.HELD
        action = self.flow.released(now)
        self.do(action)
        return self.flow.phase is not Phase.HELD

    def give_up(self, step: Refuse, now: float) -> None:  # noqa: ARG002 - the world knows
        """Another has its place."""
        self.do(self.flow.displaced(step))

    def do(self, action: Any) -> None:
        """Carry out an action."""
        flow, world = self.flow, self.world
        while isinstance(action, Send):
            why = world.chance.choice([None, None, None, NotSent.NO, NotSent.WAIT])
            if why is None or (action.backend.is_local and not flow.goes_on):
                attempt = self._attempt(action)
                flow.sent(attempt, world.now)
                return
            action = flow.not_sent(action.backend, why, world.now)
        if isinstance(action, Refuse) or action is BREAK_OFF:
            assert (action is BREAK_OFF) <= flow.goes_on or flow.attempt is None
            flow.finish(Ending.ABANDONED, world.now)

    def step(self) -> None:
        """Something happens to it."""
        flow, chance, now = self.flow, self.world.chance, self.world.now
        if now >= flow.total_at:
            self._total_passes()
        elif chance.random() < 0.05:
            flow.finish(chance.choice([Ending.ABANDONED, Ending.BROKEN]), now)
        elif flow.waits:
            if flow.phase is Phase.AWAITING_MONEY and chance.random() < 0.5:
                self.do(flow.money_came(now))
            elif now >= flow.wait_until:
                self.do(flow.wait_is_over(now))
        elif flow.phase is Phase.CHECKING:
            self._is_checked()
        elif flow.attempt is None:
            self.do(flow.go_on(now))
        elif flow.winner is not None:
            self._writes(flow.winner)
        else:
            self._works(chance.choice([one for one in (flow.attempt, flow.rival) if one is not None]))

    def _attempt(self, send: Send[Any]) -> Attempt:
        attempt: Attempt = AttemptState(
            send.backend, send.reason, self.world.now, is_retry=send.is_retry, snapshot=send.snapshot
        )
        attempt.sent_at = self.world.now
        return attempt

    def _works(self, attempt: Attempt) -> None:
        """Before its first token."""
        flow, chance, now = self.flow, self.world.chance, self.world.now
        what = chance.randrange(6)
        if what == 0:
            self.do(flow.failed(attempt, self._failure(attempt, BEFORE_TOKEN), now))
        elif what == 1:
            action = flow.refused(attempt, self._failure(attempt, REFUSALS), now)
            if action is PASS_ON:
                attempt.status = 503
                flow.first_token(attempt, now)
                flow.finish(Ending.WHOLE, now)
            self.do(action)
        elif what == 2 and flow.rival is None and not attempt.backend.is_local:
            self.do(flow.ask_again(attempt, attempt.backend, now))
        elif now >= flow.hedge_at:
            self._hedge()
        elif what > 3:
            flow.first_token(attempt, now)

    def _hedge(self) -> None:
        flow, now = self.flow, self.world.now
        send = flow.hedge(now)
        if send is not None:
            rival = self._attempt(send) if self.world.chance.random() < 0.8 else None
            flow.hedged(send, rival, now, held_nano_usd=send.worst_nano_usd // 2 if rival is not None else 0)

    def _writes(self, attempt: Attempt) -> None:
        """After its first token."""
        flow, chance, now = self.flow, self.world.chance, self.world.now
        what = chance.randrange(4)
        attempt.status = 200
        if what == 0:
            action = flow.broke(attempt, self._failure(attempt, BEFORE_TOKEN), now, can_go_on=chance.random() < 0.8)
            if action is not CONTINUE:  # else it goes on in a later step
                flow.finish(Ending.ABANDONED, now)
        elif what == 1 and not flow.goes_on:
            self.checked = attempt
            flow.checks(attempt, now)
        elif what == 2:
            flow.finish(Ending.WHOLE, now)

    def _is_checked(self) -> None:
        flow, now = self.flow, self.world.now
        assert self.checked is not None
        flow.checked()
        if self.world.chance.random() < 0.7:
            self.do(flow.output_broke(self.checked.backend, now))
        else:
            flow.finish(Ending.WHOLE, now)

    def _total_passes(self) -> None:
        flow, now = self.flow, self.world.now
        if flow.winner is not None:
            failure = Failure(FailureKind.TIMEOUT, flow.winner.served_by, "it took too long")
            assert flow.broke(flow.winner, failure, now, can_go_on=True) is BREAK_OFF
            flow.finish(Ending.ABANDONED, now)
        else:
            self.do(flow.total_passed(now))

    def _failure(self, attempt: Attempt, kinds: tuple[FailureKind, ...]) -> Failure:
        kind = self.world.chance.choice(kinds)
        if kind is FailureKind.UNABLE:
            self.flow.history.unable += 1
        return Failure(kind, attempt.served_by, "x")


@pytest.mark.parametrize("seed", [*range(5), *exhaustively(*range(5, 12))])
def test_what_is_counted_adds_up(seed: int) -> None:
    """Held, hedged, gone on with, checked, displaced, left: places, retries and requests are those that there are."""
    world = World(seed)
    for _ in range(STEPS):
        world.step()
        world.check()

    for walker in tuple(world.requests):
        walker.flow.finish(Ending.ABANDONED, world.now)
    world.requests = []
    world.check()
    assert len(world.books.ended_requests) > 100
    assert world.pool.spilled

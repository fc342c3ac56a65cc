"""The way of a request and its route's pool, where things happen in an unlucky order."""

from typing import Any

import pytest

from overspill_gateway.core.admission.plan import History, Refusal, Refuse
from overspill_gateway.core.answers.usage import Price
from overspill_gateway.core.backends.outcome import Failure, FailureKind
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending
from overspill_gateway.core.flow.flow_actions import AWAIT_MONEY, NotSent, Send
from overspill_gateway.core.flow.flow_observer import FlowObserver
from overspill_gateway.core.flow.phase import Phase
from overspill_gateway.core.flow.request_flow import MONEY_WAIT_SECONDS, RequestFlow
from overspill_gateway.core.requests.ask import Ask
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Speed
from overspill_planner.simulator.gateway import Attempt, Request
from unit.gateway.engine_model import Gateway, Hosted
from unit.gateway.test_request_walk import Api, Walker, World

pytestmark = pytest.mark.interpreted  # the model of engines is made of subclasses of what is compiled


class Breaks(FlowObserver[Attempt]):
    """An observer with a fault."""

    def settled(self, *_: object) -> None:
        """It breaks."""
        raise ZeroDivisionError


class Heard(Gateway):
    """A gateway that remembers which replicas were said to be broken."""

    broken: list[ReplicaState]

    def replica_broke(self, replica: ReplicaState) -> None:
        """Remember it."""
        self.broken.append(replica)


def asked() -> Request:
    """A short request."""
    return Request(Ask(prompt_tokens=10), 10, 2, 0.0)


def test_a_fault_while_it_ends_leaves_nothing_counted() -> None:
    """Else each would let the retry budget grow for as long as the process lives."""
    clock = Clock()
    gateway = Gateway(clock, [Engine(clock, Speed())], [], scrapes=False, observers=(Breaks(),))
    request = asked()
    gateway.arrive(request)
    assert gateway.retries.requests_in_flight == 1

    with pytest.raises(ZeroDivisionError):
        clock.run(10.0)
    assert request.flow is not None
    request.flow.abort()

    assert gateway.retries.requests_in_flight == 0


def test_who_has_left_the_queue_is_not_called_from_it() -> None:
    """When no replica will come, what the first one is told may end the next one: that one is told nothing more."""
    clock = Clock()
    gateway = Gateway(clock, [], [], scrapes=False)
    first, second = asked(), asked()
    told: list[Request] = []
    first.on_settled = lambda _: second.give_up(Refuse(Refusal.QUEUE_FULL), clock.now)
    second.on_settled = told.append
    for request in (first, second):
        gateway.arrive(request)

    gateway.pool.may_wake = False
    gateway.pool.may_not_wake(clock.now)

    assert told == [second]
    assert second.reason == Refusal.QUEUE_FULL


def test_a_replica_that_gets_nothing_new_may_break_as_well() -> None:
    """It works on what it has: where that is lost, its health check has to answer before it is used again."""
    clock = Clock()
    gateway = Heard(clock, [Engine(clock, Speed())], [], scrapes=False)
    gateway.broken = []
    request, replica = asked(), gateway.replicas[0]
    gateway.arrive(request)
    gateway.replica_goes(replica)
    assert request.flow is not None
    assert request.flow.attempt is not None

    request.flow.failed(request.flow.attempt, Failure(FailureKind.RESET, replica.served_by, "reset"), clock.now)

    assert gateway.broken == [replica]


def test_a_hosted_api_is_no_second_one_beside_itself() -> None:
    """Not either when the route's document has changed since the first was asked, and it is another object."""
    clock = Clock()
    gateway = Gateway(clock, [], [PricedHosted("hosted/a")], scrapes=False)
    history = History()

    assert gateway.pool.second_backend(PricedHosted("hosted/a"), history, Ask(), clock.now) is None
    assert gateway.pool.second_backend(PricedHosted("hosted/b"), history, Ask(), clock.now) is gateway.pool.hosted[0]


class PricedHosted(Hosted):
    """A hosted API whose price is known."""

    @property
    def price(self) -> Price:
        """A dollar a million."""
        return Price(10**9, 10**9, 10**9)


# -- waiting for money ---------------------------------------------------------------------------------------------


def test_who_waits_for_money_goes_where_it_is_best_to_go_by_then() -> None:
    """A replica that came meanwhile serves it; and it waits no longer than a second in all."""
    world = World(1)
    walker = waits_for_money(world)
    flow, began = walker.flow, world.now
    assert flow.wait_until == began + MONEY_WAIT_SECONDS
    world.now += 0.4
    action = flow.money_came(world.now)
    assert isinstance(action, Send)
    assert flow.not_sent(action.backend, NotSent.WAIT, world.now) is AWAIT_MONEY
    assert flow.wait_until == began + MONEY_WAIT_SECONDS

    world.pool.take_replicas(world.replicas, world.now)
    action = flow.money_came(world.now)

    assert isinstance(action, Send)
    assert action.backend.is_local


@pytest.mark.parametrize("why", ["its form was refused", "its answer broke its schema"])
def test_who_was_to_be_asked_once_more_is_asked_when_the_money_has_come(why: str) -> None:
    """And not whoever is first then: it is about what this one has said."""
    world = World(1)
    flow = served_by_first_api(world)
    attempt, backend = flow.attempt, world.pool.hosted[0]
    assert attempt is not None
    if why == "its form was refused":
        action = flow.ask_again(attempt, backend, world.now)
    else:
        flow.first_token(attempt, world.now)
        flow.checks(attempt, world.now)
        flow.checked()
        action = flow.output_broke(backend, world.now)
    assert isinstance(action, Send)
    reason = action.reason
    assert flow.not_sent(action.backend, NotSent.WAIT, world.now) is AWAIT_MONEY
    world.pool.hosted = list(reversed(world.pool.hosted))

    action = flow.money_came(world.now)

    assert isinstance(action, Send)
    assert (action.backend, action.reason) == (backend, reason)
    following = flow.not_sent(action.backend, NotSent.NO, world.now)
    assert isinstance(following, Send), "there is no money: it goes on as any other"
    assert following.backend is not backend


@pytest.mark.parametrize("how", ["its client goes", "its time is up", "a fault of ours"])
def test_who_leaves_while_it_waits_for_money_leaves_nothing_behind(how: str) -> None:
    """Nothing is counted of it, and an answer that comes later moves nothing."""
    world = World(1)
    flow = waits_for_money(world).flow
    if how == "a fault of ours":
        flow.abort()
    else:
        if how == "its time is up":
            assert flow.total_passed(world.now) == Refuse(Refusal.TOTAL_TIMEOUT)
        flow.finish(Ending.ABANDONED, world.now)

    assert flow.phase is Phase.DONE
    assert not isinstance(flow.money_came(world.now), Send)
    assert (world.retries.requests_in_flight, world.pool.in_flight_spilled) == (0, 0)
    assert [api.requests for api in world.pool.hosted] == [0, 0]


def waits_for_money(world: World) -> Walker:
    """A request of which a hosted API is to be asked when its money is there; there is no replica."""
    world.pool.cold_start_hosted = True
    world.pool.take_replicas([], world.now)
    walker = Walker(world)
    action = walker.flow.arrived(world.now)
    assert isinstance(action, Send)
    assert walker.flow.not_sent(action.backend, NotSent.WAIT, world.now) is AWAIT_MONEY
    return walker


def served_by_first_api(world: World) -> RequestFlow[ReplicaState, Api, AttemptState[Any]]:
    """A request that the first hosted API has."""
    world.pool.cold_start_hosted = True
    world.pool.take_replicas([], world.now)
    walker = Walker(world)
    action = walker.flow.arrived(world.now)
    assert isinstance(action, Send)
    assert action.backend is world.pool.hosted[0]
    walker.flow.sent(AttemptState(action.backend, action.reason, world.now, is_retry=False, snapshot=None), world.now)
    return walker.flow

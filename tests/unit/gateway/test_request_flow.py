"""The way of a request and its route's pool, where things happen in an unlucky order."""

import pytest

from overspill_gateway.core.admission.plan import History, Refusal, Refuse
from overspill_gateway.core.answers.usage import Price
from overspill_gateway.core.backends.outcome import Failure, FailureKind
from overspill_gateway.core.flow.flow_observer import FlowObserver
from overspill_gateway.core.requests.ask import Ask
from unit.gateway.engine_model import Attempt, Clock, Engine, Gateway, Hosted, Replica, Request, Speed

pytestmark = pytest.mark.interpreted  # the model of engines is made of subclasses of what is compiled


class Breaks(FlowObserver[Attempt]):
    """An observer with a fault."""

    def settled(self, *_: object) -> None:
        """It breaks."""
        raise ZeroDivisionError


class Heard(Gateway):
    """A gateway that remembers which replicas were said to be broken."""

    broken: list[Replica]

    def replica_broke(self, replica: Replica) -> None:
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

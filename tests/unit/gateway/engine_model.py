"""The planner's model of engines and gateways, with what tests do to it: other plans, and traffic by chance.

Plans other than the core's are made by classes of tests: such tests are marked ``interpreted``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from overspill_gateway.core.admission.plan import History, Step
from overspill_gateway.core.admission.route_pool import PoolListener, RouteMoney, RoutePool
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.requests.ask import Ask
from overspill_planner.simulator import gateway as model
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine
from overspill_planner.simulator.gateway import Request
from overspill_planner.simulator.hosted import HostedModel

StepOf = Callable[["Gateway", Request], "Step[ReplicaState, HostedState]"]


class Hosted(HostedState):
    """A hosted API that takes three seconds, whatever it is asked."""

    def __init__(self, served_by: str = "hosted/a") -> None:
        super().__init__(served_by)


class ModelPool(RoutePool[ReplicaState, HostedState]):
    """A pool whose steps a test may give."""

    def __init__(self, listener: PoolListener[ReplicaState], rates: ServiceRates, money: RouteMoney) -> None:
        super().__init__(listener, rates, money)
        assert isinstance(listener, Gateway)
        self._gateway = listener

    def next_step(self, history: History, ask: Ask, now: float) -> "Step[ReplicaState, HostedState]":
        """What is to be done."""
        gateway = self._gateway
        if gateway.step_of is None:
            spilled_until = self.target.spilling_until
            step = super().next_step(history, ask, now)
            gateway.spills_begun += self.target.spilling_until > spilled_until and spilled_until <= now
            return step
        return gateway.step_of(gateway, gateway.by_ask[id(ask)])


class Gateway(model.Gateway):
    """A gateway that remembers its requests, and does what a test says."""

    def __init__(
        self,
        clock: Clock,
        engines: Sequence[Engine],
        hosted: Sequence[Hosted],
        *,
        step_of: StepOf | None = None,
        **rest: Any,
    ) -> None:
        self.requests: list[Request] = []
        self.by_ask: dict[int, Request] = {}
        self.step_of = step_of
        self.spills_begun = 0
        """How often requests that load makes late began to go elsewhere."""
        answers = HostedModel(first_token_seconds=0.5, seconds=3.0)
        super().__init__(clock, engines, [(one, answers) for one in hosted], pool_of=ModelPool, **rest)

    def arrive(self, request: Request) -> None:
        """A request comes."""
        self.requests.append(request)
        self.by_ask[id(request.ask)] = request
        super().arrive(request)


@dataclass
class Traffic:
    """Requests by chance: Poisson arrivals, log-normal lengths."""

    seed: int
    per_second: Callable[[float], float]
    prompt_tokens: float = 600.0
    prompt_spread: float = 0.8
    output_tokens: float = 120.0
    output_spread: float = 0.7
    estimate_error: float = 0.15
    consumer: str = "team/a"
    priority: int = 0
    prompt_tokens_max: int = 30_000
    on_settled: Callable[[Request], None] | None = None

    def start(self, clock: Clock, gateway: Gateway, until: float) -> None:
        """Begin to send."""
        random = Random(self.seed)

        def arrive() -> None:
            if clock.now >= until:
                return
            rate = self.per_second(clock.now)
            if rate > 0.0:
                gateway.arrive(self.request(random, clock.now))
            clock.at(clock.now + random.expovariate(rate if rate > 0.0 else 1.0), arrive)

        clock.at(clock.now, arrive)

    def request(self, random: Random, now: float) -> Request:
        """One of them."""
        prompt = min(
            int(self.prompt_tokens * random.lognormvariate(0.0, self.prompt_spread)) + 1, self.prompt_tokens_max
        )
        output = int(self.output_tokens * random.lognormvariate(0.0, self.output_spread)) + 1
        told = int(prompt * random.lognormvariate(0.0, self.estimate_error)) + 1
        ask = Ask(prompt_tokens=told, consumer=self.consumer, priority=self.priority)
        return Request(ask, prompt, output, now, on_settled=self.on_settled)

"""vLLM engines and gateways before them, in virtual time: what the deciding modules are tried on.

An engine goes in steps, as vLLM does: every running request gets a token, what is left of a step's token budget reads
prompts, first come first served, and a request that finds no place in the batch waits. A step takes a base time, and
time for each prompt token read, each answer written on and, optionally, each token of context that is attended to.
Steps in which nothing is read are one event together, up to the next end of an answer: a model of a million requests
has a few million events, not one for each token.

The gateways are the real thing without its sockets: ``RequestFlow``, ``RoutePool`` and ``Learning`` decide and learn;
here their actions are carried out.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from math import inf
from random import Random

from overspill_gateway.core.admission.plan import History, Refuse, Step
from overspill_gateway.core.admission.request_state import Waiter
from overspill_gateway.core.admission.retry_budget import RetryBudget
from overspill_gateway.core.admission.route_pool import FlowRules, PoolListener, RouteMoney, RoutePool
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.outcome import Failure
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending
from overspill_gateway.core.flow.flow_actions import HOLD, Action, NotSent, Send
from overspill_gateway.core.flow.flow_observer import FlowObserver
from overspill_gateway.core.flow.learning import Learning
from overspill_gateway.core.flow.phase import Phase
from overspill_gateway.core.flow.request_flow import RequestFlow
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.prediction.tuning import TUNING, Tuning
from overspill_gateway.core.requests.ask import Ask


class Clock:
    """Virtual time, and what is to happen when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = count()

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Let something happen."""
        heapq.heappush(self._events, (max(when, self.now), next(self._sequence), event))

    def run(self, until: float) -> None:
        """Go on until then."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, event = heapq.heappop(events)
            event()
        self.now = until


@dataclass
class Speed:
    """How fast an engine is: a mid-size model on one GPU."""

    step_seconds: float = 0.015
    prompt_token_seconds: float = 1.0 / 10_000.0
    answer_seconds: float = 0.0002
    """For each answer that is written on in a step."""
    attention_seconds: float = 0.0
    """For each prompt token and each thousand tokens before it."""
    batched_tokens_max: int = 2048
    running_max: int = 64


@dataclass(eq=False, slots=True)
class Job:
    """A request inside an engine."""

    prompt_tokens: int
    output_tokens: int
    on_first_token: Callable[[], None]
    on_end: Callable[[], None]
    unread: int = 0


class Engine:
    """One replica."""

    def __init__(self, clock: Clock, speed: Speed) -> None:
        self.speed = speed
        self.waiting: deque[Job] = deque()
        self.waiting_most = 0
        self.busy_seconds = 0.0
        self._clock = clock
        self.reading: deque[Job] = deque()
        """Requests whose prompt is being read."""
        self.writing: list[tuple[int, int, Job]] = []
        """By the step at whose end it is whole."""
        self._step = 0
        """Steps so far."""
        self._began = 0.0
        self._step_seconds = 0.0
        self._runs_to = 0
        """The step at whose end there is something to do; 0: it is idle."""
        self._event = 0
        self._sequence = count()

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self.reading) + len(self.writing)

    def submit(self, job: Job) -> None:
        """A request comes."""
        job.unread = job.prompt_tokens
        self.waiting.append(job)
        self.waiting_most = max(self.waiting_most, len(self.waiting))
        if not self._runs_to:
            self._begin()
        elif self._runs_to > self._step + 1 and self.running < self.speed.running_max:
            # Many steps of writing are one event: it is read from the next one on.
            done = int((self._clock.now - self._began) / self._step_seconds)
            if self._step + done + 1 < self._runs_to:
                self._end_at(self._step + done + 1)

    def _begin(self) -> None:
        """The next step or steps."""
        speed, writing = self.speed, len(self.writing)
        self._began = self._clock.now
        seconds = speed.step_seconds + speed.answer_seconds * writing
        budget = speed.batched_tokens_max - writing
        read: list[Job] = []
        reading = iter(tuple(self.reading))
        while budget > 0:
            job = next(reading, None)
            if job is None:
                if not self.waiting or self.running >= speed.running_max:
                    break
                job = self.waiting.popleft()
                self.reading.append(job)
            part = min(budget, job.unread)
            before = job.prompt_tokens - job.unread
            seconds += part * (speed.prompt_token_seconds + speed.attention_seconds * before / 1000.0)
            job.unread -= part
            budget -= part
            read.append(job)
        self._step_seconds = seconds
        if read:
            self._end_at(self._step + 1)
        elif writing:
            self._end_at(self.writing[0][0])
        else:
            self._runs_to = 0

    def _end_at(self, step: int) -> None:
        self._runs_to = step
        self._event += 1
        event = self._event
        self._clock.at(self._began + (step - self._step) * self._step_seconds, lambda: self._ended(event))

    def _ended(self, event: int) -> None:
        if event != self._event:
            return  # a request came meanwhile
        self.busy_seconds += (self._runs_to - self._step) * self._step_seconds
        step = self._step = self._runs_to
        begun = []
        while self.reading and not self.reading[0].unread:
            begun.append(self.reading.popleft())
        ended = []
        while self.writing and self.writing[0][0] <= step:
            ended.append(heapq.heappop(self.writing)[2])
        for job in begun:
            if job.output_tokens > 1:
                heapq.heappush(self.writing, (step + job.output_tokens - 1, next(self._sequence), job))
            else:
                ended.append(job)
        # The next step is under way before anybody hears of this one's tokens.
        self._begin()
        for job in begun:
            job.on_first_token()
        for job in ended:
            job.on_end()


class Replica(ReplicaState):
    """An engine as one gateway sees it."""

    def __init__(self, engine: Engine, served_by: str, rates: ServiceRates) -> None:
        super().__init__(served_by, rates)
        self.engine = engine
        self.fails: Callable[[float], Failure | None] = lambda _: None
        """How it answers a request that comes now, where not as it should."""


class Hosted(HostedState):
    """A hosted API with room for so many requests at a time."""

    def __init__(self, served_by: str = "hosted/a", concurrency: int = 1_000_000, seconds: float = 3.0) -> None:
        super().__init__(served_by)
        self.concurrency = concurrency
        self.seconds = seconds
        self.fails: Callable[[float], Failure | None] = lambda _: None

    def affords(self, ask: Ask, now: float) -> bool:  # noqa: ARG002 - all ask alike
        """Whether there is room."""
        return self.requests < self.concurrency


Attempt = AttemptState[Replica | Hosted]
StepOf = Callable[["Gateway", "Request"], "Step[Replica, Hosted]"]


@dataclass(eq=False)
class Request(Waiter):
    """One request of a client, carried out."""

    ask: Ask
    prompt_tokens: int
    """True ones; ``ask`` has an estimate."""
    output_tokens: int
    arrived: float
    local: bool = False
    sent: float | None = None
    first_token: float | None = None
    """When it came, from a replica."""
    ended: float | None = None
    predicted: float | None = None
    outcome: str = ""
    """``local``, ``hosted``, ``refused``."""
    reason: str = ""
    retry_after: int | None = None
    on_settled: "Callable[[Request], None] | None" = None
    gateway: "Gateway | None" = field(default=None, repr=False)
    flow: "RequestFlow[Replica, Hosted, Attempt] | None" = field(default=None, repr=False)
    looks_at: float = inf
    """When its flow is to be looked at next."""

    @property
    def engine_seconds(self) -> float:
        """From being sent to the first token."""
        assert self.sent is not None
        assert self.first_token is not None
        return self.first_token - self.sent

    @property
    def seconds(self) -> float:
        """From its arrival to the first token."""
        assert self.first_token is not None
        return self.first_token - self.arrived

    def release(self, now: float) -> bool:
        """Somebody may take it."""
        assert self.flow is not None
        assert self.gateway is not None
        action = self.flow.released(now)
        if action is HOLD:
            return False
        self.gateway.do(self, action)
        return True

    def give_up(self, step: Refuse, now: float) -> None:  # noqa: ARG002 - the clock knows
        """Another has its place."""
        assert self.flow is not None
        assert self.gateway is not None
        self.gateway.do(self, self.flow.displaced(step))


class ModelPool(RoutePool[Replica, Hosted]):
    """A pool whose steps a test may give."""

    def __init__(self, gateway: "Gateway", money: RouteMoney, tuning: Tuning) -> None:
        super().__init__(gateway, ServiceRates(tuning), money)
        self._gateway = gateway

    def next_step(self, history: History, ask: Ask, now: float) -> "Step[Replica, Hosted]":
        """What is to be done."""
        gateway = self._gateway
        if gateway.step_of is None:
            spilled_until = self.target.spilling_until
            step = super().next_step(history, ask, now)
            gateway.spills_begun += self.target.spilling_until > spilled_until and spilled_until <= now
            return step
        return gateway.step_of(gateway, gateway.by_ask[id(ask)])


class Gateway(PoolListener[Replica]):
    """One gateway: carries out what flows decide."""

    def __init__(
        self,
        clock: Clock,
        engines: list[Engine],
        hosted: list[Hosted],
        *,
        target: float | None = 2.0,
        held_max: int = 500,
        hold_seconds: float = 120.0,
        plain: bool = False,
        scrapes: bool = True,
        step_of: StepOf | None = None,
        money: RouteMoney | None = None,
        rules: FlowRules | None = None,
        cold_start_hosted: bool = False,
        tuning: Tuning = TUNING,
        observers: "tuple[FlowObserver[Attempt], ...]" = (),
    ) -> None:
        self.clock = clock
        self.requests: list[Request] = []
        self.by_ask: dict[int, Request] = {}
        self.plain = plain
        self.scrapes = scrapes
        self.step_of = step_of
        self.spills_begun = 0
        """How often requests that load makes late began to go elsewhere."""
        self.retries = RetryBudget()
        self.random = Random(1)
        pool = self.pool = ModelPool(self, money or RouteMoney(), tuning)
        pool.has_local = pool.may_wake = True
        pool.hosted = hosted
        pool.held_max = held_max
        pool.cold_start_hosted = cold_start_hosted
        pool.attempts_max = 3
        pool.target.seconds = target
        pool.rules = rules or FlowRules(total_seconds=3600.0, hold_timeout_seconds=hold_seconds)
        self.observers: list[FlowObserver[Attempt]] = [Learning(pool.rates), *observers]
        self.replicas: list[Replica] = []
        for engine in engines:
            self.replica_comes(engine)

    # -- acting for the pool -----------------------------------------------------------------------------------

    def demand_changed(self, *, urgent: bool = False) -> None:
        """Nobody scales here."""

    def replica_is_lacking(self) -> None:
        """Replicas come when they come."""

    def replica_broke(self, replica: Replica) -> None:
        """It is out of rotation until its health check answers, ten milliseconds later."""
        self._set_replicas([one for one in self.replicas if one is not replica])
        self.clock.at(self.clock.now + 0.01, lambda: self._set_replicas(self.replicas))

    def look_again_at(self, due: float) -> None:
        """A timer."""
        self.clock.at(due, lambda: self.pool.look_again(self.clock.now))

    def replica_comes(self, engine: Engine) -> None:
        """A replica becomes usable."""
        number = len(self.replicas)
        replica = Replica(engine, f"local/{number}", self.pool.rates)
        self.replicas.append(replica)
        if self.scrapes:
            self.clock.at(self.clock.now + 0.1 + 0.37 * number % 1.0, lambda: self._scrape(replica))
        self._set_replicas(self.replicas)

    def replica_goes(self, replica: Replica) -> None:
        """It gets no more requests; those that it has go on."""
        self.replicas.remove(replica)
        self.pool.rates.gone(replica.rates)
        self._set_replicas(self.replicas)

    def _set_replicas(self, replicas: list[Replica]) -> None:
        self.pool.take_replicas(list(replicas), self.clock.now)

    def _scrape(self, replica: Replica) -> None:
        engine = replica.engine
        replica.load.scraped(self.clock.now, engine.running, len(engine.waiting), 0.0)
        if replica in self.replicas:
            self.clock.at(self.clock.now + 1.0, lambda: self._scrape(replica))

    # -- carrying out ------------------------------------------------------------------------------------------

    def arrive(self, request: Request) -> None:
        """A request comes."""
        now = self.clock.now
        request.ask.output_tokens = self.pool.rates.output_tokens_expected(request.ask)
        request.gateway = self
        self.requests.append(request)
        self.by_ask[id(request.ask)] = request
        flow = request.flow = RequestFlow(
            request, self.pool, request.ask, self.retries, self.random.random, self.observers, now,
            streams=not self.plain,
        )  # fmt: skip
        self.do(request, flow.arrived(now))

    def do(self, request: Request, action: "Action[Replica | Hosted]") -> None:
        """Carry out an action."""
        flow, now = request.flow, self.clock.now
        assert flow is not None
        while isinstance(action, Send):
            backend = action.backend
            if isinstance(backend, Hosted) and not backend.affords(request.ask, now):
                action = flow.not_sent(backend, NotSent.NO, now)
                continue
            attempt: Attempt = AttemptState(
                backend, action.reason, now, is_retry=action.is_retry, snapshot=action.snapshot
            )
            flow.sent(attempt, now)
            self._send(request, attempt)
            break
        if isinstance(action, Refuse):
            request.outcome, request.reason, request.retry_after = "refused", action.why, action.retry_after_seconds
            flow.finish(Ending.ABANDONED, now)
            self._settled(request)
        self._look_later(request)

    def next_step(self, request: Request) -> "Step[Replica, Hosted]":
        """What the flow would be told."""
        assert request.flow is not None
        return self.pool.next_step(request.flow.history, request.ask, self.clock.now)

    def _look_later(self, request: Request) -> None:
        """Call the flow when the first of its times has come."""
        flow = request.flow
        assert flow is not None
        if flow.phase is Phase.DONE:
            return
        due = min(flow.hedge_at, flow.wait_until if flow.waits else inf)
        if due < request.looks_at:
            request.looks_at = due
            self.clock.at(due, lambda: self._look(request))

    def _look(self, request: Request) -> None:
        flow, now = request.flow, self.clock.now
        assert flow is not None
        request.looks_at = inf
        if flow.phase is Phase.DONE:
            return
        if flow.waits and now >= flow.wait_until:
            self.do(request, flow.wait_is_over(now))
        elif now >= flow.hedge_at:
            self._hedge(request, now)
        self._look_later(request)

    def _hedge(self, request: Request, now: float) -> None:
        flow = request.flow
        assert flow is not None
        send = flow.hedge(now)
        if send is None:
            return
        rival: Attempt = AttemptState(send.backend, send.reason, now, is_retry=True, snapshot=None)
        flow.hedged(send, rival, now, held_nano_usd=send.worst_nano_usd)
        self._send(request, rival)

    def _send(self, request: Request, attempt: Attempt) -> None:
        now = self.clock.now
        backend = attempt.backend
        attempt.sent_at = now
        failure = backend.fails(now)
        if failure is not None:
            self.clock.at(now + 0.001, lambda: self._failed(request, attempt, failure))
            return
        request.outcome, request.reason = ("local" if backend.is_local else "hosted"), attempt.reason
        request.local = backend.is_local
        if isinstance(backend, Hosted):
            self.clock.at(now + 0.5, lambda: self._first_token(request, attempt))
            self.clock.at(now + backend.seconds, lambda: self._end(request, attempt))
            return
        request.sent = now
        request.predicted = attempt.snapshot.predicted_seconds if attempt.snapshot is not None else None
        backend.engine.submit(
            Job(
                request.prompt_tokens, request.output_tokens,
                lambda: self._first_token(request, attempt), lambda: self._end(request, attempt),
            )
        )  # fmt: skip

    def _failed(self, request: Request, attempt: Attempt, failure: Failure) -> None:
        flow = request.flow
        assert flow is not None
        if attempt is flow.attempt or attempt is flow.rival:
            self.do(request, flow.failed(attempt, failure, self.clock.now))

    def _first_token(self, request: Request, attempt: Attempt) -> None:
        flow, now = request.flow, self.clock.now
        assert flow is not None
        if attempt is not flow.attempt and attempt is not flow.rival:
            return  # another was faster; an engine writes on until it notices, here to the end
        if attempt.backend.is_local:
            request.first_token = now
        if not self.plain:
            flow.first_token(attempt, now)

    def _end(self, request: Request, attempt: Attempt) -> None:
        flow, now = request.flow, self.clock.now
        assert flow is not None
        if attempt is not flow.attempt and attempt is not flow.rival:
            return
        if self.plain:
            flow.first_token(attempt, now)
        request.ended = now
        attempt.status = 200
        attempt.usage = Usage(request.prompt_tokens, 0, request.output_tokens)
        flow.finish(Ending.WHOLE, now)
        self._settled(request)

    @staticmethod
    def _settled(request: Request) -> None:
        if request.on_settled is not None:
            request.on_settled(request)


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

"""A gateway in virtual time: carries out on modelled engines and hosted APIs what Overspill's own flow decides.

It is the real thing without its sockets: ``RequestFlow``, ``RoutePool`` and ``Learning`` of the gateway's core decide
and learn, as they do in production. Backends are the core's own objects; what stands behind each, an engine or a hosted
API, is looked up here by its name. Not here: how many replicas there are (``fleet``), and what comes of it all
(``outcome``).
"""

from collections.abc import Callable, Sequence
from math import inf
from random import Random

from overspill_gateway.core.admission.plan import Refuse, Step
from overspill_gateway.core.admission.request_state import Waiter
from overspill_gateway.core.admission.retry_budget import RetryBudget
from overspill_gateway.core.admission.route_pool import FlowRules, PoolListener, RouteMoney, RoutePool
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.outcome import Failure
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.counters import RouteCounters
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending
from overspill_gateway.core.flow.flow_actions import HOLD, Action, NotSent, Send
from overspill_gateway.core.flow.flow_observer import FlowObserver
from overspill_gateway.core.flow.judging import Judging
from overspill_gateway.core.flow.learning import Learning
from overspill_gateway.core.flow.phase import Phase
from overspill_gateway.core.flow.request_flow import RequestFlow
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.prediction.tuning import TUNING, Tuning
from overspill_gateway.core.requests.ask import Ask
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Job
from overspill_planner.simulator.hosted import HostedCall, HostedModel, HostedRun

Backend = ReplicaState | HostedState
Attempt = AttemptState[Backend]
Pool = RoutePool[ReplicaState, HostedState]
PoolOf = Callable[["Gateway", ServiceRates, RouteMoney], Pool]


class Request(Waiter):
    """One request of a client, carried out."""

    gateway: "Gateway"
    """That it came to."""
    flow: "RequestFlow[ReplicaState, HostedState, Attempt]"
    """From its arrival on."""

    def __init__(
        self,
        ask: Ask,
        prompt_tokens: int,
        output_tokens: int,
        arrived: float,
        on_settled: "Callable[[Request], None] | None" = None,
        blocks: Sequence[int] = (),
    ) -> None:
        """``prompt_tokens``: true ones, of which ``ask`` has an estimate; ``on_settled``: called when it is over.

        ``blocks``: of its prompt, where they are known (``prefix_cache``).
        """
        self.ask = ask
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.arrived = arrived
        self.on_settled = on_settled
        self.blocks = blocks
        self.local = False
        self.sent: float | None = None
        self.first_token: float | None = None
        """When it came, from a replica."""
        self.began: float | None = None
        """When its first token came, whoever served."""
        self.ended: float | None = None
        self.predicted: float | None = None
        self.outcome = ""
        """``local``, ``hosted``, ``refused``."""
        self.served_by = ""
        """``local/<replica>`` or ``hosted/<name>``."""
        self.reason = ""
        self.retry_after: int | None = None
        self.looks_at = inf
        """When its flow is to be looked at next."""
        self.hosted_in_time = False
        """Whether a hosted API would have begun in time when a replica got it, where somebody judges (``judging``)."""

    @property
    def engine_seconds(self) -> float:
        """From being sent to the first token; raises ValueError where no replica has served it."""
        if self.sent is None or self.first_token is None:
            raise ValueError("no replica has served it")
        return self.first_token - self.sent

    @property
    def seconds(self) -> float:
        """From its arrival to the first token; raises ValueError where no replica has served it."""
        if self.first_token is None:
            raise ValueError("no replica has served it")
        return self.first_token - self.arrived

    def release(self, now: float) -> bool:
        """Somebody may take it."""
        action = self.flow.released(now)
        if action is HOLD:
            return False
        self.gateway.do(self, action)
        return True

    def give_up(self, step: Refuse, now: float) -> None:  # noqa: ARG002 - the clock knows
        """Another has its place."""
        self.gateway.do(self, self.flow.displaced(step))


class Call:
    """An attempt at its backend, which tells of its first token and of its end."""

    __slots__ = ("attempt", "gateway", "hosted", "request")

    def __init__(self, gateway: "Gateway", request: Request, attempt: Attempt, hosted: HostedCall | None) -> None:
        self.gateway = gateway
        self.request = request
        self.attempt = attempt
        self.hosted = hosted
        """As a hosted API's limits count it."""

    def first_token(self) -> None:
        """Its first token comes."""
        self.gateway.first_token(self.request, self.attempt)

    def end(self) -> None:
        """Its last one has come."""
        request = self.request
        if self.hosted is not None:
            self.gateway.hosted_ended(self.attempt, self.hosted, request.prompt_tokens + request.output_tokens)
        self.gateway.end(request, self.attempt)


class Gateway(PoolListener[ReplicaState]):
    """One gateway: carries out what flows decide."""

    def __init__(
        self,
        clock: Clock,
        engines: Sequence[Engine],
        hosted: Sequence[tuple[HostedState, HostedModel]],
        *,
        target: float | None = 2.0,
        held_max: int = 500,
        hold_seconds: float = 120.0,
        attempts_max: int = 3,
        plain: bool = False,
        scrapes: bool = True,
        money: RouteMoney | None = None,
        rules: FlowRules | None = None,
        cold_start_hosted: bool = False,
        tuning: Tuning = TUNING,
        observers: "tuple[FlowObserver[Attempt], ...]" = (),
        pool_of: PoolOf = RoutePool,
        tally: RouteCounters | None = None,
        seed: int = 1,
    ) -> None:
        """``hosted``: each as deciding knows it, and how it answers. ``plain``: answers come whole, not as streams."""
        self.clock = clock
        self.plain = plain
        self.scrapes = scrapes
        self.on_demand: Callable[[bool], None] = lambda _: None
        """Called when what the operator needs to know has changed; true: it has to know at once."""
        self.tally = tally or RouteCounters()
        """What is counted of the route."""
        self.retries = RetryBudget()
        self.random = Random(seed)  # noqa: S311 - chance, no secret
        self.fails: dict[str, Callable[[float], Failure | None]] = {}
        """By backend: how it answers a request that comes now, where not as it should."""
        self._engines: dict[str, Engine] = {}
        self._hosted = {state.served_by: HostedRun(model) for state, model in hosted}
        self._replicas_so_far = 0
        pool = self.pool = pool_of(self, ServiceRates(tuning), money or RouteMoney())
        pool.has_local = pool.may_wake = True
        pool.hosted = [state for state, _ in hosted]
        pool.held_max = held_max
        pool.cold_start_hosted = cold_start_hosted
        pool.attempts_max = attempts_max
        pool.target.seconds = target
        pool.rules = rules or FlowRules(total_seconds=3600.0, hold_timeout_seconds=hold_seconds)
        self.observers: list[FlowObserver[Attempt]] = [
            Learning(pool.rates, Judging(pool.target, pool.rates, lambda: pool.hosted, self.tally)),
            *observers,
        ]
        self.replicas: list[ReplicaState] = []
        for engine in engines:
            self.replica_comes(engine)

    def engine_of(self, replica: ReplicaState) -> Engine:
        """The engine behind a replica."""
        return self._engines[replica.served_by]

    def hosted_seconds(self, ask: Ask) -> float:
        """How long the first hosted API that may take a request now takes to a first token; infinite: none may."""
        for hosted in self.pool.hosted:
            seconds = self._hosted[hosted.served_by].seconds_if_sent(ask, self.clock.now)
            if seconds is not None:
                return seconds
        return inf

    # -- acting for the pool -----------------------------------------------------------------------------------

    def demand_changed(self, *, urgent: bool = False) -> None:
        """Whoever scales may hear of it."""
        self.on_demand(urgent)

    def replica_is_lacking(self) -> None:
        """Replicas come when they come."""

    def replica_broke(self, replica: ReplicaState) -> None:
        """It is out of rotation until its health check answers, ten milliseconds later."""
        self._set_replicas([one for one in self.replicas if one is not replica])
        self.clock.at(self.clock.now + 0.01, lambda: self._set_replicas(self.replicas))

    def look_again_at(self, due: float) -> None:
        """A timer."""
        self.clock.at(due, lambda: self.pool.look_again(self.clock.now))

    def replica_comes(self, engine: Engine) -> ReplicaState:
        """A replica becomes usable."""
        number = self._replicas_so_far
        self._replicas_so_far += 1
        replica = ReplicaState(f"local/{number}", self.pool.rates)
        self._engines[replica.served_by] = engine
        self.replicas.append(replica)
        if self.scrapes:
            self.clock.at(self.clock.now + 0.1 + 0.37 * number % 1.0, lambda: self._scrape(replica))
        self._set_replicas(self.replicas)
        return replica

    def replica_goes(self, replica: ReplicaState) -> None:
        """It gets no more requests; those that it has go on."""
        self.replicas.remove(replica)
        self.pool.rates.gone(replica.rates)
        self._set_replicas(self.replicas)

    def _set_replicas(self, replicas: list[ReplicaState]) -> None:
        self.pool.take_replicas(list(replicas), self.clock.now)

    def _scrape(self, replica: ReplicaState) -> None:
        engine = self._engines[replica.served_by]
        replica.load.scraped(self.clock.now, engine.running, len(engine.waiting), engine.kv_cache_usage)
        if replica in self.replicas:
            self.clock.at(self.clock.now + 1.0, lambda: self._scrape(replica))

    # -- carrying out ------------------------------------------------------------------------------------------

    def arrive(self, request: Request) -> None:
        """A request comes."""
        now = self.clock.now
        request.ask.output_tokens = self.pool.rates.output_tokens_expected(request.ask)
        request.gateway = self
        flow = request.flow = RequestFlow(
            request, self.pool, request.ask, self.retries, self.random.random, self.observers, now,
            streams=not self.plain,
        )  # fmt: skip
        self.do(request, flow.arrived(now))

    def do(self, request: Request, action: "Action[Backend]") -> None:
        """Carry out an action."""
        flow, now = request.flow, self.clock.now
        while isinstance(action, Send):
            backend = action.backend
            call = None
            if isinstance(backend, HostedState):
                call = self._hosted[backend.served_by].begin(request.ask, now)
                if call is None:
                    action = flow.not_sent(backend, NotSent.NO, now)
                    continue
            attempt: Attempt = AttemptState(
                backend, action.reason, now, is_retry=action.is_retry, snapshot=action.snapshot
            )
            flow.sent(attempt, now)
            self._send(request, attempt, call)
            break
        if isinstance(action, Refuse):
            request.outcome, request.reason, request.retry_after = "refused", action.why, action.retry_after_seconds
            flow.finish(Ending.ABANDONED, now)
            self._settled(request)
        self._look_later(request)

    def next_step(self, request: Request) -> "Step[ReplicaState, HostedState]":
        """What the flow would be told."""
        return self.pool.next_step(request.flow.history, request.ask, self.clock.now)

    def _look_later(self, request: Request) -> None:
        """Call the flow when the first of its times has come."""
        flow = request.flow
        if flow.phase is Phase.DONE:
            return
        due = min(flow.hedge_at, flow.wait_until if flow.waits else inf)
        if due < request.looks_at:
            request.looks_at = due
            self.clock.at(due, lambda: self._look(request))

    def _look(self, request: Request) -> None:
        flow, now = request.flow, self.clock.now
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
        send = flow.hedge(now)
        if send is None:
            return
        rival: Attempt = AttemptState(send.backend, send.reason, now, is_retry=True, snapshot=None)
        flow.hedged(send, rival, now, held_nano_usd=send.worst_nano_usd)
        call = None
        if isinstance(send.backend, HostedState):
            call = self._hosted[send.backend.served_by].begin(request.ask, now)
        self._send(request, rival, call)

    def _send(self, request: Request, attempt: Attempt, call: HostedCall | None) -> None:
        now = self.clock.now
        backend = attempt.backend
        attempt.sent_at = now
        fails = self.fails.get(backend.served_by) if self.fails else None
        failure = fails(now) if fails is not None else None
        if failure is not None:
            if call is not None:
                self.hosted_ended(attempt, call, 0)
            self.clock.at(now + 0.001, lambda: self._failed(request, attempt, failure))
            return
        request.outcome, request.reason = ("local" if backend.is_local else "hosted"), attempt.reason
        request.local, request.served_by = backend.is_local, backend.served_by
        told = Call(self, request, attempt, call)
        if isinstance(backend, HostedState):
            first, whole = self._hosted[backend.served_by].model.times(request.output_tokens, self.random)
            self.clock.at(now + first, told.first_token)
            self.clock.at(now + whole, told.end)
            return
        request.sent = now
        request.predicted = attempt.snapshot.predicted_seconds if attempt.snapshot is not None else None
        prompt, output, blocks = request.prompt_tokens, request.output_tokens, request.blocks
        job = Job(prompt, output, told.first_token, told.end, owner=request, blocks=blocks)
        self._engines[backend.served_by].submit(job)

    def hosted_ended(self, attempt: Attempt, call: HostedCall, tokens: int) -> None:
        """A call is over, as limits count it."""
        self._hosted[attempt.backend.served_by].end(call, tokens, self.clock.now)

    def _failed(self, request: Request, attempt: Attempt, failure: Failure) -> None:
        flow = request.flow
        if attempt is flow.attempt or attempt is flow.rival:
            self.do(request, flow.failed(attempt, failure, self.clock.now))

    def first_token(self, request: Request, attempt: Attempt) -> None:
        """An attempt's answer begins."""
        flow, now = request.flow, self.clock.now
        if attempt is not flow.attempt and attempt is not flow.rival:
            return  # another was faster; an engine writes on until it notices, here to the end
        request.began = now
        if attempt.backend.is_local:
            request.first_token = now
        if not self.plain:
            flow.first_token(attempt, now)

    def end(self, request: Request, attempt: Attempt) -> None:
        """It is whole."""
        flow, now = request.flow, self.clock.now
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

"""A vLLM engine and gateways before it, in virtual time: what the deciding modules are tried on.

The engine goes in steps, as vLLM does: every running request gets a token, what is left of a step's token budget reads
prompts, first come first served, and a request that finds no place in the batch waits. A step takes a base time, and
time for each prompt token read, each answer written on and, optionally, each token of context that is attended to.
The gateways drive the real ``next_step``, ``ReplicaState``, ``ServiceRates`` and ``WaitingQueue``.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from overspill_gateway.core.ask import Ask
from overspill_gateway.core.hosted_state import HostedState
from overspill_gateway.core.plan import History, HoldIt, Pool, Refuse, Step, UseHosted, UseReplica, next_step
from overspill_gateway.core.prediction import LoadSnapshot, ServiceRates
from overspill_gateway.core.release import next_release_at
from overspill_gateway.core.replica_state import ReplicaState
from overspill_gateway.core.target import FirstTokenTarget
from overspill_gateway.core.tuning import TUNING, Tuning
from overspill_gateway.core.waiting import WaitingQueue


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
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
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


@dataclass(eq=False)
class Job:
    """A request inside an engine."""

    prompt_tokens: int
    output_tokens: int
    on_first_token: Callable[[], None]
    on_end: Callable[[], None]
    unread: int = 0
    written: int = 0


class Engine:
    """One replica."""

    def __init__(self, clock: Clock, speed: Speed) -> None:
        self.speed = speed
        self.waiting: deque[Job] = deque()
        self.waiting_most = 0
        self.reading: deque[Job] = deque()
        self.writing: list[Job] = []
        self._clock = clock
        self._steps = False

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self.reading) + len(self.writing)

    def submit(self, job: Job) -> None:
        """A request comes."""
        job.unread = job.prompt_tokens
        self.waiting.append(job)
        if not self._steps:
            self._steps = True
            self._clock.at(self._clock.now, self._step)

    def _step(self) -> None:
        speed = self.speed
        budget = speed.batched_tokens_max - len(self.writing)
        seconds = speed.step_seconds + speed.answer_seconds * len(self.writing)
        read: list[Job] = []
        while budget > 0:
            job = next((one for one in self.reading if one not in read), None)
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
        self.waiting_most = max(self.waiting_most, len(self.waiting))
        if not self.running:
            self._steps = False
            return
        self._clock.at(self._clock.now + seconds, lambda: self._stepped(read))

    def _stepped(self, read: list[Job]) -> None:
        ended: list[Job] = []
        for job in self.writing:
            job.written += 1
            if job.written >= job.output_tokens:
                ended.append(job)
        begun = [job for job in read if not job.unread]
        for job in begun:
            self.reading.remove(job)
            job.written = 1
            (self.writing if job.output_tokens > 1 else ended).append(job)
        for job in ended:
            if job in self.writing:
                self.writing.remove(job)
        # The next step is under way before anybody hears of this one's tokens.
        self._step()
        for job in begun:
            job.on_first_token()
        for job in ended:
            job.on_end()


@dataclass(eq=False)
class Request:
    """One request of a client."""

    ask: Ask
    prompt_tokens: int
    """True ones; ``ask`` has an estimate."""
    output_tokens: int
    arrived: float
    history: "History[ReplicaState]" = field(default_factory=History)
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


class Hosted:
    """A hosted API that takes this long."""

    def __init__(self, served_by: str = "hosted/a", seconds: float = 3.0) -> None:
        self.state = HostedState(served_by)
        self.seconds = seconds


StepOf = Callable[["Gateway", Request], "Step[ReplicaState, HostedState]"]


class Gateway:
    """One gateway: asks the plan, keeps the queue, sends, listens."""

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
        tuning: Tuning = TUNING,
    ) -> None:
        self.clock = clock
        self.rates = ServiceRates(tuning)
        self.queue: WaitingQueue[Request] = WaitingQueue()
        self.requests: list[Request] = []
        self.hold_seconds = hold_seconds
        self.plain = plain
        self.scrapes = scrapes
        self.step_of = step_of
        self.turn = 0
        self.spills_begun = 0
        """How often requests that load makes late began to go elsewhere."""
        self.engines: dict[ReplicaState, Engine] = {}
        self.hosted_seconds = {one.state: one.seconds for one in hosted}
        self.pool: Pool[ReplicaState, HostedState] = Pool(
            has_local=True, may_wake=True, replicas=[], hosted=[one.state for one in hosted],
            cold_start_hosted=False, held=0, held_max=held_max, attempts_max=3, rates=self.rates,
            target=FirstTokenTarget(target, tuning=tuning),
        )  # fmt: skip
        self._release_due = float("inf")
        for engine in engines:
            self.replica_comes(engine)

    def replica_comes(self, engine: Engine) -> None:
        """A replica becomes usable."""
        number = len(self.pool.replicas)
        replica = ReplicaState(f"local/{number}", self.rates)
        self.engines[replica] = engine
        self.pool.replicas = [*self.pool.replicas, replica]
        if self.scrapes:
            self.clock.at(self.clock.now + 0.1 + 0.37 * number % 1.0, lambda: self._scrape(replica))
        self.release()

    def _scrape(self, replica: ReplicaState) -> None:
        engine = self.engines[replica]
        replica.load.scraped(self.clock.now, engine.running, len(engine.waiting), 0.0)
        self.clock.at(self.clock.now + 1.0, lambda: self._scrape(replica))

    def next_step(self, request: Request) -> "Step[ReplicaState, HostedState]":
        """What is to be done."""
        self.turn += 1
        self.pool.held = len(self.queue)
        if self.step_of is not None:
            return self.step_of(self, request)
        target, spilled_until = self.pool.target, self.pool.target.spilling_until
        step = next_step(self.pool, request.history, self.turn, request.ask, self.clock.now)
        self.spills_begun += target.spilling_until > spilled_until and spilled_until <= self.clock.now
        return step

    def arrive(self, request: Request) -> None:
        """A request comes."""
        request.ask.output_tokens = self.rates.output_tokens_expected(request.ask)
        self.requests.append(request)
        step = self.next_step(request)
        if isinstance(step, HoldIt):
            self._hold(request, step)
        else:
            self._act(request, step)

    def _hold(self, request: Request, step: HoldIt) -> None:
        request.history.was_held, request.history.held_late = True, step.late
        ask = request.ask
        self.queue.add(request, ask.priority, ask.consumer, float(ask.prompt_tokens + 4 * ask.output_tokens + 32))
        self.clock.at(self.clock.now + self.hold_seconds, lambda: self._expire(request))
        self.release()

    def _expire(self, request: Request) -> None:
        if request not in self.queue:
            return
        self.queue.discard(request)
        request.history.hold_expired = True
        self._act(request, self.next_step(request))

    def _act(self, request: Request, step: "Step[ReplicaState, HostedState]") -> None:
        if isinstance(step, UseReplica):
            self._send(request, step.replica, step.snapshot, step.reason)
        elif isinstance(step, UseHosted):
            request.outcome, request.reason = "hosted", step.reason
            self.clock.at(self.clock.now + self.hosted_seconds[step.hosted], lambda: self._hosted_done(request))
        elif isinstance(step, Refuse):
            request.outcome, request.reason, request.retry_after = "refused", step.why, step.retry_after_seconds
            self._settled(request)
        else:
            raise TypeError(step)

    def _hosted_done(self, request: Request) -> None:
        self._settled(request)
        self.release()

    def _settled(self, request: Request) -> None:
        if request.on_settled is not None:
            request.on_settled(request)

    def _send(self, request: Request, replica: ReplicaState, snapshot: LoadSnapshot | None, reason: str) -> None:
        now = self.clock.now
        request.outcome, request.reason, request.local, request.sent = "local", reason, True, now
        request.predicted = snapshot.predicted_seconds if snapshot is not None else None
        replica.sent(request.ask, now)
        self.engines[replica].submit(
            Job(
                request.prompt_tokens,
                request.output_tokens,
                lambda: self._first_token(request, replica, snapshot),
                lambda: self._end(request, replica, snapshot),
            )
        )

    def _first_token(self, request: Request, replica: ReplicaState, snapshot: LoadSnapshot | None) -> None:
        request.first_token = self.clock.now
        if self.plain:
            return
        replica.first_token(request.ask)
        if snapshot is not None and self.rates.first_tokens.takes(self.clock.now):
            self.rates.first_tokens.passed = 0
            self.rates.observed_first_token(request.ask.prompt_tokens, snapshot, request.engine_seconds, self.clock.now)
        self.release()

    def _end(self, request: Request, replica: ReplicaState, snapshot: LoadSnapshot | None) -> None:
        now = request.ended = self.clock.now
        running = replica.load.in_flight
        assert request.first_token is not None
        assert request.sent is not None
        learns = self.rates.answers.takes(now)
        if learns:
            self.rates.finished(self.rates.answers.passed - 1, now)  # the one that is learned from is counted with it
            self.rates.answers.passed = 0
        if self.plain:
            replica.first_token(request.ask)
            if snapshot is not None and learns:
                self.rates.observed_plain(
                    request.ask.prompt_tokens, snapshot, now - request.sent, request.output_tokens, running, now
                )
        elif learns:
            self.rates.observed_output(replica.rates, request.output_tokens, now - request.first_token, running, now)
        replica.done(request.ask, first_token_came=True)
        self._settled(request)
        self.release()

    def release(self) -> None:
        """Let those go who may, in their order; then set the timer."""
        queue = self.queue
        while queue and self.pool.replicas:
            request = queue.first()
            assert request is not None
            step = self.next_step(request)
            if isinstance(step, HoldIt):
                break
            queue.discard(request)
            self._act(request, step)
        if queue and self.pool.replicas:
            due = next_release_at([replica.window for replica in self.pool.replicas], self.clock.now)
            if due < self._release_due:
                self._release_due = due
                self.clock.at(due, self._release_timer)

    def _release_timer(self) -> None:
        self._release_due = float("inf")
        self.release()


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

"""Hours of a route in virtual time: requests of a trace through flow, pool and scaling, without a socket or thread.

The gateway's flow decides on each request and the operator's ``ScalingState`` on the replicas, as in production; what
they decide is carried out on a model of engines (``gateway.engine_model``).
"""

import csv
import gzip
import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from overspill_api.demand import DEMAND_VERSION, GatewayDemand
from overspill_api.scaling import Scaling
from overspill_gateway.core.admission.route_pool import FlowRules
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.counters import BackendCounters, RouteCounters
from overspill_gateway.core.flow.demand_line import route_demand
from overspill_gateway.core.flow.work_counting import WorkCounting
from overspill_gateway.core.requests.ask import Ask
from overspill_operator.core.autoscaler import QueueDepth
from overspill_operator.core.demand_lines import believed
from overspill_operator.core.recent_work import RecentWork
from overspill_operator.core.scaling_state import Change, Observation, ScalingPolicy, ScalingState
from overspill_operator.core.traffic import GatewayView, demand_of, engines_of
from overspill_operator.core.work import Work
from unit.gateway.engine_model import Clock, Engine, Gateway, Hosted, Request, Speed

TRACE = Path(__file__).parent.parent / "traces" / "azure2023_conversation.csv.gz"
KEY = "ns/model"
DEMAND_SECONDS = 1.0
"""Between two looks at demand that is not urgent."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace."""

    seconds: float
    prompt_tokens: int
    output_tokens: int


def azure_conversation(count: int) -> list[Arrival]:
    """So many requests of the trace; from its end it begins anew."""
    with gzip.open(TRACE, "rt") as file:
        rows = [tuple(int(value) for value in row.values()) for row in csv.DictReader(io.StringIO(file.read()))]
    length = rows[-1][0] / 1000.0 + 1.0
    return [
        Arrival(number // len(rows) * length + rows[number % len(rows)][0] / 1000.0, *rows[number % len(rows)][1:])
        for number in range(count)
    ]


class ScaledGateway(Gateway):
    """A gateway whose replicas are as many as its route's scaling decides."""

    def __init__(
        self, clock: Clock, hosted: list[Hosted], *, scaling: Scaling, speed: Speed, load_seconds: float, target: float
    ) -> None:
        self.changes: list[Change] = []
        """What was decided of the replicas."""
        self.tally = RouteCounters()
        self.view = GatewayView(clock.now, clock.now)
        """What the operator knows of it."""
        self.work = RecentWork()
        self.heard = Work()
        """All that it has ever heard to be done."""
        self._counted: dict[str, BackendCounters] = {}
        self._speed = speed
        self._load_seconds = load_seconds
        self._last_arrival: float | None = None
        self._ready_since: float | None = None
        self._started = 0
        """Replicas that run or load."""
        policy = ScalingPolicy(scaling)
        state = ScalingState.begun(clock.now, policy=policy)
        self._state = state.accept(policy, generation=1, now_unix=clock.now)
        self._looks_at = float("inf")
        super().__init__(
            clock, [], hosted, target=target, rules=FlowRules(total_seconds=600.0, hold_timeout_seconds=120.0),
            cold_start_hosted=True, observers=(WorkCounting(self.tally),),
        )  # fmt: skip
        self._decide()

    def arrive(self, request: Request) -> None:
        """A request comes."""
        self._last_arrival = self.clock.now
        request.on_settled = self._count
        super().arrive(request)

    def _count(self, request: Request) -> None:
        """Its tokens, as whoever charges them does."""
        name = "local" if request.local else "hosted/a"
        if request.outcome == "refused":
            self.tally.refuse(request.reason)
        elif request.ended is not None:
            counters = self._counted.setdefault(name, BackendCounters())
            usage = Usage(request.prompt_tokens, 0, request.output_tokens)
            counters.served += 1
            counters.used(usage)
            if not request.local:
                self.tally.spilled(usage)

    def demand_changed(self, *, urgent: bool = False) -> None:
        """Scaling hears of it: at once, or within a second."""
        self._look_at(self.clock.now + (0.0 if urgent else DEMAND_SECONDS))

    def _look_at(self, due: float) -> None:
        if due < self._looks_at:
            self._looks_at = due
            self.clock.at(due, self._look_at_demand)

    def _look_at_demand(self) -> None:
        if self.clock.now >= self._looks_at:
            self._decide()

    def _decide(self) -> None:
        now = self.clock.now
        self._looks_at = float("inf")
        self._tell(now)
        step = self._state.decide(self._observe(now), now)
        self._state = step.state
        if step.change is not None:
            self.changes.append(step.change)
            self._scale(step.change.after)
        if step.check_unix is not None:
            self._look_at(max(step.check_unix, now + 0.001))

    def _tell(self, now: float) -> None:
        """The operator hears a line."""
        in_flight = sum(replica.requests for replica in self.replicas)
        route = route_demand(
            KEY, "u", self.pool, self.tally, self._counted, now, in_flight_local=in_flight,
            last_arrival_unix_seconds=self._last_arrival,
        )  # fmt: skip
        said = GatewayDemand(gateway="g", now_unix_seconds=now, version=DEMAND_VERSION, uptime_seconds=now)
        self.view.last_line_unix = now  # lines without routes have come meanwhile
        for growth in self.view.take(believed(said, (route,), {}, now), now).growth:
            self.work.heard(growth, now)
            if growth.work is not None:
                self.heard = self.heard.plus(growth.work)

    def _observe(self, now: float) -> Observation:
        """What the operator sees, as ``app.scaler`` puts it together."""
        demand, gauges = demand_of(KEY, [self.view], 0, now, "u"), engines_of(KEY, [self.view], now, "u")
        matters = gauges.waiting is not None and demand.in_flight and self._state.queue_matters(now)
        return Observation(
            demand, len(self.replicas), self._ready_since, QueueDepth(gauges.waiting or 0) if matters else None,
            gauges.readings, self.work.of(KEY, "u", now),
        )  # fmt: skip

    def _scale(self, wanted: int) -> None:
        while self._started < wanted:
            self._started += 1
            self.clock.at(self.clock.now + self._load_seconds, self._loaded)
        while self._started > wanted and self.replicas:
            self._started -= 1
            self.replica_goes(self.replicas[-1])
        if not self.replicas:
            self._ready_since = None

    def _loaded(self) -> None:
        if len(self.replicas) >= self._started:
            return  # it is not wanted any more
        if self._ready_since is None:
            self._ready_since = self.clock.now
        self.replica_comes(Engine(self.clock, self._speed))
        self._look_at(self.clock.now)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a simulation."""

    requests: int
    outcomes: Counter[str]
    changes: list[Change]
    first_tokens: list[float]
    """Seconds to the first token, of requests that replicas served."""
    heard: Work
    """What the operator heard to be done."""
    digest: str
    """Of every decision: two runs that decide alike have the same."""


def simulate(arrivals: list[Arrival], *, target: float = 2.0, load_seconds: float = 60.0, seed: int = 1) -> Outcome:
    """Run a trace through a route with up to eight replicas and a hosted API."""
    clock = Clock()
    hosted = Hosted(seconds=3.0)
    targets = {"concurrency": 24}
    scaling = Scaling.model_validate({"minReplicas": 0, "maxReplicas": 8, "idleAfter": "5m", "targets": targets})
    gateway = ScaledGateway(clock, [hosted], scaling=scaling, speed=Speed(), load_seconds=load_seconds, target=target)
    gateway.random.seed(seed)
    source = iter(arrivals)

    def arrive(arrival: Arrival) -> None:
        ask = Ask(prompt_tokens=arrival.prompt_tokens, consumer="team/a")
        gateway.arrive(Request(ask, arrival.prompt_tokens, max(arrival.output_tokens, 1), clock.now))
        following = next(source, None)
        if following is not None:
            clock.at(following.seconds, lambda: arrive(following))

    first = next(source)
    clock.at(first.seconds, lambda: arrive(first))
    clock.run(arrivals[-1].seconds + 3600.0)
    digest = hashlib.sha256()
    for request in gateway.requests:
        digest.update(f"{request.outcome} {request.reason} {request.first_token} {request.ended}\n".encode())
    for change in gateway.changes:
        digest.update(f"{change}\n".encode())
    outcomes = Counter(request.outcome for request in gateway.requests)
    first_tokens = sorted(request.seconds for request in gateway.requests if request.local and request.first_token)
    return Outcome(
        len(gateway.requests), outcomes, gateway.changes, first_tokens, gateway.heard, digest.hexdigest()
    )  # fmt: skip

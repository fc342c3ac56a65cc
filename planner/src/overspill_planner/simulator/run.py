"""One policy on one trace: the world is put together, the trace goes through it, and what came of it is counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from overspill_gateway.core.admission.route_pool import FlowRules
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.counters import BackendCounters, RouteCounters
from overspill_gateway.core.flow.work_counting import WorkCounting
from overspill_gateway.core.requests.ask import Ask
from overspill_planner.optimum.fluid import Prices
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Speed
from overspill_planner.simulator.fleet import Fleet, Loading
from overspill_planner.simulator.gateway import Gateway, Request
from overspill_planner.simulator.hosted import HostedModel
from overspill_planner.simulator.judging import Judging
from overspill_planner.simulator.outcome import Outcome, Tally, percentiles
from overspill_planner.simulator.scaling import Load, Scaler, World
from overspill_planner.simulator.timeline import SAMPLES, Sample
from overspill_planner.traces.arrival import BLOCK_TOKENS, Arrival

BEGINS_UNIX: Final = 345_600.0
"""Monday, 5 January 1970, 0:00 UTC."""
CONVERSATION_BLOCKS: Final = 2
SPREAD: Final = 0x9E3779B97F4A7C15
"""Numbers of blocks follow each other: by this they are spread over 64 bits, as hashes are."""
MASK: Final = 2**64 - 1
ENDS_SECONDS_MAX: Final = 3600.0
"""How long the last requests may take after the trace is over."""


@dataclass(frozen=True, slots=True)
class HostedSetting:
    """One hosted API of the route."""

    name: str
    """Its entry's name."""
    model: HostedModel = HostedModel()  # noqa: RUF009 - it is frozen
    """How it answers."""
    input_million: float = 0.0
    """US dollars for a million prompt tokens."""
    output_million: float = 0.0
    """And for a million output tokens."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The world that a trace goes through."""

    speed: Speed = field(default_factory=Speed)
    """Of each engine."""
    loading: Loading = Loading()  # noqa: RUF009 - it is frozen
    """Of each replica."""
    replica_hour_usd: float = 1.0
    """For one replica."""
    hosted: tuple[HostedSetting, ...] = ()
    """Hosted APIs in order of preference; none: requests wait for replicas."""
    spill_target_seconds: float | None = 2.0
    """``overflow.timeToFirstToken``; None: only a full queue, a cold start or a failure spills."""
    slo_seconds: float = 2.0
    """A first token within this is in time, in the report."""
    cold_start_hosted: bool = True
    """``overflow.onColdStart``: Hosted."""
    held_max: int = 500
    """``overflow.hold.maxRequests``."""
    rules: FlowRules = FlowRules(total_seconds=600.0, hold_timeout_seconds=120.0)  # noqa: RUF009 - it is frozen
    """Time limits of a request, and hedging."""
    attempts_max: int = 3
    """``retries.attempts`` and the first one."""
    begins_unix: float = BEGINS_UNIX
    """When the trace begins, for windows of hours."""
    seed: int = 1
    """Of all chance."""

    def prices(self) -> Prices | None:
        """What work costs; of several hosted APIs the lowest prices. None: the route lists none."""
        if not self.hosted:
            return None
        return Prices(
            self.replica_hour_usd,
            min(hosted.input_million for hosted in self.hosted),
            min(hosted.output_million for hosted in self.hosted),
        )


def conversation_of(blocks: Sequence[int]) -> int:
    """Hash of the beginning of a prompt, by which gateways keep a conversation at one replica; 0: not known.

    They take system prompt and first message up to some kilobytes (``core.requests.prompt``); here it is two blocks.
    """
    return (blocks[min(CONVERSATION_BLOCKS, len(blocks)) - 1] * SPREAD + 1) & MASK if blocks else 0


class Simulation:
    """One run. Hand it a trace and a scaler, then ``run``."""

    def __init__(
        self, setting: Setting, arrivals: Sequence[Arrival], scaler: Scaler,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        """``on_progress``: hears now and then which share of the trace's time is over."""
        self.setting = setting
        self.samples: list[Sample] = []
        """How it went, from the beginning of the trace to its end."""
        self._on_progress = on_progress
        self.scaler = scaler
        clock = self.clock = Clock(setting.begins_unix)
        counters = RouteCounters()
        states = [(HostedState(f"hosted/{one.name}"), one.model) for one in setting.hosted]
        self.tally = Tally(
            {
                f"hosted/{one.name}": Prices(0.0, one.input_million, one.output_million) for one in setting.hosted
            },
            setting.slo_seconds,
        )  # fmt: skip
        target = setting.spill_target_seconds
        judging = self._judging = Judging(target, self.tally.usd) if states and target is not None else None
        self.gateway = Gateway(
            clock, [], states, target=setting.spill_target_seconds if states else None, held_max=setting.held_max,
            attempts_max=setting.attempts_max, rules=setting.rules,
            cold_start_hosted=setting.cold_start_hosted and bool(states),
            observers=(WorkCounting(counters), *([judging.observer] if judging else [])), tally=counters,
            seed=setting.seed,
        )  # fmt: skip
        if judging:
            judging.gateway = self.gateway
        self.fleet = Fleet(
            clock, self.gateway, setting.speed, setting.loading, scaler.replica_ready,
            block_tokens=BLOCK_TOKENS if any(arrival.blocks for arrival in arrivals) else None,
            seed=setting.seed,
        )  # fmt: skip
        self.load = Load(clock.now)
        self._counters = counters
        self._counted: dict[str, BackendCounters] = {}
        self._arrivals = arrivals
        self._next = 0

    def run(self, until: float | None = None) -> Outcome:
        """All of it; replicas are paid for until then, in seconds since the trace began (default: its last request)."""
        clock, arrivals = self.clock, self._arrivals
        begins = self.setting.begins_unix
        ends = begins + (until if until is not None else arrivals[-1].seconds if arrivals else 0.0)
        world = World(clock, self.gateway, self.fleet, self.load, self._counters, self._counted)
        self.scaler.begin(world)
        self.gateway.on_demand = lambda urgent: self.scaler.demand_changed(urgent=urgent)
        if arrivals:
            clock.at(begins + arrivals[0].seconds, self._arrive)
        for step in range(SAMPLES + 1):
            clock.run(begins + (ends - begins) * step / SAMPLES)
            self._look_at_it()
            if self._on_progress is not None:
                self._on_progress(step / SAMPLES)
        self.scaler.stopped = True
        paid, busy = self.fleet.paid_seconds, self.fleet.busy_seconds
        over = ends + ENDS_SECONDS_MAX
        while self.load.in_flight and clock.now < over:
            clock.run(clock.now + 10.0)
        return self._outcome(paid, busy)

    def _look_at_it(self) -> None:
        """Write down how it goes."""
        done, fleet = self.tally.outcomes, self.fleet
        self.samples.append(
            Sample(
                self.clock.now - self.setting.begins_unix, fleet.wanted, fleet.ready, done["local"], done["hosted"],
                done["refused"], fleet.paid_seconds * self.setting.replica_hour_usd / 3600.0, self.tally.hosted_usd,
            )
        )  # fmt: skip

    def _arrive(self) -> None:
        now = self.clock.now
        arrival = self._arrivals[self._next]
        self._next += 1
        if self._next < len(self._arrivals):
            self.clock.at(self.setting.begins_unix + self._arrivals[self._next].seconds, self._arrive)
        self.load.change(1, now)
        self.load.last_arrival = now
        self.scaler.arrived()
        ask = Ask(
            prompt_tokens=arrival.prompt_tokens, prefix=conversation_of(arrival.blocks), consumer="planner/trace"
        )  # fmt: skip
        self.gateway.arrive(
            Request(ask, arrival.prompt_tokens, arrival.output_tokens, now, self._settled, arrival.blocks)
        )  # fmt: skip

    def _settled(self, request: Request) -> None:
        """Count what whoever charges it counts."""
        self.load.change(-1, self.clock.now)
        self.tally.settled(request)
        if request.outcome == "refused":
            self._counters.refuse(request.reason)
            return
        name = "local" if request.local else request.served_by
        counters = self._counted.setdefault(name, BackendCounters())
        usage = Usage(request.prompt_tokens, 0, request.output_tokens)
        counters.served += 1
        counters.used(usage)
        if not request.local:
            self._counters.spilled(usage)

    def _outcome(self, paid: float, busy: float) -> Outcome:
        tally, count = self.tally, self._next
        judged = self._judging.found() if self._judging else None
        return Outcome(
            requests=count,
            outcomes=dict(tally.outcomes),
            reasons=dict(tally.reasons),
            first_token=percentiles(tally.local_first_tokens + tally.hosted_first_tokens),
            inter_token=percentiles(tally.inter_tokens),
            slo_share=tally.in_time / count if count else 1.0,
            tokens=tally.tokens,
            replica_usd=paid * self.setting.replica_hour_usd / 3600.0,
            hosted_usd=tally.hosted_usd,
            replica_hours=paid / 3600.0,
            idle_share=max(1.0 - busy / paid, 0.0) if paid else 0.0,
            starts=self.fleet.starts,
            most=self.fleet.most,
            preemptions=self.fleet.preemptions,
            reused_tokens=self.fleet.hit_tokens,
            wrong_spill_share=judged.wrong_spill_share if judged else None,
            late_hold_share=judged.late_hold_share if judged else None,
            regret_usd=judged.wrong_usd if judged else None,
            digest=tally.digest.hexdigest(),
        )

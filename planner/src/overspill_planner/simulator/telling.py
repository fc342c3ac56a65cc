"""What the operator knows of the simulated route: taken from the gateway's counters, not from lines of contract 2.

It is what the way of a line comes to (``route_demand``, ``believed``, ``GatewayView``, ``demand_of``), without its text
and its checks. A test holds both alike, look by look. Not here: what is decided on it.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Final

from overspill_gateway.core.counters import BackendCounters, KindCounters, RouteCounters
from overspill_operator.core.demand.engine_gauges import FRESH_SECONDS, EngineGauges, EngineReading
from overspill_operator.core.demand.recent_work import Growth, RecentWork, SeenWork
from overspill_operator.core.demand.traffic import Coverage, Demand
from overspill_operator.core.demand.work import Work
from overspill_planner.simulator.gateway import Gateway

ROUTE_KEY: Final = "planner/route"
UID: Final = "u"


class Telling:
    """The word of one gateway, as the operator would have heard it."""

    def __init__(
        self, gateway: Gateway, tally: RouteCounters, counted: Mapping[str, BackendCounters], now: float
    ) -> None:
        """``tally`` and ``counted``: what the gateway counts of the route, and of each backend."""
        self.heard = Work()
        """All that was done so far."""
        self._gateway = gateway
        self._tally = tally
        self._counted = counted
        self._begun = now
        self._recent = RecentWork()
        self._recent.heard(Growth(ROUTE_KEY, UID, None), now)
        self._told: tuple[float, ...] = ()
        """Of the counters when the work was heard last: as long as they stay, nothing was done."""

    def demand(self, last_arrival: float | None, now: float) -> Demand:
        """Requests there are now."""
        pool = self._gateway.pool
        in_flight = 0
        for replica in self._gateway.replicas:
            in_flight += replica.requests
        return Demand(
            Coverage.COMPLETE,
            in_flight,
            pool.in_flight_spilled,
            len(pool.queue),
            pool.wants_replica,
            self._begun if last_arrival is None else min(last_arrival, now),
            None if last_arrival is None else min(last_arrival, now),
        )

    def gauges(self, now: float) -> EngineGauges:
        """What its engines have said of themselves."""
        readings = []
        for replica in self._gateway.pool.replicas:
            load = replica.load
            age = max(now - load.scraped_at, 0.0)
            if isfinite(age) and now - (now - age) <= FRESH_SECONDS:
                usage = load.kv_cache_usage or 0.0
                readings.append(
                    EngineReading(replica.served_by, load.running, load.waiting, usage, now - age, load.missed)
                )
        return EngineGauges(tuple(readings))

    def work(self, now: float) -> SeenWork | None:
        """What was done in the last minute."""
        tally, pool = self._tally, self._gateway.pool
        told = (
            pool.arrivals, tally.local.request_seconds, tally.hosted.request_seconds, tally.local.first_token.sum,
            tally.hosted.first_token.sum, tally.spilled_requests, float(sum(tally.refusals.values())),
            float(sum([counters.served for counters in self._counted.values()])),
        )  # fmt: skip
        if told != self._told:
            self._told = told
            work = self._counts()
            self._recent.heard(Growth(ROUTE_KEY, UID, work.minus(self.heard)), now)
            self.heard = work
        return self._recent.of(ROUTE_KEY, UID, now)

    def _counts(self) -> Work:
        tally = self._tally
        return Work.counted(
            self._gateway.pool.arrivals,
            (
                tally.spilled_requests, tally.spilled_prompt_tokens, tally.spilled_output_tokens,
                tally.spilled_seconds, tally.spilled_nano_usd, tally.spills_needed, tally.spills_regretted,
                tally.regret_nano_usd, tally.late_holds,
            ),
            tally.refusals,
            list(self._kind(tally.local, is_local=True)),
            list(self._kind(tally.hosted, is_local=False)),
        )  # fmt: skip

    def _kind(self, counters: KindCounters, *, is_local: bool) -> Iterator[float]:
        """Its numbers, as ``Work.counted`` takes them; none before its first answer is whole."""
        answers = prompt_tokens = output_tokens = 0
        for name, backend in self._counted.items():
            if (name == "local") is is_local:
                answers += backend.served
                prompt_tokens += backend.prompt_tokens
                output_tokens += backend.output_tokens
        if answers:
            yield from (answers, prompt_tokens, output_tokens, counters.request_seconds)
            for histogram in (counters.first_token, counters.first_token_since_sent, counters.inter_token):
                yield histogram.sum
                yield from histogram.counts

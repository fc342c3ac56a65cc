"""What a line of contract 2 (``overspill_api.demand``) says of one route, from its pool and what was counted of it.

Whoever owns the route adds what only it knows: what is wrong with its backends, and its budget.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Final, TypeVar

from overspill_api.demand import (
    BackendDemand,
    BudgetDemand,
    EngineDemand,
    HistogramDemand,
    RouteDemand,
    SpilledDemand,
    WorkDemand,
)
from overspill_gateway.core.admission.route_pool import RoutePool
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.counters import BackendCounters, Histogram, KindCounters, RouteCounters

R = TypeVar("R", bound=ReplicaState)
H = TypeVar("H", bound=HostedState)

GAUGES_SECONDS_MAX: Final = 30.0
"""Gauges from longer ago are not told: nobody goes by them."""


def route_demand(
    key: str,
    uid: str,
    pool: RoutePool[R, H],
    tally: RouteCounters,
    counted: Mapping[str, BackendCounters],
    now: float,
    *,
    in_flight_local: int,
    last_arrival_unix_seconds: float | None,
    backends: dict[str, BackendDemand] | None = None,
    budget: BudgetDemand | None = None,
) -> RouteDemand:
    """All that is said of a route. ``counted``: by ``local`` or ``hosted/<name>``; ``now``: of the pool's clock."""
    return RouteDemand(
        route=key,
        uid=uid,
        in_flight_local=in_flight_local,
        in_flight_spilled=pool.in_flight_spilled,
        held=len(pool.queue),
        wants_replica=pool.wants_replica,
        last_arrival_unix_seconds=last_arrival_unix_seconds,
        backends=backends or {},
        budget=budget,
        arrivals_total=pool.arrivals,
        work=_work(tally, counted),
        spilled=SpilledDemand(
            requests_total=tally.spilled_requests,
            prompt_tokens_total=tally.spilled_prompt_tokens,
            output_tokens_total=tally.spilled_output_tokens,
            request_seconds_total=tally.spilled_seconds,
            cost_nano_usd_total=tally.spilled_nano_usd,
            needed_total=tally.spills_needed,
            regretted_total=tally.spills_regretted,
            regret_nano_usd_total=tally.regret_nano_usd,
            late_holds_total=tally.late_holds,
        ),
        refused_total=tally.refusals,
        engines=tuple(_engines(pool.replicas, now)),
    )


def _work(tally: RouteCounters, counted: Mapping[str, BackendCounters]) -> dict[str, WorkDemand]:
    work: dict[str, WorkDemand] = {}
    hosted = [counters for name, counters in counted.items() if name != "local" and counters.served]
    if hosted:
        work["hosted"] = _kind(tally.hosted, hosted)
    local = counted.get("local")
    if local is not None and local.served:
        work["local"] = _kind(tally.local, [local])
    return work


def _kind(counters: KindCounters, backends: Sequence[BackendCounters]) -> WorkDemand:
    return WorkDemand(
        answers_total=sum(backend.served for backend in backends),
        prompt_tokens_total=sum(backend.prompt_tokens for backend in backends),
        output_tokens_total=sum(backend.output_tokens for backend in backends),
        request_seconds_total=counters.request_seconds,
        first_token=_histogram(counters.first_token),
        first_token_since_sent=_histogram(counters.first_token_since_sent),
        inter_token=_histogram(counters.inter_token),
    )


def _histogram(histogram: Histogram) -> HistogramDemand:
    return HistogramDemand(counts=histogram.counted(), seconds_sum=histogram.sum)


def _engines(replicas: Iterable[ReplicaState], now: float) -> Iterator[EngineDemand]:
    for replica in replicas:
        load = replica.load
        age = now - load.scraped_at
        if isfinite(age) and age <= GAUGES_SECONDS_MAX:
            yield EngineDemand(
                served_by=replica.served_by,
                running=load.running,
                waiting=load.waiting,
                kv_cache_usage=load.kv_cache_usage,
                age_seconds=max(age, 0.0),
                missed=load.missed,
            )
        elif load.missed:
            yield EngineDemand(served_by=replica.served_by, missed=load.missed)

"""One route as it is now: its document, its replicas, who waits, and what has been counted."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from overspill_api.compiled import CompiledRoute, HostedBackend
from overspill_api.demand import BackendDemand, RouteDemand
from overspill_gateway.backends.backend import Hosted, HostedTarget, Replica
from overspill_gateway.backends.problems import BackendProblems
from overspill_gateway.clock import Clock
from overspill_gateway.core.admission.route_pool import FlowRules, PoolListener, RoutePool
from overspill_gateway.core.backends.engine_keys import key_lines
from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_gateway.core.counters import BackendCounters, RouteCounters
from overspill_gateway.core.flow.demand_line import route_demand
from overspill_gateway.core.flow.judging import Judging
from overspill_gateway.core.flow.learning import Learning
from overspill_gateway.core.flow.work_counting import WorkCounting
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.requests.body import json_string
from overspill_gateway.money.metering import HostedMeter, RouteMeter

if TYPE_CHECKING:
    from overspill_gateway.backends.probes import Prober
    from overspill_gateway.wire.outbound import Outbound
    from overspill_gateway.wire.stream_reads import StreamReads

DemandListener = Callable[["Route", bool], None]
"""Told which route's demand changed, and whether the operator has to know at once."""


class RouteParts:
    """What is built of a document before anything is changed by it: all that a document could have wrong."""

    def __init__(self, compiled: CompiledRoute, outbound: "Outbound") -> None:
        """Raises UnusableError."""
        self.targets = [HostedTarget(backend, outbound) for backend in compiled.hosted]
        self.model_json = json_string(compiled.local.served_model) if compiled.local else b""


class Route(PoolListener[Replica]):
    """A route at run time. The document may change under it; what is counted stays."""

    def __init__(
        self,
        compiled: CompiledRoute,
        parts: RouteParts,
        facts: Iterable[EndpointFact],
        prober: "Prober",
        outbound: "Outbound",
        on_demand: DemandListener,
        meter: RouteMeter,
        *,
        clock: Clock,
        reads: "StreamReads | None" = None,
    ) -> None:
        self.key = compiled.key
        self.clock = clock
        self.compiled = compiled
        self.model_json = b""
        """The name to write into a body for a replica."""
        self.replicas: dict[tuple[str, str], Replica] = {}
        self.meter = meter
        self.tally = RouteCounters()
        self.backends: dict[str, BackendCounters] = {}
        self.problems: dict[str, BackendProblems] = {"local": self._no_problems("local")}
        """What is wrong with each backend, by ``local`` or ``hosted/<name>``."""
        self.pool: RoutePool[Replica, Hosted] = RoutePool(self, ServiceRates(), meter)
        """What deciding knows of it."""
        self.learning = Learning(
            self.pool.rates, Judging(self.pool.target, self.pool.rates, lambda: self.pool.hosted, self.tally)
        )
        """Hears of its requests, and so does the next one."""
        self.counting = WorkCounting(self.tally)
        self.last_arrival_unix_seconds: float | None = None
        self._release_timer: asyncio.TimerHandle | None = None
        self._prober = prober
        self._outbound = outbound
        self._on_demand = on_demand
        self._reads = reads
        self._facts: tuple[EndpointFact, ...] = ()
        self._key_lines: list[bytes] = []
        self.update(compiled, parts, meter, facts)

    # -- documents and endpoints -------------------------------------------------------------------------------

    def update(
        self, compiled: CompiledRoute, parts: RouteParts, meter: RouteMeter, facts: Iterable[EndpointFact]
    ) -> None:
        """Take a new document with the endpoints of its Service; requests that run go on with what they began with."""
        before, hosted = self.compiled, list(self.pool.hosted)
        if not hosted or before.hosted != compiled.hosted or before.timeouts != compiled.timeouts:
            for former in hosted:
                former.pool.close()
                former.counters.ejections_gone += former.outlier.ejections_total
            seconds = compiled.timeouts.connect_seconds
            connection_seconds = self._outbound.connection_seconds
            hosted = [
                Hosted(
                    backend,
                    target,
                    seconds,
                    connection_seconds,
                    self._meter_of(backend),
                    self._problems_of(backend),
                    self._reads,
                )
                for backend, target in zip(compiled.hosted, parts.targets, strict=True)
            ]
            self.problems = {"local": self.problems["local"]} | {api.served_by: api.problems for api in hosted}
        self.compiled = compiled
        self.meter = self.pool.money = meter
        self.pool.rules = FlowRules(
            total_seconds=compiled.timeouts.total_seconds,
            hold_timeout_seconds=compiled.overflow.hold_timeout_seconds,
            hedging=compiled.hedging,
            continues=compiled.on_stream_failure == "Continue",
        )
        local = compiled.local
        self.model_json = parts.model_json
        self._take_keys(local.api_keys if local is not None else ())
        self.pool.has_local = local is not None
        self.pool.may_wake = local is not None and local.may_wake
        self.pool.hosted = hosted
        for entry in hosted:
            entry.is_only_backend = local is None and len(hosted) == 1
        self.pool.cold_start_hosted = compiled.overflow.on_cold_start == "Hosted"
        self.pool.held_max = compiled.overflow.hold_requests_max
        self.pool.attempts_max = compiled.retry_attempts + 1
        self.pool.target.seconds = compiled.overflow.time_to_first_token_seconds
        if not self.pool.may_wake:
            self.pool.wants_replica = False
        self.set_endpoints(facts)
        if not self.pool.may_wake:
            self.pool.may_not_wake(self.clock.monotonic())
        self.demand_changed()

    def set_endpoints(self, facts: Iterable[EndpointFact]) -> None:
        """Take what the source says of the endpoints of this route's Service."""
        self._facts = tuple(facts)
        local = self.compiled.local
        listed = {(f"{fact.address}:{fact.port}", fact.uid): fact for fact in self._facts} if local else {}
        for key in [key for key in self.replicas if key not in listed]:
            replica = self.replicas.pop(key)
            self.pool.rates.gone(replica.rates)
            replica.counters.ejections_gone += replica.outlier.ejections_total
            replica.fact = None
            replica.probe_failures = replica.connect_failures = 0
            replica.pool.close()
            self._prober.look_again(self, replica)
        for key, fact in listed.items():
            known = self.replicas.get(key)
            if known is None and local is not None:
                seconds = self.compiled.timeouts.connect_seconds
                known = Replica(
                    fact, local.port, seconds, self.counters("local"), self.problems["local"], self.pool.rates,
                    self._reads, self._outbound,
                )  # fmt: skip
                known.keys.renew(self._key_lines)
                self.replicas[key] = known
            elif known is not None:
                self._take_fact(known, fact)
            if known is not None:
                self._prober.look_again(self, known)
        self.replicas_changed()

    def _take_keys(self, keys: tuple[str, ...]) -> None:
        """The engine's keys, which no word about a replica's problems may hold."""
        lines = key_lines(keys)
        if lines == self._key_lines:
            return
        self._key_lines = lines
        self.problems["local"].hide(keys)
        for replica in self.replicas.values():
            replica.keys.renew(lines)

    def _take_fact(self, replica: Replica, fact: EndpointFact) -> None:
        before = replica.fact
        replica.fact = fact
        if before is not None and before.ready and not fact.ready:
            self._prober.forget(replica)

    def replicas_changed(self) -> None:
        """Work out who can serve; if somebody can, those who wait go."""
        self.pool.take_replicas(
            [replica for replica in self.replicas.values() if replica.usable], self.clock.monotonic()
        )

    def close(self) -> None:
        """The route is gone: those who wait are told, those who are served are served to their end."""
        self.set_endpoints(())
        self.pool.has_local = self.pool.may_wake = False
        self.pool.may_not_wake(self.clock.monotonic())
        for hosted in self.pool.hosted:
            hosted.pool.close()

    def _no_problems(self, backend: str, *secrets: str) -> BackendProblems:
        return BackendProblems(
            self.key, backend, tuple(secret for secret in secrets if secret), self.demand_changed, self.clock
        )

    def _problems_of(self, backend: HostedBackend) -> BackendProblems:
        """Those of before while it is asked in the same way: what failed with another key or elsewhere says nothing."""
        name = f"hosted/{backend.name}"
        for hosted in self.pool.hosted:
            if hosted.served_by == name and _asked_alike(hosted.backend, backend):
                return hosted.problems
        return self._no_problems(name, backend.api_key or "")

    def _meter_of(self, backend: HostedBackend) -> HostedMeter:
        return self.meter.meter_of(backend, self.counters(f"hosted/{backend.name}"))

    # -- acting for the pool -----------------------------------------------------------------------------------

    def look_again_at(self, due: float) -> None:
        """Look at those who wait then."""
        self._release_timer = asyncio.get_running_loop().call_later(due - self.clock.monotonic(), self._look_again)

    def replica_is_lacking(self) -> None:
        """Whoever may become a replica is asked more often."""
        self._prober.hurry(self)

    def replica_broke(self, replica: Replica) -> None:
        """A connection to a replica failed: it gets nothing until its health check answers."""
        self._prober.broke(self, replica)
        self.replicas_changed()

    def demand_changed(self, *, urgent: bool = False) -> None:
        """Tell whoever publishes demand."""
        self._on_demand(self, urgent)

    def _look_again(self) -> None:
        self._release_timer = None
        self.pool.look_again(self.clock.monotonic())

    # -- requests ----------------------------------------------------------------------------------------------

    def arrived(self) -> None:
        """A request was let in."""
        self.last_arrival_unix_seconds = self.clock.unix()

    @property
    def is_spilling(self) -> bool:
        """Whether a request lately found no replica."""
        return self.pool.is_spilling(self.clock.monotonic())

    @property
    def held(self) -> int:
        """Requests that wait for a replica."""
        return len(self.pool.queue)

    @property
    def usable_replicas(self) -> Sequence[Replica]:
        """Replicas that can be asked."""
        return self.pool.replicas

    # -- counting ----------------------------------------------------------------------------------------------

    def counters(self, backend: str) -> BackendCounters:
        """Counters of a backend, ``local`` or ``hosted/<name>``."""
        counters = self.backends.get(backend)
        if counters is None:
            counters = self.backends[backend] = BackendCounters()
        return counters

    @property
    def in_flight_local(self) -> int:
        """Requests at replicas now."""
        return sum(replica.in_flight for replica in self.replicas.values())

    def demand(self) -> RouteDemand:
        """What the operator needs to know."""
        backends = {
            name: _backend_demand(counters, self.problems.get(name)) for name, counters in self.backends.items()
        }
        return route_demand(
            self.key, self.compiled.uid, self.pool, self.tally, self.backends, self.clock.monotonic(),
            in_flight_local=self.in_flight_local, last_arrival_unix_seconds=self.last_arrival_unix_seconds,
            backends=backends, budget=self.meter.budget.demand(),
        )  # fmt: skip

    def describe_pool(self) -> str:
        """The state of the replicas, in words for an error message."""
        total = len(self.replicas)
        if not self.pool.has_local:
            return "the route has no engine of its own and no hosted API is usable"
        if not self.pool.may_wake:
            if self.compiled.local is not None and self.compiled.local.refused:
                return "its engine can't be made; the route's status says why"
            return "its scaling (a window, or a number of 0) keeps the engine at zero"
        if not total:
            return "no replica has an address yet"
        going = sum(1 for replica in self.replicas.values() if replica.fact is not None and replica.fact.terminating)
        rest = total - going
        return f"{rest} replica(s) do not answer yet" + (f", {going} are going away" if going else "")


def _asked_alike(before: HostedBackend, after: HostedBackend) -> bool:
    return (before.base_url, before.api_key, before.model) == (after.base_url, after.api_key, after.model)


def _backend_demand(counters: BackendCounters, problems: BackendProblems | None) -> BackendDemand:
    return BackendDemand(
        served_total=counters.served,
        errors_total=counters.errors,
        cost_nano_usd_total=counters.cost_nano_usd,
        problem=problems.problem if problems is not None else None,
    )

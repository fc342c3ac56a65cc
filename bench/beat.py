"""What one look at all routes costs the leading operator, by itself and beside reading what it looks at.

    python -m bench.beat                        1,000 busy routes, two gateways
    python -m bench.beat --routes 300 --gateways 10

Every route has requests at replicas and at hosted APIs, histograms and gauges of three engines, said by each gateway
once a second, as its lines are on the wire. CPU is that of this process; one JSON line last.
"""

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from overspill_api.demand import (
    FIRST_TOKEN_BOUNDS,
    INTER_TOKEN_BOUNDS,
    EngineDemand,
    GatewayDemand,
    HistogramDemand,
    RouteDemand,
    WorkDemand,
    bound_name,
)
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.app.objects import Routes
from overspill_operator.app.scaler import Scaler
from overspill_operator.clock import SystemClock
from overspill_operator.core.demand.demand_lines import read_line
from overspill_operator.core.demand.traffic import GatewayView
from overspill_operator.core.objects import Metadata, RouteObject
from overspill_operator.ports import Replicas

LINES = 12
"""Seconds of traffic before it is measured: work is known once ten seconds were seen."""


class Engines:
    """Three replicas of each route, all ready."""

    are_known = True

    def replicas(self, _route: RouteObject) -> Replicas | None:
        """See ``ports.Engines``."""
        return Replicas(3, ready=3, ready_since_unix=1.0)

    async def set_replicas(self, _route: RouteObject, _number: int) -> None:
        """See ``ports.Engines``."""


class Silence:
    """Nobody is told."""

    def record(self, kind: str, meta: Metadata, *, warning: bool, reason: str, note: str, action: str) -> None:
        """See ``ports.Events``."""


class Clock(SystemClock):
    """The system's, but that who gives way goes on at once, and that the bench moves the time."""

    ahead = 0.0

    def unix(self) -> float:
        """See ``clock.Clock``."""
        return time.time() + self.ahead

    async def sleep(self, seconds: float) -> None:
        """See ``clock.Clock``."""
        await asyncio.sleep(0 if seconds < 1.0 else seconds)


class Bench:
    """An operator's scaling, as far as looking goes."""

    def __init__(self, routes: int, gateways: int) -> None:
        self.clock = Clock()
        self.keys = [f"ns/route-{number}" for number in range(routes)]
        addresses = [f"g{number}:9090" for number in range(gateways)]
        self.streams = GatewayStreams(self.clock, lambda _keys, _at: None, lambda: None, fixed=addresses)
        self.routes = Routes(lambda _key: None)
        self.scaler = Scaler(Engines(), self.clock, self.routes, self.streams, Silence(), lambda _key: None)
        hosted = [{"name": "api", "baseURL": "https://api.example/v1", "model": "m"}]
        for key in self.keys:
            name = key.partition("/")[2]
            meta = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "generation": 1}
            engine = {"source": "hf://a/b", "profile": "cpu"}
            scaling = {"maxReplicas": 8, "minReplicas": 1, "targets": {"concurrency": 8}}
            spec = {"selfHosted": engine, "hosted": hosted, "scaling": scaling}
            self.routes.put({"metadata": meta, "spec": spec, "status": {"desiredReplicas": 3}})
            route = self.routes.get(key)
            assert route is not None
            assert route.spec is not None, route.spec_errors
            self.scaler.accept(route, None)

    def line(self, address: str, second: int, *, busy: bool) -> bytes:
        """A second of a gateway."""
        now = self.clock.unix()
        said = tuple(_route(key, second, now, busy=busy) for key in self.keys)
        demand = GatewayDemand(
            gateway=address, now_unix_seconds=now, version=2, uptime_seconds=1.0 + second, routes=said, refused=()
        )
        return demand.model_dump_json(exclude_defaults=True).encode()

    def hear(self, content: bytes, address: str) -> None:
        """What comes of a line."""
        now = self.clock.unix()
        view = self.streams.views.setdefault(address, GatewayView(now, now))
        heard = view.take(read_line(content, now), now)
        for growth in heard.growth:
            self.streams.work.heard(growth, now)
        for key in heard.keys:
            self.scaler.heard(key, self.clock.monotonic())

    async def beat(self) -> float:
        """CPU seconds of one beat."""
        began = time.process_time()
        running = asyncio.create_task(self.scaler.run())
        await asyncio.sleep(0)
        while self.scaler.waiting:  # noqa: ASYNC110 - it spins, so that all that is measured is the beat
            await asyncio.sleep(0)
        spent = time.process_time() - began
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return spent


def _route(key: str, second: int, now: float, *, busy: bool) -> RouteDemand:
    name = key.partition("/")[2]
    count = 4 * (second + 1)
    first = {bound_name(bound): count for bound in FIRST_TOKEN_BOUNDS[5:12]}
    between = {bound_name(bound): count for bound in INTER_TOKEN_BOUNDS[5:12]}
    work = WorkDemand(
        answers_total=7 * count, prompt_tokens_total=9000 * count, output_tokens_total=900 * count,
        request_seconds_total=20.0 * count,
        first_token=HistogramDemand(counts=first, seconds_sum=1.5 * count),
        first_token_since_sent=HistogramDemand(counts=first, seconds_sum=1.2 * count),
        inter_token=HistogramDemand(counts=between, seconds_sum=0.2 * count),
    )  # fmt: skip
    engines = tuple(
        EngineDemand(served_by=f"local/{name}-{pod}", running=6, waiting=1, kv_cache_usage=0.4, age_seconds=0.5)
        for pod in range(3)
    )
    return RouteDemand(
        route=key, uid=f"uid-{name}", in_flight_local=10 if busy else 0, in_flight_spilled=2 if busy else 0,
        last_arrival_unix_seconds=now, arrivals_total=14 * count, work={"local": work, "hosted": work}, engines=engines,
    )  # fmt: skip


async def measure(routes: int, gateways: int) -> dict[str, Any]:
    """Costs by kind, in CPU seconds."""
    bench = Bench(routes, gateways)
    addresses = [f"g{number}:9090" for number in range(gateways)]
    reading = 0.0
    for second in range(LINES):
        lines = [(address, bench.line(address, second, busy=True)) for address in addresses]
        bench.clock.ahead += 1.0
        began = time.process_time()
        for address, content in lines:
            bench.hear(content, address)
        reading += time.process_time() - began
        if second < LINES - 1:
            await bench.beat()
    assert bench.scaler.waiting == routes
    busy = await bench.beat()
    idle = await bench.beat()
    bytes_a_line = len(bench.line(addresses[0], LINES, busy=True))
    return {
        "routes": routes,
        "gateways": gateways,
        "busy_beat_cpu_seconds": round(busy, 4),
        "idle_beat_cpu_seconds": round(idle, 6),
        "reading_cpu_seconds_per_gateway_second": round(reading / LINES / gateways, 4),
        "line_bytes": bytes_a_line,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="One look at all routes.")
    parser.add_argument("--routes", type=int, default=1000, help="busy routes (default: 1000)")
    parser.add_argument("--gateways", type=int, default=2, help="gateways that speak of each (default: 2)")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.routes, options.gateways))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A real Prometheus scrapes real gateways, and scaling goes by what it has: as by the streams, and not without it."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from overspill_gateway.backends import scrapes
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.adapters.prometheus_demand import PrometheusDemand, connect
from overspill_operator.app.objects import Routes
from overspill_operator.app.scaler import Scaler
from overspill_operator.clock import SystemClock
from overspill_operator.core.demand.traffic import Coverage, Demand, demand_of, engines_of
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import DemandSource, Replicas
from prometheus_server import prometheus
from unit.gateway import backends
from unit.gateway.backends import backend, streams
from unit.gateway.harness import eventually, running_gateway
from unit.operator_.fakes import FakeEngines, FakeEvents

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

KEY = "ns/tiny"
UID = "uid-tiny"
LABELS = {"namespace": "release"}
SPEC: dict[str, Any] = {
    "selfHosted": {"source": "hf://a/b", "profile": "cpu"},
    "scaling": {"minReplicas": 1, "maxReplicas": 4, "targets": {"concurrency": 50, "queueDepth": 4}},
}


class Side:
    """A scaler that goes by one source."""

    def __init__(self, clock: SystemClock, source: DemandSource) -> None:
        self.clock, self.source, self.engines = clock, source, FakeEngines()
        routes = Routes(lambda _key: None)
        self.scaler = Scaler(self.engines, clock, routes, source, FakeEvents(), lambda _key: None)
        meta = {"namespace": "ns", "name": "tiny", "uid": UID, "generation": 1}
        routes.put({"metadata": meta, "spec": SPEC, "status": {}})
        route = routes.get(KEY)
        assert route is not None
        self.route: RouteObject = route
        self.engines.live[UID] = Replicas(1, ready=1, ready_since_unix=clock.unix())
        self.scaler.accept(route, None)

    @property
    def demand(self) -> Demand:
        """What it sees."""
        now = self.clock.unix()
        return demand_of(KEY, self.source.views.values(), self.source.unheard(now), now, UID)

    @property
    def waiting(self) -> list[int]:
        """What it knows of queues inside engines."""
        views = self.source.views.values()
        return [reading.waiting for reading in engines_of(KEY, views, self.clock.unix(), UID).readings]

    def sees_both_and_their_queue(self) -> bool:
        """The requests of both gateways, and the one engine's queue."""
        return self.demand.in_flight == 2 and self.waiting == [12]

    def decisions(self) -> list[tuple[int, int, str, str]]:
        """After a look."""
        self.scaler.evaluate(KEY)
        return [(d["from"], d["to"], d["reason"], d["message"]) for d in self.scaler.decisions(self.route)]


async def test_scaling_by_prometheus_is_scaling_by_the_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gateways, requests that wait inside an engine: the same demand, the same decision; then Prometheus ends."""
    monkeypatch.setattr(scrapes, "EVERY_SECONDS", 0.02)
    monkeypatch.setattr(backends, "METRICS", backends.METRICS.replace(b" 0.0", b" 12.0", 2))  # running and waiting
    clock, gate = SystemClock(), asyncio.Event()
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(running_gateway()) for _ in range(2)]
        engine = await stack.enter_async_context(backend(streams(gate=gate)))
        for gateway in gateways:
            gateway.route(uid=UID)
            gateway.endpoints(engine.fact())
        addresses = [f"127.0.0.1:{gateway.gateway.admin_port}" for gateway in gateways]
        server = stack.enter_context(ExitStack())
        started = asyncio.to_thread(
            server.enter_context, prometheus(tmp_path, addresses, "/metrics/demand", LABELS)
        )  # fmt: skip
        url = await started
        told = GatewayStreams(clock, lambda _keys, _at: None, lambda: None, fixed=addresses)
        scraped = PrometheusDemand(
            connect(url, clock), clock, matchers='namespace="release"', expected=lambda: len(addresses),
            on_demand=lambda _keys, _at: None, on_coverage=lambda: None,
        )  # fmt: skip
        running = [asyncio.create_task(told.run()), asyncio.create_task(scraped.run())]
        by_stream, by_prometheus = Side(clock, told), Side(clock, scraped)
        try:
            clients = [await gateway.client() for gateway in gateways]
            for gateway, client in zip(gateways, clients, strict=True):
                gateway.send(client, stream=True)
            for side in (by_stream, by_prometheus):
                await eventually(side.sees_both_and_their_queue, 30.0)
            await eventually(lambda: scraped.reported is Coverage.COMPLETE, 30.0)
            assert by_prometheus.decisions() == by_stream.decisions()
            assert by_prometheus.decisions()[0][:3] == (1, 2, "QueueDepth")
            gate.set()
            for client in clients:
                await client.answer()
            await eventually(lambda: by_prometheus.demand.in_flight == by_stream.demand.in_flight == 0, 30.0)
            for figure in ("last_arrival_unix", "coverage", "wants_replica", "spilled", "held"):
                assert getattr(by_prometheus.demand, figure) == pytest.approx(
                    getattr(by_stream.demand, figure), abs=0.5
                )

            await asyncio.to_thread(server.close)
            await eventually(lambda: bool(scraped.trouble), 30.0)
            assert "Prometheus does not answer" in scraped.trouble
            assert by_prometheus.decisions()[0][:2] == (1, 2)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for side in (by_stream, by_prometheus):
                side.scaler.forget(KEY)

"""Both sides of contract 2, with sockets between them: what a gateway sees is what the operator scales by."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from overspill_gateway.admin import demand
from overspill_gateway.backends import scrapes
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.app.objects import Routes
from overspill_operator.app.scaler import Scaler
from overspill_operator.clock import SystemClock
from overspill_operator.core.demand.traffic import demand_of, engines_of
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import Replicas
from unit.gateway import backends
from unit.gateway.backends import backend, streams
from unit.gateway.harness import GatewayUnderTest, eventually, running_gateway
from unit.operator_.fakes import FakeEngines, FakeEvents

pytestmark = pytest.mark.interpreted  # it changes constants

KEY = "ns/tiny"
UID = "uid-tiny"
SPEC = {
    "selfHosted": {"source": "hf://a/b", "profile": "cpu"},
    "scaling": {"minReplicas": 1, "maxReplicas": 4, "targets": {"concurrency": 50, "queueDepth": 4}},
}


class Operator:
    """As much of one as listens to a gateway and scales a route."""

    def __init__(self, address: str) -> None:
        self.clock, self.engines = SystemClock(), FakeEngines()
        self.routes = Routes(lambda _key: None)
        self.gateways = GatewayStreams(self.clock, self._heard, lambda: None, fixed=[address])
        self.scaler = Scaler(
            self.engines, self.clock, self.routes, self.gateways, FakeEvents(), lambda _key: None
        )  # fmt: skip
        meta = {"namespace": "ns", "name": "tiny", "uid": UID, "generation": 1}
        self.routes.put({"metadata": meta, "spec": SPEC, "status": {}})
        self.engines.live[UID] = Replicas(1, ready=1, ready_since_unix=self.clock.unix())
        self.scaler.accept(self.route, None)

    @property
    def route(self) -> RouteObject:
        """The one that there is."""
        route = self.routes.get(KEY)
        assert route is not None
        return route

    def _heard(self, keys: list[str], _received: float) -> None:
        for key in keys:
            self.scaler.evaluate(key)


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GatewayUnderTest]:
    """One whose seconds are short."""
    monkeypatch.setattr(scrapes, "EVERY_SECONDS", 0.02)
    monkeypatch.setattr(scrapes, "ENGINE_SHARE", 1.0)
    monkeypatch.setattr(demand, "COALESCE_SECONDS", 0.02)
    async with running_gateway() as running:
        yield running


@pytest.fixture
async def operator(gateway: GatewayUnderTest) -> AsyncIterator[Operator]:
    """One that listens to it."""
    made = Operator(f"127.0.0.1:{gateway.gateway.admin_port}")
    task = asyncio.create_task(made.gateways.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    made.scaler.forget(KEY)


async def test_a_queue_inside_an_engine_makes_another_replica(
    gateway: GatewayUnderTest, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway reads it, tells of it, and the operator decides by it: nobody else asks the engine."""
    monkeypatch.setattr(backends, "METRICS", backends.METRICS.replace(b" 0.0", b" 12.0", 2))  # running and waiting
    gate = asyncio.Event()
    async with backend(streams(gate=gate)) as engine:
        gateway.route(uid=UID)
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        gateway.send(client, stream=True)
        await eventually(lambda: operator.engines.written == [2])
        gate.set()
        await client.answer()

    (reading,) = engines_of(KEY, operator.gateways.views.values(), operator.clock.unix(), UID).readings
    assert (reading.served_by, reading.running, reading.waiting) == ("local/tiny-0", 12, 12)
    assert operator.scaler.decisions(operator.route)[0]["reason"] == "QueueDepth"


async def test_what_a_gateway_counts_the_operator_knows(gateway: GatewayUnderTest, operator: Operator) -> None:
    """Request by request; what it counted before it was heard as well, since it is young."""
    async with backend(streams(usage=True)) as engine:
        gateway.route(uid=UID)
        gateway.endpoints(engine.fact())
        for _ in range(3):
            await gateway.post(stream=True)

        def arrivals() -> float | None:
            seen = operator.gateways.work.of(KEY, UID, operator.clock.unix() + 20.0)
            return None if seen is None else seen.work.local.inter_token.count

        await eventually(lambda: arrivals() == 3)

    seen = operator.gateways.work.of(KEY, UID, operator.clock.unix() + 20.0)
    assert seen is not None
    assert (seen.work.arrivals, seen.work.local.answers, seen.work.local.first_token.count) == (3, 3, 3)
    assert seen.work.local.first_token.seconds_sum >= seen.work.local.first_token_since_sent.seconds_sum > 0
    assert demand_of(KEY, operator.gateways.views.values(), 0, operator.clock.unix(), UID).concurrency == 0

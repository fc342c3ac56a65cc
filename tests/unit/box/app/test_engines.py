"""Engines of one machine as the operator's parts see them: how long they took to start, and which find no room."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from overspill_api.compiled import CompiledConsumer, CompiledRoute
from overspill_api.demand import RefusedDocument
from overspill_box.app.engine_loop import LONG_WAIT_SECONDS
from overspill_box.app.engines import LocalEngines
from overspill_box.app.secrets import Secrets
from overspill_box.app.source import BoxSource
from overspill_box.core.local_engine import Machine
from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.scaling.load_times import Start
from overspill_operator.ports import Outcome
from unit.box.app.doubles import ROUTE, PlayedHttp, PlayedProcesses, PlayedTraffic, engine
from unit.operator_.core.builders import route
from unit.operator_.virtual_clock import VirtualClock


class Nobody:
    """A gateway that takes what it is told."""

    def set_route(self, compiled: CompiledRoute) -> None:
        """See ``Sink``."""

    def remove_route(self, key: str) -> None:
        """See ``Sink``."""

    def set_consumer(self, compiled: CompiledConsumer) -> None:
        """See ``Sink``."""

    def remove_consumer(self, key: str) -> None:
        """See ``Sink``."""

    def set_slice(self, service: tuple[str, str], name: str, facts: tuple[EndpointFact, ...]) -> None:
        """See ``Sink``."""

    def set_pepper(self, pepper: bytes) -> None:
        """See ``Sink``."""

    def set_refused(self, documents: tuple[RefusedDocument, ...]) -> None:
        """See ``Sink``."""


class Rig:
    """Engines among doubles, on a machine with memory for one."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.http, self.traffic = PlayedHttp(), PlayedTraffic()
        self.starts: list[tuple[str, Start]] = []
        self.hindrance = ""
        processes = PlayedProcesses(clock)
        self.engines = LocalEngines(
            processes=processes,
            http=self.http,
            traffic=self.traffic,
            source=BoxSource(Nobody()),
            secrets=Secrets(None),
            machine=lambda: Machine(vllm=None, memory_bytes=10),
            profiles=dict,
            key_of=lambda _route: "k",
            least=lambda _route: 0,
            on_change=lambda _route: None,
            on_start=lambda key, start: self.starts.append((key, start)),
            free_port=lambda: 8001,
            hindrance=lambda _engine: self.hindrance,
            clock=clock,
        )
        self.engines.desired = lambda _route: 2
        processes.tell = self.engines.loop.poke

    async def want(self) -> RouteObject:
        """The route wants two replicas."""
        subject = route("selfHosted: {source: hf://a/b, profile: cpu}", namespace="default", name="a")
        await self.engines.make(subject, replace(engine(), replicas_max=2), Outcome())
        return subject


@pytest.fixture
def clock() -> VirtualClock:
    """The clock of what is tested."""
    return VirtualClock()


@pytest.fixture
async def rig(clock: VirtualClock) -> AsyncIterator[Rig]:
    """Engines whose loop runs."""
    made = Rig(clock)
    task = asyncio.create_task(made.engines.loop.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.engines.loop.close()


async def test_a_start_has_its_phases(rig: Rig) -> None:
    """What it waited for, its process, and until it could serve."""
    rig.traffic.waiting.add(ROUTE)
    rig.hindrance = "its environment is being made"
    asked = rig.clock.unix()
    await rig.want()
    await rig.clock.until(lambda: rig.engines.told(ROUTE)[0])
    rig.clock.advance(7.0)
    rig.hindrance = ""
    rig.engines.loop.poke()
    began = rig.clock.unix()
    await rig.clock.until(lambda: rig.clock.unix() > began + 3.0)
    rig.http.healthy = True
    await rig.clock.until(lambda: rig.starts)

    [(key, start)] = rig.starts
    assert (key, start.replica) == (ROUTE, "default/a#0")
    assert [phase.name for phase in start.phases] == ["scheduled", "process", "weights and engine start"]
    scheduled, process, loading = (phase.seconds for phase in start.phases)
    assert scheduled == pytest.approx(began - asked, abs=0.5)
    assert scheduled >= 7.0
    assert process < 0.5
    assert 3.0 <= loading < 5.0


async def test_a_replica_that_waits_for_room_for_long_finds_none(rig: Rig) -> None:
    """For its turn everyone waits now and then; what waits longer is no capacity to come."""
    rig.traffic.waiting.add(ROUTE)
    rig.http.healthy = True
    await rig.want()
    await rig.clock.until(lambda: rig.engines.told(ROUTE)[0])
    assert rig.engines.unschedulable(ROUTE) == 0
    rig.clock.advance(LONG_WAIT_SECONDS)
    assert rig.engines.unschedulable(ROUTE) == 1
    assert rig.engines.unschedulable("default/other") == 0

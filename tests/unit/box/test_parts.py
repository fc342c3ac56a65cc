"""From files to what the gateway gets, what runs and what status says: all parts together, among doubles."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from overspill_api.compiled import CompiledConsumer, CompiledRoute
from overspill_api.demand import RefusedDocument
from overspill_api.profile import LocalRun, Profile
from overspill_box.app.source import BoxSource
from overspill_box.core.local_engine import Machine
from overspill_box.core.written_files import merged, read_file
from overspill_box.parts import Parts
from overspill_gateway.core.backends.rotation import EndpointFact
from unit.box.app.doubles import FIRST, ROUTE, PlayedHttp, PlayedProcesses, PlayedTraffic
from unit.operator_.virtual_clock import VirtualClock

HEAD = "---\napiVersion: overspill.dev/v1alpha1\nkind: ModelRoute\nmetadata: {name: %s}\nspec:\n"
ENGINE = "  selfHosted: {source: 'hf://o/m', profile: one}\n  scaling: {minReplicas: %d, maxReplicas: 1}\n"
HOSTED = "  hosted: [{name: api, baseURL: 'https://x.test/v1', model: m, credentials: {secretName: s, key: k}}]\n"
CONSUMER = "---\napiVersion: overspill.dev/v1alpha1\nkind: Consumer\nmetadata: {name: me}\nspec: {keys: []}\n"


class Seen:
    """What the gateway has been given."""

    def __init__(self) -> None:
        self.routes: dict[str, CompiledRoute] = {}
        self.consumers: dict[str, CompiledConsumer] = {}
        self.endpoints: dict[tuple[str, str], tuple[EndpointFact, ...]] = {}

    def set_route(self, compiled: CompiledRoute) -> None:
        """See ``Sink``."""
        self.routes[compiled.key] = compiled

    def remove_route(self, key: str) -> None:
        """See ``Sink``."""
        del self.routes[key]

    def set_consumer(self, compiled: CompiledConsumer) -> None:
        """See ``Sink``."""
        self.consumers[f"{compiled.namespace}/{compiled.name}"] = compiled

    def remove_consumer(self, key: str) -> None:
        """See ``Sink``."""
        del self.consumers[key]

    def set_slice(self, service: tuple[str, str], name: str, facts: tuple[EndpointFact, ...]) -> None:  # noqa: ARG002
        """See ``Sink``."""
        self.endpoints[service] = facts

    def set_pepper(self, pepper: bytes) -> None:
        """See ``Sink``."""

    def set_refused(self, documents: tuple[RefusedDocument, ...]) -> None:
        """See ``Sink``."""


class World:
    """All parts but the gateway."""

    def __init__(self, clock: VirtualClock, folder: Path) -> None:
        self.clock = clock
        self.gateway = Seen()
        self.processes = PlayedProcesses(clock)
        self.http = PlayedHttp()
        self.traffic = PlayedTraffic()
        self.profiles = {"one": Profile(local=LocalRun(command=["serve", "{port}", "{api_key}"]))}
        self.parts = Parts(
            source=BoxSource(self.gateway),
            traffic=self.traffic,
            processes=self.processes,
            http=self.http,
            machine=lambda: Machine(None, "it is not installed"),
            hindrance=lambda _engine: "",
            profiles=lambda: self.profiles,
            key_of=lambda route: f"key of {route}",
            free_port=lambda: 8001,
            secrets_folder=folder,
            kept={},
            statuses={},
            admin_address="127.0.0.1:9090",
            url="http://127.0.0.1:8080/v1",
            about={"pid": 1},
            clock=clock,
        )
        self.processes.tell = self.parts.engines.loop.poke
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, text: str) -> None:
        """Begin with what a file holds."""
        self.take(text)
        await self.parts.begin()
        self._tasks = [
            asyncio.create_task(loop) if name != "gateways" else asyncio.create_task(_closed(loop))
            for name, loop in self.parts.loops()
        ]

    def take(self, text: str) -> None:
        """Files hold this now, one object each."""
        files = {str(number): read_file("f.yaml", part) for number, part in enumerate(text.split("---\n"))}
        assert [file.mistakes for file in files.values() if file.mistakes] == []
        self.parts.take(merged(files))

    def condition(self, kind: str, route: str = ROUTE) -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        status = self.parts.objects.statuses.get(f"ModelRoute {route}") or {}
        found = next((c for c in status.get("conditions") or () if c["type"] == kind), None)
        return (found["status"], found["reason"], found["message"]) if found else ("", "", "")

    async def until(self, kind: str, reason: str, route: str = ROUTE) -> str:
        """Wait for a condition's reason; its message."""
        await self.clock.until(lambda: self.condition(kind, route)[1] == reason)
        return self.condition(kind, route)[2]

    async def end(self) -> None:
        """Whatever runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.parts.engines.loop.close()


async def _closed(loop: Any) -> None:
    loop.close()  # nobody streams demand here


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One that has not begun."""
    made = World(VirtualClock(), tmp_path)
    yield made
    await made.end()


def engine(name: str = "a", least: int = 0, more: str = "") -> str:
    """A route with an engine."""
    return HEAD % name + ENGINE % least + more


async def test_a_route_is_served_and_its_engine_waits_for_requests(world: World) -> None:
    """The gateway has its document before it listens; nothing runs that nobody has asked for."""
    await world.begin(engine() + CONSUMER)

    document = world.gateway.routes[ROUTE]
    assert document.local is not None
    assert document.local.api_keys == (f"key of {ROUTE}",)
    assert document.local.may_wake
    assert list(world.gateway.consumers) == ["default/me"]
    assert world.condition("Ready")[:2] == ("True", "ScaledToZero")
    assert world.processes.started == []


async def test_an_engine_that_is_kept_is_started_with_its_key(world: World) -> None:
    """``minReplicas``: it is an endpoint, and ready when it says so."""
    await world.begin(engine(least=1))
    await world.clock.until(lambda: world.processes.started)
    assert world.processes.started[0].command == ("serve", "8001", f"key of {ROUTE}")
    assert world.gateway.endpoints["default", "a-engine"][0].port == 8001

    world.http.healthy = True

    assert await world.until("EngineAvailable", "ReplicasReady") == "1 of 1 replica ready."


async def test_a_pause_keeps_what_there_is(world: World) -> None:
    """As in a cluster: an engine that runs goes on, though nobody asks and its least is none."""
    await world.begin(engine(least=1))
    world.http.healthy = True
    await world.until("EngineAvailable", "ReplicasReady")

    world.take(engine().replace("minReplicas: 0", "minReplicas: 0, idleAfter: 1s, paused: true"))
    await world.until("ScalingActive", "Paused")
    world.clock.advance(600.0)
    for _ in range(20):
        await asyncio.sleep(0)

    assert world.condition("EngineAvailable")[1] == "ReplicasReady"
    assert len(world.processes.started) == 1


async def test_a_pause_at_zero_wakes_nobody(world: World) -> None:
    """The gateway is told that it need not hold requests, and status that none is answered."""
    await world.begin(engine().replace("minReplicas: 0", "minReplicas: 0, paused: true"))

    document = world.gateway.routes[ROUTE]
    assert document.local is not None
    assert not document.local.may_wake
    assert world.condition("Ready")[:2] == ("False", "ScaledToZero")
    assert "spec.scaling.paused" in world.condition("Ready")[2]


async def test_an_engine_that_fails_is_told_in_status(world: World) -> None:
    """In a sentence, as the log has it; the next try is told of once it has come off."""
    await world.begin(engine(least=1))
    await world.clock.until(lambda: world.processes.facts)

    world.processes.end(FIRST, words=("no such model",))

    assert "no such model" in await world.until("EngineAvailable", "PodFailed")
    world.http.healthy = True
    await world.until("EngineAvailable", "ReplicasReady")


async def test_a_clock_that_is_set_back_keeps_no_engine_from_its_room(world: World) -> None:
    """One that failed is started again after its pause, not when the clock has come round; one that loads goes on."""
    await world.begin(engine(least=1))
    await world.clock.until(lambda: world.processes.facts)
    world.processes.end(FIRST, words=("no such model",))
    await world.until("EngineAvailable", "PodFailed")

    world.clock.set_by(-3600.0)
    began = world.clock.monotonic()
    await world.clock.until(lambda: len(world.processes.started) == 2)
    assert world.clock.monotonic() - began < 10.0

    world.clock.set_by(86400.0)  # longer than startupTimeout
    world.http.healthy = True
    await world.until("EngineAvailable", "ReplicasReady")
    assert len(world.processes.started) == 2
    [shown] = world.parts.page.content()["routes"][0]["engines"]
    assert shown["seconds"] < 10.0


async def test_a_hosted_api_serves_once_its_key_is_there(world: World, tmp_path: Path) -> None:
    """A file of the folder with Secrets; what is missing is said with the place where it is looked for."""
    await world.begin(HEAD % "a" + HOSTED)
    message = await world.until("HostedAvailable", "CredentialsMissing")
    assert f"{tmp_path}/s/k" in message

    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "k").write_text("secret\n")

    await world.clock.until(lambda: world.gateway.routes[ROUTE].hosted)
    assert world.gateway.routes[ROUTE].hosted[0].api_key == "secret"


async def test_a_secret_of_a_file_is_taken_over_when_it_changes(world: World) -> None:
    """A document of kind Secret beside the route."""
    secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: %s}\n"
    await world.begin(HEAD % "a" + HOSTED + secret % "old")
    assert world.gateway.routes[ROUTE].hosted[0].api_key == "old"

    world.take(HEAD % "a" + HOSTED + secret % "new")

    await world.clock.until(lambda: world.gateway.routes[ROUTE].hosted[0].api_key == "new")


async def test_a_spec_with_a_fault_leaves_the_one_before_in_force(world: World) -> None:
    """Such as a profile that there is none of: requests are served as before, and status says what to mend."""
    await world.begin(engine())
    before = world.gateway.routes[ROUTE]

    world.take(engine(more="  aliases: [b]\n").replace("profile: one", "profile: two"))

    assert "there is no profile 'two'" in await world.until("Ready", "ProfileNotFound")
    assert world.gateway.routes[ROUTE] == before


async def test_the_older_route_keeps_its_name(world: World) -> None:
    """A file that came later can't take it away; once the older one is gone, the name is free."""
    await world.begin(engine("a", more="  model: m\n"))
    world.clock.advance(5)

    world.take(engine("a", more="  model: m\n") + engine("b", more="  model: m\n"))
    assert "belongs to the older ModelRoute default/a" in await world.until("Ready", "ModelNameConflict", "default/b")
    assert "default/b" not in world.gateway.routes

    world.take(engine("b", more="  model: m\n"))
    await world.clock.until(lambda: list(world.gateway.routes) == ["default/b"])


async def test_a_route_that_is_gone_takes_its_engine_along(world: World) -> None:
    """And its consumers go with their files."""
    await world.begin(engine(least=1) + engine("b") + CONSUMER)
    world.http.healthy = True
    await world.until("EngineAvailable", "ReplicasReady")

    world.take(engine("b"))

    await world.clock.until(lambda: world.processes.stopped == [FIRST])
    assert list(world.gateway.routes) == ["default/b"]
    assert world.gateway.consumers == {}
    assert world.parts.page.content()["routes"][0]["route"] == "default/b"


async def test_one_without_vllm_is_told_so(world: World) -> None:
    """A profile without a command of its own needs it."""
    world.profiles["one"] = Profile()

    await world.begin(engine())

    assert "vLLM is not on this machine: it is not installed" in await world.until("Ready", "EngineRefused")


async def test_an_engine_that_was_left_running_counts(world: World) -> None:
    """As many replicas are wanted as run: nothing is ended because this process has only just begun."""
    await world.begin(engine(least=1))
    await world.clock.until(lambda: world.processes.started)
    left = world.processes.started[0].made_from
    other = World(world.clock, Path("/nowhere"))
    other.processes.leave(FIRST, 7001, left)
    other.http.healthy = True

    await other.begin(engine())
    await other.clock.until(lambda: other.gateway.endpoints.get(("default", "a-engine")))

    assert other.parts.page.content()["routes"][0]["wanted"] == 1
    assert other.processes.started == []
    await other.end()


async def test_the_page_is_what_is_so(world: World) -> None:
    """As JSON for programs, as a table for people."""
    await world.begin(engine() + CONSUMER)

    content = json.loads(world.parts.page.as_json()[1])
    table = world.parts.page.as_table()[1].decode().splitlines()

    assert content["pid"] == 1
    assert content["consumers"] == ["default/me"]
    assert content["routes"][0]["conditions"]
    assert table[1].split()[:7] == ["default/a", "a", "AtZero", "0", "0", "0", "-"]

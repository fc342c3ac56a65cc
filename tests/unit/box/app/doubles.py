"""Doubles of what engines are made of: processes that end when the test says so, and engines that answer so."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from overspill_box.app.engine_loop import EngineLoop
from overspill_box.app.replica import Replica, RouteEngine
from overspill_box.core.command_line import CommandLine
from overspill_box.core.local_engine import Claim, LocalEngine
from overspill_box.core.process import Ending, Listener, ProcessFact, ProcessSpec
from overspill_gateway.core.backends.rotation import EndpointFact
from unit.operator_.virtual_clock import VirtualClock

ROUTE = "default/a"
FIRST = "default/a#0"


class PlayedProcesses:
    """Processes that are facts alone."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._facts: dict[str, ProcessFact] = {}
        self.started: list[ProcessSpec] = []
        self.stopped: list[str] = []
        self.tell: Callable[[], None] = lambda: None
        """Told of each change."""

    @property
    def facts(self) -> Mapping[str, ProcessFact]:
        """See ``Processes``."""
        return self._facts

    async def adopt(self) -> None:
        """Those that the test has left."""

    async def start(self, spec: ProcessSpec) -> None:
        """It runs."""
        self.started.append(spec)
        self._facts[spec.name] = ProcessFact(spec.name, spec.port, spec.made_from, self._clock.unix(), pid=1)

    async def stop(self, name: str) -> None:
        """It has ended."""
        self.stopped.append(name)
        self._facts[name] = replace(self._facts[name], stopping=True)
        self.end(name, was_asked=True)

    def leave(self, name: str, port: int, made_from: str) -> None:
        """One that an earlier process has left running."""
        self._facts[name] = ProcessFact(name, port, made_from, self._clock.unix() - 100.0, pid=1)

    def end(self, name: str, *, was_asked: bool = False, code: int | None = 1, words: tuple[str, ...] = ()) -> None:
        """It ends."""
        ending = Ending(self._clock.unix(), code, was_asked=was_asked, last_words=words)
        self._facts[name] = replace(self._facts[name], ending=ending)
        self.tell()

    def log_of(self, name: str) -> Path:
        """See ``Processes``."""
        return Path("/logs") / name

    async def close(self, *, keep: bool) -> None:
        """Nothing is left."""


class PlayedHttp:
    """Engines by port."""

    def __init__(self) -> None:
        self.healthy = False
        self.asleep: set[int] = set()
        self.calls: list[str] = []
        self.problem = ""
        self.who = Listener.OURS

    def listener(self, port: int) -> Listener:  # noqa: ARG002 - the protocol's
        """As the test says."""
        return self.who

    async def is_healthy(self, port: int, path: str) -> bool:  # noqa: ARG002 - the protocol's
        """As the test says."""
        return self.healthy

    async def is_asleep(self, port: int, api_key: str | None) -> bool:  # noqa: ARG002 - the protocol's
        """After it was told to."""
        return port in self.asleep

    async def sleep(self, port: int, api_key: str | None) -> str:  # noqa: ARG002 - the protocol's
        """It does, unless the test says otherwise."""
        self.calls.append("sleep")
        self.asleep |= set() if self.problem else {port}
        return self.problem

    async def wake(self, port: int, api_key: str | None) -> str:  # noqa: ARG002 - the protocol's
        """It does, unless the test says otherwise."""
        self.calls.append("wake")
        self.asleep.discard(port)
        return self.problem


class PlayedTraffic:
    """Requests as the test says."""

    def __init__(self) -> None:
        self.busy: dict[str, int] = {}
        """By route."""
        self.waiting: set[str] = set()
        self.found: set[str] = set()
        """Routes whose replicas the gateway has found to answer."""
        self.answered = 0

    def in_flight(self, route: str, uid: str) -> int:  # noqa: ARG002 - the protocol's
        """See ``Traffic``."""
        return self.busy.get(route, 0)

    def answers(self, route: str, uid: str) -> bool:  # noqa: ARG002 - the protocol's
        """See ``Traffic``."""
        return route in self.found

    def served(self, route: str) -> int:  # noqa: ARG002 - the protocol's
        """See ``Traffic``."""
        return self.answered

    def waits(self, route: str) -> bool:
        """See ``Traffic``."""
        return route in self.waiting


class World:
    """A loop among doubles."""

    def __init__(self, clock: VirtualClock, memory_bytes: int | None = 10) -> None:
        self.clock = clock
        self.processes = PlayedProcesses(clock)
        self.http = PlayedHttp()
        self.traffic = PlayedTraffic()
        self.engines: dict[str, RouteEngine] = {}
        self.published: list[tuple[str, tuple[EndpointFact, ...]]] = []
        self.started: list[tuple[Replica, float, float]] = []
        """Replicas that could serve for the first time, when they were asked for, and when they could."""
        self.least = 0
        self.hindrance = ""
        self._port = 8000
        self.no_port = False
        self.loop = EngineLoop(
            engines=self.engines,
            processes=self.processes,
            http=self.http,
            traffic=self.traffic,
            memory_bytes=lambda: memory_bytes,
            least=lambda _route: self.least,
            free_port=self._free_port,
            publish=lambda route, facts: self.published.append((route, facts)),
            on_change=lambda _route: None,
            on_start=lambda replica, asked, now: self.started.append((replica, asked, now)),
            hindrance=lambda _engine: self.hindrance,
            clock=clock,
        )
        self.processes.tell = self.loop.poke

    def want(self, number: int, engine: LocalEngine, route: str = ROUTE) -> RouteEngine:
        """A route wants replicas of an engine."""
        known = self.engines.setdefault(route, RouteEngine())
        known.live, known.wanted = engine, number
        self.loop.poke()
        return known

    def endpoints(self, route: str = ROUTE) -> tuple[EndpointFact, ...]:
        """The route's endpoints as they were last published."""
        return next((facts for of, facts in reversed(self.published) if of == route), ())

    def stage(self, name: str = FIRST) -> str:
        """What a replica is doing; empty: there is none."""
        replica = self.loop.replicas.get(name)
        return replica.stage.value if replica is not None else ""

    def _free_port(self) -> int:
        if self.no_port:
            raise OSError("no port is free")
        self._port += 1
        return self._port


def engine(made_from: str = "one", *, memory: int = 6, can_sleep: bool = False, replicas_max: int = 1) -> LocalEngine:
    """What a replica is made of."""
    return LocalEngine(
        command_line=CommandLine(("serve", "\0")),  # where the port comes
        made_from=made_from,
        claim=Claim(memory, asleep_bytes=1, can_sleep=can_sleep),
        replicas_max=replicas_max,
        served_model="a",
        startup_timeout_seconds=60.0,
        drain_seconds=5.0,
    )

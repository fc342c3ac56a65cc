"""A machine with engines in virtual time, on which ``place`` decides: requests, loading, sleeping and ending take time.

Scaling is as simple as it can be: one replica (or as many as a route says) while somebody asks, and for a while after.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from overspill_box.core.local_engine import Claim
from overspill_box.core.placement import USUAL_TURNS, Act, Placement, place
from overspill_box.core.room import EngineFact, RouteNeed, Stage, fit
from overspill_box.core.yielding import Turns

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Model:
    """One route of the simulation."""

    key: str
    claim: Claim
    replicas: int = 1
    """How many are wanted while somebody asks."""
    least: int = 0
    load_seconds: float = 20.0
    wake_seconds: float = 1.0
    end_seconds: float = 3.0
    at_once: int = 8
    """Requests that one replica takes at the same time."""
    idle_after_seconds: float = 300.0


@dataclass(slots=True)
class Job:
    """One request."""

    route: str
    arrives: float
    seconds: float
    began: float | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to all engines of a route at once."""

    route: str
    at: float
    is_crash: bool
    """They are gone, and their requests wait again; else the route's engine is another one from now on."""


@dataclass(slots=True)
class Engine:
    """One engine of the simulation."""

    name: str
    model: Model
    stage: Stage
    since: float
    jobs: list[Job] = field(default_factory=list)
    last_used: float | None = None
    was_asleep: bool = False
    ready_since: float = 0.0
    is_current: bool = True

    def fact(self) -> EngineFact:
        """As placing sees it."""
        return EngineFact(
            name=self.name,
            route=self.model.key,
            stage=self.stage,
            since_unix=self.since,
            claim=self.model.claim,
            in_flight=len(self.jobs),
            last_used_unix=self.last_used,
            was_asleep=self.was_asleep,
            is_current=self.is_current,
        )


class Machine:
    """Engines, requests and the time."""

    def __init__(self, models: Sequence[Model], memory_bytes: int | None, turns: Turns = USUAL_TURNS) -> None:
        self.models: Mapping[str, Model] = {model.key: model for model in models}
        self.memory_bytes = memory_bytes
        self.turns = turns
        self.now = 1000.0
        self.engines: dict[str, Engine] = {}
        self.waiting: list[Job] = []
        self.done: list[Job] = []
        self.starts = 0
        """Engines started or woken."""
        self.story: list[str] = []
        self._asked: dict[str, float] = {}
        """When each route was last asked."""
        self._events: list[tuple[float, int, str, object]] = []
        self._looks: set[float] = set()
        self._number = 0

    def run(self, jobs: Sequence[Job], seconds: float, troubles: Sequence[Trouble] = ()) -> None:
        """Let time pass, with these requests coming, and these troubles."""
        for trouble in troubles:
            self._at(self.now + trouble.at, "happens", trouble)
        for job in jobs:
            self._at(self.now + job.arrives, "arrives", job)
        end = self.now + seconds
        self._settle()
        while self._events and self._events[0][0] <= end:
            self.now, _, what, whom = heappop(self._events)
            self._happens(what, whom)
            self._settle()
        self.now = end

    def needs(self) -> list[RouteNeed]:
        """What routes need."""
        return [self._need(model) for model in self.models.values()]

    def check(self) -> None:
        """What must hold at any time."""
        held = [engine.fact().held for engine in self.engines.values()]
        assert fit(held, self.memory_bytes), "\n".join(self.story)
        for engine in self.engines.values():
            if engine.stage in (Stage.STOPPING, Stage.ASLEEP, Stage.FALLING_ASLEEP):
                assert not engine.jobs, f"{engine.name} was stopped with requests"

    # -- steps ---------------------------------------------------------------------------------------------------

    def _need(self, model: Model) -> RouteNeed:
        waits = [job.arrives for job in self.waiting if job.route == model.key]
        is_asked = bool(waits) or any(engine.jobs for engine in self._of(model.key))
        if is_asked:
            self._asked[model.key] = self.now
            self._look_at(round(self.now + model.idle_after_seconds + 0.5))
        asked = self._asked.get(model.key)
        lately = asked is not None and self.now - asked < model.idle_after_seconds
        return RouteNeed(
            key=model.key,
            claim=model.claim,
            wanted=max(model.least, model.replicas if lately else 0),
            least=model.least,
            waiting_since_unix=min(waits, default=None),
        )

    def _of(self, route: str) -> Iterator[Engine]:
        return (engine for engine in self.engines.values() if engine.model.key == route)

    def _settle(self) -> None:
        """Send requests and carry out what is decided, until nothing more is to be done."""
        for _ in range(100):
            self._send()
            placement = place(
                self.needs(),
                [engine.fact() for engine in self.engines.values()],
                self.memory_bytes,
                self.now,
                self.turns,
            )
            self._carry_out(placement)
            self.check()
            if not placement.actions:
                if placement.again_unix is not None:
                    assert placement.again_unix > self.now
                    self._look_at(placement.again_unix)
                return
        raise AssertionError("placing never comes to rest\n" + "\n".join(self.story[-50:]))

    def _send(self) -> None:
        for job in sorted(self.waiting, key=lambda one: one.arrives):
            free = [
                engine
                for engine in self._of(job.route)
                if engine.stage is Stage.READY and len(engine.jobs) < engine.model.at_once
            ]
            if free:
                engine = min(free, key=lambda one: len(one.jobs))
                self.waiting.remove(job)
                engine.jobs.append(job)
                engine.last_used = job.began = self.now
                self._at(self.now + job.seconds, "ends", (engine, job))

    def _carry_out(self, placement: Placement) -> None:
        for action in placement.actions:
            self.story.append(f"{self.now:.1f} {action.act} {action.name}: {action.why}")
            engine = self.engines.get(action.name)
            if action.act is Act.START:
                assert engine is None
                engine = Engine(action.name, self.models[action.route], Stage.STARTING, self.now)
                self.engines[action.name] = engine
                self.starts += 1
                self._at(self.now + engine.model.load_seconds, "ready", engine)
                continue
            assert engine is not None
            match action.act:
                case Act.WAKE:
                    assert engine.stage is Stage.ASLEEP
                    self.starts += 1
                    self._becomes(engine, Stage.WAKING)
                    self._at(self.now + engine.model.wake_seconds, "ready", engine)
                case Act.DRAIN:
                    assert engine.stage is Stage.READY
                    self._becomes(engine, Stage.DRAINING)
                case Act.RESUME:
                    assert engine.stage is Stage.DRAINING
                    self._becomes(engine, Stage.READY)
                    engine.since = engine.ready_since
                case Act.SLEEP:
                    assert engine.stage is Stage.DRAINING
                    self._becomes(engine, Stage.FALLING_ASLEEP)
                    self._at(self.now + engine.model.wake_seconds, "asleep", engine)
                case Act.STOP:
                    assert engine.stage is not Stage.STOPPING
                    engine.was_asleep = engine.stage is Stage.ASLEEP
                    self._becomes(engine, Stage.STOPPING)
                    self._at(self.now + engine.model.end_seconds, "gone", engine)

    def _happens(self, what: str, whom: object) -> None:
        match whom:
            case Job():
                whom.arrives = self.now
                self.waiting.append(whom)
            case Trouble():
                self._strike(whom)
            case (Engine() as engine, Job() as job) if job in engine.jobs:
                engine.jobs.remove(job)
                engine.last_used = job.ended = self.now
                self.done.append(job)
            case Engine() if what == "ready" and whom.stage in (Stage.STARTING, Stage.WAKING):
                self._becomes(whom, Stage.READY)
                whom.ready_since, whom.last_used = self.now, None
            case Engine() if what == "asleep" and whom.stage is Stage.FALLING_ASLEEP:
                self._becomes(whom, Stage.ASLEEP)
            case Engine() if what == "gone" and self.engines.get(whom.name) is whom:
                del self.engines[whom.name]
            case _:
                pass

    def _strike(self, trouble: Trouble) -> None:
        self.story.append(f"{self.now:.1f} {trouble}")
        for engine in list(self._of(trouble.route)):
            engine.is_current = False
            if trouble.is_crash:
                self.waiting += engine.jobs
                engine.jobs = []
                del self.engines[engine.name]

    def _becomes(self, engine: Engine, stage: Stage) -> None:
        engine.stage, engine.since = stage, self.now

    def _look_at(self, time: float) -> None:
        """Decide anew then, though nothing else may happen."""
        if time not in self._looks:
            self._looks.add(time)
            self._at(time, "looks", None)

    def _at(self, time: float, what: str, whom: object) -> None:
        self._number += 1
        heappush(self._events, (time, self._number, what, whom))

"""Engines as they run, brought to what is wanted: a loop that can be begun anew at any line.

Facts in (processes, health, requests), ``core.placement`` decides, and each action is one step whose result is a new
fact. An engine is among its route's endpoints as soon as it listens on its port, and no program of another user does:
the gateway asks it by itself whether it can serve. It leaves them before it is told to end or to sleep.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Final

from overspill_box.app.engine_http import EngineHttp
from overspill_box.app.replica import Replica, RouteEngine
from overspill_box.app.traffic import Traffic
from overspill_box.core.endings import sentence
from overspill_box.core.local_engine import Claim, LocalEngine
from overspill_box.core.placement import Act, Action, Placement, place
from overspill_box.core.process import Listener, ProcessFact, ProcessSpec
from overspill_box.core.room import EngineFact, RouteNeed, Stage
from overspill_box.ports import Processes
from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_operator.clock import Clock, Timer

logger = logging.getLogger(__name__)

LOADING_CHECK_SECONDS: Final = 0.1
READY_CHECK_SECONDS: Final = 5.0
FAILURES_MAX: Final = 6
"""Health checks in a row that a replica which was ready may fail before it is ended: half a minute of them."""
TRY_AGAIN_SECONDS: Final = 1.0
LONG_WAIT_SECONDS: Final = 30.0
"""Waiting for one's turn is normal life; after so long it is told as what keeps a route from its engine."""
TAKEN: Final = "A program of another user listens on its port: it gets another one when it is started again."
DRAINING_LOOK_SECONDS: Final = 0.1
"""How often it is looked whether one that yields has finished its requests."""


class EngineLoop:
    """The loop, and the replicas that there are."""

    def __init__(
        self,
        *,
        engines: Mapping[str, RouteEngine],
        processes: Processes,
        http: EngineHttp,
        traffic: Traffic,
        memory_bytes: Callable[[], int | None],
        least: Callable[[str], int],
        free_port: Callable[[], int],
        publish: Callable[[str, tuple[EndpointFact, ...]], None],
        on_change: Callable[[str], None],
        on_start: Callable[[Replica, float, float], None],
        hindrance: Callable[[LocalEngine], str],
        clock: Clock,
    ) -> None:
        """``engines``: by route, what is wanted; ``least``: replicas of a route that are kept though nobody asks.

        ``hindrance``: why an engine that is wanted can't be started yet, empty where it can. ``publish`` gets a route's
        endpoints; ``on_change`` the route of which something else is so; ``on_start`` a replica that can serve for the
        first time, when it was asked for, and now.
        """
        self.replicas: dict[str, Replica] = {}
        self._engines = engines
        self._processes = processes
        self._http = http
        self._traffic = traffic
        self._memory_bytes = memory_bytes
        self._least = least
        self._free_port = free_port
        self._publish = publish
        self._on_change = on_change
        self._on_start = on_start
        self._hindrance = hindrance
        self._clock = clock
        self._look = asyncio.Event()
        self._timer: Timer | None = None
        self._published: dict[str, tuple[EndpointFact, ...]] = {}
        self._failed: set[str] = set()
        """Replicas that were ended here for a fault of theirs, so that their ending counts as by itself."""

    def poke(self) -> None:
        """Something has changed: look."""
        self._look.set()

    async def run(self) -> None:
        """Look whenever something has changed, or it is time, for ever."""
        while True:
            self._look.clear()
            try:
                self._plan_look(self.step())
            except Exception:  # whatever one engine's fault is, the others are looked after
                logger.exception("engines not looked after, trying again")
                await self._clock.sleep(TRY_AGAIN_SECONDS)
                continue
            await self._look.wait()

    def of(self, route: str) -> list[Replica]:
        """The replicas of a route."""
        return [replica for replica in self.replicas.values() if replica.route == route]

    async def close(self) -> None:
        """Let go of all that is under way; processes are left as they are."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for replica in self.replicas.values() for task in replica.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def see_processes(self) -> None:
        """Take in what is known of processes."""
        now, facts = self._clock.unix(), self._processes.facts
        for name, fact in facts.items():
            replica = self.replicas.get(name)
            if replica is None and fact.runs:
                found = self._found(fact)
                self._do(found, self.watch(found))
            elif replica is not None and not replica.is_being_started and not fact.runs:
                self._ended(replica, fact, now)
        for name, replica in list(self.replicas.items()):
            if name not in facts and not replica.is_being_started:
                self._ended(replica, None, now)

    def step(self) -> Placement:
        """One look: take in facts, decide, begin what was decided."""
        self.see_processes()
        now = self._clock.unix()
        placement = place(self._needs(now), self._facts(now), self._memory_bytes(), now)
        for action in placement.actions:
            self._act(action, now)
        self._note_waits(placement)
        self._publish_all()
        return placement

    # -- what is so ------------------------------------------------------------------------------------------------

    def _needs(self, now: float) -> list[RouteNeed]:
        needs = []
        for key, engine in self._engines.items():
            waits = self._traffic.waits(key)
            engine.waiting_since_unix = (engine.waiting_since_unix or now) if waits else None
            if engine.live is None or not engine.live.exists:
                continue
            need = RouteNeed(
                key=key,
                claim=engine.live.claim,
                wanted=min(engine.wanted or 0, engine.live.replicas_max),
                least=self._least(key),
                waiting_since_unix=engine.waiting_since_unix,
                may_start_unix=engine.restarts.may_start_unix,
                hindrance=self._hindrance(engine.live) if engine.wanted else "",
            )
            needs.append(need)
        return needs

    def _facts(self, now: float) -> list[EngineFact]:
        facts = []
        for replica in list(self.replicas.values()):
            if replica.stage is Stage.STARTING and self._traffic.answers(replica.route, replica.uid):
                self._is_ready(replica, self._engines.get(replica.route))
            in_flight, served = self._traffic.in_flight(replica.route, replica.uid), self._traffic.served(replica.route)
            if replica.stage in (Stage.READY, Stage.DRAINING):
                if in_flight or replica.was_busy or served != replica.served:
                    replica.last_used_unix = now
                replica.was_busy, replica.served = in_flight > 0, served
            facts.append(replica.fact(self._engines.get(replica.route), in_flight))
        return facts

    async def find(self, key_of: Callable[[str], str]) -> None:
        """Take in what an earlier process has left, awake or asleep; ``key_of``: the key of a route's engine."""
        replicas = [self._found(fact) for fact in self._processes.facts.values() if fact.runs]
        ours = [replica for replica in replicas if self._http.listener(replica.port) is Listener.OURS]
        asleep = await asyncio.gather(*(self._http.is_asleep(replica.port, key_of(replica.route)) for replica in ours))
        sleepers = {replica.name for replica, sleeps in zip(ours, asleep, strict=True) if sleeps}
        for replica in replicas:
            if replica.stage is Stage.STARTING and replica.name in sleepers:
                replica.enter(Stage.ASLEEP, self._clock.unix())
            elif replica.stage is Stage.STARTING:
                self._do(replica, self.watch(replica))

    def _found(self, fact: ProcessFact) -> Replica:
        """A process that this one has not started: left by the one before."""
        stage = Stage.STOPPING if fact.stopping else Stage.STARTING
        replica = Replica(fact.name, fact.port, fact.made_from, Claim(), stage, self._clock.unix(), fact.started_unix)
        engine = self._engines.get(replica.route)
        if engine is not None and engine.live is not None and engine.live.made_from == fact.made_from:
            replica.claim = engine.live.claim
        self.replicas[fact.name] = replica
        logger.info("engine still runs", extra={"engine": fact.name, "pid": fact.pid, "port": fact.port})
        return replica

    def _ended(self, replica: Replica, fact: ProcessFact | None, now: float) -> None:
        """Its process is no more."""
        del self.replicas[replica.name]
        for task in replica.tasks:
            task.cancel()
        ending = fact.ending if fact is not None else None
        by_itself = ending is None or not ending.was_asked
        failed = replica.name in self._failed
        self._failed.discard(replica.name)
        engine = self._engines.get(replica.route)
        if by_itself and engine is not None:
            why = sentence(ending, _spec_of(replica, engine)) if ending is not None else "Its process has vanished."
            self._has_failed(engine, replica, why, now)
        elif not failed:
            logger.info("engine has ended", extra={"engine": replica.name})
        self._on_change(replica.route)

    def _has_failed(self, engine: RouteEngine, replica: Replica, why: str, now: float) -> None:
        """It ended by itself, or had to be: told once, and tried again after a pause."""
        engine.restarts = engine.restarts.ended(now, replica.ready_since_unix)
        engine.problem = why
        log = self._processes.log_of(replica.name)
        if engine.told != why:
            engine.told = why
            logger.warning("engine failed: %s", why, extra={"engine": replica.name, "log": str(log)})

    # -- what is done ------------------------------------------------------------------------------------------------

    def _act(self, action: Action, now: float) -> None:
        if action.act is Act.START:
            self._start(action, now)
            return
        replica = self.replicas[action.name]
        if action.act is Act.DRAIN:
            self._say("engine yields", action)
            replica.enter(Stage.DRAINING, now)
        elif action.act is Act.RESUME:
            self._say("engine goes on", action)
            replica.enter(Stage.READY, replica.ready_since_unix or now)
        elif action.act is Act.SLEEP:
            self._say("engine goes to sleep", action)
            replica.enter(Stage.FALLING_ASLEEP, now)
            self._do(replica, self._sleep(replica))
        elif action.act is Act.WAKE:
            self._say("engine wakes up", action)
            replica.enter(Stage.WAKING, now)
            replica.served = self._traffic.served(replica.route)
            self._do(replica, self._wake(replica))
        else:
            self._say("engine is ended", action)
            self._stop(replica, now)
        self._on_change(action.route)
        self.poke()

    def _start(self, action: Action, now: float) -> None:
        engine = self._engines[action.route]
        if engine.live is None:
            return
        try:
            port = self._free_port()
        except OSError as error:  # others' engines are to be ended and put to sleep all the same
            engine.restarts = engine.restarts.ended(now, None)
            engine.problem = f"{str(error).capitalize()}."
            logger.warning("engine can't be started: %s", error, extra={"engine": action.name})
            self._on_change(action.route)
            return
        spec = engine.live.process(action.name, port)
        replica = Replica(
            action.name, spec.port, spec.made_from, engine.live.claim, Stage.STARTING, now, now,
            asked_unix=engine.wait_since_unix if engine.wait else now,
            spec=spec, is_being_started=True, served=self._traffic.served(action.route),
        )  # fmt: skip
        self.replicas[action.name] = replica
        self._say("engine starts", action, port=spec.port)
        self._do(replica, self._start_process(replica))
        self._on_change(action.route)
        self.poke()

    async def _start_process(self, replica: Replica) -> None:
        assert replica.spec is not None  # noqa: S101 - whoever starts it has given it one
        try:
            await self._processes.start(replica.spec)
            replica.process_unix = self._clock.unix()
        finally:
            replica.is_being_started = False
            self.poke()
        await self.watch(replica)

    def _stop(self, replica: Replica, now: float) -> None:
        replica.was_asleep = replica.stage is Stage.ASLEEP
        replica.enter(Stage.STOPPING, now)
        self._publish_all()
        self._do(replica, self._processes.stop(replica.name))

    async def _sleep(self, replica: Replica) -> None:
        engine = self._engines.get(replica.route)
        key = engine.live.api_key if engine is not None and engine.live is not None else None
        problem = self._stranger(replica) or await self._http.sleep(replica.port, key)
        now = self._clock.unix()
        if problem:
            logger.warning("engine does not go to sleep, ending it: %s", problem, extra={"engine": replica.name})
            self._stop(replica, now)
        else:
            replica.enter(Stage.ASLEEP, now)
        self._changed(replica)

    async def _wake(self, replica: Replica) -> None:
        engine = self._engines.get(replica.route)
        key = engine.live.api_key if engine is not None and engine.live is not None else None
        problem = self._stranger(replica) or await self._http.wake(replica.port, key)
        if problem:
            logger.warning("engine does not wake up, ending it: %s", problem, extra={"engine": replica.name})
            self._stop(replica, self._clock.unix())
            self._changed(replica)
        else:
            await self.watch(replica)

    async def watch(self, replica: Replica) -> None:
        """Ask it whether it can serve: often until it can, now and then afterwards; until it is watched anew."""
        replica.watches += 1
        watch = replica.watches
        while replica.stage in (Stage.STARTING, Stage.WAKING):
            engine = self._engines.get(replica.route)
            live = engine.live if engine is not None else None
            listener = self._http.listener(replica.port)
            if listener is Listener.STRANGER and engine is not None:
                self._give_up(engine, replica, TAKEN, self._clock.unix())
                return
            if listener is Listener.OURS and not replica.listens:
                replica.listens = True
                self._changed(replica)
            if replica.listens and live is not None and await self._http.is_healthy(replica.port, live.health_path):
                if replica.stage in (Stage.STARTING, Stage.WAKING):
                    self._is_ready(replica, engine)
                break
            now = self._clock.unix()
            if live is not None and engine is not None and now - replica.since_unix > live.startup_timeout_seconds:
                limit = f"{live.startup_timeout_seconds:g} s (startupTimeout)"
                self._give_up(engine, replica, f"It was not ready within {limit}: its log says how far it came.", now)
                return
            await self._clock.sleep(LOADING_CHECK_SECONDS)
        while replica.stage in (Stage.READY, Stage.DRAINING) and replica.watches == watch:
            await self._clock.sleep(READY_CHECK_SECONDS)
            if replica.watches == watch:
                await self._check_ready(replica)

    async def _check_ready(self, replica: Replica) -> None:
        engine = self._engines.get(replica.route)
        if engine is None or engine.live is None or replica.stage is not Stage.READY:
            return
        if self._stranger(replica):
            self._give_up(engine, replica, TAKEN, self._clock.unix())
            return
        healthy = await self._http.is_healthy(replica.port, engine.live.health_path)
        replica.failures = 0 if healthy else replica.failures + 1
        if replica.failures >= FAILURES_MAX and replica.stage is Stage.READY:
            self._give_up(engine, replica, "It was ready and answers no health check any more.", self._clock.unix())

    def _is_ready(self, replica: Replica, engine: RouteEngine | None) -> None:
        now = self._clock.unix()
        seconds = round(now - replica.since_unix, 1)
        if replica.stage is Stage.STARTING and replica.asked_unix is not None:
            self._on_start(replica, replica.asked_unix, now)
        replica.enter(Stage.READY, now)
        replica.ready_since_unix, replica.last_used_unix, replica.failures = now, None, 0
        replica.was_busy = False
        logger.info("engine is ready", extra={"engine": replica.name, "seconds": seconds})
        if engine is not None:
            engine.problem = engine.told = ""
        self._changed(replica)

    def _give_up(self, engine: RouteEngine, replica: Replica, why: str, now: float) -> None:
        self._failed.add(replica.name)
        self._has_failed(engine, replica, why, now)
        self._stop(replica, now)
        self._changed(replica)

    def _stranger(self, replica: Replica) -> str:
        """Why it may be told nothing; empty: nobody else has its port."""
        return TAKEN if self._http.listener(replica.port) is Listener.STRANGER else ""

    # -- who is told -------------------------------------------------------------------------------------------------

    def _changed(self, replica: Replica) -> None:
        self._publish_all()
        self._on_change(replica.route)
        self.poke()

    def _publish_all(self) -> None:
        """Endpoints of routes whose endpoints are others than before."""
        now: dict[str, tuple[EndpointFact, ...]] = {}
        for name in sorted(self.replicas):
            replica = self.replicas[name]
            endpoint = replica.endpoint()
            if endpoint is not None:
                now[replica.route] = (*now.get(replica.route, ()), endpoint)
        for route in self._published.keys() | now.keys():
            if self._published.get(route, ()) != now.get(route, ()):
                self._publish(route, now.get(route, ()))
        self._published = now

    def _note_waits(self, placement: Placement) -> None:
        why: dict[str, str] = {}
        for wait in placement.waits:
            why.setdefault(wait.route, wait.why)
        for key, engine in self._engines.items():
            rests = key in why and engine.waiting_since_unix is None and not self._least(key)
            before, engine.wait = engine.wait, "" if rests else why.get(key, "")
            if rests != engine.rests:
                engine.rests = rests
                self._on_change(key)
            if engine.wait and not before:
                engine.wait_since_unix = self._clock.unix()
                logger.info("engine waits: %s", engine.wait, extra={"route": key})
                self._clock.call_later(LONG_WAIT_SECONDS + 0.1, partial(self._on_change, key))
            if engine.wait != before:
                self._on_change(key)

    def _plan_look(self, placement: Placement) -> None:
        """When to look again though nothing is heard."""
        pauses = []
        if placement.again_unix is not None:
            pauses.append(max(0.0, placement.again_unix - self._clock.unix()) + 0.01)
        if any(replica.stage is Stage.DRAINING for replica in self.replicas.values()):
            pauses.append(DRAINING_LOOK_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(min(pauses), self.poke) if pauses else None

    def _say(self, what: str, action: Action, **more: object) -> None:
        logger.info("%s: %s", what, action.why, extra={"engine": action.name, **more})

    def _do(self, replica: Replica, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        replica.tasks.add(task)
        task.add_done_callback(lambda done: self._done(replica, done))

    def _done(self, replica: Replica, task: "asyncio.Task[None]") -> None:
        replica.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("engine not looked after", exc_info=error, extra={"engine": replica.name})
            self.poke()


def _spec_of(replica: Replica, engine: RouteEngine) -> ProcessSpec | None:
    """As what a replica was started, by the process before this one as well; None: that is not known."""
    live = engine.live
    if replica.spec is None and live is not None and live.exists and live.made_from == replica.made_from:
        return live.process(replica.name, replica.port)
    return replica.spec

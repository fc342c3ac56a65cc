"""Engines of this machine as the operator's parts know them: its ``Engines``, its ``EngineMaker``, what planning sees.

What shall be is kept here; ``app.engine_loop`` brings it about.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from overspill_api.profile import Profile
from overspill_box.app.engine_http import EngineHttp
from overspill_box.app.engine_loop import LONG_WAIT_SECONDS, EngineLoop
from overspill_box.app.replica import Replica, RouteEngine
from overspill_box.app.secrets import Secrets
from overspill_box.app.source import BoxSource
from overspill_box.app.steady_clock import SteadyClock
from overspill_box.app.traffic import Traffic
from overspill_box.core.local_engine import LocalEngine, LocalEngineView, Machine
from overspill_box.core.room import UP, Stage
from overspill_box.ports import Processes
from overspill_operator.clock import Clock
from overspill_operator.core.engine_state import EngineState
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.pod_problems import PodProblem
from overspill_operator.core.scaling.load_times import (
    ENGINE_START,
    PROCESS,
    SCHEDULED,
    WEIGHTS,
    PhaseEnd,
    Start,
    measured,
)
from overspill_operator.ports import Json, Outcome, Replicas

logger = logging.getLogger(__name__)


class LocalEngines:
    """Engines of all routes."""

    def __init__(
        self,
        *,
        processes: Processes,
        http: EngineHttp,
        traffic: Traffic,
        source: BoxSource,
        secrets: Secrets,
        machine: Callable[[], Machine],
        profiles: Callable[[], Mapping[str, Profile]],
        key_of: Callable[[str], str],
        least: Callable[[str], int],
        on_change: Callable[[str], None],
        on_start: Callable[[str, Start], None],
        free_port: Callable[[], int],
        hindrance: Callable[[LocalEngine], str],
        clock: Clock,
    ) -> None:
        """``key_of``: the key that a route's engine asks for; ``least``: replicas kept though nobody asks.

        ``hindrance``: see ``EngineLoop``. ``on_change`` gets the route of which something else is so, ``on_start``
        one of which a replica has come to answer.
        """
        self._secrets = secrets
        self._machine = machine
        self._profiles = profiles
        self._key_of = key_of
        self._on_start = on_start
        self._engines: dict[str, RouteEngine] = {}
        self._is_known = False
        self._processes = processes
        self._clock = steady = SteadyClock(clock)
        self.desired: Callable[[RouteObject], int] = lambda _route: 0
        """Replicas that scaling has decided: the scaler, once it is there."""
        self.loop = EngineLoop(
            engines=self._engines,
            processes=processes,
            http=http,
            traffic=traffic,
            memory_bytes=lambda: machine().memory_bytes,
            least=least,
            free_port=free_port,
            publish=source.set_endpoints,
            on_change=on_change,
            on_start=self._started,
            hindrance=hindrance,
            clock=steady,
        )

    async def find(self) -> None:
        """Take over engines that still run; nothing is decided before."""
        await self._processes.adopt()
        await self.loop.find(self._key_of)
        self._is_known = True

    # -- the operator's Engines --------------------------------------------------------------------------------------

    @property
    def are_known(self) -> bool:
        """See ``ports.Engines``."""
        return self._is_known

    def replicas(self, route: RouteObject) -> Replicas | None:
        """See ``ports.Engines``. Of one that an earlier process has left, as many are wanted as run."""
        engine, there = self._engines.get(route.key), self.loop.of(route.key)
        if engine is None or engine.live is None:
            awake = [replica for replica in there if replica.stage is not Stage.STOPPING]
            return Replicas(len(awake)) if awake else None
        if not engine.live.exists:
            return None
        since = [replica.ready_since_unix for replica in _ready(there) if replica.ready_since_unix is not None]
        return Replicas(engine.wanted, len(_ready(there)), self._first_shown(since))

    async def set_replicas(self, route: RouteObject, number: int) -> None:
        """See ``ports.Engines``."""
        engine = self._engines.get(route.key)
        if engine is not None:
            engine.wanted = number
            self.loop.poke()

    # -- the operator's EngineMaker ------------------------------------------------------------------------------------

    async def make(self, route: RouteObject, engine: LocalEngine, outcome: Outcome) -> None:  # noqa: ARG002 - the port's
        """See ``ports.EngineMaker``."""
        known = self._engines.setdefault(route.key, RouteEngine())
        if known.live is None or known.live.made_from != engine.made_from:
            known.restarts, known.problem, known.told = known.restarts.changed(), "", ""
        for notice in engine.notices:
            if notice not in known.noticed:
                logger.warning("%s", notice, extra={"route": route.key})
        known.noticed = engine.notices
        known.live = engine
        known.wanted = self.desired(route)
        for replica in self.loop.of(route.key):
            if replica.made_from == engine.made_from:
                replica.claim = engine.claim
        self.loop.poke()

    async def take_away(self, route: RouteObject, engine: LocalEngine, outcome: Outcome) -> None:
        """See ``ports.EngineMaker``: the loop ends what is not wanted any more."""

    async def forget(self, key: str, is_orphan: Callable[[Json | None], bool]) -> None:  # noqa: ARG002 - the port's
        """See ``ports.EngineMaker``."""
        if self._engines.pop(key, None) is not None:
            self.loop.poke()

    # -- what planning and status see ----------------------------------------------------------------------------------

    def view(self, route: RouteObject) -> LocalEngineView:
        """The route's engine as it is."""
        engine = self._engines.get(route.key)
        self_hosted = route.spec.self_hosted if route.spec else None
        name = self_hosted.source_secret_name if self_hosted else None
        return LocalEngineView(
            machine=self._machine(),
            profile=self._profiles().get(self_hosted.profile) if self_hosted else None,
            live=engine.live if engine is not None else None,
            has_replicas=bool(self.loop.of(route.key)),
            source_environment=self._secrets.environment(route.meta.namespace, name)[0] if name else {},
        )

    def key(self, route: RouteObject) -> str:
        """The key that the route's engine asks for."""
        return self._key_of(route.key)

    def source_secret_problem(self, route: RouteObject) -> str:
        """What is wrong with the Secret that ``sourceSecretName`` names; empty: nothing, or none is named."""
        self_hosted = route.spec.self_hosted if route.spec else None
        name = self_hosted.source_secret_name if self_hosted else None
        return self._secrets.environment(route.meta.namespace, name)[1] if name else ""

    def state(self, route: RouteObject) -> EngineState:
        """The replicas as status shows them: those asleep or on their way out do not count."""
        engine = self._engines.get(route.key)
        if engine is None or engine.live is None or not engine.live.exists:
            return EngineState()
        gone = (Stage.STOPPING, Stage.ASLEEP, Stage.FALLING_ASLEEP)
        there = [replica for replica in self.loop.of(route.key) if replica.stage not in gone]
        current = [replica for replica in there if replica.made_from == engine.live.made_from]
        since = [replica.ready_since_unix for replica in _ready(there) if replica.ready_since_unix is not None]
        return EngineState(
            exists=True,
            replicas=len(there),
            ready=len(_ready(there)),
            updated=len(current),
            ready_since_unix=self._first_shown(since),
        )

    def problem(self, key: str) -> PodProblem | None:
        """What keeps a route's replicas from being there; None: nothing but time."""
        engine = self._engines.get(key)
        if engine is None:
            return None
        if engine.problem:
            return PodProblem("PodFailed", engine.problem)
        return PodProblem("Unschedulable", _as_sentence(engine.wait)) if self._waits_long(engine) else None

    def unschedulable(self, key: str) -> int:
        """Replicas of a route that wait for room, longer than for their turn; see ``Observation``."""
        engine = self._engines.get(key)
        if engine is None or engine.wanted is None or not self._waits_long(engine):
            return 0
        there = [replica for replica in self.loop.of(key) if replica.stage in UP]
        return max(engine.wanted - len(there), 0)

    def _waits_long(self, engine: RouteEngine) -> bool:
        return bool(engine.wait) and self._clock.unix() - engine.wait_since_unix >= LONG_WAIT_SECONDS

    def _started(self, replica: Replica, asked_unix: float, now_unix: float) -> None:
        """A replica can serve: how long each part of its start took, as it was seen here."""
        ends = [
            PhaseEnd((SCHEDULED,), replica.started_unix),
            PhaseEnd((PROCESS,), replica.process_unix),
            PhaseEnd((WEIGHTS, ENGINE_START), now_unix),
        ]
        start = measured(replica.name, asked_unix, ends)
        if start is not None:
            self._on_start(replica.route, replace(start, at_unix=self._clock.shown(now_unix)))

    def seconds(self, replica: Replica) -> float:
        """How long a replica has been doing what it does."""
        return max(0.0, self._clock.unix() - replica.since_unix)

    def rests(self, key: str) -> bool:
        """Whether a route's engine has given its room to others, or sleeps, and nobody asks for it."""
        engine = self._engines.get(key)
        if engine is None or not engine.wanted or engine.problem or engine.waiting_since_unix is not None:
            return False
        return engine.rests and not any(replica.stage in UP for replica in self.loop.of(key))

    def told(self, key: str) -> tuple[str, str]:
        """What a route's replicas wait for, and why the last one failed; empty: nothing, not."""
        engine = self._engines.get(key)
        return (engine.wait, engine.problem) if engine is not None else ("", "")

    def _first_shown(self, since: list[float]) -> float | None:
        return self._clock.shown(min(since)) if since else None

    # -- the teller's Problems -----------------------------------------------------------------------------------------

    def suspect(self, key: str, *, waiting: bool) -> PodProblem | None:
        """See ``app.route_teller.Problems``."""
        return self.problem(key) if waiting else None

    async def look_at_once(self, key: str) -> PodProblem | None:
        """See ``app.route_teller.Problems``: nothing has to be asked."""
        return self.problem(key)


def _ready(replicas: list[Replica]) -> list[Replica]:
    """Those that can answer; one that yields still does."""
    return [replica for replica in replicas if replica.stage in (Stage.READY, Stage.DRAINING)]


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "." if text else ""

"""Why an engine does not start, or its roll-out does not go on: looks at the pods of those that take long, in turn."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from overspill_operator.clock import Clock
from overspill_operator.core.engine_labels import selector_text
from overspill_operator.core.engine_state import engine_state
from overspill_operator.core.pod_problems import PodProblem, event_problem, pod_problem, puzzling, unschedulable
from overspill_operator.core.rollout import no_room_since, volume_is_held
from overspill_operator.ports import POD_EVENTS, PODS, Cluster, ClusterError, Json

logger = logging.getLogger(__name__)

FIRST_LOOK_SECONDS = 5.0
"""A pod that cannot start says so within seconds; one that can needs no look in that time."""

LOOK_SECONDS_MAX = 30.0
TICK_SECONDS = 1.0
LOOKERS = 5
"""Looks at a time and, with a pause of a tick after each, looks a second: what all suspects together may cost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look has shown."""

    problem: PodProblem | None = None
    """What keeps a replica from starting; None: nothing but time."""
    no_room_since_unix: float | None = None
    """Since when a new replica lacks the room that an old one has; None: it does not."""
    unschedulable: int = 0
    """Replicas that no node has room for."""


@dataclass(slots=True)
class _Suspect:
    next_look: float
    pause: float
    finding: Finding = field(default_factory=Finding)
    is_looked_at: bool = False
    has_been_looked_at: bool = False


class Diagnosis:
    """Engines that have fewer ready replicas than decided, or replicas of an earlier template."""

    def __init__(
        self, cluster: Cluster, clock: Clock, engine_of: Callable[[str], Json | None], on_finding: Callable[[str], None]
    ) -> None:
        """``engine_of``: a route's Deployment; ``on_finding`` gets the key of a route of which there is news."""
        self._cluster = cluster
        self._clock = clock
        self._engine_of = engine_of
        self._on_finding = on_finding
        self._suspects: dict[str, _Suspect] = {}

    def suspect(self, key: str, *, waiting: bool) -> PodProblem | None:
        """Note whether a route's engine waits for replicas; what is known to keep it."""
        if not waiting:
            self._suspects.pop(key, None)
            return None
        known = self._suspects.get(key)
        if known is None:
            self._suspects[key] = _Suspect(self._clock.monotonic() + FIRST_LOOK_SECONDS, FIRST_LOOK_SECONDS)
            return None
        return known.finding.problem

    async def look_at_once(self, key: str) -> PodProblem | None:
        """Look at a suspect that nobody has looked at yet, without waiting for its turn."""
        suspect = self._suspects.get(key)
        if suspect is None or suspect.has_been_looked_at or suspect.is_looked_at:
            return None
        await self._look(key, suspect, tell=False)
        return suspect.finding.problem

    def no_room_since(self, key: str) -> float | None:
        """Since when a new replica of a route lacks the room that an old one has; None: not that it is known."""
        known = self._suspects.get(key)
        return known.finding.no_room_since_unix if known else None

    def unschedulable(self, key: str) -> int:
        """Replicas of a route that no node has room for, as far as it is known."""
        known = self._suspects.get(key)
        return known.finding.unschedulable if known else 0

    async def run(self) -> None:
        """Look for ever; one that hangs holds none of the others up."""
        async with asyncio.TaskGroup() as group:
            for number in range(LOOKERS):
                group.create_task(self._look_on(), name=f"looker {number}")

    async def _look_on(self) -> None:
        while True:
            key = self._longest_due(self._clock.monotonic())
            if key is not None:
                await self._look(key, self._suspects[key], tell=True)
            await self._clock.sleep(TICK_SECONDS)

    def _longest_due(self, now: float) -> str | None:
        """The suspect whose look is due for longest, so that none starves the others."""
        due = [
            (suspect.next_look, key)
            for key, suspect in self._suspects.items()
            if suspect.next_look <= now and not suspect.is_looked_at
        ]
        return min(due)[1] if due else None

    async def _look(self, key: str, suspect: _Suspect, *, tell: bool) -> None:
        suspect.is_looked_at = True
        try:
            finding = await self._find(key)
        except ClusterError as error:
            logger.debug("pods not listed: %s", error, extra={"route": key})
            finding = suspect.finding
        except Exception:
            # People of a namespace write Pods and Events: what nobody expected there must not end the looks at others.
            logger.exception("pods not understood", extra={"route": key})
            finding = Finding()
        finally:
            suspect.is_looked_at, suspect.has_been_looked_at = False, True
            suspect.next_look = self._clock.monotonic() + suspect.pause
            suspect.pause = min(suspect.pause * 2, LOOK_SECONDS_MAX)
        if finding != suspect.finding:
            suspect.finding, suspect.pause = finding, FIRST_LOOK_SECONDS
            if tell and self._suspects.get(key) is suspect:
                self._on_finding(key)

    async def _find(self, key: str) -> Finding:
        namespace, _, name = key.partition("/")
        pods = (await self._cluster.list(PODS.path(namespace), labels=selector_text(name))).items
        problem = pod_problem(pods)
        engine = self._engine_of(key)
        template = (engine or {}).get("spec", {}).get("template") or {}
        since = no_room_since(template, pods, engine_state(engine).refused)
        pod = puzzling(pods) if problem is None else None
        if pod is not None:
            problem = event_problem(pod, await self._events(namespace, pod))
            if problem and volume_is_held(problem.message) and len(pods) > 1:
                since = 0.0
        return Finding(problem, since, unschedulable(pods))

    async def _events(self, namespace: str, pod: Json) -> tuple[Json, ...]:
        """Events about a pod; none where they may not be read: what the pods themselves say counts all the same."""
        try:
            fields = f"involvedObject.uid={pod['metadata']['uid']}"
            return (await self._cluster.list(POD_EVENTS.path(namespace), fields=fields)).items
        except ClusterError as error:
            logger.debug("events not listed: %s", error, extra={"pod": pod["metadata"]["name"]})
            return ()

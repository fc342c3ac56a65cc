"""Why an engine does not start: looks at the pods of engines that take long, now and then, and not at the others'."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from overspill_operator.core.engine_state import PodProblem, pod_problem
from overspill_operator.core.manifests import selector_text
from overspill_operator.ports import PODS, Cluster, ClusterError

logger = logging.getLogger(__name__)

FIRST_LOOK_SECONDS = 5.0
"""A pod that cannot start says so within seconds; one that can needs no look in that time."""

LOOK_SECONDS_MAX = 30.0
TICK_SECONDS = 1.0
LOOKS_PER_TICK_MAX = 5


@dataclass(slots=True)
class _Suspect:
    next_look: float
    pause: float = FIRST_LOOK_SECONDS
    problem: PodProblem | None = None


class Diagnosis:
    """Engines that have fewer ready replicas than decided."""

    def __init__(self, cluster: Cluster, on_problem: Callable[[str], None]) -> None:
        """``on_problem`` gets the keys of routes of which something new is known."""
        self._cluster = cluster
        self._on_problem = on_problem
        self._suspects: dict[str, _Suspect] = {}

    def suspect(self, key: str, *, waiting: bool) -> PodProblem | None:
        """Note whether a route's engine waits for replicas; what is known to keep it."""
        if not waiting:
            self._suspects.pop(key, None)
            return None
        known = self._suspects.get(key)
        if known is None:
            self._suspects[key] = _Suspect(monotonic() + FIRST_LOOK_SECONDS)
            return None
        return known.problem

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = monotonic()
            due = [key for key, suspect in self._suspects.items() if suspect.next_look <= now]
            for key in due[:LOOKS_PER_TICK_MAX]:
                await self._look(key)

    async def _look(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        try:
            listing = await self._cluster.list(PODS.path(namespace), labels=selector_text(name))
        except ClusterError as error:
            logger.debug("pods not listed: %s", error, extra={"route": key})
            listing = None
        suspect = self._suspects.get(key)
        if suspect is None:
            return
        suspect.next_look = monotonic() + suspect.pause
        suspect.pause = min(suspect.pause * 2, LOOK_SECONDS_MAX)
        if listing is None:
            return
        found = pod_problem(listing.items)
        if found != suspect.problem:
            suspect.problem, suspect.pause = found, FIRST_LOOK_SECONDS
            self._on_problem(key)

"""Looks at the pods of engines of which a replica has become ready, once each: how they started is in their status.

One list of one route's pods for each start, in turn and at a bounded rate: pods are not watched, because a cluster's
pods change far more often than engines start.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from overspill_operator.app.objects import Routes
from overspill_operator.app.start_record import StartRecord
from overspill_operator.clock import Clock
from overspill_operator.core.engine_labels import selector_text
from overspill_operator.core.engine_state import EngineState, engine_state
from overspill_operator.core.pod_starts import starts
from overspill_operator.ports import PODS, Cluster, ClusterError, Json

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0
"""From the news to the look: replicas often become ready together, and an API server's memory may be behind."""

TICK_SECONDS = 0.2
"""Between two looks: at most five a second, so that a restart among many engines is no burst of lists."""

AGAIN_SECONDS = 5.0
ATTEMPTS_MAX = 5
"""A start whose pods cannot be listed is let go after so many: the next one says as much."""


class StartLooks:
    """Routes whose pods are to be looked at, and which pods have been seen."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        routes: Routes,
        engine_of: Callable[[str], Json | None],
        record: StartRecord,
    ) -> None:
        """``engine_of``: a route's Deployment."""
        self._cluster = cluster
        self._clock = clock
        self._routes = routes
        self._engine_of = engine_of
        self._record = record
        self._due: deque[_Look] = deque()
        self._waiting: set[str] = set()
        self._engines: dict[str, EngineState] = {}
        """By route: as it was last."""
        self._seen: dict[str, frozenset[str]] = {}
        """By route: uids of pods whose start is known."""
        self._news = asyncio.Event()

    def note(self, key: str, engine: EngineState) -> None:
        """A route's engine as it is now: where more replicas are ready than before, some have started.

        So it is where a roll-out has ended: one may have come and another one gone between two words of it.
        """
        before = self._engines.get(key, EngineState())
        is_found = key not in self._engines
        self._engines[key] = engine
        has_rolled = before.rolls and not engine.rolls and engine.ready > 0
        if (engine.ready > before.ready or has_rolled) and key not in self._waiting:
            self._waiting.add(key)
            self._clock.call_later(SETTLE_SECONDS, lambda: self._put(_Look(key, is_found)))

    def forget(self, key: str) -> None:
        """The route is gone."""
        self._seen.pop(key, None)
        self._engines.pop(key, None)
        self._record.forget(key)

    async def run(self) -> None:
        """Look for ever, one route after the other."""
        while True:
            while not self._due:
                self._news.clear()
                await self._news.wait()
            look = self._due.popleft()
            self._waiting.discard(look.key)
            if await self._look(look):
                await self._clock.sleep(TICK_SECONDS)

    def _put(self, look: "_Look") -> None:
        self._due.append(look)
        self._news.set()

    def _put_later(self, look: "_Look") -> None:
        if look.attempt < ATTEMPTS_MAX:
            self._clock.call_later(AGAIN_SECONDS, lambda: self._put(replace(look, attempt=look.attempt + 1)))

    async def _look(self, look: "_Look") -> bool:
        """Whether the API server had to be asked."""
        key = look.key
        route, state = self._routes.get(key), engine_state(self._engine_of(key))
        if route is None:
            self._put_later(look)  # a process that begins may see engines before it sees their routes
            return False
        if not state.ready:
            return False
        last, since = self._record.last_unix(route), state.ready_since_unix
        if look.is_found and last is not None and since is not None and since <= last:
            return False  # the engine has not started since the process before this one had a look
        try:
            pods = (
                await self._cluster.list(PODS.path(route.meta.namespace), labels=selector_text(route.meta.name))
            ).items
            found = dict(starts(route.meta.name, pods))
        except ClusterError as error:
            logger.debug("pods not listed: %s", error, extra={"route": key})
            self._put_later(look)
            return True
        except Exception:
            # People of a namespace write Pods: what nobody expected there must not end the looks at others.
            logger.exception("pods not understood", extra={"route": key})
            return True
        seen = self._seen.get(key)
        self._seen[key] = ((seen or frozenset()) | found.keys()) & {pod["metadata"].get("uid") for pod in pods}
        new = [start for uid, start in found.items() if seen is None or uid not in seen]
        is_only = len(found) == len(new) == 1
        for start in sorted(new, key=lambda start: start.at_unix):
            # Else the process before has told of it, or may have: one of its pods may have become ready once more.
            if seen is not None or last is None or start.begun_unix > last:
                self._record.record(route, start, is_only=is_only)
        return True


@dataclass(frozen=True, slots=True)
class _Look:
    """One that is to come."""

    key: str
    """Of the route."""
    is_found: bool
    """Whether the replicas were there when this process began."""
    attempt: int = 1
    """Of how many."""

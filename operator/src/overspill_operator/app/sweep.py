"""Looking at everything anew, now and then: what was missed is found, what belongs to nobody is deleted."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from overspill_api.names import LABEL_COMPILED, LABEL_ROUTE, LABEL_SOURCE_NAME, LABEL_SOURCE_NAMESPACE
from overspill_operator.app.caches import Caches
from overspill_operator.app.consumer_reconciler import CONSUMER
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.route_teller import ROUTE
from overspill_operator.app.work_queue import WorkQueue
from overspill_operator.clock import Clock
from overspill_operator.core.credentials import secret_names
from overspill_operator.core.rights import HOW
from overspill_operator.ports import CONSUMERS, MODEL_ROUTES, Cluster, ClusterError, Resource

logger = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
FULL_EVERY = 5
"""Rounds; watches tell of every change, so a full one only mends what a lost event has hidden."""

FIRST_SEEN_TIMEOUT_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.02
LIST_AGAIN_SECONDS = 0.1
LIST_AGAIN_SECONDS_MAX = 10.0
"""A right that is missing is not asked for more often: a list of everything is dear."""


@dataclass(slots=True)
class _Existing:
    """Identities of what there is."""

    routes: set[str]
    consumers: set[str]


class Sweep:
    """The resync."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        clock: Clock,
        caches: Caches,
        routes: Routes,
        consumers: Consumers,
        queue: WorkQueue,
        watched: tuple[str, ...],
        jitter: Callable[[], float],
        on_trouble: Callable[[str], None] = lambda _trouble: None,
    ) -> None:
        """``watched``: namespaces of the release, none: all; ``jitter`` gives numbers from 0 to 1.

        ``on_trouble`` gets why objects cannot be listed, or nothing.
        """
        self._cluster = cluster
        self._clock = clock
        self._caches = caches
        self._routes = routes
        self._consumers = consumers
        self._queue = queue
        self._watched = watched
        self._jitter = jitter
        self._on_trouble = on_trouble
        self._told = ""

    async def first(self) -> None:
        """Wait until Kopf has delivered every object that exists, then put all of them into the queue.

        Before that a name's claimants are not all known, and neither is what belongs to nobody.
        """
        await self._caches.synced()
        existing: _Existing | None = None
        pause = LIST_AGAIN_SECONDS
        deadline = self._clock.monotonic() + FIRST_SEEN_TIMEOUT_SECONDS
        while existing is None or self._unseen(existing):
            if self._clock.monotonic() > deadline:
                raise TimeoutError("Kopf has not delivered every object that there is")
            if existing is not None:
                await self._clock.sleep(LOOK_AGAIN_SECONDS)
            try:
                # What has been deleted meanwhile need not be waited for.
                existing = await self._existing()
            except ClusterError as error:
                # Kinds that were installed a moment ago are not served for another moment.
                logger.debug("objects not listed yet: %s", error)
                self._tell(_missing_right(error))
                # Starting anew grants no right; the time is for Kopf to deliver what is there.
                deadline = self._clock.monotonic() + pause + FIRST_SEEN_TIMEOUT_SECONDS
                await self._clock.sleep(pause)
                pause = min(pause * 2, LIST_AGAIN_SECONDS_MAX)
        self._everything(full=True)

    def _tell(self, trouble: str) -> None:
        """Say it once: in the log, and to whoever asks whether this process is ready."""
        if trouble and not self._told:
            logger.warning("%s", trouble)
        self._told = trouble
        self._on_trouble(trouble)

    def _unseen(self, existing: _Existing) -> bool:
        """Whether Kopf has yet to deliver something."""
        return not (existing.routes <= self._routes.uids() and existing.consumers <= self._consumers.uids())

    async def run(self) -> None:
        """Sweep for ever."""
        rounds = 0
        while True:
            await self._clock.sleep(EVERY_SECONDS * (0.9 + self._jitter() / 5))
            try:
                await self._forget_vanished()
            except ClusterError as error:
                self._tell(_missing_right(error))
                logger.warning("sweep put off: %s", error)
                continue
            rounds += 1
            self._everything(full=rounds % FULL_EVERY == 0)

    async def _existing(self, *, fresh: bool = False) -> _Existing:
        """Identities of all ModelRoutes and Consumers, straight from the API server.

        Of several namespaces those where the rights are missing are noted: of theirs nothing is known any more.
        """
        found, refused = _Existing(set(), set()), dict[str, ClusterError]()
        places = self._watched or ("",)
        for place in places:
            try:
                routes = await self._identities(MODEL_ROUTES, place, fresh=fresh)
                consumers = await self._identities(CONSUMERS, place, fresh=fresh)
            except ClusterError as error:
                refused[place] = error
                if error.status != 403 or len(refused) == len(places):
                    raise
                continue
            found.routes |= routes
            found.consumers |= consumers
        self._routes.unread = self._consumers.unread = frozenset(refused)
        self._tell(_missing_right(next(iter(refused.values()))) if refused else "")
        return found

    async def _identities(self, resource: Resource, place: str, *, fresh: bool) -> set[str]:
        listing = await self._cluster.list(resource.path(place), metadata_only=True, fresh=fresh)
        metas = [item["metadata"] for item in listing.items]
        return {meta["uid"] for meta in metas if "deletionTimestamp" not in meta}

    async def _forget_vanished(self) -> None:
        """Objects whose deletion was missed while a watch was broken."""
        known_routes, known_consumers = list(self._routes), list(self._consumers)
        existing, unread = await self._existing(fresh=True), self._routes.unread
        for route in known_routes:
            if route.meta.uid not in existing.routes and route.meta.namespace not in unread:
                self._routes.remove(route.key, route.meta.uid)
        for consumer in known_consumers:
            if consumer.meta.uid not in existing.consumers and consumer.meta.namespace not in unread:
                self._consumers.remove(consumer.key, consumer.meta.uid)

    def _everything(self, *, full: bool) -> None:
        """Compiled documents without an object are deleted by the reconcile of that object.

        Objects: all in a full round, in between only those that name a Secret, which nothing watches.
        """
        for route in self._routes:
            if not full and not secret_names(route.spec):
                continue
            self._queue.add((ROUTE, route.key), background=True)
        for consumer in self._consumers:
            if full:
                self._queue.add((CONSUMER, consumer.key), background=True)
        for engine in self._caches.deployments:
            if self._routes.is_orphan(engine):
                meta = engine["metadata"]
                self._queue.add((ROUTE, f"{meta['namespace']}/{meta['labels'][LABEL_ROUTE]}"), background=True)
        for secret in self._caches.compiled:
            labels = secret["metadata"].get("labels") or {}
            key = f"{labels.get(LABEL_SOURCE_NAMESPACE, '')}/{labels.get(LABEL_SOURCE_NAME, '')}"
            kind = {"route": ROUTE, "consumer": CONSUMER}.get(labels.get(LABEL_COMPILED, ""))
            owner = self._routes.get(key) if kind == ROUTE else self._consumers.get(key)
            if kind and owner is None:
                self._queue.add((kind, key), background=True)


def _missing_right(error: ClusterError) -> str:
    """What to tell of a list that failed; empty where it passes by itself."""
    if error.status not in (401, 403):
        return ""
    return f"ModelRoutes or Consumers can't be listed: {error}. {HOW}"

"""Looking at everything anew, now and then: what was missed is found, what belongs to nobody is deleted."""

import asyncio
import logging
from collections.abc import Callable

from overspill_api.names import LABEL_COMPILED, LABEL_SOURCE_NAME, LABEL_SOURCE_NAMESPACE
from overspill_operator.app.consumer_reconciler import CONSUMER
from overspill_operator.app.route_reconciler import ROUTE
from overspill_operator.app.world import World
from overspill_operator.ports import CONSUMERS, MODEL_ROUTES, ClusterError

logger = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
FIRST_SEEN_TIMEOUT_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.02


class Sweep:
    """The resync."""

    def __init__(self, world: World, jitter: Callable[[], float]) -> None:
        """``jitter`` gives numbers from 0 to 1."""
        self._world = world
        self._jitter = jitter

    async def first(self) -> None:
        """Wait until Kopf has delivered every object that exists, then put all of them into the queue.

        Before that a name's claimants are not all known, and neither is what belongs to nobody.
        """
        world = self._world
        await world.caches.synced()
        routes, consumers = await self._existing()
        async with asyncio.timeout(FIRST_SEEN_TIMEOUT_SECONDS):
            while not (routes <= world.routes.uids() and consumers <= world.consumers.uids()):
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
                if not (routes <= world.routes.uids() and consumers <= world.consumers.uids()):
                    still_routes, still_consumers = await self._existing()
                    routes, consumers = routes & still_routes, consumers & still_consumers
        self._everything()

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(EVERY_SECONDS * (0.9 + self._jitter() / 5))
            try:
                await self._forget_vanished()
            except ClusterError as error:
                logger.warning("sweep put off: %s", error)
                continue
            self._everything()

    async def _existing(self) -> tuple[set[str], set[str]]:
        """Identities of all ModelRoutes and Consumers, straight from the API server."""
        cluster = self._world.cluster
        routes = await cluster.list(MODEL_ROUTES.path(), metadata_only=True)
        consumers = await cluster.list(CONSUMERS.path(), metadata_only=True)
        return (
            {item["metadata"]["uid"] for item in routes.items if "deletionTimestamp" not in item["metadata"]},
            {item["metadata"]["uid"] for item in consumers.items if "deletionTimestamp" not in item["metadata"]},
        )

    async def _forget_vanished(self) -> None:
        """Objects whose deletion was missed while a watch was broken."""
        known_routes, known_consumers = list(self._world.routes), list(self._world.consumers)
        routes, consumers = await self._existing()
        for route in known_routes:
            if route.meta.uid not in routes:
                self._world.routes.remove(route.key, route.meta.uid)
        for consumer in known_consumers:
            if consumer.meta.uid not in consumers:
                self._world.consumers.remove(consumer.key, consumer.meta.uid)

    def _everything(self) -> None:
        """Every object, and every compiled document: one without an object is deleted by its reconcile."""
        world = self._world
        for route in world.routes:
            world.queue.add((ROUTE, route.key), background=True)
        for consumer in world.consumers:
            world.queue.add((CONSUMER, consumer.key), background=True)
        for secret in world.caches.compiled:
            labels = secret["metadata"].get("labels") or {}
            key = f"{labels.get(LABEL_SOURCE_NAMESPACE, '')}/{labels.get(LABEL_SOURCE_NAME, '')}"
            kind = {"route": ROUTE, "consumer": CONSUMER}.get(labels.get(LABEL_COMPILED, ""))
            if kind:
                world.queue.add((kind, key), background=True)

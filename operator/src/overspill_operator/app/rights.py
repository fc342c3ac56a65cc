"""Whether this account may watch what people write. Kopf watches it, and tells its own log alone what it may not."""

import logging
from collections.abc import Callable

from overspill_operator.clock import Clock
from overspill_operator.core.rights import unwatched
from overspill_operator.ports import ACCESS_REVIEWS, CONSUMERS, MODEL_ROUTES, Cluster, ClusterError, Resource

logger = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
MISSING_SECONDS = 5.0
"""While one is missing: status of nothing is true then, and whoever has granted it waits for it to be seen."""


class Rights:
    """Asks the API server what this account may, and says once what it may not and once that it may again."""

    def __init__(
        self, cluster: Cluster, clock: Clock, watched: tuple[str, ...], on_trouble: Callable[[str], None]
    ) -> None:
        """``watched``: namespaces, none: all; ``on_trouble`` gets what is missing, or nothing."""
        self._cluster = cluster
        self._clock = clock
        self._places = watched or ("",)
        self._on_trouble = on_trouble
        self._told = ""

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await self.look()
            await self._clock.sleep(MISSING_SECONDS if self._told else EVERY_SECONDS)

    async def look(self) -> None:
        """Ask once. What cannot be found out leaves what was known as it is."""
        try:
            missing = [
                (resource.plural, place)
                for resource in (MODEL_ROUTES, CONSUMERS)
                for place in self._places
                if not await self._may_watch(resource, place)
            ]
        except ClusterError as error:
            logger.debug("rights not looked at: %s", error)
            return
        trouble = unwatched(missing)
        if trouble and trouble != self._told:
            logger.warning("%s", trouble)
        if self._told and not trouble:
            logger.info("what is written is watched again")
        self._told = trouble
        self._on_trouble(trouble)

    async def _may_watch(self, resource: Resource, place: str) -> bool:
        group = resource.group_version.split("/")[2]
        wanted = {"group": group, "resource": resource.plural, "verb": "watch"}
        if place:
            wanted["namespace"] = place
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        answer = await self._cluster.create(ACCESS_REVIEWS.path(), review)
        return bool((answer.get("status") or {}).get("allowed", True))

"""The claim of a cache that its route wants no more: told of, kept for a while, then deleted.

When, is ``core.claim_retention``.
"""

from overspill_operator.app.world import World
from overspill_operator.core.claim_retention import ANNOTATION_DELETE_AFTER, is_marked, retention
from overspill_operator.core.manifests import cache_claim_name
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import CLAIMS, Json


class CacheKeeper:
    """Marks claims, and deletes them when their time has come."""

    def __init__(self, world: World) -> None:
        """In ``world``."""
        self._world = world

    async def retire(self, route: RouteObject) -> None:
        """The route wants no cache (any more)."""
        live = self._world.caches.claim(route)
        if live is None or "deletionTimestamp" in live["metadata"]:
            return
        verdict = retention(live, self._world.clock.unix())
        name = cache_claim_name(route.meta.name)
        if verdict.delete:
            await self._world.applier.remove(self._world.caches.claims, route.meta.namespace, name)
            self._tell(route, "CacheDeleted", f"PersistentVolumeClaim {name} is deleted with what it holds.")
            return
        if verdict.mark is not None:
            await self._mark(route, live, verdict.mark)
            self._tell(route, "CacheRetained", verdict.note)
        if verdict.seconds_left is not None:
            self._world.queue.add_after(("ModelRoute", route.key), verdict.seconds_left + 1, background=True)

    async def welcome(self, route: RouteObject) -> None:
        """The route wants a cache: one that was kept is used again."""
        live = self._world.caches.claim(route)
        if live is not None and is_marked(live):
            await self._mark(route, live, None)
            self._tell(route, "CacheUsedAgain", f"PersistentVolumeClaim {cache_claim_name(route.meta.name)} is kept.")

    def note(self, route: RouteObject) -> str:
        """What status says of a claim that is kept although it is not wanted; empty: there is none."""
        live = self._world.caches.claim(route)
        if live is None or not is_marked(live):
            return ""
        return retention(live, self._world.clock.unix()).note

    async def _mark(self, route: RouteObject, live: Json, text: str | None) -> None:
        name, cache = cache_claim_name(route.meta.name), self._world.caches.claims
        meta = {"uid": live["metadata"]["uid"], "annotations": {ANNOTATION_DELETE_AFTER: text}}
        with cache.writing(route.meta.namespace, name):
            path = CLAIMS.path(route.meta.namespace, name)
            cache.wrote(await self._world.cluster.merge_patch(path, {"metadata": meta}))

    def _tell(self, route: RouteObject, reason: str, note: str) -> None:
        warning = reason != "CacheUsedAgain"
        self._world.events.record("ModelRoute", route.meta, warning=warning, reason=reason, note=note, action="Cache")

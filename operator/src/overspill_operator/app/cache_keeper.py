"""The claim of a cache that its route wants no more: told of, kept for a while, then deleted.

When, is ``core.claim_retention``.
"""

from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.applier import Applier
from overspill_operator.app.caches import own
from overspill_operator.app.work_queue import WorkQueue
from overspill_operator.clock import Clock
from overspill_operator.core.claim_retention import ANNOTATION_DELETE_AFTER, is_marked, retention
from overspill_operator.core.manifests import cache_claim_name
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import CLAIMS, Cluster, Events, Json


class CacheKeeper:
    """Marks claims, and deletes them when their time has come."""

    def __init__(
        self, cluster: Cluster, clock: Clock, applier: Applier, claims: WatchCache, queue: WorkQueue, events: Events
    ) -> None:
        """``claims``: as the API server has them; ``queue``: what is to be looked at again."""
        self._cluster = cluster
        self._clock = clock
        self._applier = applier
        self._claims = claims
        self._queue = queue
        self._events = events

    async def retire(self, route: RouteObject) -> None:
        """The route wants no cache (any more)."""
        live = own(self._claims, route, cache_claim_name(route.meta.name))
        if live is None or "deletionTimestamp" in live["metadata"]:
            return
        verdict = retention(live, self._clock.unix())
        name = cache_claim_name(route.meta.name)
        if verdict.delete:
            await self._applier.remove(self._claims, route.meta.namespace, name)
            self._tell(route, "CacheDeleted", f"PersistentVolumeClaim {name} is deleted with what it holds.")
            return
        if verdict.mark is not None:
            await self._mark(route, live, verdict.mark)
            self._tell(route, "CacheRetained", verdict.note)
        if verdict.seconds_left is not None:
            self._queue.add_after(("ModelRoute", route.key), verdict.seconds_left + 1, background=True)

    async def welcome(self, route: RouteObject) -> None:
        """The route wants a cache: one that was kept is used again."""
        live = own(self._claims, route, cache_claim_name(route.meta.name))
        if live is not None and is_marked(live):
            await self._mark(route, live, None)
            self._tell(route, "CacheUsedAgain", f"PersistentVolumeClaim {cache_claim_name(route.meta.name)} is kept.")

    def note(self, route: RouteObject) -> str:
        """What status says of a claim that is kept although it is not wanted; empty: there is none."""
        live = own(self._claims, route, cache_claim_name(route.meta.name))
        if live is None or not is_marked(live):
            return ""
        return retention(live, self._clock.unix()).note

    async def _mark(self, route: RouteObject, live: Json, text: str | None) -> None:
        name, cache = cache_claim_name(route.meta.name), self._claims
        meta = {"uid": live["metadata"]["uid"], "annotations": {ANNOTATION_DELETE_AFTER: text}}
        with cache.writing(route.meta.namespace, name):
            path = CLAIMS.path(route.meta.namespace, name)
            cache.wrote(await self._cluster.merge_patch(path, {"metadata": meta}))

    def _tell(self, route: RouteObject, reason: str, note: str) -> None:
        warning = reason != "CacheUsedAgain"
        self._events.record("ModelRoute", route.meta, warning=warning, reason=reason, note=note, action="Cache")

"""A kind of object as the API server has it: listed once, then watched, and corrected by what is written here.

What a person writes (ModelRoutes, Consumers) comes through Kopf. What the operator itself writes is kept here, because
deciding needs to know when all of it has been seen.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import random

from overspill_api.list_watch import Change, ListWatch, Pauses
from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock
from overspill_operator.core.rights import HOW
from overspill_operator.ports import Cluster, ClusterError, Json, Resource

logger = logging.getLogger(__name__)

PAUSES = Pauses(first_seconds=0.2, most_seconds=30.0, healthy_seconds=10.0)
"""A list of everything is dear for the API server, and a refusal seldom passes."""

BROKEN_TOLD = 2
"""Failures in a row before the log says so: an API server that restarts is no news."""


class WatchCache:
    """Objects of one kind, by ``namespace/name``."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        *,
        clock: Clock,
        labels: str,
        namespace: str = "",
        namespaces: tuple[str, ...] = (),
        on_change: Callable[[str, Json | None], None] = lambda _key, _live: None,
    ) -> None:
        """``namespaces``: several at a time, instead of the one or all.

        ``on_change`` gets the key and the object, or None where it is gone; it must be quick.
        """
        self.resource = resource
        self.synced = asyncio.Event()
        self._cluster = cluster
        self._clock = clock
        self._following = {place: ListWatch(PAUSES) for place in namespaces or (namespace,)}
        self._troubles: dict[str, str] = {}
        self._listed: set[str] = set()
        self._refused: set[str] = set()
        self._labels = labels
        self._on_change = on_change
        self._objects: dict[str, Json] = {}
        self._writing: dict[str, str] = {}
        self._held: set[str] = set()

    def get(self, namespace: str, name: str) -> Json | None:
        """The object, or None. What was just written here is there already."""
        return self._objects.get(f"{namespace}/{name}")

    @property
    def trouble(self) -> str:
        """Why objects cannot be listed or watched now; empty: they can."""
        return next(iter(self._troubles.values()), "")

    def __iter__(self) -> Iterator[Json]:
        """All objects, as they are now."""
        return iter(tuple(self._objects.values()))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._objects)

    @contextmanager
    def writing(self, namespace: str, name: str) -> Iterator[None]:
        """While an object is written here, its changes are no news until it is known which of them are echoes.

        The watch often tells of a write before the write's own answer is there.
        """
        key = f"{namespace}/{name}"
        self._writing[key] = ""
        try:
            yield
        finally:
            answered = self._writing.pop(key, "")
            if key in self._held:
                self._held.discard(key)
                live = self._objects.get(key)
                if live is None or live["metadata"]["resourceVersion"] != answered:
                    self._on_change(key, live)

    def wrote(self, live: Json) -> None:
        """Take the API server's answer to a write, unless something newer is known. Nobody is told: it is no news."""
        key = _key(live)
        if key in self._writing:
            self._writing[key] = live["metadata"]["resourceVersion"]
        kept = self._objects.get(key)
        if kept is None or not _is_older(live, kept):
            self._objects[key] = live

    def removed(self, namespace: str, name: str) -> None:
        """Forget an object that was deleted here."""
        self._objects.pop(f"{namespace}/{name}", None)

    async def run(self) -> None:
        """List and watch for ever; what keeps it from that is in ``trouble`` meanwhile."""
        async with asyncio.TaskGroup() as group:
            for place in self._following:
                group.create_task(self._follow(place), name=f"watch {self.resource.plural} {place}")

    async def _follow(self, place: str) -> None:
        following = self._following[place]
        while True:
            following.begin(self._clock.monotonic())
            try:
                if not following.version:
                    await self._list(place)
                    self._listed.add(place)
                    self._refused.discard(place)
                    self._note_synced()
                    continue
                mended = self._clock.call_later(PAUSES.healthy_seconds, partial(self._mended, place))
                try:
                    await self._watch(place)
                finally:
                    mended.cancel()
                pause = following.ended(self._clock.monotonic(), random())  # noqa: S311 - no secret
            except ClusterError as error:
                now, draw = self._clock.monotonic(), random()  # noqa: S311 - no secret
                pause = following.failed(now, draw, status=error.status, lists_anew=True)
                self._broke(place, error, following.failures)
                if error.status == 403 and following.failures > BROKEN_TOLD:
                    self._refused.add(place)
                    self._note_synced()
            if pause:
                await self._clock.sleep(pause)

    def _note_synced(self) -> None:
        """Whoever takes away the rights in one namespace of several holds up no other."""
        if self._listed and (self._listed | self._refused).issuperset(self._following):
            self.synced.set()

    def _broke(self, place: str, error: ClusterError, attempt: int) -> None:
        trouble = f"{self.resource.plural} can't be listed or watched: {error}"
        if error.status in (401, 403):
            trouble += f" {HOW}"
        is_news = error.status in (401, 403) or attempt > BROKEN_TOLD
        if is_news and place not in self._troubles:
            logger.warning("watch broke, listing again: %s", trouble)
        if is_news:
            self._troubles[place] = trouble
        telemetry.WATCH_BROKEN.labels(self.resource.plural).set(1 if self._troubles else 0)
        telemetry.RELISTS.labels(self.resource.plural, str(error.status)).inc()

    def _mended(self, place: str) -> None:
        if self._troubles.pop(place, ""):
            logger.info("watch mended: %s are listed and watched again", self.resource.plural)
        telemetry.WATCH_BROKEN.labels(self.resource.plural).set(1 if self._troubles else 0)

    async def _list(self, place: str) -> None:
        listing = await self._cluster.list(self.resource.path(place), labels=self._labels)
        listed = {_key(live) for live in listing.items}
        keys = [key for key in self._objects if not place or key.startswith(f"{place}/")]
        for key in [key for key in keys if key not in listed]:  # also what was written here meanwhile
            del self._objects[key]
            self._tell(key)
        for live in listing.items:
            self._take(live)
        self._following[place].listed(listing.resource_version)

    async def _watch(self, place: str) -> None:
        """Follow until the server ends the watch in order."""
        following = self._following[place]
        path = self.resource.path(place)
        async for event in self._cluster.watch(path, resource_version=following.version, labels=self._labels):
            live = event.object
            key = _key(live) if event.type != "BOOKMARK" else ""
            match following.happened(event.type, live["metadata"]["resourceVersion"]):
                case Change.GONE:
                    kept = self._objects.get(key)
                    if kept is not None and kept["metadata"].get("uid") == live["metadata"].get("uid"):
                        del self._objects[key]
                    self._tell(key)
                case Change.PUT:
                    self._take(live)
                case Change.NOTHING:
                    pass

    def _take(self, live: Json) -> None:
        key = _key(live)
        kept = self._objects.get(key)
        if kept is not None and _is_older(live, kept):
            return
        self._objects[key] = live
        if kept is None or kept["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
            self._tell(key)

    def _tell(self, key: str) -> None:
        if key in self._writing:
            self._held.add(key)
            return
        try:
            self._on_change(key, self._objects.get(key))
        except Exception:
            # What people of one namespace write must not end the watch of all.
            logger.exception("a change was not acted upon", extra={"object": f"{self.resource.plural} {key}"})


def _key(live: Json) -> str:
    meta = live["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


def _is_older(live: Json, kept: Json) -> bool:
    """Whether ``live`` is an echo from before ``kept``. Versions of one object are numbers that grow."""
    if live["metadata"].get("uid") != kept["metadata"].get("uid"):
        return False
    version, kept_version = live["metadata"]["resourceVersion"], kept["metadata"]["resourceVersion"]
    return bool(version.isdigit() and kept_version.isdigit() and int(version) < int(kept_version))

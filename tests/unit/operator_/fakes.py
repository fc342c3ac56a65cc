"""The ports in memory: what the tests of driving need of them, with calls that can be made to fail."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from overspill_operator.core.objects import Metadata, RouteObject
from overspill_operator.ports import ClusterError, EngineError, Json, Listing, Replicas, WatchEvent


class FakeCluster:
    """Objects by path; every write raises the version."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.errors: list[ClusterError] = []
        self.watches: asyncio.Queue[WatchEvent | ClusterError | None] = asyncio.Queue()
        self.version = 100

    def put(self, path: str, live: dict[str, Any]) -> dict[str, Any]:
        """An object that somebody else has written."""
        self.version += 1
        namespace, name = path.split("/")[-3], path.rsplit("/", maxsplit=1)[-1]
        meta = {"namespace": namespace, "name": name, "uid": f"uid-{name}", **live.get("metadata", {})}
        self.objects[path] = {**live, "metadata": {**meta, "resourceVersion": str(self.version)}}
        return self.objects[path]

    async def get(self, path: str) -> Json | None:
        """See ``ports.Cluster``."""
        self._called("GET", path)
        return self.objects.get(path)

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", metadata_only: bool = False, fresh: bool = False
    ) -> Listing:
        """See ``ports.Cluster``; selects by no label, and by the uid of what an Event is about."""
        assert not metadata_only or fresh or labels == ""
        self._called("LIST", path)
        uid = fields.partition("involvedObject.uid=")[2]
        found = [
            live
            for key, live in self.objects.items()
            if key.startswith(f"{path}/") and (not uid or live["involvedObject"]["uid"] == uid)
        ]
        return Listing(tuple(found), str(self.version))

    async def watch(self, path: str, *, resource_version: str, labels: str = "") -> AsyncIterator[WatchEvent]:
        """See ``ports.Cluster``; the test puts events, errors, and None for the end into ``watches``."""
        assert resource_version.isdigit(), labels
        self._called("WATCH", path)
        while True:
            event = await self.watches.get()
            if event is None:
                return
            if isinstance(event, ClusterError):
                raise event
            yield event

    async def apply(self, path: str, manifest: Json, *, force: bool = True, dry_run: bool = False) -> Json:
        """See ``ports.Cluster``; an object that gives no uid gets one."""
        self._called("TRY" if dry_run else "APPLY", path)
        assert force or path not in self.objects
        if dry_run:
            return {**manifest, "metadata": {"resourceVersion": str(self.version), **manifest["metadata"]}}
        return self.put(path, dict(manifest))

    async def merge_patch(self, path: str, patch: Json) -> Json:
        """See ``ports.Cluster``; replaces top-level fields."""
        self._called("PATCH", path)
        return self.put(path, {**self.objects.get(path, {}), **patch})

    async def create(self, path: str, manifest: Json) -> Json:
        """See ``ports.Cluster``."""
        self._called("CREATE", path)
        return self.put(f"{path}/{manifest['metadata']['name']}", dict(manifest))

    async def replace(self, path: str, manifest: Json) -> Json:
        """See ``ports.Cluster``."""
        self._called("PUT", path)
        return self.put(path, dict(manifest))

    async def delete(self, path: str, *, uid: str = "") -> None:
        """See ``ports.Cluster``."""
        self._called("DELETE", f"{path} {uid}".strip())
        self.objects.pop(path, None)

    def _called(self, verb: str, path: str) -> None:
        self.calls.append((verb, path))
        if self.errors:
            raise self.errors.pop(0)


class FakeEngines:
    """``ports.Engines`` of no machine: replicas by the uid of their route, ready when the test says so."""

    def __init__(self) -> None:
        self.are_known = True
        self.live: dict[str, Replicas] = {}
        self.written: list[int] = []
        self.errors: list[EngineError] = []
        self.asked = 0

    def replicas(self, route: RouteObject) -> Replicas | None:
        """See ``ports.Engines``."""
        self.asked += 1
        return self.live.get(route.meta.uid)

    async def set_replicas(self, route: RouteObject, number: int) -> None:
        """See ``ports.Engines``; takes a turn of the event loop."""
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        self.written.append(number)
        self.live[route.meta.uid] = Replicas(number)


class FakeEvents:
    """``ports.Events`` that are kept."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def record(self, _kind: str, meta: Metadata, *, warning: bool, reason: str, note: str, action: str) -> None:
        """See ``ports.Events``."""
        assert action
        assert note
        assert warning in (True, False)
        self.told.append((meta.key, reason))


class FakeStatuses:
    """``ports.Statuses`` that are kept."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, Json]] = []

    async def report(self, kind: str, meta: Metadata, status: Json) -> Json | None:
        """See ``ports.Statuses``."""
        self.written.append((kind, meta.key, status))
        return status

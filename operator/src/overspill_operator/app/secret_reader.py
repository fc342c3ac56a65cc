"""Secrets that routes name: read one by one, remembered, and read again in turn, so that a renewed key is soon in use.

The operator's right to read Secrets reaches over all namespaces, so that nobody else's may reach it: the namespace is
always the route's own, and the name one that its spec holds.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from overspill_api.names import engine_key_secret
from overspill_operator.clock import Clock
from overspill_operator.core.credentials import read_api_key, secret_names
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import SECRETS, Cluster, ClusterError, Json

KEEP_SECONDS = 40.0
"""Shorter than a sweep's round; a watch would need the right to read all."""

AGAIN_SECONDS = 5.0
"""Age at which a Secret that some route uses is read again: a renewed key is in use within ten seconds."""

READERS = 2
READ_PAUSE_SECONDS = 0.1
"""Between two reads of one reader: all Secrets together cost at most 20 calls a second, and then wait for longer.

One of the two reads what is missing first: of fifty Secrets that are missing each is looked for every 5 s, however many
others there are.
"""

UNUSED_SECONDS = 900.0
"""A Secret that no reconcile has asked for in this time (a full round takes five minutes) is forgotten."""

MISSING_SECONDS = 2.0
MISSING_SECONDS_MAX = 30.0


@dataclass(slots=True)
class _Entry:
    data: Json | None
    is_complete: bool
    read_at: float
    keep: float
    asked_at: float
    routes: set[str]
    is_being_read: bool = False


class SecretReader:
    """A memory of Secrets by ``namespace/name``."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        jitter: Callable[[], float],
        on_change: Callable[[str], None] = lambda _key: None,
    ) -> None:
        """``jitter`` gives numbers from 0 to 1; ``on_change`` gets the keys of routes whose Secret is another one."""
        self._on_change = on_change
        self._cluster = cluster
        self._clock = clock
        self._jitter = jitter
        self._entries: dict[str, _Entry] = {}
        self._used: dict[str, frozenset[str]] = {}

    async def read(self, route: RouteObject, name: str, key: str = "") -> Json | None:
        """Data (base64 by key) of a Secret that the route names, in its namespace; None where it is not there.

        One without a usable text under ``key``, where one is looked for, counts as missing: it is read anew as soon.
        Raises ValueError for a Secret that the route does not name: nothing is asked then.
        """
        if name not in secret_names(route.spec) and name != engine_key_secret(route.meta.name):
            raise ValueError(f"ModelRoute {route.key} does not name a Secret {name!r}, so it is not read")
        namespace, path = route.meta.namespace, f"{route.meta.namespace}/{name}"
        entry = self._entries.get(path)
        now = self._clock.monotonic()
        if entry is not None:
            entry.asked_at = now
            entry.routes.add(route.key)
        if entry is not None and now - entry.read_at < entry.keep:
            return entry.data
        try:
            secret = await self._cluster.get(SECRETS.path(namespace, name))
        except ClusterError:
            if entry is None or not entry.is_complete:
                raise
            # A server that stumbles takes no API away: what was read last is used, and read anew soon.
            entry.read_at, entry.keep = now, MISSING_SECONDS
            return entry.data
        data = None if secret is None else secret.get("data") or {}
        is_complete = data is not None and (not key or read_api_key(data, key).text is not None)
        if is_complete:
            keep = KEEP_SECONDS * (0.75 + self._jitter() / 2)
        elif entry is not None and not entry.is_complete:
            keep = min(max(entry.keep * 2, MISSING_SECONDS), MISSING_SECONDS_MAX)
        else:
            keep = MISSING_SECONDS
        routes = entry.routes if entry else {route.key}
        self._entries[path] = _Entry(data, is_complete, now, keep, now, routes)
        return data

    def retain(self, key: str, names: frozenset[str]) -> None:
        """A route names these Secrets and no others (any more): what no route names is forgotten and not read again."""
        namespace = key.partition("/")[0]
        used = frozenset(f"{namespace}/{name}" for name in names)
        for path in self._used.get(key, frozenset()) - used:
            entry = self._entries.get(path)
            if entry is None:
                continue
            entry.routes.discard(key)
            if not entry.routes:
                del self._entries[path]
        if used:
            self._used[key] = used
        else:
            self._used.pop(key, None)

    async def read_anew(self, route: RouteObject, name: str, key: str = "") -> Json | None:
        """The same, straight from the API server."""
        self._entries.pop(f"{route.meta.namespace}/{name}", None)
        return await self.read(route, name, key)

    async def run(self) -> None:
        """Read what is used again, for ever, the oldest reading first."""
        async with asyncio.TaskGroup() as group:
            for number in range(READERS):
                group.create_task(self._read_on(missing_first=number == 0), name=f"secret reader {number}")

    async def _read_on(self, *, missing_first: bool) -> None:
        while True:
            path = self._next_due(self._clock.monotonic(), missing_first=missing_first)
            if path is not None:
                await self._read_again(path, self._entries[path])
            await self._clock.sleep(READ_PAUSE_SECONDS)

    def _next_due(self, now: float, *, missing_first: bool) -> str | None:
        """The Secret that was read longest ago, where it is time; what nobody uses any more is forgotten.

        ``missing_first``: among those that lack something, where there are any: an engine or an API waits for them.
        """
        for path in [path for path, entry in self._entries.items() if now - entry.asked_at > UNUSED_SECONDS]:
            del self._entries[path]
        due = [
            (missing_first and entry.is_complete, entry.read_at, path)
            for path, entry in self._entries.items()
            if now - entry.read_at >= AGAIN_SECONDS and not entry.is_being_read
        ]
        return min(due)[2] if due else None

    async def _read_again(self, path: str, entry: _Entry) -> None:
        namespace, _, name = path.partition("/")
        entry.is_being_read = True
        try:
            secret = await self._cluster.get(SECRETS.path(namespace, name))
            data = None if secret is None else secret.get("data") or {}
        except ClusterError:
            data = entry.data  # what was read last stays, as in ``read``
        finally:
            entry.is_being_read, entry.read_at = False, self._clock.monotonic()
        if data != entry.data and self._entries.get(path) is entry:
            # Whether it is complete is for those who use it to say: they ask anew.
            entry.keep = 0.0
            for key in entry.routes:
                self._on_change(key)

    def seconds_until_due(self, route: RouteObject, name: str) -> float:
        """When reading it anew may say something else."""
        entry = self._entries.get(f"{route.meta.namespace}/{name}")
        return max(0.0, entry.read_at + entry.keep - self._clock.monotonic()) + 0.05 if entry else 0.0

"""Secrets that routes name: read one by one, remembered for a while, asked for again soon where they are missing.

The operator's right to read Secrets reaches over all namespaces, so that nobody else's may reach it: the namespace is
always the route's own, and the name one that its spec holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from overspill_operator.core.credentials import read_api_key, secret_names
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import SECRETS, Cluster, ClusterError, Json

KEEP_SECONDS = 40.0
"""Shorter than a sweep's round, so that each round sees changed keys; a watch would need the right to read all."""

MISSING_SECONDS = 2.0
MISSING_SECONDS_MAX = 30.0


@dataclass(slots=True)
class _Entry:
    data: Json | None
    is_complete: bool
    read_at: float
    keep: float


class SecretReader:
    """A memory of Secrets by ``namespace/name``."""

    def __init__(self, cluster: Cluster, jitter: Callable[[], float]) -> None:
        """``jitter`` gives numbers from 0 to 1."""
        self._cluster = cluster
        self._jitter = jitter
        self._entries: dict[str, _Entry] = {}

    async def read(self, route: RouteObject, name: str, key: str = "") -> Json | None:
        """Data (base64 by key) of a Secret that the route names, in its namespace; None where it is not there.

        One without a usable text under ``key``, where one is looked for, counts as missing: it is read anew as soon.
        Raises ValueError for a Secret that the route does not name: nothing is asked then.
        """
        if name not in secret_names(route.spec):
            raise ValueError(f"ModelRoute {route.key} does not name a Secret {name!r}, so it is not read")
        namespace, path = route.meta.namespace, f"{route.meta.namespace}/{name}"
        entry = self._entries.get(path)
        now = monotonic()
        if entry is not None and now - entry.read_at < entry.keep:
            return entry.data
        try:
            found = await self._cluster.get(SECRETS.path(namespace, name))
        except ClusterError:
            if entry is None or not entry.is_complete:
                raise
            # A server that stumbles takes no API away: what was read last is used, and read anew soon.
            entry.read_at, entry.keep = now, MISSING_SECONDS
            return entry.data
        data = None if found is None else found.get("data") or {}
        is_complete = data is not None and (not key or read_api_key(data, key).text is not None)
        if is_complete:
            keep = KEEP_SECONDS * (0.75 + self._jitter() / 2)
        elif entry is not None and not entry.is_complete:
            keep = min(entry.keep * 2, MISSING_SECONDS_MAX)
        else:
            keep = MISSING_SECONDS
        self._entries[path] = _Entry(data, is_complete, now, keep)
        return data

    def seconds_until_due(self, route: RouteObject, name: str) -> float:
        """When reading it anew may say something else."""
        entry = self._entries.get(f"{route.meta.namespace}/{name}")
        return max(0.0, entry.read_at + entry.keep - monotonic()) + 0.05 if entry else 0.0

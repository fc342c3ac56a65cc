"""Secrets that routes name: read one by one, remembered for a while, asked for again soon where they are missing."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from overspill_operator.ports import SECRETS, Cluster, Json

KEEP_SECONDS = 60.0
"""A changed key is noticed within this time; a watch would need the right to read every Secret."""

MISSING_SECONDS = 2.0
MISSING_SECONDS_MAX = 30.0


@dataclass(slots=True)
class _Entry:
    data: Json | None
    read_at: float
    keep: float


class SecretReader:
    """A memory of Secrets by ``namespace/name``."""

    def __init__(self, cluster: Cluster, jitter: Callable[[], float]) -> None:
        """``jitter`` gives numbers from 0 to 1."""
        self._cluster = cluster
        self._jitter = jitter
        self._entries: dict[str, _Entry] = {}

    async def read(self, namespace: str, name: str) -> Json | None:
        """The Secret's data (base64 by key), or None where it is not there."""
        key = f"{namespace}/{name}"
        entry = self._entries.get(key)
        now = monotonic()
        if entry is not None and now - entry.read_at < entry.keep:
            return entry.data
        found = await self._cluster.get(SECRETS.path(namespace, name))
        if found is not None:
            keep = KEEP_SECONDS * (0.75 + self._jitter() / 2)
            self._entries[key] = _Entry(found.get("data") or {}, now, keep)
        else:
            missed = entry is not None and entry.data is None
            pause = min(entry.keep * 2, MISSING_SECONDS_MAX) if entry and missed else MISSING_SECONDS
            self._entries[key] = _Entry(None, now, pause)
        return self._entries[key].data

    def seconds_until_due(self, namespace: str, name: str) -> float:
        """When reading it anew may say something else."""
        entry = self._entries.get(f"{namespace}/{name}")
        return max(0.0, entry.read_at + entry.keep - monotonic()) + 0.05 if entry else 0.0


def decode(data: Json, key: str) -> str | None:
    """The text under a key, without blanks around it; None where it is missing, empty or no text."""
    try:
        return b64decode(data.get(key) or "", validate=True).decode().strip() or None
    except (Base64Error, UnicodeDecodeError):
        return None

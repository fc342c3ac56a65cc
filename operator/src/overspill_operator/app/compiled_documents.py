"""Compiled documents, where the gateways look for them: Secrets in the release's namespace."""

from base64 import b64decode

from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.applier import Applier
from overspill_operator.core.manifests import Manifest


class CompiledDocuments:
    """Those of one release, by the names of their Secrets."""

    def __init__(self, applier: Applier, cache: WatchCache, release_namespace: str) -> None:
        """``cache``: the Secrets as the API server has them."""
        self.release_namespace = release_namespace
        self._applier = applier
        self._cache = cache

    def read(self, name: str, key: str) -> bytes | None:
        """What lies under a key in the Secret that the gateways have; None: nothing does."""
        live = self._cache.get(self.release_namespace, name)
        text = (live.get("data") or {}).get(key) if live else None
        return b64decode(text) if text else None

    async def ensure(self, secret: Manifest) -> None:
        """It shall be there as it is given. Raises ClusterError."""
        await self._applier.ensure(self._cache, secret)

    def seconds_until_retry(self, name: str) -> float:
        """When one that was refused may be tried again."""
        return self._applier.seconds_until_retry(self._cache, self.release_namespace, name)

    async def remove(self, name: str) -> None:
        """It shall not be there."""
        await self._applier.remove(self._cache, self.release_namespace, name)

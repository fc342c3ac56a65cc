"""Keys of engines: one a route, in a Secret beside it, made where there is none and never changed.

Whoever deletes the Secret, or writes another key into it, rotates the key: gateways know the former one as well for as
long as replicas run with it.
"""

import logging
import secrets
from base64 import b64encode

from overspill_api.keys import ALPHANUMERIC
from overspill_api.names import ENGINE_KEY, LABEL_MANAGED_BY, LABEL_RELEASE, LABEL_ROUTE, MANAGED_BY, engine_key_secret
from overspill_operator.app.secret_reader import SecretReader
from overspill_operator.core.credentials import read_api_key
from overspill_operator.core.manifests import owner_reference
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import SECRETS, Cluster, ClusterError

logger = logging.getLogger(__name__)

LENGTH = 48
"""48 of 62 characters are 285 bits."""


class EngineKeys:
    """Makes and reads them."""

    def __init__(self, cluster: Cluster, reader: SecretReader, release_namespace: str) -> None:
        """``reader`` tells of changes."""
        self._cluster = cluster
        self._reader = reader
        self._release_namespace = release_namespace

    async def key(self, route: RouteObject) -> tuple[str | None, str]:
        """The route's key, or None and why there is none. Raises ClusterError where there was no answer."""
        name = engine_key_secret(route.meta.name)
        try:
            data = await self._reader.read(route, name, ENGINE_KEY)
            if data is None:
                await self._make(route, name)
                data = await self._reader.read_anew(route, name, ENGINE_KEY)
        except ClusterError as error:
            if not error.is_answer:
                raise
            return None, f"The engine's key (Secret {name!r}) cannot be made or read: {error.message}."
        stored = read_api_key(data or {}, ENGINE_KEY)
        if stored.text is None:
            problem = stored.problem or "is not there"
            what = f"Key {ENGINE_KEY!r} of Secret {name!r} {problem}: delete the Secret, and a new one is made."
            return None, what
        return stored.text, ""

    async def _make(self, route: RouteObject, name: str) -> None:
        text = "".join(secrets.choice(ALPHANUMERIC) for _ in range(LENGTH))
        labels = {
            LABEL_MANAGED_BY: MANAGED_BY,
            LABEL_ROUTE: route.meta.name,
            LABEL_RELEASE: self._release_namespace,
        }
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": route.meta.namespace,
                "labels": labels,
                "ownerReferences": [owner_reference(route.meta)],
            },
            "type": "Opaque",
            "data": {ENGINE_KEY: b64encode(text.encode()).decode()},
        }
        try:
            await self._cluster.create(SECRETS.path(route.meta.namespace), manifest)
        except ClusterError as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            logger.info("key of an engine is made", extra={"route": route.key, "secret": name})

"""Hands compiled documents and endpoints straight to the gateway of the same process: its ``Source``."""

import asyncio
from typing import Final

from overspill_api.names import compiled_consumer_secret_name, compiled_route_secret_name, engine_name
from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_gateway.sources.documents import read_document
from overspill_gateway.sources.documents_by_object import DocumentsByObject, subject_of
from overspill_gateway.sources.port import Sink
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import Outcome

SLICE: Final = "box"
"""All endpoints of a route are in one slice."""


class BoxSource:
    """What the gateway reads: ``sources.port.Source``, and the operator's ``ports.DocumentWriter``."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._documents = DocumentsByObject(sink)
        self._routes: dict[str, bytes] = {}
        self.is_read = False
        """Whether each route has been looked at once."""

    @property
    def errors_total(self) -> int:
        """Documents that could not be used."""
        return self._documents.errors_total

    def missing(self) -> str | None:
        """What has not been read yet."""
        return None if self.is_read else "routes are being read"

    async def run(self) -> None:
        """Nothing is read here: until cancelled."""
        await asyncio.Event().wait()

    # -- routes and consumers ------------------------------------------------------------------------------------

    async def write(self, route: RouteObject, document: bytes, outcome: Outcome) -> None:  # noqa: ARG002 - the port's
        """See ``ports.DocumentWriter``. What the gateway refuses it says itself, by its demand stream."""
        self._routes[route.key] = document
        name = compiled_route_secret_name(route.meta.namespace, route.meta.name)
        subject = subject_of("route", document, route.key)
        self._documents.take(name, subject, lambda: read_document("route", document))

    def document(self, key: str) -> bytes | None:
        """A route's compiled document as it was last written."""
        return self._routes.get(key)

    def remove_route(self, key: str) -> None:
        """A route is gone, or may not have its name any more."""
        self._routes.pop(key, None)
        namespace, _, name = key.partition("/")
        self._documents.drop(compiled_route_secret_name(namespace, name))

    def write_consumer(self, namespace: str, name: str, document: bytes) -> bool:
        """A consumer is new or has changed; false: the gateway can't use it."""
        subject = subject_of("consumer", document, f"{namespace}/{name}")
        secret = compiled_consumer_secret_name(namespace, name)
        return self._documents.take(secret, subject, lambda: read_document("consumer", document))

    def remove_consumer(self, namespace: str, name: str) -> None:
        """A consumer is gone."""
        self._documents.drop(compiled_consumer_secret_name(namespace, name))

    # -- engines ---------------------------------------------------------------------------------------------------

    def set_endpoints(self, key: str, facts: tuple[EndpointFact, ...]) -> None:
        """These are the replicas of a route that requests may be sent to, ready or not."""
        namespace, _, name = key.partition("/")
        self._sink.set_slice((namespace, engine_name(name)), SLICE, facts)

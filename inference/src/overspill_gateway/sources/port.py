"""What a source of routes, consumers and endpoints is, so that the rest does not know which one feeds it."""

from typing import Protocol

from overspill_api.compiled import CompiledConsumer, CompiledRoute
from overspill_api.demand import RefusedDocument
from overspill_gateway.core.backends.rotation import EndpointFact


class Sink(Protocol):
    """Takes what a source learns; ``routes.catalog.Catalog`` is the one."""

    def set_route(self, compiled: CompiledRoute) -> None:
        """A route is new or has changed. Whatever it raises, the route is as it was before."""
        ...

    def remove_route(self, key: str) -> None:
        """A route is gone."""
        ...

    def set_consumer(self, compiled: CompiledConsumer) -> None:
        """A consumer is new or has changed."""
        ...

    def remove_consumer(self, key: str) -> None:
        """A consumer is gone."""
        ...

    def set_slice(self, service: tuple[str, str], name: str, facts: tuple[EndpointFact, ...]) -> None:
        """A slice of a Service's endpoints is new or has changed; no facts: it is gone."""
        ...

    def set_pepper(self, pepper: bytes) -> None:
        """Under what API keys are hashed; until then no key is known."""
        ...

    def set_refused(self, documents: tuple[RefusedDocument, ...]) -> None:
        """All documents that can't be used now."""
        ...


class Source(Protocol):
    """Feeds a sink for as long as it runs."""

    @property
    def errors_total(self) -> int:
        """Documents refused and calls failed, for metrics."""
        ...

    def missing(self) -> str | None:
        """What has not been read yet, or None when everything has been read once."""
        ...

    async def run(self) -> None:
        """Feed the sink until cancelled; nothing that goes wrong ends it."""
        ...

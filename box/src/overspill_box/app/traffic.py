"""What the gateway of this process has on its hands: asked directly, so that nothing is a line old."""

from typing import Protocol

from overspill_gateway.routes.catalog import Catalog


class Traffic(Protocol):
    """Requests at engines, and those that wait for one."""

    def in_flight(self, route: str, uid: str) -> int:
        """Requests that a replica has now; ``uid``: of its endpoint."""

    def last_arrival_unix(self, route: str) -> float | None:
        """When the last request for a route came; None: none has."""

    def waits(self, route: str) -> bool:
        """Whether a request waits, or went elsewhere, because no replica could take it, and still none can."""


class GatewayTraffic:
    """``Traffic`` of a gateway in this process."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def in_flight(self, route: str, uid: str) -> int:
        """See ``Traffic``."""
        known = self._catalog.routes.get(route)
        if known is None:
            return 0
        return sum(replica.in_flight for (_, of), replica in known.replicas.items() if of == uid)

    def last_arrival_unix(self, route: str) -> float | None:
        """See ``Traffic``."""
        known = self._catalog.routes.get(route)
        return known.last_arrival_unix_seconds if known is not None else None

    def waits(self, route: str) -> bool:
        """See ``Traffic``."""
        known = self._catalog.routes.get(route)
        return known is not None and (known.held > 0 or known.pool.wants_replica)

"""What the gateway of this process has on its hands: asked directly, so that nothing is a line old."""

from typing import Protocol

from overspill_gateway.core.backends.rotation import Health
from overspill_gateway.routes.catalog import Catalog


class Traffic(Protocol):
    """Requests at engines, and those that wait for one."""

    def in_flight(self, route: str, uid: str) -> int:
        """Requests that a replica has now; ``uid``: of its endpoint."""

    def answers(self, route: str, uid: str) -> bool:
        """Whether a replica has been found to answer, by whoever was in a hurry."""

    def served(self, route: str) -> int:
        """Requests that replicas of a route have answered, ever: it only grows."""

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

    def answers(self, route: str, uid: str) -> bool:
        """See ``Traffic``."""
        known = self._catalog.routes.get(route)
        if known is None:
            return False
        return any(replica.health is Health.ANSWERS for (_, of), replica in known.replicas.items() if of == uid)

    def served(self, route: str) -> int:
        """See ``Traffic``."""
        known = self._catalog.routes.get(route)
        return known.counters("local").served if known is not None else 0

    def waits(self, route: str) -> bool:
        """See ``Traffic``."""
        known = self._catalog.routes.get(route)
        return known is not None and (known.held > 0 or known.pool.wants_replica)

"""What the operator has made, as the API server has it: one cache for each kind of object."""

import asyncio
from dataclasses import dataclass

from overspill_api.names import engine_name
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.core.manifests import cache_claim_name
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.ownership import is_owned
from overspill_operator.ports import Json


@dataclass(frozen=True, slots=True)
class Caches:
    """What the operator has made, as the API server has it."""

    deployments: WatchCache
    """Engines."""
    services: WatchCache
    """Their Services."""
    claims: WatchCache
    """Their caches."""
    budgets: WatchCache
    """What a drain must leave of them."""
    policies: WatchCache
    """Who may reach them."""
    compiled: WatchCache
    """Compiled documents."""

    def engine(self, route: RouteObject) -> Json | None:
        """The Deployment of a route, where there is one that is its own."""
        return own(self.deployments, route, engine_name(route.meta.name))

    def claim(self, route: RouteObject) -> Json | None:
        """The claim of a route's cache, where there is one that is its own."""
        return own(self.claims, route, cache_claim_name(route.meta.name))

    @property
    def all(self) -> tuple[WatchCache, ...]:
        """Each of them."""
        return (self.deployments, self.services, self.claims, self.budgets, self.policies, self.compiled)

    async def synced(self) -> None:
        """Wait until each has been listed."""
        await asyncio.gather(*(cache.synced.wait() for cache in self.all))


def own(cache: WatchCache, route: RouteObject, name: str) -> Json | None:
    """The object of a name, where it is the route's own."""
    live = cache.get(route.meta.namespace, name)
    return live if is_owned(live, route.meta.uid) else None

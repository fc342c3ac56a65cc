"""Who may use a model name where several ModelRoutes claim it: the oldest, then by namespace and name."""

from collections.abc import Iterable, Mapping

from overspill_operator.core.objects import RouteObject


def owner(claimants: Iterable[RouteObject]) -> RouteObject:
    """The claimant that keeps the name."""
    return min(claimants, key=lambda route: (route.meta.created, route.meta.namespace, route.meta.name))


def lost_names(route: RouteObject, claims: Mapping[str, Iterable[RouteObject]]) -> dict[str, RouteObject]:
    """Names that ``route`` claims and another one keeps, with that other one. ``claims``: name to claimants."""
    lost: dict[str, RouteObject] = {}
    for name in route.names:
        keeper = owner([*claims.get(name, ()), route])
        if keeper.key != route.key:
            lost[name] = keeper
    return lost

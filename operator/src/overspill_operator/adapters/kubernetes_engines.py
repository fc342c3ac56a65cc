"""Engines on Kubernetes: ``ports.Engines`` by Deployments, as they are watched, and their /scale."""

from collections.abc import Mapping
from typing import Any

from overspill_api.names import engine_name
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.core.engine_state import engine_state
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.ownership import is_owned
from overspill_operator.ports import DEPLOYMENTS, Cluster, ClusterError, EngineError, Json, Replicas


class KubernetesEngines:
    """A Deployment a route; another one of its name is not the route's, and not scaled."""

    def __init__(self, cluster: Cluster, deployments: WatchCache) -> None:
        """``deployments``: as the API server has them, and as they were written here."""
        self._cluster = cluster
        self._deployments = deployments

    @property
    def are_known(self) -> bool:
        """See ``ports.Engines``."""
        return self._deployments.synced.is_set()

    def replicas(self, route: RouteObject) -> Replicas | None:
        """See ``ports.Engines``."""
        live = self._own(route)
        if live is None:
            return None
        state = engine_state(live)
        return Replicas(live["spec"].get("replicas"), state.ready, state.ready_since_unix)

    async def set_replicas(self, route: RouteObject, number: int) -> None:
        """See ``ports.Engines``: by /scale alone, so that the template is never touched."""
        live = self._own(route)
        if live is None:
            return
        namespace, name = route.meta.namespace, engine_name(route.meta.name)
        path = DEPLOYMENTS.path(namespace, name, "scale")
        try:
            with self._deployments.writing(namespace, name):
                answer = await self._cluster.merge_patch(path, {"spec": {"replicas": number}})
                self._deployments.wrote(_scaled(live, number, answer))
        except ClusterError as error:
            raise EngineError(str(error)) from error

    def _own(self, route: RouteObject) -> Json | None:
        live = self._deployments.get(route.meta.namespace, engine_name(route.meta.name))
        return live if is_owned(live, route.meta.uid) else None


def _scaled(live: Json, number: int, answer: Json) -> Mapping[str, Any]:
    """The Deployment as it is after its scale was written."""
    version = answer["metadata"]["resourceVersion"]
    return {
        **live,
        "metadata": {**live["metadata"], "resourceVersion": version},
        "spec": {**live["spec"], "replicas": number},
    }

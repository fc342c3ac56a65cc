"""Status on Kubernetes: ``ports.Statuses`` by the /status of ModelRoutes and Consumers.

It is cut to what the API server takes. A refusal is told once and followed by a shorter status.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from overspill_api.crd import Schema
from overspill_operator.adapters import telemetry
from overspill_operator.core.objects import Metadata
from overspill_operator.core.status_limits import CONSUMER_STATUS, ROUTE_STATUS, fitted
from overspill_operator.ports import CONSUMERS, MODEL_ROUTES, Cluster, ClusterError, Json, Resource

logger = logging.getLogger(__name__)

SHORT_LENGTH_MAX = 200
REFUSALS = (400, 413, 422, 500)
"""Answers that say that the status itself is at fault, or may be."""

_KINDS: Mapping[str, tuple[Resource, Schema]] = {
    "ModelRoute": (MODEL_ROUTES, ROUTE_STATUS),
    "Consumer": (CONSUMERS, CONSUMER_STATUS),
}


class KubernetesStatuses:
    """Writes them."""

    def __init__(self, cluster: Cluster, wrote: Mapping[str, Callable[[Json], None]]) -> None:
        """``wrote``: by kind, who takes the API server's answer."""
        self._cluster = cluster
        self._wrote = wrote

    async def report(self, kind: str, meta: Metadata, status: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See ``ports.Statuses``."""
        resource, schema = _KINDS[kind]
        path, wrote = resource.path(meta.namespace, meta.name, "status"), self._wrote[kind]
        status = fitted(status, schema)
        try:
            wrote(await self._cluster.merge_patch(path, {"status": status}))
        except ClusterError as error:
            if error.status == 404:
                return None
            if error.status not in REFUSALS:
                raise
            # The same again would be refused again. What matters most is still told.
            logger.warning("status refused, writing a shorter one: %s", error, extra={"path": path})
            status = _short(status)
            wrote(await self._cluster.merge_patch(path, {"status": status}))
        telemetry.STATUS_WRITES.inc()
        return status


def _short(status: Mapping[str, Any]) -> dict[str, Any]:
    conditions = [
        {**condition, "message": condition.get("message", "").encode("ascii", "replace").decode()[:SHORT_LENGTH_MAX]}
        for condition in status.get("conditions") or ()
    ]
    return {"observedGeneration": status.get("observedGeneration"), "conditions": conditions}

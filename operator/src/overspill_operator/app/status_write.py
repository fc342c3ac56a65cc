"""The write of a status, cut to what the API server takes. A refusal is told once and followed by a shorter status."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from overspill_api.crd import Schema
from overspill_operator.adapters import telemetry
from overspill_operator.core.status_limits import fitted
from overspill_operator.ports import Cluster, ClusterError, Json

logger = logging.getLogger(__name__)

SHORT_LENGTH_MAX = 200
REFUSALS = (400, 413, 422, 500)
"""Answers that say that the status itself is at fault, or may be."""


async def write_status(
    cluster: Cluster, path: str, document: Mapping[str, Any], schema: Schema, wrote: Callable[[Json], None]
) -> dict[str, Any] | None:
    """Write ``document``; what was written, or None where the object is gone."""
    status = fitted(document, schema)
    try:
        wrote(await cluster.merge_patch(path, {"status": status}))
    except ClusterError as error:
        if error.status == 404:
            return None
        if error.status not in REFUSALS:
            raise
        # The same again would be refused again. What matters most is still told.
        logger.warning("status refused, writing a shorter one: %s", error, extra={"path": path})
        status = _short(status)
        wrote(await cluster.merge_patch(path, {"status": status}))
    telemetry.STATUS_WRITES.inc()
    return status


def _short(status: Mapping[str, Any]) -> dict[str, Any]:
    conditions = [
        {**condition, "message": condition.get("message", "").encode("ascii", "replace").decode()[:SHORT_LENGTH_MAX]}
        for condition in status.get("conditions") or ()
    ]
    return {"observedGeneration": status.get("observedGeneration"), "conditions": conditions}

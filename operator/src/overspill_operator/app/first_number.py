"""The first number of a route that another autoscaler scales: an API server answers for /scale only where there is one.

It cannot have a default (decision 0012), so it is written here: once, where nobody has, and never over another one.
"""

import logging

from overspill_api.scaling import Autoscaler
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import MODEL_ROUTES, Cluster, ClusterError

logger = logging.getLogger(__name__)


def first_number(route: RouteObject, desired: int) -> int | None:
    """What is to be written; None: nothing. At least 1: a HorizontalPodAutoscaler leaves alone what is at 0."""
    spec = route.spec
    if spec is None or spec.self_hosted is None or spec.scaling.replicas is not None:
        return None
    if spec.scaling.autoscaler is not Autoscaler.EXTERNAL:
        return None
    return max(1, min(desired, spec.scaling.max_replicas))


async def write_first_number(cluster: Cluster, route: RouteObject, desired: int) -> bool:
    """Write it, where the route is as it was seen; false: it was not, so look again. Raises other ClusterErrors."""
    number = first_number(route, desired)
    if number is None or route.meta.deleting:
        return True
    path = MODEL_ROUTES.path(route.meta.namespace, route.meta.name, "scale")
    patch = {"metadata": {"resourceVersion": route.meta.resource_version}, "spec": {"replicas": number}}
    try:
        await cluster.merge_patch(path, patch)
    except ClusterError as error:
        if error.status not in (404, 409):
            raise
        return error.status == 404
    logger.info("another autoscaler begins with %d", number, extra={"route": route.key})
    return True

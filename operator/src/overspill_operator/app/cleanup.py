"""``overspill-operator cleanup``, after the release is gone: engines, compiled documents and the Lease are deleted.

ModelRoutes and Consumers stay, as do the caches that belong to them: a new installation goes on from there.
"""

import logging

from overspill_api.names import LABEL_COMPILED, LABEL_MANAGED_BY, LABEL_ROUTE, MANAGED_BY
from overspill_operator.adapters.leadership import LEASE_NAME
from overspill_operator.ports import DEPLOYMENTS, DISRUPTION_BUDGETS, LEASES, SECRETS, SERVICES, Cluster

logger = logging.getLogger(__name__)


async def clean_up(cluster: Cluster, release_namespace: str) -> int:
    """Delete all of it; how many objects there were."""
    engines = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_ROUTE}"
    count = 0
    for resource, namespace, labels in (
        (DEPLOYMENTS, "", engines),
        (SERVICES, "", engines),
        (DISRUPTION_BUDGETS, "", engines),
        (SECRETS, release_namespace, LABEL_COMPILED),
    ):
        listing = await cluster.list(resource.path(namespace), labels=labels)
        for item in listing.items:
            meta = item["metadata"]
            await cluster.delete(resource.path(meta["namespace"], meta["name"]))
            count += 1
    await cluster.delete(LEASES.path(release_namespace, LEASE_NAME))
    logger.info("cleaned up", extra={"objects": count})
    return count

"""``overspill-operator cleanup``, after the release is gone: what it has made goes, and nothing of another release.

ModelRoutes and Consumers stay, as do the caches that belong to them: a new installation goes on from there.
"""

import logging

from overspill_api.names import (
    LABEL_COMPILED,
    LABEL_MANAGED_BY,
    LABEL_RELEASE,
    LABEL_ROUTE,
    LABEL_SOURCE_NAME,
    LABEL_SOURCE_NAMESPACE,
    MANAGED_BY,
)
from overspill_operator.core.tenancy import CLAIM_NAME, LEASE_NAME, holder
from overspill_operator.ports import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    LEASES,
    NETWORK_POLICIES,
    SECRETS,
    SERVICES,
    Cluster,
    Json,
)

logger = logging.getLogger(__name__)


async def clean_up(
    cluster: Cluster, release_namespace: str, watched: tuple[str, ...] = (), pepper_secret: str = ""
) -> int:
    """Delete all of it; how many objects there were. ``pepper_secret``: goes as well, if one is named."""
    places = watched or ("",)
    documents = (await cluster.list(SECRETS.path(release_namespace), labels=LABEL_COMPILED)).items
    routes = {_source(document) for document in documents}
    engines = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_ROUTE}"
    count = 0
    for resource in (DEPLOYMENTS, SERVICES, DISRUPTION_BUDGETS, NETWORK_POLICIES):
        for place in places:
            for item in (await cluster.list(resource.path(place), labels=engines)).items:
                if is_own(item, release_namespace, routes):
                    await cluster.delete(resource.path(item["metadata"]["namespace"], item["metadata"]["name"]))
                    count += 1
    for document in documents:
        await cluster.delete(SECRETS.path(release_namespace, document["metadata"]["name"]))
        count += 1
    for place in places:
        claims = await cluster.list(LEASES.path(place), fields=f"metadata.name={CLAIM_NAME}")
        for claim in claims.items:
            if claim["metadata"]["name"] == CLAIM_NAME and holder(claim) == release_namespace:
                await cluster.delete(LEASES.path(claim["metadata"]["namespace"], CLAIM_NAME))
    if pepper_secret:
        await cluster.delete(SECRETS.path(release_namespace, pepper_secret))
    await cluster.delete(LEASES.path(release_namespace, LEASE_NAME))
    logger.info("cleaned up", extra={"objects": count})
    return count


def is_own(item: Json, release_namespace: str, routes: set[tuple[str, str]]) -> bool:
    """Whether a release made an object: it says so, or is from before they did and belongs to a route it compiled.

    ``routes``: namespace and name of those.
    """
    meta = item["metadata"]
    labels = meta.get("labels") or {}
    release = labels.get(LABEL_RELEASE)
    if release is not None:
        return bool(release == release_namespace)
    return (meta["namespace"], labels.get(LABEL_ROUTE, "")) in routes


def _source(document: Json) -> tuple[str, str]:
    labels = document["metadata"].get("labels") or {}
    return labels.get(LABEL_SOURCE_NAMESPACE, ""), labels.get(LABEL_SOURCE_NAME, "")

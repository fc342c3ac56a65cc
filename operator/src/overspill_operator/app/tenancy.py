"""Which namespaces are this release's: found out before leading, and claimed before anything is changed in one."""

import logging

from overspill_operator.adapters.own_deployment import OwnDeployment
from overspill_operator.clock import Clock
from overspill_operator.core import tenancy
from overspill_operator.ports import LEASES, Cluster, ClusterError

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 30.0
"""When a namespace of another release is looked at again: that one may have been uninstalled."""


class Tenancy:
    """Namespaces of one release."""

    def __init__(
        self, cluster: Cluster, clock: Clock, release: str, watched: tuple[str, ...], own: OwnDeployment | None = None
    ) -> None:
        """``release``: its own namespace; ``watched``: its namespaces, none: all; ``own``: where it is told."""
        self._own = own
        self._cluster = cluster
        self._clock = clock
        self._release = release
        self._watched = watched
        self._mine: set[str] = set()
        self._foreign: dict[str, tuple[str, float]] = {}

    async def hindrance(self) -> str:
        """Why this release must not lead; empty: it may. Raises ClusterError where that cannot be found out."""
        for namespace in self._watched:
            claim = await self._cluster.get(LEASES.path(namespace, tenancy.CLAIM_NAME))
            other = tenancy.holder(claim)
            if other not in ("", self._release):
                return tenancy.claimed_by(namespace, other)
        own = tenancy.Release(self._release, self._watched, "")
        if self._watched:
            return ""  # it may not look beyond its namespaces, and their claims have said all
        fields = f"metadata.name={tenancy.LEASE_NAME}"
        leases = (await self._cluster.list(LEASES.path(), fields=fields, fresh=True)).items
        for lease in leases:
            if lease["metadata"]["namespace"] == self._release:
                own = tenancy.Release(self._release, self._watched, lease["metadata"].get("creationTimestamp") or "")
        return tenancy.hindrance(own, leases)

    async def claim_watched(self) -> str:
        """Claim the namespaces that the release was given; why it must not lead, where another one was faster."""
        for namespace in self._watched:
            other = await self.other_holder(namespace)
            if other:
                return tenancy.claimed_by(namespace, other)
        return ""

    async def other_holder(self, namespace: str) -> str:
        """The release that a namespace belongs to, where it is another one; else it is claimed, and empty is given."""
        if namespace in self._mine:
            return ""
        known, until = self._foreign.get(namespace, ("", 0.0))
        if known and self._clock.monotonic() < until:
            return known
        other = await self._claim(namespace)
        if other:
            if known != other:
                told = tenancy.claimed_by(namespace, other)
                logger.warning("%s", told)
                if self._own is not None:
                    await self._own.warn("NamespaceTaken", told)
            self._foreign[namespace] = other, self._clock.monotonic() + LOOK_AGAIN_SECONDS
            return other
        self._foreign.pop(namespace, None)
        self._mine.add(namespace)
        return ""

    async def _claim(self, namespace: str) -> str:
        path = LEASES.path(namespace, tenancy.CLAIM_NAME)
        claim = await self._cluster.get(path)
        if claim is None:
            manifest = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": tenancy.CLAIM_NAME, "namespace": namespace},
                "spec": {"holderIdentity": self._release},
            }
            try:
                claim = await self._cluster.create(LEASES.path(namespace), manifest)
            except ClusterError as error:
                if error.reason != "AlreadyExists":
                    raise
                claim = await self._cluster.get(path)
        other = tenancy.holder(claim)
        return "" if other == self._release else other or "unknown"

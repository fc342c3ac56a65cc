"""Which namespaces are this release's: found out before leading, and claimed before anything is changed in one."""

import logging
from collections.abc import Awaitable, Callable

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
        self._told: set[str] = set()
        self._foreign: dict[str, tuple[str, float]] = {}

    async def hindrance(self) -> str:
        """Why this release must not lead; empty: it may. Raises ClusterError where that cannot be found out."""
        if self._watched:
            return await self._unless_all(self._holder_seen)
        other = await self._holder_seen(tenancy.EVERYWHERE)
        return tenancy.all_claimed_by(other) if other else ""

    async def claim_own(self) -> str:
        """Claim what the release was given; why it must not lead, where it gets none of that."""
        if self._watched:
            return await self._unless_all(self.other_holder)
        try:
            other = await self._claim(tenancy.EVERYWHERE)
        except ClusterError as error:
            if error.status != 403:
                raise
            # Some providers let nobody write there: then each namespace's own claim must do.
            logger.warning("another release over all namespaces is not kept off: %s", error)
            return ""
        return tenancy.all_claimed_by(other) if other else ""

    async def _unless_all(self, holder: Callable[[str], Awaitable[str]]) -> str:
        """Why none of the given namespaces is the release's; empty: one is, and the others are left alone.

        Whoever rules over one of them (takes the rights there away, writes another's claim, deletes it) decides about
        that one, and about no other.
        """
        reasons: list[str] = []
        for namespace in self._watched:
            try:
                other = await holder(namespace)
                reason = tenancy.claimed_by(namespace, other) if other else ""
            except ClusterError as error:
                if error.status not in (403, 404):
                    raise
                reason = tenancy.not_allowed(namespace, str(error))
                if reason not in self._told:
                    logger.warning("%s", reason)
                self._told.add(reason)
            if reason:
                reasons.append(reason)
        return reasons[0] if len(reasons) == len(self._watched) else ""

    async def _holder_seen(self, namespace: str) -> str:
        """Whose a namespace is by its claim, if it is another release's."""
        other = tenancy.holder(await self._cluster.get(LEASES.path(namespace, tenancy.CLAIM_NAME)))
        return "" if other == self._release else other

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

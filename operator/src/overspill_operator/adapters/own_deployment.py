"""Events on this operator's own Deployment: what an administrator of the release must know and no ModelRoute shows."""

import hashlib
import logging
from datetime import UTC, datetime

from overspill_api import names
from overspill_operator.clock import Clock
from overspill_operator.ports import DEPLOYMENTS, EVENTS, Cluster, ClusterError

logger = logging.getLogger(__name__)

NOTE_BYTES_MAX = 1000
"""The API server takes 1024."""


class OwnDeployment:
    """Tells each thing once, also over restarts: an Event's name is made from what it says."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, instance: str, clock: Clock) -> None:
        """``name``: of the Deployment, empty where there is none; ``instance``: the pod that reports."""
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._instance = instance
        self._clock = clock
        self._told: set[str] = set()

    async def warn(self, reason: str, note: str) -> None:
        """Post an Event of type Warning, unless it is there: Kubernetes forgets it after an hour. Raises nothing."""
        if not self._name or note in self._told:
            return
        try:
            live = await self._cluster.get(DEPLOYMENTS.path(self._namespace, self._name))
            if live is None:
                return
            event = {
                "apiVersion": "events.k8s.io/v1",
                "kind": "Event",
                "metadata": {"namespace": self._namespace, "name": f"{self._name}.{_digest(note)}"},
                "eventTime": datetime.fromtimestamp(self._clock.unix(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "reportingController": names.FIELD_MANAGER,
                "reportingInstance": self._instance,
                "action": "Lead",
                "reason": reason,
                "regarding": {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "namespace": self._namespace,
                    "name": self._name,
                    "uid": live["metadata"].get("uid", ""),
                },
                "note": note.encode()[:NOTE_BYTES_MAX].decode(errors="ignore"),
                "type": "Warning",
            }
            await self._cluster.create(EVENTS.path(self._namespace), event)
        except ClusterError as error:
            logger.debug("event on the operator's Deployment not posted: %s", error)
            if error.may_pass and error.reason != "AlreadyExists":
                return  # whoever calls again tries again
        self._told.add(note)


def _digest(note: str) -> str:
    return hashlib.blake2b(note.encode(), digest_size=8).hexdigest()

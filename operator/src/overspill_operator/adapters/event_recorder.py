"""Kubernetes Events about ModelRoutes and Consumers, posted in the background so that nothing waits for them."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from overspill_api import names
from overspill_operator.adapters import telemetry
from overspill_operator.core.objects import Metadata
from overspill_operator.ports import EVENTS, Cluster, ClusterError, Json

logger = logging.getLogger(__name__)

WAITING_MAX = 512
"""Beyond that, Events are given up: status says the same."""

NOTE_LENGTH_MAX = 1000
"""The API server takes 1024 bytes."""


class EventRecorder:
    """Takes Events and posts them in their order."""

    def __init__(self, cluster: Cluster, instance: str, now_unix: Callable[[], float]) -> None:
        """``instance``: the pod that reports."""
        self._cluster = cluster
        self._instance = instance
        self._now_unix = now_unix
        self._waiting: asyncio.Queue[tuple[str, Json]] = asyncio.Queue(WAITING_MAX)
        self._count = 0

    def record(self, kind: str, meta: Metadata, *, warning: bool, reason: str, note: str, action: str) -> None:
        """Post an Event about an object, or give it up where too many wait."""
        now = self._now_unix()
        self._count += 1
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": meta.namespace, "name": f"{meta.name}.{int(now * 1e6):x}{self._count:x}"},
            "eventTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": names.FIELD_MANAGER,
            "reportingInstance": self._instance,
            "action": action,
            "reason": reason,
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": kind,
                "namespace": meta.namespace,
                "name": meta.name,
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
            },
            "note": note.encode()[:NOTE_LENGTH_MAX].decode(errors="ignore"),
            "type": "Warning" if warning else "Normal",
        }
        try:
            self._waiting.put_nowait((meta.namespace, event))
        except asyncio.QueueFull:
            telemetry.EVENTS_DROPPED.inc()

    async def run(self) -> None:
        """Post for ever."""
        while True:
            namespace, event = await self._waiting.get()
            try:
                await self._cluster.create(EVENTS.path(namespace), event)
            except ClusterError as error:
                telemetry.EVENTS_DROPPED.inc()
                logger.debug("event not posted: %s", error)

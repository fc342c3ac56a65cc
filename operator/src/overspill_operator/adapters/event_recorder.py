"""Kubernetes Events about ModelRoutes and Consumers, posted in the background so that nothing waits for them."""

import asyncio
import logging
from datetime import UTC, datetime

from overspill_api import names
from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock
from overspill_operator.core.objects import Metadata
from overspill_operator.ports import EVENTS, Cluster, ClusterError, Json

logger = logging.getLogger(__name__)

WAITING_MAX = 512
"""Beyond that, Events are given up: status says the same."""

BURST = 25
REFILL_SECONDS = 60.0
"""An object may have so many Events at once and then one a minute: what comes and goes fills no etcd. As client-go."""

OBJECTS_MAX = 10_000

NOTE_LENGTH_MAX = 1000
"""The API server takes 1024 bytes."""


class EventRecorder:
    """Takes Events and posts them in their order."""

    def __init__(self, cluster: Cluster, instance: str, clock: Clock) -> None:
        """``instance``: the pod that reports."""
        self._cluster = cluster
        self._instance = instance
        self._clock = clock
        self._waiting: asyncio.Queue[tuple[str, Json]] = asyncio.Queue(WAITING_MAX)
        self._count = 0
        self._tokens: dict[str, tuple[float, float]] = {}

    def record(self, kind: str, meta: Metadata, *, warning: bool, reason: str, note: str, action: str) -> None:
        """Post an Event about an object, or give it up where too many wait, or that object has had too many."""
        now = self._clock.unix()
        if not self._may_post(meta.uid, now):
            telemetry.EVENTS_DROPPED.inc()
            return
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

    def _may_post(self, uid: str, now: float) -> bool:
        """Whether this object's bucket has a token left; objects that are quiet are forgotten."""
        if len(self._tokens) >= OBJECTS_MAX:
            self._tokens = {key: entry for key, entry in self._tokens.items() if now - entry[1] < REFILL_SECONDS}
        tokens, since = self._tokens.get(uid, (float(BURST), now))
        tokens = min(float(BURST), tokens + max(now - since, 0.0) / REFILL_SECONDS)
        self._tokens[uid] = (max(tokens - 1, 0.0), now) if tokens >= 1 else (tokens, now)
        return tokens >= 1

    async def run(self) -> None:
        """Post for ever."""
        while True:
            namespace, event = await self._waiting.get()
            try:
                await self._cluster.create(EVENTS.path(namespace), event)
            except ClusterError as error:
                telemetry.EVENTS_DROPPED.inc()
                logger.debug("event not posted: %s", error)

"""Leader election by a Lease, the acting part; ``core.lease`` decides. A leader that cannot renew stops acting."""

import asyncio
import contextlib
import logging
from dataclasses import replace
from datetime import UTC, datetime

from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock
from overspill_operator.core import lease
from overspill_operator.core.tenancy import LEASE_NAME
from overspill_operator.ports import LEASES, Cluster, ClusterError, Json

logger = logging.getLogger(__name__)


class Leadership:
    """This process's part in the election."""

    def __init__(self, cluster: Cluster, clock: Clock, namespace: str, identity: str) -> None:
        """``cluster`` must not ask this object whether it may write: taking the lease is how it comes to."""
        self._cluster = cluster
        self._clock = clock
        self._namespace = namespace
        self._identity = identity
        self._held_until = 0.0
        self._seen: lease.Observation | None = None
        self._own: Json | None = None
        self.heard = asyncio.Event()

    def is_held(self) -> bool:
        """Whether this process may act now."""
        return self.seconds_left() > 0

    def seconds_left(self) -> float:
        """How long this process may still act, unless it renews: no write may be under way for longer."""
        return self._held_until - self._clock.monotonic()

    async def acquire(self) -> None:
        """Wait until this process is the leader."""
        while not await self.take_or_renew():
            await self._clock.sleep(lease.STANDBY_POLL_SECONDS)
        telemetry.LEADER.set(1)
        logger.info("leading", extra={"identity": self._identity})

    async def keep(self) -> None:
        """Renew until that fails for too long, then return: whoever calls must stop acting."""
        while self.is_held():
            await self._clock.sleep(lease.RENEW_EVERY_SECONDS if await self.take_or_renew() else 0.5)
        telemetry.LEADER.set(0)

    async def release(self) -> None:
        """Let the lease go, so that a standby need not wait for its end."""
        if not self.is_held():
            return
        self._held_until = 0.0
        telemetry.LEADER.set(0)
        with contextlib.suppress(ClusterError):
            current = await self._cluster.get(self._path)
            if current and (current.get("spec") or {}).get("holderIdentity") == self._identity:
                spec = lease.lease_spec(current, "", self._now())
                await self._cluster.replace(self._path, {**current, "spec": spec})

    @property
    def _path(self) -> str:
        return LEASES.path(self._namespace, LEASE_NAME)

    async def take_or_renew(self) -> bool:
        """One round; whether this process holds the lease after it."""
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(lease.GIVE_UP_AFTER_SECONDS / 2):
                # A leader knows its lease: one call renews it, and a conflict says that somebody else has written.
                current = self._own or await self._cluster.get(self._path)
                self._own = None
                held = await self._round(current)
        except (ClusterError, TimeoutError) as error:
            if not isinstance(error, ClusterError) or error.status != 409:
                logger.warning("lease not reached: %s", error)
            if self._seen is not None:
                # A lease that was missing may have been made and missed again while nothing was seen.
                self._seen = replace(self._seen, gone_monotonic=None)
            return False
        self.heard.set()
        if held:
            self._held_until = began + lease.GIVE_UP_AFTER_SECONDS
        return held

    async def _round(self, current: Json | None) -> bool:
        self._seen = lease.observe(current, self._seen, self._clock.monotonic())
        match lease.step(self._seen, self._identity, self._clock.monotonic(), holds=self.is_held()):
            case lease.Step.CREATE:
                manifest = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": LEASE_NAME, "namespace": self._namespace},
                    "spec": lease.lease_spec(None, self._identity, self._now()),
                }
                self._own = await self._cluster.create(LEASES.path(self._namespace), manifest)
            case lease.Step.TAKE | lease.Step.RENEW:
                spec = lease.lease_spec(current, self._identity, self._now())
                meta = {**(current or {}).get("metadata", {})}
                self._own = await self._cluster.replace(self._path, {**(current or {}), "metadata": meta, "spec": spec})
            case lease.Step.WAIT:
                self._held_until = 0.0  # somebody else has it, whatever was believed
                return False
        return True

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.unix(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

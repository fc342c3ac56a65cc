"""The resync, in virtual time: it begins once everything has been seen, and then mends what was missed."""

import asyncio
from typing import Any

import pytest

from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.caches import Caches
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.sweep import FIRST_SEEN_TIMEOUT_SECONDS, Sweep
from overspill_operator.app.work_queue import Key, WorkQueue
from overspill_operator.ports import (
    CLAIMS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    MODEL_ROUTES,
    NETWORK_POLICIES,
    SECRETS,
    SERVICES,
    Cluster,
    ClusterError,
    Listing,
    Resource,
)
from unit.operator_.core.builders import raw_route
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

ROUTE = raw_route("hosted: [{name: a, baseURL: 'https://x.test/v1', model: m}]")
KEY = ("ModelRoute", "chat/tiny")


class Objects(FakeCluster):
    """An API server that lists over all namespaces."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden = False

    async def list(self, path: str, **_how: Any) -> Listing:
        """See ``ports.Cluster``."""
        self._called("LIST", path)
        if self.forbidden:
            raise ClusterError(403, "Forbidden", "account may not list")
        plural = path.rsplit("/", maxsplit=1)[-1]
        return Listing(tuple(live for key, live in self.objects.items() if f"/{plural}/" in key), str(self.version))


class Rig:
    """A sweep, and what it looks at."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.cluster = clock, Objects()
        self.reconciled: list[Key] = []
        self.troubles: list[str] = []
        self.routes, self.consumers = Routes(lambda _key: None), Consumers(lambda _key: None)
        self.queue = WorkQueue(self._reconcile, clock, workers=1, jitter=lambda: 1.0)
        self.sweep = Sweep(
            cluster=self.cluster,
            clock=clock,
            caches=caches(self.cluster, clock),
            routes=self.routes,
            consumers=self.consumers,
            queue=self.queue,
            watched=(),
            jitter=lambda: 0.5,
            on_trouble=self.troubles.append,
        )

    async def _reconcile(self, key: Key) -> None:
        self.reconciled.append(key)

    def exists(self) -> None:
        """There is a route in the API server."""
        self.cluster.put(MODEL_ROUTES.path("chat", "tiny"), ROUTE)


def caches(cluster: Cluster, clock: VirtualClock) -> Caches:
    """What the operator has made: nothing, and that is known."""

    def known(resource: Resource) -> WatchCache:
        cache = WatchCache(cluster, resource, clock=clock, labels="")
        cache.synced.set()
        return cache

    return Caches(
        deployments=known(DEPLOYMENTS),
        services=known(SERVICES),
        claims=known(CLAIMS),
        budgets=known(DISRUPTION_BUDGETS),
        policies=known(NETWORK_POLICIES),
        compiled=known(SECRETS),
    )


async def test_nothing_is_reconciled_before_everything_has_been_delivered(clock: VirtualClock) -> None:
    """A name's claimants are not all known before."""
    rig = Rig(clock)
    rig.exists()
    first = asyncio.create_task(rig.sweep.first())
    await clock.until(lambda: len(clock.pauses) > 3)
    assert not first.done()

    rig.routes.put(ROUTE)
    await clock.until(first.done)

    worker = asyncio.create_task(rig.queue.run())
    await clock.until(lambda: rig.reconciled == [KEY])
    worker.cancel()


async def test_what_is_never_delivered_ends_the_process(clock: VirtualClock) -> None:
    """Which Kubernetes then starts anew: nothing would ever be reconciled."""
    rig = Rig(clock)
    rig.exists()
    first = asyncio.create_task(rig.sweep.first())
    await clock.until(lambda: clock.pauses)
    clock.advance(FIRST_SEEN_TIMEOUT_SECONDS - 1)
    await clock.until(lambda: len(clock.pauses) > 3)
    assert not first.done()

    clock.advance(1)
    await clock.until(first.done)

    with pytest.raises(TimeoutError, match="not delivered"):
        first.result()


async def test_a_missing_right_is_told_and_ends_nothing(clock: VirtualClock) -> None:
    """Starting anew grants none; once it is there, delivering has its whole time."""
    rig = Rig(clock)
    rig.cluster.forbidden = True
    first = asyncio.create_task(rig.sweep.first())
    await clock.until(lambda: clock.now > 1_790_000_000.0 + 3 * FIRST_SEEN_TIMEOUT_SECONDS)
    assert not first.done()
    assert "can't be listed" in rig.troubles[-1]

    rig.cluster.forbidden = False
    await clock.until(first.done)

    first.result()
    assert rig.troubles[-1] == ""


async def test_a_route_whose_end_was_missed_is_forgotten(clock: VirtualClock) -> None:
    """Each round looks at what exists, straight from the API server."""
    rig = Rig(clock)
    rig.routes.put(ROUTE)
    rounds = asyncio.create_task(rig.sweep.run())

    await clock.until(lambda: rig.routes.get("chat/tiny") is None)

    rounds.cancel()

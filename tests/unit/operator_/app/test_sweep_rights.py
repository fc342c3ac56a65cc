"""The resync where the rights in one namespace of several are missing."""

import asyncio
from types import SimpleNamespace

import pytest

from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.sweep import Sweep
from overspill_operator.ports import ClusterError, Listing
from unit.operator_.core.builders import raw_route
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock


class Guarded(FakeCluster):
    """Nothing may be listed in some namespaces."""

    forbidden: tuple[str, ...] = ()

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", metadata_only: bool = False, fresh: bool = False
    ) -> Listing:
        """See ``ports.Cluster``."""
        if any(f"/{name}/" in path for name in self.forbidden):
            raise ClusterError(403, "Forbidden", "account may not list it")
        return await super().list(path, labels=labels, fields=fields, metadata_only=metadata_only, fresh=fresh)


async def test_what_may_not_be_read_is_not_forgotten(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """Routes that are gone are; those of a namespace without rights stay, and the namespace is named."""
    cluster, told = Guarded(), list[str]()
    routes = Routes(lambda _: None)
    for namespace in ("chat", "search"):
        routes.put(raw_route({}, namespace=namespace))
    consumers = Consumers(lambda _: None)
    sweep = Sweep(
        cluster=cluster,
        clock=clock,
        caches=SimpleNamespace(deployments=(), compiled=()),  # type: ignore[arg-type]
        routes=routes,
        consumers=consumers,
        queue=SimpleNamespace(add=lambda *_, **__: None),  # type: ignore[arg-type]
        watched=("chat", "search"),
        jitter=lambda: 0.0,
        on_trouble=told.append,
    )
    cluster.forbidden = ("search",)
    task = asyncio.create_task(sweep.run())
    try:
        await clock.until(lambda: [route.meta.namespace for route in routes] == ["search"])
        assert routes.unread == consumers.unread == {"search"}
        assert "Grant the operator's account list and watch" in told[-1]

        cluster.forbidden = ("chat", "search")
        await clock.until(lambda: "sweep put off" in caplog.text)
        cluster.forbidden = ()
        await clock.until(lambda: not list(routes))
        assert routes.unread == frozenset()
        assert told[-1] == ""
    finally:
        task.cancel()

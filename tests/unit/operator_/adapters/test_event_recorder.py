"""Events: bounded for each object, whatever comes and goes."""

import asyncio

from overspill_operator.adapters.event_recorder import BURST, REFILL_SECONDS, EventRecorder
from unit.operator_.core.builders import route
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

LOUD = route("hosted: [{name: a, baseURL: 'https://x.test', model: m}]", name="loud").meta
QUIET = route("hosted: [{name: a, baseURL: 'https://x.test', model: m}]", name="quiet").meta


async def test_an_object_that_flutters_fills_nothing(clock: VirtualClock) -> None:
    """A burst, then one a minute; another object has its own."""
    cluster = FakeCluster()
    recorder = EventRecorder(cluster, "pod", clock)
    posting = asyncio.create_task(recorder.run())

    async def record(times: int, *, quiet: bool = False) -> int:
        before = len(cluster.calls)
        for _ in range(times):
            meta = QUIET if quiet else LOUD
            recorder.record("ModelRoute", meta, warning=True, reason="R", note="n", action="A")
        for _ in range(2 * times):  # each Event is posted in a turn or two of the event loop
            await asyncio.sleep(0)
        return len(cluster.calls) - before

    assert await record(200) == BURST
    assert await record(3, quiet=True) == 3
    clock.advance(REFILL_SECONDS)
    assert await record(200) == 1
    posting.cancel()

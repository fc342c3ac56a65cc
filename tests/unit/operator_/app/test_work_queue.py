"""The queue: each key once at a time, several keys at a time, failures with growing pauses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from overspill_operator.app.work_queue import BACKOFF_SECONDS, Key, WorkQueue
from unit.operator_.virtual_clock import VirtualClock


@asynccontextmanager
async def running(
    clock: VirtualClock, reconcile: Callable[[Key], Awaitable[None]], workers: int = 2
) -> AsyncIterator[WorkQueue]:
    """A queue at work."""
    queue = WorkQueue(reconcile, clock, workers=workers, jitter=lambda: 1.0)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settled() -> None:
    """Let everything that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_key_that_waits_is_worked_on_once(clock: VirtualClock) -> None:
    """However often it was added."""
    done: list[Key] = []

    async def reconcile(key: Key) -> None:
        done.append(key)

    queue = WorkQueue(reconcile, clock, workers=2, jitter=lambda: 1.0)
    for _ in range(3):
        queue.add(("K", "a"))
    task = asyncio.create_task(queue.run())
    await settled()
    task.cancel()
    assert done == [("K", "a")]


async def test_a_key_that_is_worked_on_is_worked_on_again_afterwards(clock: VirtualClock) -> None:
    """Never twice at the same time, and no change is lost."""
    gate, running_now, seen = asyncio.Event(), 0, []

    async def reconcile(_key: Key) -> None:
        nonlocal running_now
        running_now += 1
        seen.append(running_now)
        await gate.wait()
        running_now -= 1

    async with running(clock, reconcile) as queue:
        queue.add(("K", "a"))
        await settled()
        queue.add(("K", "a"))
        queue.add(("K", "a"))
        await settled()
        assert seen == [1]
        gate.set()
        await settled()
        assert seen == [1, 1]


async def test_as_many_at_a_time_as_there_are_workers(clock: VirtualClock) -> None:
    """A slow one holds up no other."""
    gate, started = asyncio.Event(), []

    async def reconcile(key: Key) -> None:
        started.append(key[1])
        await gate.wait()

    async with running(clock, reconcile, workers=2) as queue:
        for name in "abc":
            queue.add(("K", name))
        await settled()
        assert started == ["a", "b"]
        gate.set()
        await settled()
        assert started == ["a", "b", "c"]


async def test_the_background_waits_for_what_is_asked_for(clock: VirtualClock) -> None:
    """A resync does not delay a person."""
    done: list[str] = []

    async def reconcile(key: Key) -> None:
        done.append(key[1])

    queue = WorkQueue(reconcile, clock, workers=1, jitter=lambda: 1.0)
    queue.add(("K", "resync"), background=True)
    queue.add(("K", "person"))
    task = asyncio.create_task(queue.run())
    await settled()
    task.cancel()
    assert done == ["person", "resync"]


async def test_a_failure_is_tried_again_and_the_others_go_on(clock: VirtualClock) -> None:
    """After a pause that doubles."""
    attempts: list[float] = []
    done: list[str] = []

    async def reconcile(key: Key) -> None:
        if key[1] == "bad" and len(attempts) < 3:
            attempts.append(clock.now)
            raise RuntimeError("no")
        done.append(key[1])

    async with running(clock, reconcile, workers=1) as queue:
        queue.add(("K", "bad"))
        queue.add(("K", "good"))
        await settled()
        assert done == ["good"]
        await clock.until(lambda: "bad" in done)
    first, second = attempts[1] - attempts[0], attempts[2] - attempts[1]
    assert first >= BACKOFF_SECONDS * 0.9
    assert second >= 2 * BACKOFF_SECONDS * 0.9


async def test_of_several_times_the_earliest_counts(clock: VirtualClock) -> None:
    """A later wish does not put off an earlier one."""
    done = asyncio.Event()

    async def reconcile(_key: Key) -> None:
        done.set()

    async with running(clock, reconcile) as queue:
        queue.add_after(("K", "a"), 0.01)
        queue.add_after(("K", "a"), 1000)
        clock.advance(0.01)
        await settled()
        assert done.is_set()


async def test_forgetting_drops_what_was_due(clock: VirtualClock) -> None:
    """A deleted object does not come back by its timer."""
    done: list[str] = []

    async def reconcile(key: Key) -> None:
        done.append(key[1])

    async with running(clock, reconcile) as queue:
        queue.add_after(("K", "a"), 0.0)
        queue.forget(("K", "a"))
        queue.add_after(("K", "b"), 0.001)
        await clock.until(lambda: "b" in done)
    assert done == ["b"]


async def test_an_edit_overtakes_a_resync_of_the_same_key(clock: VirtualClock) -> None:
    """A key that waits in the background goes to the front queue when a person changes its object, and is done once."""
    done: list[Key] = []

    async def reconcile(key: Key) -> None:
        done.append(key)

    queue = WorkQueue(reconcile, clock, workers=1, jitter=lambda: 1.0)
    for name in "abc":
        queue.add(("K", name), background=True)
    queue.add(("K", "c"))
    queue.add(("K", "c"), background=True)
    task = asyncio.create_task(queue.run())
    await settled()
    task.cancel()
    assert done == [("K", "c"), ("K", "a"), ("K", "b")]


async def test_a_resync_wished_during_a_reconcile_stays_in_the_background(clock: VirtualClock) -> None:
    """Only a change that somebody waits for goes before what others wait for."""
    gate, done = asyncio.Event(), []

    async def reconcile(key: Key) -> None:
        done.append(key[1])
        await gate.wait()

    async with running(clock, reconcile, workers=1) as queue:
        queue.add(("K", "a"))
        await settled()
        queue.add(("K", "a"), background=True)
        queue.add(("K", "b"), background=True)
        queue.add(("K", "c"))
        gate.set()
        await settled()
    assert done == ["a", "c", "b", "a"]


async def test_a_background_wish_for_later_does_not_hide_a_foreground_one(clock: VirtualClock) -> None:
    """Each kind of wish has a time of its own."""
    done: list[Key] = []

    async def reconcile(key: Key) -> None:
        done.append(key)

    queue = WorkQueue(reconcile, clock, workers=1, jitter=lambda: 1.0)
    queue.add(("K", "other"), background=True)
    queue.add_after(("K", "a"), 0.0, background=True)
    queue.add_after(("K", "a"), 0.001)
    clock.advance(0.001)
    task = asyncio.create_task(queue.run())
    await settled()
    task.cancel()
    assert done == [("K", "a"), ("K", "other")]

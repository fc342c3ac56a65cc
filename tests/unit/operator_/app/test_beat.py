"""When routes are looked at: on the beat, at their own time, never for nothing, and one's fault is not another's."""

import asyncio

import pytest

from overspill_operator.app.beat import BEAT_SECONDS, TURN_SECONDS, Beat
from unit.operator_.virtual_clock import VirtualClock


class Rig:
    """A beat whose looks are kept; each takes as long as the test says."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.looked: list[tuple[str, bool]] = []
        self.look_seconds = 0.0
        self.broken: set[str] = set()
        self.beat = Beat(self.clock, self._look)

    def _look(self, key: str, on_time: bool) -> None:  # noqa: FBT001 - as it is called
        self.looked.append((key, on_time))
        self.clock.now += self.look_seconds
        if key in self.broken:
            raise RuntimeError(key)

    async def pass_time(self, seconds: float) -> None:
        """Time passes, and what is due is done."""
        self.clock.advance(seconds)
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def rig() -> Rig:
    """In a loop, because times that come make tasks."""
    asyncio.get_running_loop()
    return Rig()


async def test_each_route_that_is_spoken_of_is_looked_at_once_a_beat(rig: Rig) -> None:
    """And none that nobody speaks of."""
    running = asyncio.create_task(rig.beat.run())
    await rig.pass_time(0)
    for key in ("ns/a", "ns/b", "ns/a", "ns/a"):
        rig.beat.next_time(key)
    await rig.pass_time(BEAT_SECONDS)
    assert rig.looked == [("ns/a", False), ("ns/b", False)]

    await rig.pass_time(BEAT_SECONDS)
    running.cancel()

    assert len(rig.looked) == 2


async def test_a_look_meanwhile_makes_the_one_on_the_beat_needless(rig: Rig) -> None:
    """A wake was quicker."""
    running = asyncio.create_task(rig.beat.run())
    await rig.pass_time(0)
    rig.beat.next_time("ns/a")
    rig.beat.looked("ns/a", None)

    await rig.pass_time(BEAT_SECONDS)
    running.cancel()

    assert rig.looked == []


async def test_a_time_that_comes_is_kept_to_a_hundredth_of_a_second(rig: Rig) -> None:
    """It does not wait for the beat: a window begins when it begins."""
    rig.beat.looked("ns/a", 0.7)
    await rig.pass_time(0.69)
    assert rig.looked == []
    await rig.pass_time(0.03)
    assert rig.looked == [("ns/a", True)]


async def test_the_last_time_that_was_asked_for_counts(rig: Rig) -> None:
    """Each look says anew when the next one is due; a route that is gone is not looked at."""
    rig.beat.looked("ns/a", 1.0)
    rig.beat.looked("ns/a", 5.0)
    rig.beat.looked("ns/b", 1.0)
    rig.beat.forget("ns/b")
    await rig.pass_time(2.0)
    assert rig.looked == []
    await rig.pass_time(4.0)
    assert rig.looked == [("ns/a", True)]


async def test_many_looks_give_way_to_others(rig: Rig) -> None:
    """After five milliseconds, for as long: a wake that comes while a thousand routes are looked at is answered."""
    rig.look_seconds = 2.0**-7  # a binary number, so that nothing is rounded
    assert rig.look_seconds > TURN_SECONDS
    running = asyncio.create_task(rig.beat.run())
    await rig.pass_time(0)
    for number in range(3):
        rig.beat.next_time(f"ns/{number}")
    await rig.pass_time(BEAT_SECONDS)
    assert len(rig.looked) == 1

    await rig.clock.until(lambda: len(rig.looked) == 3)
    running.cancel()

    assert rig.clock.pauses.count(rig.look_seconds) >= 2


async def test_one_routes_fault_is_not_the_others(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """It is told in the log, and those after it are looked at."""
    rig.broken = {"ns/a"}
    running = asyncio.create_task(rig.beat.run())
    await rig.pass_time(0)
    rig.beat.next_time("ns/a")
    rig.beat.next_time("ns/b")

    await rig.pass_time(BEAT_SECONDS)
    running.cancel()

    assert [key for key, _ in rig.looked] == ["ns/a", "ns/b"]
    assert "route not looked at" in caplog.text

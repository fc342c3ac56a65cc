"""Events: bounded for each object, whatever comes and goes."""

from overspill_operator.adapters.event_recorder import BURST, REFILL_SECONDS, EventRecorder
from unit.operator_.core.builders import route
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

LOUD = route("hosted: [{name: a, baseURL: 'https://x.test', model: m}]", name="loud").meta
QUIET = route("hosted: [{name: a, baseURL: 'https://x.test', model: m}]", name="quiet").meta


def test_an_object_that_flutters_fills_nothing(clock: VirtualClock) -> None:
    """A burst, then one a minute; another object has its own."""
    recorder = EventRecorder(FakeCluster(), "pod", clock)

    def record(times: int, *, quiet: bool = False) -> int:
        before = recorder._waiting.qsize()
        for _ in range(times):
            meta = QUIET if quiet else LOUD
            recorder.record("ModelRoute", meta, warning=True, reason="R", note="n", action="A")
        return recorder._waiting.qsize() - before

    assert record(200) == BURST
    assert record(3, quiet=True) == 3
    clock.advance(REFILL_SECONDS)
    assert record(200) == 1

"""How many of those who wait a replica gets: a few, then one more for each that it begins. See also test_admission."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.prediction.release import next_release_at
from overspill_gateway.core.prediction.tuning import TUNING
from overspill_gateway.core.requests.ask import Ask

ASK = Ask(prompt_tokens=100)


class OneReplica:
    """A replica, told of many requests at once."""

    def __init__(self) -> None:
        self.rates = ServiceRates()
        self.state = ReplicaState("local/a", self.rates)
        self.load, self.window = self.state.load, self.state.window

    def send(self, count: int = 1, now: float = 0.0) -> None:
        """So many requests go there."""
        for _ in range(count):
            self.state.sent(ASK, now)

    def begin(self, count: int = 1) -> None:
        """So many first tokens come."""
        for _ in range(count):
            self.state.first_token(ASK)

    def end(self, *, begun: bool = True) -> None:
        """One ends."""
        self.state.done(ASK, first_token_came=begun)


def test_a_new_replica_gets_a_few_then_twice_as_many() -> None:
    """Each request that is begun makes room for two."""
    replica = OneReplica()
    for expected in (TUNING.room_min, 2 * TUNING.room_min, 4 * TUNING.room_min, 8 * TUNING.room_min):
        assert replica.window.room(0.0) == expected
        replica.send(expected)
        assert replica.window.room(0.0) == 0
        replica.begin(expected)


def test_room_is_bounded() -> None:
    """However many are begun."""
    replica = OneReplica()
    for _ in range(300):
        replica.send()
        replica.begin()

    assert replica.window.room(0.0) == TUNING.room_max


def test_one_that_ends_before_its_first_token_makes_room_for_one() -> None:
    """A client that leaves gives its place to another, and proves no speed."""
    replica = OneReplica()
    replica.send(TUNING.room_min)
    replica.end(begun=False)

    assert replica.window.room(0.0) == 1


def test_gauges_that_show_nobody_waiting_make_room() -> None:
    """Plain answers show no first token; what waits no more in the engine has been begun."""
    replica = OneReplica()
    replica.send(TUNING.room_min)
    replica.load.scraped(0.5, running=4, waiting=0, kv_cache_usage=0.1)
    assert replica.window.room(0.6) == TUNING.room_min
    replica.send(TUNING.room_min)
    replica.begin(2)  # of the first four, as the engine begins them in order

    assert replica.window.room(0.7) == 2


def test_gauges_that_show_a_queue_halve_what_may_come() -> None:
    """A queue in the engine is what holding is to avoid."""
    replica = OneReplica()
    replica.send(TUNING.room_min)
    replica.begin(TUNING.room_min)
    replica.send(2 * TUNING.room_min)
    replica.begin(2 * TUNING.room_min)
    assert replica.window.limit == 4 * TUNING.room_min
    replica.send(4 * TUNING.room_min)
    replica.load.scraped(1.0, running=20, waiting=8, kv_cache_usage=0.5)

    assert replica.window.room(1.0) == 0
    assert replica.window.limit == 2 * TUNING.room_min
    assert replica.window.unbegun == 8


def test_a_queue_of_others_takes_room() -> None:
    """Requests of other gateways that wait in the engine wait before ours."""
    replica = OneReplica()
    replica.send(1)
    replica.begin(1)
    replica.load.scraped(1.0, running=5, waiting=3, kv_cache_usage=0.5)

    assert replica.window.room(1.0) == TUNING.room_min - 3
    assert replica.window.room(1.0 + TUNING.fresh_seconds + 0.1) == TUNING.room_min


@pytest.mark.parametrize("waiting", [0, 50])
def test_an_idle_replica_always_has_room(waiting: int) -> None:
    """With none of ours there one may go, whatever others do: nobody waits for good."""
    replica = OneReplica()
    replica.load.scraped(1.0, running=10, waiting=waiting, kv_cache_usage=1.0)

    assert replica.window.room(1.0) >= 1


def test_silence_settles() -> None:
    """No token, no gauges: after two seconds a few more may go, so that nothing depends on being told."""
    replica = OneReplica()
    replica.send(TUNING.room_min, now=10.0)

    assert replica.window.room(10.0 + TUNING.settle_seconds - 0.01) == 0
    assert replica.window.room(10.0 + TUNING.settle_seconds) == TUNING.room_min


def test_places_are_learned_from_a_queue_that_stays() -> None:
    """One look at a queue says nothing: between two steps somebody waits in an empty engine as well."""
    replica = OneReplica()
    replica.send(5)
    for second, (running, waiting) in enumerate([(3, 5), (10, 9), (16, 4), (16, 4)]):
        replica.load.scraped(float(second + 1), running=running, waiting=waiting, kv_cache_usage=0.3)
        replica.window.room(float(second + 1))
        assert replica.state.rates.slots == (16 if second == 3 else 0)
        replica.begin()


def test_an_engine_that_has_ended_no_step_in_between_shows_no_places() -> None:
    """A slow one reads a prompt for seconds: the same numbers again are the same moment, not a full batch."""
    replica = OneReplica()
    replica.send(5)
    for second in range(5):
        replica.load.scraped(float(second + 1), running=2, waiting=3, kv_cache_usage=0.3)
        replica.window.room(float(second + 1))
    assert replica.state.rates.slots == 0


def test_those_who_wait_are_looked_at_again() -> None:
    """At the latest after a second, and when silence settles; never in a busy loop."""
    replica = OneReplica()
    replica.send(1, now=10.0)

    assert next_release_at([], 10.0) == 10.0 + TUNING.look_seconds_max
    assert next_release_at([replica.window], 10.0) == 10.0 + TUNING.look_seconds_max
    assert next_release_at([replica.window], 11.5) == 10.0 + TUNING.settle_seconds
    assert next_release_at([replica.window], 11.99) == 11.99 + TUNING.look_seconds_min


class WindowMachine(RuleBasedStateMachine):
    """Any sequence of what can happen, and gauges that may show anything."""

    def __init__(self) -> None:
        super().__init__()
        self.replica = OneReplica()
        self.now = 0.0
        self.unseen = self.seen = 0

    @rule(held=st.integers(1, 300))
    def release(self, held: int) -> None:
        """As many as may, go."""
        count = min(self.replica.window.room(self.now), held)
        self.replica.send(count, self.now)
        self.unseen += count

    @rule(seconds=st.floats(0.0, 5.0))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @precondition(lambda self: self.unseen)
    @rule()
    def first_token(self) -> None:
        """One begins."""
        self.replica.begin()
        self.unseen -= 1
        self.seen += 1

    @precondition(lambda self: self.unseen or self.seen)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """One ends, begun or not."""
        begun = data.draw(st.booleans()) if self.unseen and self.seen else self.seen > 0
        self.replica.end(begun=begun)
        self.seen -= begun
        self.unseen -= not begun

    @rule(running=st.integers(0, 500), waiting=st.integers(0, 500))
    def scrape(self, running: int, waiting: int) -> None:
        """Gauges are read."""
        self.replica.load.scraped(self.now, running, waiting, 0.5)

    @invariant()
    def holds(self) -> None:
        """Counts fit what happened; room is bounded; with nobody there, there is room."""
        window = self.replica.window
        room = window.room(self.now)
        assert window.unbegun >= 0
        assert window.begun_unseen >= 0
        assert window.unbegun + window.begun_unseen == self.unseen
        assert TUNING.room_min <= window.limit <= TUNING.room_max + 1
        assert 0 <= room <= TUNING.room_max
        assert room or self.replica.load.in_flight

    @invariant()
    def is_never_stuck(self) -> None:
        """Without any further word there is room after a while."""
        far = self.now + 60.0
        before = self.replica.window.unbegun, self.replica.window.begun_unseen
        assert self.replica.window.room(far) > 0
        self.replica.window.unbegun, self.replica.window.begun_unseen = before


TestWindowMachine = WindowMachine.TestCase

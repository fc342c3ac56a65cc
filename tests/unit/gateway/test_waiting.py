"""Who of those who wait goes next: priority, then a fair share for each consumer, then arrival."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overspill_gateway.core.admission.waiting import REMEMBERED_CONSUMERS_MAX, WaitingQueue


def taken(queue: WaitingQueue[int]) -> list[int]:
    """All, in the order in which they go."""
    order = []
    while (item := queue.pop()) is not None:
        order.append(item)
    return order


def test_one_consumer_is_served_in_the_order_of_arrival() -> None:
    """Among equals, first come, first served."""
    queue: WaitingQueue[int] = WaitingQueue()
    for item in range(100):
        queue.add(item, 0, "a")

    assert taken(queue) == list(range(100))


def test_a_higher_priority_goes_first() -> None:
    """Priority counts more than arrival and than fairness."""
    queue: WaitingQueue[int] = WaitingQueue()
    for item, priority in enumerate([0, 5, -1, 5, 0]):
        queue.add(item, priority, "a")

    assert taken(queue) == [1, 3, 0, 4, 2]


def test_who_floods_the_queue_delays_others_by_one_request() -> None:
    """A consumer with one request goes after at most one of the consumer with a thousand."""
    queue: WaitingQueue[int] = WaitingQueue()
    for item in range(1000):
        queue.add(item, 0, "flood")
    for _ in range(10):
        queue.pop()
    queue.add(5000, 0, "small")

    assert 5000 in [queue.pop(), queue.pop()]


def test_shares_are_equal_in_work_not_in_requests() -> None:
    """Who sends requests ten times as long gets a tenth of the turns."""
    queue: WaitingQueue[int] = WaitingQueue()
    for item in range(100):
        queue.add(item, 0, "long", 10.0)
        queue.add(1000 + item, 0, "short", 1.0)

    first = [queue.pop() for _ in range(44)]

    assert 3 <= sum(1 for item in first if item is not None and item < 1000) <= 5


def test_a_consumer_that_comes_back_has_not_forgotten_what_it_had() -> None:
    """Emptying one's line and filling it again gains nothing while others wait."""
    queue: WaitingQueue[int] = WaitingQueue()
    for item in range(50):
        queue.add(item, 0, "patient")
    served: Counter[str] = Counter()
    for number in range(40):
        queue.add(100 + number, 0, "drip")
        taken = queue.pop()
        assert taken is not None
        served["drip" if taken >= 100 else "patient"] += 1

    assert abs(served["drip"] - served["patient"]) <= 2


def test_one_that_waits_keeps_its_place() -> None:
    """Adding again changes nothing."""
    queue: WaitingQueue[int] = WaitingQueue()
    queue.add(1, 0, "a")
    queue.add(2, 0, "a")
    queue.add(1, 9, "b")

    assert len(queue) == 2
    assert taken(queue) == [1, 2]


def test_a_full_queue_makes_room_at_the_cost_of_who_takes_most() -> None:
    """The last of the flood goes; nobody goes for a consumer that has as much, or for the flood itself."""
    queue: WaitingQueue[int] = WaitingQueue()
    for item in range(9):
        queue.add(item, 0, "flood")
    queue.add(9, 0, "small")

    assert queue.displaced_by(0, "small") == 8
    assert queue.displaced_by(0, "new") == 8
    assert queue.displaced_by(0, "flood") is None
    assert queue.displaced_by(-1, "new") is None
    assert queue.displaced_by(1, "flood") == 8
    assert WaitingQueue[int]().displaced_by(9, "new") is None


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=60), st.data())
def test_displacing_ends_in_equal_shares(newcomers: list[str], data: st.DataObject) -> None:
    """However requests come to a full queue, no consumer that wants more is left with two fewer than another."""
    size = data.draw(st.integers(1, 12))
    queue: WaitingQueue[int] = WaitingQueue()
    owner: dict[int, str] = {}
    wanted: Counter[str] = Counter()
    for item, consumer in enumerate(newcomers):
        wanted[consumer] += 1
        owner[item] = consumer
        if len(queue) >= size:
            victim = queue.displaced_by(0, consumer)
            if victim is None:
                continue
            queue.discard(victim)
        queue.add(item, 0, consumer)
        shares = Counter(owner[one] for one in queue)
        assert len(queue) <= size
        assert shares[consumer] >= min(wanted[consumer], max(shares.values()) - 1) or len(queue) < size


def test_work_is_bounded_under_churn() -> None:
    """Coming and going leaves nothing behind: no entry, no remembered consumer beyond the limit."""
    queue: WaitingQueue[int] = WaitingQueue()
    queue.add(-1, 0, "first")
    for item in range(20_000):
        queue.add(item, 0, f"consumer {item}")
        queue.discard(item)
    for item in range(3 * REMEMBERED_CONSUMERS_MAX):
        queue.add(item, 0, f"consumer {item}", 100.0)
    for _ in range(2 * REMEMBERED_CONSUMERS_MAX):
        queue.pop()
    level = queue.levels[0]

    assert len(level.heap) <= 2 * len(level.lines) + 17
    assert len(level.finished) <= REMEMBERED_CONSUMERS_MAX


class QueueMachine(RuleBasedStateMachine):
    """Any sequence of operations, beside a plain list that knows what must be true."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: WaitingQueue[int] = WaitingQueue()
        self.known: dict[int, tuple[int, str]] = {}
        self.number = 0

    @rule(priority=st.integers(-2, 2), consumer=st.sampled_from("abcd"), cost=st.floats(0.0, 1e6))
    def add(self, priority: int, consumer: str, cost: float) -> None:
        """One more waits."""
        self.number += 1
        self.queue.add(self.number, priority, consumer, cost)
        self.known[self.number] = (priority, consumer)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        """One gives up."""
        item = data.draw(st.sampled_from(sorted(self.known)))
        self.queue.discard(item)
        self.queue.discard(item)
        del self.known[item]

    @rule()
    def pop(self) -> None:
        """The next goes: it has the highest priority, and is the oldest of its consumer."""
        first = self.queue.first()
        item = self.queue.pop()
        assert item == first
        if item is None:
            assert not self.known
            return
        priority, consumer = self.known.pop(item)
        assert all(other <= priority for other, _ in self.known.values())
        assert all(item < other for other, place in self.known.items() if place == (priority, consumer))

    @invariant()
    def holds_what_was_added(self) -> None:
        """Nothing is lost, nothing comes twice."""
        assert len(self.queue) == len(self.known)
        assert set(self.queue) == set(self.known)
        assert all(item in self.queue for item in self.known)
        assert bool(self.queue) == bool(self.known)


TestQueueMachine = QueueMachine.TestCase


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(1.0, 50.0)), min_size=1, max_size=80))
def test_no_consumer_gets_ahead_by_more_than_one_request_each(added: list[tuple[str, float]]) -> None:
    """While two consumers both wait, what they had differs by no more than their two largest requests."""
    queue: WaitingQueue[int] = WaitingQueue()
    for item, (consumer, cost) in enumerate(added):
        queue.add(item, 0, consumer, cost)
    left = Counter(consumer for consumer, _ in added)
    had: Counter[str] = Counter()
    bound = 2.0 * max(cost for _, cost in added) + 1e-6
    while (taken := queue.pop()) is not None:
        consumer, cost = added[taken]
        had[consumer] += cost  # type: ignore[assignment]
        left[consumer] -= 1
        waiting = [had[name] for name in left if left[name]]
        assert all(abs(one - other) <= bound for one, other in pairwise(sorted(waiting)))

"""What a gateway takes for a replica's work: its own requests, and what the engine's gauges add to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.prediction.load import ReplicaLoad, work_of
from overspill_gateway.core.prediction.tuning import TUNING
from overspill_gateway.core.requests.ask import Ask

ASKS = st.builds(Ask, prompt_tokens=st.integers(0, 100_000), output_tokens=st.integers(0, 10_000))


def test_work_is_that_of_the_requests_there() -> None:
    """The prompt counts until the first token, the output until the end, a request as such until then as well."""
    load, ask = ReplicaLoad(), Ask(prompt_tokens=1000, output_tokens=100)
    load.sent(ask)
    assert load.expected_work(0.0) == work_of(ask) == 1000 + 4 * 100 + TUNING.request_work
    load.first_token(ask)
    assert load.expected_work(0.0) == 4 * 100 + TUNING.request_work
    load.done(ask, first_token_came=True)
    assert load == ReplicaLoad()


@given(st.lists(st.tuples(ASKS, st.booleans()), max_size=30), st.randoms(use_true_random=False))
def test_what_was_added_is_taken_off(asks: list[tuple[Ask, bool]], order: object) -> None:
    """In whatever order requests end, with or without a first token, work is never negative and at last nothing."""
    load = ReplicaLoad()
    for ask, came in asks:
        load.sent(ask)
        if came:
            load.first_token(ask)
    order.shuffle(asks)  # type: ignore[attr-defined]  # hypothesis' own random source
    for number, (ask, came) in enumerate(asks):
        expected = sum(one.output_tokens for one, _ in asks[number:])
        assert (load.in_flight, load.output_tokens_pending) == (len(asks) - number, expected)
        assert load.prompt_tokens_pending == sum(one.prompt_tokens for one, first in asks[number:] if not first)
        load.done(ask, first_token_came=came)
    assert load.expected_work(0.0) == 0.0


def test_with_no_lengths_known_work_is_the_number_of_requests() -> None:
    """So that least work is then least requests."""
    load = ReplicaLoad()
    for number in range(1, 4):
        load.sent(Ask())
        assert load.expected_work(0.0) == number * TUNING.request_work


def test_gauges_show_what_other_gateways_send() -> None:
    """Requests at the engine beyond our own count as much as ours do on average."""
    load, ask = ReplicaLoad(), Ask(prompt_tokens=500, output_tokens=50)
    load.sent(ask)
    load.scraped(10.0, running=4, waiting=0, kv_cache_usage=0.1)
    assert load.expected_work(10.0) == 4 * work_of(ask)


def test_our_own_requests_are_not_counted_twice() -> None:
    """One that ended, or came, while the gauges were asked for may still be in them: it is not another's."""
    load = ReplicaLoad()
    load.sent(Ask())
    load.scraped(10.0, running=3, waiting=0, kv_cache_usage=0.0, in_flight_before=3)
    assert load.expected_work(10.0) == TUNING.request_work


def test_an_idle_gateway_takes_others_requests_for_usual_ones() -> None:
    """There is no mean of its own to go by."""
    load = ReplicaLoad()
    load.scraped(10.0, running=2, waiting=0, kv_cache_usage=0.0)
    assert load.expected_work(10.0) == 2 * TUNING.work_per_request


def test_an_engine_with_a_queue_or_a_full_cache_is_busier_than_one_without() -> None:
    """Of two engines with the same requests the one that can't run them all at once is the worse choice."""

    def work(waiting: int, usage: float) -> float:
        load = ReplicaLoad()
        for _ in range(8):
            load.sent(Ask(prompt_tokens=500))
        load.scraped(0.0, running=8 - waiting, waiting=waiting, kv_cache_usage=usage)
        return load.expected_work(0.0)

    assert work(0, 0.0) == work(0, 0.8) < work(0, 0.9) < work(0, 1.0) < work(4, 1.0)
    assert work(0, 0.8) < work(4, 0.8)


@pytest.mark.parametrize("age", [0.0, TUNING.fresh_seconds, 6.0, TUNING.stale_seconds, 1e9])
def test_gauges_lose_weight_with_age(age: float) -> None:
    """In full while fresh, half at the middle of fading, nothing at its end: a dead scrape misleads for ten seconds."""
    load = ReplicaLoad()
    load.scraped(100.0, running=1, waiting=0, kv_cache_usage=0.0)
    weight = {0.0: 1.0, TUNING.fresh_seconds: 1.0, 6.0: 0.5}.get(age, 0.0)
    assert load.expected_work(100.0 + age) == weight * TUNING.work_per_request


@given(
    st.lists(ASKS, max_size=8),
    st.integers(0, 500),
    st.integers(0, 500),
    st.floats(0, 1),
    st.floats(0, 20),
)
def test_gauges_never_take_work_off(asks: list[Ask], running: int, waiting: int, usage: float, age: float) -> None:
    """What a gateway knows itself is true whatever the gauges say: they only add."""
    load = ReplicaLoad()
    for ask in asks:
        load.sent(ask)
    own = load.expected_work(0.0)
    load.scraped(0.0, running, waiting, usage)
    assert own <= load.expected_work(age) < float("inf")

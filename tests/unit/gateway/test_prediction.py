"""What is learned of an engine's speed from what is seen, and what is expected from it. See also test_admission."""

from functools import cache
from math import inf, isfinite

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overspill_gateway.core.prediction.line import Line, Sampling
from overspill_gateway.core.prediction.load import ReplicaLoad
from overspill_gateway.core.prediction.pace import ReplicaRates
from overspill_gateway.core.prediction.prediction import LEVELS, ServiceRates
from overspill_gateway.core.prediction.tuning import TUNING
from overspill_gateway.core.requests.ask import Ask

IDLE = ReplicaLoad()


@cache
def own(rates: ServiceRates) -> ReplicaRates:
    """Of the route's only replica."""
    return rates.of_new_replica()


def taught(seconds_per_token: float = 0.001, base: float = 0.02, since: float = 0.0, count: int = 400) -> ServiceRates:
    """Rates that have seen prompts of 20 to 4,000 tokens, ten a second."""
    rates = ServiceRates()
    teach(rates, seconds_per_token, base, since, count)
    return rates


def teach(rates: ServiceRates, seconds_per_token: float, base: float, since: float, count: int) -> None:
    """See more of them."""
    for number in range(count):
        now = since + 0.1 * number
        tokens = 20 + 1237 * number % 4000
        snapshot = rates.snapshot(own(rates), IDLE, Ask(prompt_tokens=tokens), now)
        rates.observed_first_token(tokens, snapshot, base + seconds_per_token * tokens, now)


def expected(rates: ServiceRates, tokens: int, load: ReplicaLoad = IDLE, now: float = 50.0) -> float:
    """Seconds to the first token of so many."""
    seconds = rates.snapshot(own(rates), load, Ask(prompt_tokens=tokens), now).predicted_seconds
    assert seconds is not None
    return seconds


def test_nothing_learned_nothing_told() -> None:
    """A guess would keep requests away from a replica that nobody has tried."""
    rates = ServiceRates()

    assert rates.snapshot(own(rates), IDLE, Ask(prompt_tokens=100), 0.0).predicted_seconds is None
    assert rates.replica_requests_per_second() is None
    assert rates.promise_place(10, 1, 0.0) is None


@pytest.mark.parametrize("tokens", [1, 100, 1000, 4000, 20_000])
def test_base_and_slope_are_told_apart(tokens: int) -> None:
    """Tiny prompts and prompts far longer than any seen are predicted from the same line."""
    assert expected(taught(), tokens) == pytest.approx(0.02 + 0.001 * tokens, rel=0.1)


def test_prompts_of_one_length_teach_little_of_others_and_are_known_well() -> None:
    """Where all prompts are alike the length that is known is right; a far longer one is taken for no bargain."""
    rates = ServiceRates()
    for number in range(100):
        snapshot = rates.snapshot(own(rates), IDLE, Ask(prompt_tokens=500), 0.1 * number)
        rates.observed_first_token(500, snapshot, 0.3, 0.1 * number)

    assert expected(rates, 500) == pytest.approx(0.3, rel=0.05)
    assert 0.3 < expected(rates, 5000) < 3.1


def test_prompts_before_it_are_read_first() -> None:
    """What is pending at the replica counts like a longer prompt."""
    load = ReplicaLoad()
    for _ in range(10):
        load.sent(Ask(prompt_tokens=300))

    assert expected(taught(), 200, load) == pytest.approx(0.02 + 3.2, rel=0.1)


def test_what_others_send_counts_and_stale_gauges_count_less() -> None:
    """Requests of other gateways, as the engine's gauges show them, are taken to be like ours."""
    rates, load = taught(), ReplicaLoad()
    load.scraped(50.0, running=0, waiting=5, kv_cache_usage=0.0)
    fresh, stale, forgotten = (expected(rates, 100, load, now) for now in (50.5, 56.0, 61.0))

    assert fresh > stale > forgotten
    assert forgotten == pytest.approx(expected(rates, 100))


def test_what_the_engine_has_begun_is_not_read_again() -> None:
    """Plain answers' first tokens are never seen: what the gauges show as begun is taken off."""
    rates, load = taught(), ReplicaLoad()
    for _ in range(20):
        load.sent(Ask(prompt_tokens=1000))
    told = rates.snapshot(own(rates), load, Ask(prompt_tokens=100), 50.0, unbegun=2, begun_unseen=18)

    assert 2000 < told.work < 3300


def test_a_full_engine_makes_wait_for_a_place() -> None:
    """With 8 places, answers of 100 tokens at 50 ms each, one place comes free every 0.6 s."""
    rates, load = taught(), ReplicaLoad()
    for _ in range(200):
        rates.observed_output(own(rates), 100, 99 * 0.05, 8, 50.0)
    rates.observed_slots(own(rates), 8, full=True)
    for _ in range(10):
        ask = Ask(prompt_tokens=1)
        load.sent(ask)
        load.first_token(ask)

    assert expected(rates, 100, load) == pytest.approx(3 * 100 * 0.05 / 8 + 0.12, rel=0.15)


def test_places_are_learned_up_and_down() -> None:
    """More running than there were places: there are more; fewer, and others wait: there are fewer, in time."""
    rates = ServiceRates()
    rates.observed_slots(own(rates), 10, full=False)
    assert rates.slots == 0
    rates.observed_slots(own(rates), 10, full=True)
    rates.observed_slots(own(rates), 32, full=False)
    assert rates.slots == 32
    for _ in range(20):
        rates.observed_slots(own(rates), 16, full=True)
    assert rates.slots == pytest.approx(16, rel=0.02)


@pytest.mark.parametrize("factor", [0.001, 1000.0])
def test_a_few_outliers_do_not_poison(factor: float) -> None:
    """Three observations a thousand times off move no prediction by more than a third."""
    rates = taught()
    before = expected(rates, 1000)
    for number in range(3):
        snapshot = rates.snapshot(own(rates), IDLE, Ask(prompt_tokens=1000), 40.0 + number / 10)
        rates.observed_first_token(1000, snapshot, before * factor, 40.0 + number / 10)

    assert 0.66 < expected(rates, 1000) / before < 1.5


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_new_speed_is_learned(factor: float) -> None:
    """After five seconds at ten a second a model five times slower or faster is known within 35 %."""
    rates = taught()
    teach(rates, 0.001 * factor, 0.02 * factor, 40.0, 50)

    assert expected(rates, 1000) == pytest.approx(1.02 * factor, rel=0.35)


def test_requests_that_were_given_up_are_heard_of() -> None:
    """Who waits longer than predicted and leaves says that it takes longer; who leaves at once says nothing."""
    rates = taught()
    before = expected(rates, 1000)
    for number in range(30):
        now = 40.0 + 0.1 * number
        snapshot = rates.snapshot(own(rates), IDLE, Ask(prompt_tokens=1000), now)
        rates.observed_no_token(1000, snapshot, 0.01, now)
    assert expected(rates, 1000) == before
    for number in range(30):
        now = 43.0 + 0.1 * number
        snapshot = rates.snapshot(own(rates), IDLE, Ask(prompt_tokens=1000), now)
        rates.observed_no_token(1000, snapshot, 10.0, now)
    assert expected(rates, 1000) > 2.0 * before


def test_tails_are_wider_where_times_scatter() -> None:
    """The time that one in twenty exceeds follows what is seen."""
    steady, scattered = taught(), ServiceRates()
    for number in range(400):
        snapshot = scattered.snapshot(own(scattered), IDLE, Ask(prompt_tokens=1000), 0.1 * number)
        scattered.observed_first_token(1000, snapshot, 1.0 if number % 7 else 2.5, 0.1 * number)
    told = [rates.snapshot(own(rates), IDLE, Ask(prompt_tokens=1000), 45.0) for rates in (steady, scattered)]
    ratios = [one.tail_seconds / (one.predicted_seconds or inf) for one in told]

    assert ratios[0] < 1.15
    assert ratios[1] > 1.6


def test_expected_lengths_follow_the_route_and_the_client() -> None:
    """The mean of what was seen, at most what the client asked for, for each answer."""
    rates = ServiceRates()
    for _ in range(300):
        rates.observed_output(own(rates), 100, 1.0, 4, 1.0)

    assert rates.output_tokens_expected(Ask()) == pytest.approx(100, abs=2)
    assert rates.output_tokens_expected(Ask(output_tokens_max=10)) == 10
    assert rates.output_tokens_expected(Ask(output_tokens_max=10, answers=3)) == 30
    assert rates.output_tokens_expected(Ask(output_tokens_max=0)) == 0


def test_places_are_promised_one_after_the_other() -> None:
    """Those refused are told later and later times, at the rate at which requests end; with time the debt is gone."""
    rates = taught()
    for number in range(1000):
        rates.observed_output(own(rates), 10, 1.0, 4, number / 10)
    told = [rates.promise_place(50, 2, 100.0) for _ in range(100)]
    later = rates.promise_place(0, 2, 200.0)

    assert rates.finished_per_second(100.0) == pytest.approx(10.0, rel=0.05)
    assert told == sorted(told, key=lambda seconds: seconds or 0.0)
    assert 5.0 < (told[0] or 0.0) < 5.5
    assert 18.0 < (told[-1] or 0.0) < 22.0
    assert later is not None


def test_embeddings_are_learned_as_answers_without_output() -> None:
    """An answer of no tokens is all reading."""
    rates = ServiceRates()
    for number in range(200):
        tokens = 20 + 1237 * number % 4000
        snapshot = rates.snapshot(own(rates), IDLE, Ask(prompt_tokens=tokens), 0.1 * number)
        rates.observed_plain(tokens, snapshot, 0.01 + 0.0005 * tokens, 0, 1.0, 0.1 * number)

    assert expected(rates, 2000) == pytest.approx(1.01, rel=0.1)


@pytest.mark.parametrize(("per_second", "burst"), [(5, 1), (50, 10), (400, 20), (5000, 30), (30_000, 1)])
def test_of_many_a_sample_is_looked_at(per_second: int, burst: int) -> None:
    """All of few, some hundred a second of many, and of a burst as often the last as the first."""
    sampling, taken, places = Sampling(), 0, [0, 0]
    for number in range(10 * per_second):
        now = number // burst * burst / per_second
        if sampling.takes(now):
            sampling.passed = 0
            if now >= 5.0:
                taken += 1
                places[2 * (number % burst) >= burst] += 1

    assert (
        min(4.5 * per_second, 2.0 * TUNING.learned_per_second)
        <= taken
        <= 5.5 * min(per_second, 2.0 * TUNING.learned_per_second)
    )
    if burst > 1:
        assert min(places) > 0.3 * taken


def test_after_a_flood_each_is_looked_at_again() -> None:
    """Thirty thousand a second, then five: within a second or two all count."""
    sampling = Sampling()
    for number in range(100_000):
        if sampling.takes(number / 30_000):
            sampling.passed = 0
    taken = 0
    for number in range(100):
        if sampling.takes(4.0 + number / 5):
            sampling.passed = 0
            taken += 1

    assert taken > 80


observations = st.lists(
    st.tuples(
        st.sampled_from(["first", "plain", "output", "none", "slots"]),
        st.integers(0, 10_000_000), st.floats(-1.0, 1e7), st.integers(0, 100_000), st.integers(0, 5000),
        st.floats(0.0, 100.0),
    ),
    max_size=60,
)  # fmt: skip


@given(observations, st.integers(0, 1_000_000), st.integers(0, 10_000_000))
def test_whatever_is_seen_predictions_are_numbers(
    seen: list[tuple[str, int, float, int, int, float]], pending: int, tokens: int
) -> None:
    """No sequence of observations, however absurd, leaves a rate that is negative, infinite or no number."""
    rates, now = ServiceRates(), 0.0
    load = ReplicaLoad(in_flight=3, prompt_tokens_pending=pending)
    for kind, prompt, seconds, output, running, elapsed in seen:
        now += elapsed
        snapshot = rates.snapshot(own(rates), load, Ask(prompt_tokens=prompt), now, unbegun=2, begun_unseen=1)
        if kind == "first":
            rates.observed_first_token(prompt, snapshot, seconds, now)
        elif kind == "plain":
            rates.observed_plain(prompt, snapshot, seconds, output, running, now)
        elif kind == "output":
            rates.observed_output(own(rates), output, seconds, running, now)
        elif kind == "none":
            rates.observed_no_token(prompt, snapshot, seconds, now)
        else:
            rates.observed_slots(own(rates), running, full=running % 2 == 1)
    told = rates.snapshot(own(rates), load, Ask(prompt_tokens=tokens), now)

    for seconds_told in (told.predicted_seconds or 0.0, told.tail_seconds, told.alone_seconds, told.raw_seconds):
        assert isfinite(seconds_told)
        assert seconds_told >= 0.0
    assert 0 <= told.level < LEVELS
    assert rates.output_tokens_expected(Ask()) >= 0
    per_second = rates.replica_requests_per_second()
    assert per_second is None or per_second > 0.0


@settings(max_examples=10 * settings().max_examples)
@given(st.floats(1e-6, 1.0), st.floats(0.0, 5.0), st.floats(1.3, 2.0), st.permutations(range(10)))
@example(1e-5, 1.0, 2.0, [7, 1, 2, 3, 4, 5, 6, 0, 8, 9])
@example(2.5e-6, 1.0, 1.9254722842265584, [9, 0, 7, 4, 3, 8, 1, 6, 2, 5])
def test_a_line_is_found(slope: float, base: float, ratio: float, order: list[int]) -> None:
    """Points on a line, of lengths that differ, are told apart: each is off by less than an outlier is."""
    line = Line(200.0)
    works = [200.0 * ratio**step for step in order]
    for number, work in enumerate(works * 12):
        line.observe(work, base + slope * work, 0.01 * number)

    for work in works:
        told, real = line.at(work), base + slope * work
        assert real / TUNING.outlier_factor < told < real * TUNING.outlier_factor

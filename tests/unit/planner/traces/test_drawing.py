"""Requests by chance and demand that is scaled: as many as were asked for, of the shape that was asked for, by seed."""

import statistics
from itertools import pairwise
from random import Random

import pytest

from overspill_planner.traces.arrival import Arrival
from overspill_planner.traces.drawing import (
    Family,
    LogNormalLengths,
    RateWindow,
    diurnal,
    from_windows,
    lengths_of,
    on_off,
    poisson,
)
from overspill_planner.traces.scaling import SHIFT_SECONDS, scaled
from unit.tiers import exhaustively

LENGTHS = lengths_of([Arrival(0.0, 100, 10)])


def gaps(requests: list[Arrival]) -> list[float]:
    """Seconds between requests."""
    return [after.seconds - before.seconds for before, after in pairwise(requests)]


def variation(requests: list[Arrival]) -> float:
    """Coefficient of variation of the gaps: 1 for a Poisson process."""
    between = gaps(requests)
    return statistics.stdev(between) / statistics.mean(between)


def test_a_poisson_process_has_its_rate_and_its_spread() -> None:
    """5 a second for 2,000 s; the same seed draws the same, another one another."""
    requests = poisson(5.0, 2_000.0, 1, LENGTHS)

    assert len(requests) == pytest.approx(10_000, rel=0.03)
    assert variation(requests) == pytest.approx(1.0, abs=0.05)
    assert requests == poisson(5.0, 2_000.0, 1, LENGTHS) != poisson(5.0, 2_000.0, 2, LENGTHS)


def test_on_and_off_leaves_pauses() -> None:
    """On for a third of the time: a third of the requests, and pauses of many seconds."""
    requests = on_off(10.0, 30.0, 60.0, 20_000.0, 1, LENGTHS)

    assert len(requests) == pytest.approx(20_000 / 3 * 10, rel=0.25)
    assert max(gaps(requests)) > 60.0
    assert variation(requests) > 5.0


def test_a_day_has_its_night() -> None:
    """With a swing of 0.9 the hour around noon has 19 times the requests of the hour around midnight."""
    requests = diurnal(1.0, 0.9, 86_400.0, 1, LENGTHS)

    night = sum(request.seconds < 1800.0 or request.seconds >= 84_600.0 for request in requests)
    noon = sum(41_400.0 <= request.seconds < 45_000.0 for request in requests)
    assert len(requests) == pytest.approx(86_400, rel=0.02)
    assert 14 < noon / night < 24


@pytest.mark.parametrize(("family", "shape", "cv"), [(Family.GAMMA, 0.25, 2.0), (Family.WEIBULL, 0.5, 5**0.5)])
def test_gaps_are_of_their_family(family: Family, shape: float, cv: float) -> None:
    """CV of Gamma: 1 / sqrt(shape); of Weibull with shape 0.5: sqrt(5)."""
    window = RateWindow(0.0, 20_000.0, 2.0, family, shape)

    requests = from_windows([window], 1, LENGTHS)

    assert len(requests) == pytest.approx(40_000, rel=0.05)
    assert variation(requests) == pytest.approx(cv, rel=0.1)


@pytest.mark.parametrize(("scale", "cv"), [(0.01, 1.0), (0.5, 1.6), (2.0, None)])
def test_less_of_a_bursty_client_is_calmer(scale: float, cv: float | None) -> None:
    """A part p of gaps with the squared CV 4 has the squared CV 1 + 3 p: the sum of a geometric number of gaps."""
    window = RateWindow(0.0, 20_000.0, 2.0, Family.GAMMA, 0.25)

    requests = from_windows([window], 1, LENGTHS, scale)

    assert len(requests) == pytest.approx(40_000 * scale, rel=0.12)
    if cv is not None:
        assert variation(requests) == pytest.approx(cv, rel=0.1)


def test_a_window_with_less_than_a_request_has_less_than_one() -> None:
    """A gap may reach over many windows: 1,000 windows of a thirtieth of a request each have some 33."""
    windows = [RateWindow(600.0 * number, 600.0, 1 / 18_000, Family.GAMMA, 0.5) for number in range(1_000)]

    counts = [len(from_windows(windows, seed, LENGTHS)) for seed in range(30)]

    assert statistics.mean(counts) == pytest.approx(600_000 / 18_000, rel=0.1)


def test_lengths_have_the_percentiles_that_were_given() -> None:
    """Half of the prompts at most the median, one in a hundred above the 99th percentile."""
    random = Random(1)
    lengths = LogNormalLengths(600.0, 5_000.0, 50.0, 800.0)
    prompts = sorted(lengths(random)[0] for _ in range(10_000))

    assert prompts[5_000] == pytest.approx(600, rel=0.05)
    assert prompts[9_900] == pytest.approx(5_000, rel=0.15)
    assert prompts[0] >= 1
    assert prompts[-1] <= 20_000


def test_a_trace_at_its_own_scale_is_itself() -> None:
    """Nothing is drawn anew."""
    requests = poisson(1.0, 100.0, 1, LENGTHS)

    assert scaled(requests, 1.0, 7) is requests


@pytest.mark.parametrize("scale", [0.2, 2.5, *exhaustively(10.0)])
def test_scaling_keeps_the_shape(scale: float) -> None:
    """So many times the requests, in each ten minutes; in time order and within the trace's time."""
    requests = on_off(5.0, 300.0, 600.0, 6_000.0, 3, LENGTHS)

    other = scaled(requests, scale, 1)

    assert len(other) == pytest.approx(len(requests) * scale, rel=0.05)
    assert other == sorted(other)
    assert 0.0 <= other[0].seconds <= other[-1].seconds <= requests[-1].seconds
    for begin in range(0, 6_000, 600):
        before = sum(begin <= request.seconds < begin + 600 for request in requests) * scale
        after = sum(begin <= request.seconds < begin + 600 for request in other)
        assert after == pytest.approx(before, abs=0.15 * before + 5.0 * SHIFT_SECONDS * scale)
    assert other == scaled(requests, scale, 1) != scaled(requests, scale, 2)


def test_copies_do_not_fall_on_the_same_second() -> None:
    """A burst of a hundred requests at once becomes ten bursts within a minute."""
    requests = [Arrival(0.0, 1, 1), *(Arrival(500.0, 100, 10) for _ in range(100)), Arrival(1_000.0, 1, 1)]

    other = scaled(requests, 10.0, 1)

    bursts = sorted({request.seconds for request in other if request.prompt_tokens == 100})
    assert len(bursts) == 10
    assert bursts[0] == 500.0
    assert bursts[-1] <= 500.0 + SHIFT_SECONDS

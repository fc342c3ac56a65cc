"""Counts of work: put together over gateways, taken apart over time, and read as percentiles."""

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_api.demand import (
    FIRST_TOKEN_BOUNDS,
    REFUSAL_REASONS,
    HistogramDemand,
    RouteDemand,
    SpilledDemand,
    WorkDemand,
    bound_name,
)
from overspill_operator.core.demand.work import (
    BOUNDS_MAX,
    TOTAL_MAX,
    Latencies,
    SpilledWork,
    Work,
    WorkError,
    all_of,
    regret_text,
)


def said(**figures: Any) -> Work:
    """What is believed of a route's line."""
    return Work.said(RouteDemand.model_validate({"route": "a/b"} | figures))


def kind(counts: dict[str, int], **figures: Any) -> WorkDemand:
    """A kind of backend with a histogram of the time to first token."""
    return WorkDemand(first_token=HistogramDemand(counts=counts, seconds_sum=1.5), **figures)


FULL = RouteDemand(
    route="a/b",
    arrivals_total=9,
    work={
        "local": WorkDemand(
            answers_total=5,
            prompt_tokens_total=50,
            output_tokens_total=70,
            request_seconds_total=12.5,
            first_token=HistogramDemand(counts={"0.1": 3, "+Inf": 1}, seconds_sum=200.0),
            first_token_since_sent=HistogramDemand(counts={"0.05": 4}, seconds_sum=0.1),
            inter_token=HistogramDemand(counts={"0.02": 2, "2": 1}, seconds_sum=1.0),
        ),
        "hosted": kind({"1": 2}, answers_total=2),
    },
    spilled=SpilledDemand(
        requests_total=1,
        prompt_tokens_total=4,
        output_tokens_total=6,
        request_seconds_total=3.0,
        cost_nano_usd_total=70,
    ),
    refused_total={"QueueFull": 2, "NewReason": 1},
)  # fmt: skip


def test_every_figure_has_its_place() -> None:
    """What a line says is what is read."""
    work = Work.said(FULL)

    assert work.arrivals == 9
    local, hosted = work.local, work.hosted
    assert (local.answers, local.prompt_tokens, local.output_tokens, local.request_seconds) == (5, 50, 70, 12.5)
    assert (local.first_token.count, local.first_token.seconds_sum) == (4, 200.0)
    assert local.first_token.counts[FIRST_TOKEN_BOUNDS.index(0.1)] == 3
    assert local.first_token.counts[-1] == 1
    assert (local.first_token_since_sent.count, local.inter_token.count) == (4, 3)
    assert (hosted.answers, hosted.first_token.count, hosted.inter_token.count) == (2, 2, 0)
    assert (work.spilled.requests, work.spilled.prompt_tokens) == (1, 4)
    assert (work.spilled.output_tokens, work.spilled.request_seconds, work.spilled.cost_nano_usd) == (6, 3.0, 70)
    assert work.refused == {"QueueFull": 2, "Other": 1}
    assert work.first_token.count == 6, "whoever answered"


def test_what_happened_between_two_counts_is_their_difference() -> None:
    """And both together are the later one."""
    before, after = said(arrivals_total=3, work={"local": kind({"0.1": 2})}), Work.said(FULL)
    grown = after.minus(before)

    assert (grown.arrivals, grown.local.first_token.counts[FIRST_TOKEN_BOUNDS.index(0.1)]) == (6, 1)
    assert before.plus(grown) == all_of([before, grown]) == after
    assert all_of([]) == said()


@pytest.mark.parametrize(
    "less",
    [
        FULL.model_copy(update={"arrivals_total": 8}),
        FULL.model_copy(update={"work": {"local": FULL.work["local"]}}),
        FULL.model_copy(update={"refused_total": {"QueueFull": 1, "NewReason": 1}}),
        FULL.model_copy(update={"spilled": SpilledDemand(requests_total=1)}),
        FULL.model_copy(update={"spilled": FULL.spilled.model_copy(update={"cost_nano_usd_total": 69})}),
    ],
)
def test_counts_do_not_go_back(less: RouteDemand) -> None:
    """Not one of them."""
    with pytest.raises(WorkError, match="gone back"):
        Work.said(less).minus(Work.said(FULL))


@pytest.mark.parametrize(
    "figures",
    [
        {"arrivals_total": -1},
        {"arrivals_total": TOTAL_MAX + 1},
        {"refused_total": {"QueueFull": -1}},
        {"spilled": {"request_seconds_total": float("nan")}},
        {"spilled": {"request_seconds_total": inf}},
        {"work": {"local": {"request_seconds_total": -0.5}}},
        {"work": {"local": {"first_token": {"seconds_sum": float("nan")}}}},
        {"work": {"local": {"first_token": {"counts": {"0.1": -1, "0.2": 2}}}}},
        {"work": {"local": {"first_token": {"counts": {"0.1": 10**30}}}}},
        {"work": {"hosted": {"inter_token": {"counts": {"soon": 1}}}}},
        {"work": {"hosted": {"inter_token": {"counts": {"nan": 1}}}}},
        {"work": {"hosted": {"inter_token": {"counts": {str(number): 0 for number in range(BOUNDS_MAX + 1)}}}}},
    ],
)
def test_counts_that_cannot_be_are_none(figures: dict[str, Any]) -> None:
    """Below zero, beyond any, no number, a bound that is none."""
    with pytest.raises(WorkError):
        said(**figures)


def test_a_kind_that_this_version_does_not_know_says_nothing() -> None:
    """A newer gateway may have one."""
    assert said(work={"remote": kind({"0.1": 2})}) == said()


def test_bounds_of_another_version_go_where_they_belong() -> None:
    """Below the next one of ours: never faster than they were."""
    work = said(work={"local": kind({"0.12": 2, "0.15": 1, "1000": 3})})

    counts = work.local.first_token.counts
    assert counts[FIRST_TOKEN_BOUNDS.index(0.15)] == 3
    assert counts[-1] == 3


def latencies(**counts: int) -> Latencies:
    """Values by bound of a small table."""
    return Latencies((1.0, 2.0, 4.0, inf), tuple(counts.get(name, 0) for name in ("one", "two", "four", "more")), 0.0)


def test_quantiles_lie_within_their_bound_by_proportion() -> None:
    """Ten values up to 1 s and ten between 2 and 4."""
    seen = latencies(one=10, four=10)

    assert seen.quantile(0.25) == 0.5
    assert seen.quantile(0.5) == 1.0
    assert seen.quantile(0.75) == 3.0
    assert seen.quantile(1.0) == 4.0
    assert latencies(one=1, more=1).quantile(0.95) == inf
    assert latencies().quantile(0.95) is None


def test_shares_above_a_target_too() -> None:
    """What a target is held against where a percentile is too coarse."""
    seen = latencies(one=10, four=10)

    assert seen.share_above(0.0) == 1.0
    assert seen.share_above(1.0) == seen.share_above(1.5) == 0.5
    assert seen.share_above(3.0) == 0.25
    assert seen.share_above(4.0) == 0.0
    assert latencies(more=2).share_above(100.0) == 1.0
    assert latencies().share_above(1.0) is None


def test_the_mean_is_exact() -> None:
    """The sum is known, not only the bounds."""
    assert Latencies((1.0, inf), (2, 2), 10.0).mean_seconds == 2.5
    assert Latencies((1.0, inf), (0, 0), 0.0).mean_seconds is None


names = st.sampled_from([bound_name(bound) for bound in FIRST_TOKEN_BOUNDS])
histograms = st.dictionaries(names, st.integers(0, 1000), max_size=6)


@given(st.lists(histograms, max_size=4), st.floats(0.01, 1.0))
def test_a_quantile_of_all_lies_among_those_of_each(parts: list[dict[str, int]], share: float) -> None:
    """Whatever gateways' histograms are put together."""
    works = [said(work={"local": kind(counts)}).local.first_token for counts in parts]
    each = [quantile for work in works if (quantile := work.quantile(share)) is not None]
    together = all_of([said(work={"local": kind(counts)}) for counts in parts]).local.first_token.quantile(share)

    if not each:
        assert together is None
    else:
        assert together is not None
        assert min(each) * 0.999 <= together or min(each) == inf
        top = max(each)
        bound = next(one for one in FIRST_TOKEN_BOUNDS if one >= min(top, 1e9))
        assert together <= bound, "within the bound of the slowest"


def test_all_reasons_of_the_contract_are_told() -> None:
    """Each by its own name."""
    assert said(refused_total=dict.fromkeys(REFUSAL_REASONS, 1)).refused == dict.fromkeys(REFUSAL_REASONS, 1)


def test_what_came_of_spills_is_heard_and_said() -> None:
    """Of those of which replicas have shown it, the share that is regretted, and what it cost."""
    said = RouteDemand(
        route="ns/tiny",
        spilled=SpilledDemand(
            requests_total=60, needed_total=40, regretted_total=10, regret_nano_usd_total=2_500_000, late_holds_total=1
        ),
    )
    spilled = Work.said(said).spilled

    assert spilled.regret_share == 0.2
    assert regret_text(spilled) == "20% of 50 spills regretted, 0.0025 USD; 1 stream late at a replica"


def test_where_nothing_was_judged_nothing_is_said_of_regret() -> None:
    """As with gateways that do not judge."""
    spilled = Work.said(RouteDemand(route="ns/tiny", spilled=SpilledDemand(requests_total=60))).spilled

    assert spilled.regret_share is None
    assert regret_text(spilled) is None
    assert regret_text(SpilledWork(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0)) == "3 streams late at a replica"

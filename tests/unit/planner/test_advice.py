"""What a route would cost otherwise, from where on a replica pays, and which settings are better."""

from dataclasses import replace

import pytest
import yaml

from overspill_api.modelroute import ModelRouteSpec
from overspill_planner.advice import MONTH_SECONDS, Advising, Change, Recommendation, Setup, break_even
from overspill_planner.advice_report import (
    break_even_text,
    cheaper_text,
    diff_text,
    patch_text,
    recommendation_text,
    setups_table,
)
from overspill_planner.difference import headline, markdown
from overspill_planner.merging import merged, value_at
from overspill_planner.optimum.fluid import Prices, ReplicaRates
from overspill_planner.profiles import PROFILES, SettingError
from overspill_planner.route import Assumptions
from overspill_planner.traces.arrival import Arrival
from unit.planner.routes import SPEC, TRACE

SHORT = TRACE[:200]
RATES = ReplicaRates(prompt_per_second=1000.0, output_per_second=100.0, output_seconds=0.02)


def test_a_replica_pays_where_hosted_apis_would_cost_the_same() -> None:
    """1,000 prompt and 100 output tokens: two seconds' work, a thousandth of a dollar."""
    even = break_even([Arrival(0.0, 1000, 100)] * 3, RATES, Prices(0.9, 0.5, 5.0))

    assert even is not None
    assert even.pays_from == pytest.approx(0.25), "0.9 USD an hour are 900 requests"
    assert even.carries == pytest.approx(0.5)
    assert even.pays
    assert even.busy_share == pytest.approx(0.5)
    assert even.tokens_per_month == pytest.approx(0.25 * 1100 * MONTH_SECONDS)
    assert "0.25 requests a second, or 713 million tokens a month" in break_even_text(even, "ours")
    assert "while it is busy for 50% of its time" in break_even_text(even, "ours")


def test_a_replica_that_never_pays_is_told() -> None:
    """Fully busy it costs more than the hosted API for the same."""
    even = break_even([Arrival(0.0, 1000, 100)], RATES, Prices(9.0, 0.5, 5.0))

    assert even is not None
    assert not even.pays
    assert break_even_text(even, "ours").startswith("Break-even: never. A replica of ours costs 9 USD an hour")


def test_without_a_price_or_a_request_there_is_no_break_even() -> None:
    """There is nothing to compare."""
    assert break_even([Arrival(0.0, 1, 1)], RATES, Prices(1.0, 0.0, 0.0)) is None
    assert break_even([], RATES, Prices(1.0, 1.0, 1.0)) is None


@pytest.fixture(scope="module")
def advised() -> tuple[Advising, list[Setup]]:
    """A route with two hosted APIs, and what it would cost otherwise."""
    dear = {**SPEC["hosted"][0], "name": "dear", "price": {"input": "3", "output": "12"}}
    advising = Advising({**SPEC, "hosted": [*SPEC["hosted"], dear]}, Assumptions(), SHORT)
    return advising, list(advising.setups())


def test_every_profile_and_every_hosted_api_is_tried(advised: tuple[Advising, list[Setup]]) -> None:
    """The route as it is first; a hosted API alone has no replicas."""
    advising, setups = advised
    names = [setup.name for setup in setups]

    assert names == advising.setup_names()
    assert names[0] == "nvidia-l4 + api + dear"
    assert {f"{profile} + api + dear" for profile in PROFILES} <= set(names)
    assert names[-4:] == ["nvidia-l4 + api", "nvidia-l4 + dear", "api alone", "dear alone"]
    by_name = {setup.name: setup for setup in setups}
    assert by_name["dear alone"].outcome.usd == pytest.approx(10 * by_name["api alone"].outcome.usd)
    assert by_name["api alone"].break_even is None
    lines = setups_table(setups)
    assert [line.split("  ")[0] for line in lines[1:]] == names
    assert setups[0].usd_a_month(1.0) == pytest.approx(MONTH_SECONDS / advising.comparison.seconds)


def test_a_price_that_is_given_is_that_of_the_own_profile() -> None:
    """Others keep theirs."""
    given = Assumptions(replica_usd_per_hour=100.0)
    costs = {
        setup.name: setup.outcome.replica_usd / max(setup.outcome.replica_hours, 1e-9)
        for setup in Advising(SPEC, given, SHORT).setups()
    }

    assert costs["nvidia-l4 + api"] == pytest.approx(100.0)
    assert costs["nvidia-l40s + api"] == pytest.approx(1.87)


def test_what_is_recommended_was_simulated_as_it_stands() -> None:
    """A route that pays for four replicas all the time gets fewer; the patch is what was simulated."""
    spec = merged(SPEC, {"scaling": {"minReplicas": 3}})
    advising = Advising(spec, Assumptions(), SHORT)
    before = next(advising.setups())
    tried: list[str] = []
    alternatives = {"scaling.minReplicas": [0, 1], "scaling.maxReplicas": [2]}

    recommendation = advising.recommended(before, alternatives, tried.append)

    assert tried == list(alternatives)
    patched = merged({"spec": spec}, yaml.safe_load(patch_text(recommendation)))["spec"]
    ModelRouteSpec.model_validate(patched)
    again = next(Advising(patched, Assumptions(), SHORT).setups())
    assert again.outcome.usd == recommendation.after.outcome.usd < 0.9 * before.outcome.usd
    assert value_at(patched, "scaling.minReplicas") in (0, 1)
    (first, *_) = recommendation.changes
    assert (first.path, first.before) == ("scaling.minReplicas", 3)
    assert sum(change.usd for change in recommendation.changes) == pytest.approx(again.outcome.usd - before.outcome.usd)
    assert f"+    minReplicas: {first.after}" in diff_text(spec, recommendation)
    assert "-    minReplicas: 3" in diff_text(spec, recommendation)
    assert recommendation_text(recommendation)[1].startswith(
        f"  spec.scaling.minReplicas: {first.after} instead of 3: -"
    )


def test_a_value_that_the_route_cannot_have_is_not_tried() -> None:
    """Fewer at most than at least is no route."""
    advising = Advising(merged(SPEC, {"scaling": {"minReplicas": 3}}), Assumptions(), SHORT)
    before = next(advising.setups())

    recommendation = advising.recommended(before, {"scaling.maxReplicas": [1]}, lambda _: None)
    assert recommendation.changes == ()
    assert recommendation.patch == {"spec": {}}
    assert recommendation_text(recommendation)[0].startswith("Recommended: leave the settings as they are")


def test_settings_that_scaling_does_not_heed_are_not_tried() -> None:
    """Of a fixed number of replicas, and where another scales."""
    for scaling in ({"replicas": 1}, {"paused": True}, {"autoscaler": "External"}):
        spec = merged(SPEC, {"scaling": scaling})
        assert Advising(spec, Assumptions(), SHORT).alternatives() == {}


def test_values_that_are_tried_follow_from_the_trace() -> None:
    """As many replicas as a clairvoyant runs; without a hosted API as many as the peak asks for."""
    with_api = Advising(SPEC, Assumptions(), SHORT).alternatives()
    without = Advising({**SPEC, "hosted": []}, Assumptions(), SHORT).alternatives()

    assert with_api["overflow.timeToFirstToken"] == ["1500ms"]
    assert all(value >= 1 for value in with_api["scaling.maxReplicas"])
    assert "overflow.timeToFirstToken" not in without
    assert without["scaling.maxReplicas"][1] == 2 * without["scaling.maxReplicas"][0]


def test_a_cheaper_setup_that_is_in_time_is_told(advised: tuple[Advising, list[Setup]]) -> None:
    """The cheapest first; one that is late is none."""
    _, setups = advised
    own = setups[0]
    cheap = replace(own, name="cheap", outcome=replace(own.outcome, hosted_usd=0.0, replica_usd=0.0, slo_share=1.0))
    late = replace(cheap, name="late", outcome=replace(cheap.outcome, slo_share=0.1))

    assert cheaper_text([own, late, cheap], Recommendation(own, own, ())) == [
        "Cheaper than that, and in time as well: cheap, 0 USD a month"
    ]
    assert cheaper_text([own, late], Recommendation(own, own, ())) == []


def test_a_difference_is_told_in_a_line_and_in_a_table(advised: tuple[Advising, list[Setup]]) -> None:
    """Each figure with its sign; what is the same has none."""
    _, (before, *_) = advised
    first = before.outcome.first_token
    assert first.p99 is not None
    slower = replace(first, p99=first.p99 + 0.080)
    counts = {"local": 196, "hosted": 2, "refused": 2}
    changed = replace(before.outcome, first_token=slower, outcomes=counts, slo_share=before.outcome.slo_share - 0.01)
    month = before.usd_a_month(1.0)
    after = replace(before, outcome=replace(changed, replica_usd=changed.replica_usd - 412.0 / month))

    line = headline(before, after)
    assert line.startswith("-412 USD a month, p99 TTFT +80 ms, spills -")
    assert line.endswith(" %, in time -1.0 %, refused requests +2")
    text = markdown("ch`at", before, after, "a`.csv", 1.5)
    assert text.splitlines()[:5] == [
        "### Overspill plan: `ch'at`",
        "",
        f"**{line}**",
        "",
        "| | before | after | difference |",
    ]
    (hosted,) = (row for row in text.splitlines() if row.startswith("| for hosted APIs |"))
    assert hosted.endswith(" | ±0 |")
    assert all(row.count("|") == 5 for row in text.splitlines() if row.startswith("|"))


def test_a_change_says_what_was_the_default(advised: tuple[Advising, list[Setup]]) -> None:
    """A field that nobody wrote has no value to show."""
    _, (own, *_) = advised
    change = Change("scaling.idleAfter", None, "2m", -1.0, 0.0)

    assert "spec.scaling.idleAfter: 2m instead of the default: -" in recommendation_text(
        Recommendation(own, own, (change,))
    )[1]  # fmt: skip


def test_a_route_that_cannot_be_simulated_is_told_as_simulate_tells_it() -> None:
    """One without replicas of its own has nothing to plan."""
    spec = {name: value for name, value in SPEC.items() if name != "selfHosted"}

    with pytest.raises(SettingError, match=r"spec\.selfHosted is missing"):
        Advising(spec, Assumptions(), SHORT)


def test_without_a_hosted_api_the_bounds_of_the_route_do_not_bound_what_is_tried() -> None:
    """What is late may want more replicas than the route allows."""
    spec = {**merged(SPEC, {"scaling": {"maxReplicas": 1}}), "hosted": []}
    crowd = [Arrival(0.01 * number, 2000, 400) for number in range(400)]

    assert Advising(spec, Assumptions(), crowd).alternatives()["scaling.maxReplicas"][0] > 1

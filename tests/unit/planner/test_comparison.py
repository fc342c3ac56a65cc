"""A route of a file beside other policies: what is taken from its YAML, what is assumed, and what the table says."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from overspill_planner.baselines.fixed import Static
from overspill_planner.comparison import NAMES, OPTIMAL, Comparison, Row, names_of
from overspill_planner.profiles import PROFILES, SETTINGS, SettingError, speed_with
from overspill_planner.report import as_json, heading, table
from overspill_planner.route import Assumptions
from overspill_planner.simulator.engine import Speed
from overspill_planner.simulator.run import Simulation
from overspill_planner.simulator.scaling import PolicyScaler
from unit.planner.routes import SPEC, TRACE, a_route

ROOT = Path(__file__).resolve().parents[3]


def test_a_route_is_taken_from_its_yaml() -> None:
    """Prices, targets, bounds and limits; the profile's name says how fast and how dear a replica is."""
    api = {**SPEC["hosted"][0], "limits": {"requestsPerMinute": 60, "concurrency": 4}}
    route = a_route({"hosted": [api], "retries": {"attempts": 0}, "timeouts": {"total": "5m"}})

    setting, (hosted,) = route.setting, route.setting.hosted
    assert (setting.replica_hour_usd, setting.speed) == (0.81, PROFILES["nvidia-l4"].speed)
    assert (setting.spill_target_seconds, setting.slo_seconds, setting.attempts_max) == (1.5, 1.5, 1)
    assert setting.rules.total_seconds == 300.0
    assert setting.cold_start_hosted
    assert (hosted.input_million, hosted.output_million) == (0.3, 1.2)
    assert (hosted.model.requests_per_minute, hosted.model.concurrency) == (60, 4)
    assert route.scaling.scaling.max_replicas == 3
    assert route.left_out == ()


def test_what_is_not_simulated_is_told() -> None:
    """A budget would change who serves."""
    assert a_route({"budget": {"limit": "5"}, "hedging": {"after": "2s"}}).left_out == ("spec.budget", "spec.hedging")


def test_a_target_of_scaling_is_what_in_time_means() -> None:
    """It is what the route promises; spilling has its own."""
    scaling = {**SPEC["scaling"], "targets": {"timeToFirstToken": {"p95": "3s"}}}

    assert a_route({"scaling": scaling}).setting.slo_seconds == 3.0
    assert a_route({"overflow": None}).setting.slo_seconds == 2.0


def test_what_is_given_goes_before_what_is_assumed() -> None:
    """A measured speed and a price of one's own."""
    given = Assumptions(engine="step_ms=20, prompt_tokens_per_second=5000,kv_tokens=9", replica_usd_per_hour=2.5)
    setting = a_route(assumptions=given).setting

    assert setting.replica_hour_usd == 2.5
    assert (setting.speed.step_seconds, setting.speed.prompt_token_seconds) == (0.02, 1 / 5000)
    assert (setting.speed.kv_tokens, setting.speed.running_max) == (9, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selfHosted": None}, "spec.selfHosted is missing: a route without replicas of its own has nothing to scale"),
        (
            {"selfHosted": {"source": "hf://a/b", "profile": "ours"}},
            "a replica of the profile 'ours' costs is not known; ",
        ),
        ({"hosted": [{**SPEC["hosted"][0], "price": None}]}, "spec.hosted: api has no price; write what it costs"),
    ],
)
def test_what_is_missing_is_told(changes: dict[str, Any], message: str) -> None:
    """With what mends it."""
    with pytest.raises(SettingError) as told:
        a_route(changes)

    assert message in str(told.value)


def test_settings_of_an_engine_are_checked() -> None:
    """Their names, and that they are numbers above zero; each one does something."""
    for text in ("speed=3", "step_ms", "step_ms=fast", "running=0", "kv_tokens=-1", "answer_ms=nan"):
        with pytest.raises(SettingError, match="--engine: "):
            speed_with(Speed(), text)
    assert all(speed_with(Speed(), f"{name}=7") != Speed() for name in SETTINGS)


def test_prices_of_profiles_are_the_charts() -> None:
    """What a person sees in one place stands in the other."""
    values = yaml.safe_load((ROOT / "charts/overspill/values.yaml").read_text())

    for name, profile in PROFILES.items():
        chart = values["profiles"][name]
        assert float(chart["usdPerReplicaHour"]) == profile.usd_per_hour
        assert f"--max-num-seqs={profile.speed.running_max}" in chart["args"]


def test_names_of_policies_are_checked() -> None:
    """Each once, in the order given."""
    assert names_of("hpa, overspill,hpa,kpa-tuned") == ("hpa", "overspill", "kpa-tuned")
    with pytest.raises(SettingError, match="--policy: there is no 'best'; there are overspill, hpa, keda"):
        names_of("best")
    with pytest.raises(SettingError, match="static-tuned"):
        names_of("static-tuned")


@pytest.fixture(scope="module")
def compared() -> tuple[Comparison, list[Row]]:
    """All policies on a trace that is on and off."""
    comparison = Comparison(a_route(), TRACE)
    return comparison, list(comparison.rows(NAMES))


def test_every_policy_serves_the_trace_and_none_is_cheaper_than_the_bound(
    compared: tuple[Comparison, list[Row]],
) -> None:
    """With a hosted API nothing is refused."""
    comparison, rows = compared

    assert tuple(row.name for row in rows) == NAMES
    assert comparison.simulated >= 10 * len(TRACE), "nine, and neighbours of the best static number"
    for row in rows:
        assert row.ratio is not None
        assert row.ratio >= 1.0
        assert row.usd == pytest.approx(row.replica_usd + row.hosted_usd)
        if row.outcome is not None:
            assert row.outcome.outcomes.get("refused", 0) == 0
            assert row.outcome.slo_share > 0.95
    by_name = {row.name: row for row in rows}
    assert by_name["api-only"].replica_usd == 0.0
    assert by_name["overspill"].starts > 0
    assert by_name[OPTIMAL].ratio == 1.0


def test_the_table_has_a_line_for_each(compared: tuple[Comparison, list[Row]]) -> None:
    """Columns are right under their heads; before it stands what it is of."""
    comparison, rows = compared
    head, *lines = table(rows)

    assert head.split()[:3] == ["policy", "cost", "x"]
    assert [line.split()[0] for line in lines[:-1]] == list(NAMES)
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1].startswith("static: ")
    text = "\n".join(heading(comparison.route, comparison.demand))
    assert f"{len(TRACE):,} requests in 5 minutes" in text
    assert "0 to 3 replicas at 0.81 USD an hour, ready after 62 s" in text
    assert "in time: a first token within 1.5 s" in text


def test_json_has_what_programs_compare(compared: tuple[Comparison, list[Row]]) -> None:
    """The names that the documentation gives; the bound has no latencies."""
    comparison, rows = compared
    figures = json.loads(json.dumps(as_json(rows, comparison.demand, comparison.route, 1000), allow_nan=False))

    wanted = {"cost_usd", "ratio_to_optimal", "ttft_slo_share", "spilled_share", "regret_usd", "gpu_hours"}
    assert wanted <= figures["policies"]["overspill"].keys()
    assert wanted - figures["policies"]["optimal"].keys() == {"ttft_slo_share", "spilled_share", "regret_usd"}
    assert figures["requests"] == len(TRACE)


def test_the_best_static_number_is_found_by_simulating_it() -> None:
    """No other number is better, in time first and then in money."""
    route = a_route()
    (best,) = Comparison(route, TRACE).rows(["static"])
    others = [Simulation(route.setting, TRACE, PolicyScaler(Static(count))).run(305.0) for count in range(4)]

    assert best.outcome is not None
    assert best.setting.startswith(f"{best.outcome.most} replica")
    in_time = [outcome.usd for outcome in others if outcome.slo_share >= 0.99]
    assert best.outcome.slo_share >= 0.99
    assert best.usd == pytest.approx(min(in_time), rel=0.05)


def test_hindsight_is_not_worse_than_defaults() -> None:
    """KubeAI's best target for this very trace; which one that is stands below the table."""
    comparison = Comparison(a_route(), TRACE[:300])
    default, best = comparison.rows(["kubeai", "kubeai-tuned"])

    assert default.outcome is not None
    assert best.outcome is not None
    late = [max(0.99 - outcome.slo_share, 0.0) for outcome in (best.outcome, default.outcome)]
    assert (late[0], best.usd) <= (late[1], default.usd), "first tokens in time come first, then money"
    assert "KubeAI(" in best.setting
    assert table([best])[-1].startswith("kubeai-tuned: KubeAI(")


def test_without_a_hosted_api_there_is_no_bound_in_money() -> None:
    """What is late has no price."""
    comparison = Comparison(a_route({"hosted": None}), TRACE[:300])
    rows = list(comparison.rows(["hpa", OPTIMAL]))

    assert [row.name for row in rows] == ["hpa"]
    assert rows[0].ratio is None
    assert rows[0].hosted_usd == 0.0
    assert comparison.demand.rho is None
    assert "-" in table(rows)[1].split()

"""What a forecast is worth: the benchmark's own arithmetic on fluids that can be reckoned by hand."""

import json
from pathlib import Path

import pytest
from bench import forecast

from overspill_planner.optimum.fluid import Fluid, Prices
from overspill_planner.traces.drawing import LogNormalLengths, on_off


def cell(uses: list[float], load_seconds: float = 10.0) -> forecast.Cell:
    """Slots of five seconds in which one replica would be so busy; a replica's second costs 1 and its work 3."""
    fluid = Fluid(5.0, [(use * 15.0,) for use in uses], sum(uses) * 15.0, sum(uses) * 5.0)
    return forecast.Cell(fluid, Prices(3600.0, 0.0, 0.0), load_seconds, 4)


def test_a_replica_is_paid_for_from_when_it_is_asked_for_and_serves_after_its_load() -> None:
    """Asked for after the first of six full slots: five are paid for, the two of loading bring nothing."""
    full = cell([1.0] * 6)

    assert full.usd([1] * 6) == pytest.approx(6 * 15.0 + 5 * 5.0 - 3 * 15.0)
    assert full.usd([0] * 6) == pytest.approx(90.0)


def test_what_still_loads_is_given_up_first() -> None:
    """One that serves stays when one of two is to go."""
    full = cell([1.0] * 8)

    assert full.usd([1, 1, 1, 2, 1, 1, 1, 1]) == pytest.approx(full.usd([1] * 8) + 5.0)


def test_work_is_counted_in_replicas() -> None:
    """By what it would cost elsewhere: half of a replica's price is half a replica."""
    assert cell([1.0, 0.5, 0.0]).offered == pytest.approx([1.0, 0.5, 0.0])


def test_each_variant_has_its_ratio_and_one_line_of_json_comes_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is cheaper than the clairvoyant."""
    path = tmp_path / "trace.csv"
    requests = on_off(4.0, 120.0, 120.0, 900.0, 1, LogNormalLengths())
    lines = (f"{request.seconds},{request.prompt_tokens},{request.output_tokens}\n" for request in requests)
    path.write_text("seconds,prompt_tokens,output_tokens\n" + "".join(lines))

    forecast.main([str(path), "--means", "0.5", "--loads", "15", "--rhos", "3"])

    (row,) = json.loads(capsys.readouterr().out)["rows"]
    names = {*forecast.VARIANTS, forecast.ORACLE, "lcp", "marginal", "static", "api-only"}
    assert names < row.keys()
    assert all(row[name] >= 1.0 for name in names)

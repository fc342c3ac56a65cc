"""The autoscaler benchmark's own arithmetic: demand and price are what its rows say."""

import json
from pathlib import Path

import pytest
from bench import autoscaler

from overspill_planner.profiles import PROFILES
from overspill_planner.traces.arrival import Arrival
from overspill_planner.traces.drawing import lengths_of, poisson


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Some three minutes."""
    path = tmp_path / "trace.csv"
    requests = poisson(3.0, 200.0, 1, lengths_of([Arrival(0.0, 2_000, 100), Arrival(0.0, 500, 200)]))
    lines = (f"{request.seconds},{request.prompt_tokens},{request.output_tokens}\n" for request in requests)
    path.write_text("seconds,prompt_tokens,output_tokens\n" + "".join(lines))
    return path


def test_a_trace_is_scaled_to_its_mean_demand(trace: Path) -> None:
    """As much work as keeps half a replica busy."""
    arrivals = autoscaler.scaled_to(trace, 0.5, "nvidia-h100", 1, None)

    work = sum(map(PROFILES["nvidia-h100"].speed.rates.work, arrivals))
    assert work / arrivals[-1].seconds == pytest.approx(0.5, rel=0.05)


def test_one_line_of_json_last(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each policy and cell; what a hosted API alone costs is rho times the work at most."""
    grid = ["--means", "0.2", "--loads", "15", "--rhos", "1.5,8", "--policies", "api-only,hpa,optimal"]
    autoscaler.main([str(trace), *grid, "--processes", "1"])
    alone = json.loads(capsys.readouterr().out)
    autoscaler.main([str(trace), *grid, "--processes", "2"])

    figures = json.loads(capsys.readouterr().out)
    assert figures["rows"] == alone["rows"], "in the same order, however many cells are measured at a time"
    rows = figures["rows"]
    assert [(row["rho"], row["policy"]) for row in rows] == [
        (rho, policy) for rho in (1.5, 8.0) for policy in ("api-only", "hpa", "optimal")
    ]
    assert {row["trace"] for row in rows} == {"trace.csv"}
    assert all(row["cost_ratio"] >= 1.0 for row in rows)
    by_cell = {(row["rho"], row["policy"]): row["cost_ratio"] for row in rows}
    assert by_cell[1.5, "api-only"] < by_cell[8.0, "api-only"] <= 8.0 * 0.2 * 4
    assert figures["simulated_requests_per_minute"] > 0

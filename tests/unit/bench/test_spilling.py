"""The benchmark of spilling says what it measured, and its oracle is never late."""

import json

import pytest
from bench.spilling import main


def test_one_row_for_each_case_and_json_last(capsys: pytest.CaptureFixture[str]) -> None:
    """Loads, targets and answers make a grid; shares are within 0 and 1."""
    main(["--loads", "0.5,1.5", "--targets", "1", "--answers", "streamed,plain", "--requests-max", "150"])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]

    assert [(row["load"], row["answers"]) for row in rows] == [
        (0.5, "streamed"), (0.5, "plain"), (1.5, "streamed"), (1.5, "plain"),
    ]  # fmt: skip
    for row in rows:
        shares = ("spilled", "oracle_spilled", "wrong_spills", "late_holds", "late")
        assert all(0.0 <= row[name] <= 1.0 for name in shares)
        assert row["requests"] >= 100

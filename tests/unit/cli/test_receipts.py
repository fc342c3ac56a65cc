"""``overspill receipt``: a route and recordings in, a table and a sentence out; mistakes are told."""

import json
from pathlib import Path

import pytest

from overspill_cli.main import main
from unit.cli.test_simulating import ROUTE


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A route, and what a gateway has recorded of it in two minutes."""
    route, recording = tmp_path / "route.yaml", tmp_path / "recording.jsonl"
    route.write_text(ROUTE)
    lines = [{"seconds": 1_800_000_000.0, "route": "default/chat", "replicas": 1, "ready": 1}]
    for second in range(0, 120, 2):
        local = second >= 60
        lines.append({
            "seconds": 1_800_000_000.0 + second, "route": "default/chat", "prompt_tokens": 500, "output_tokens": 50,
            "served_by": "local/a" if local else "hosted/api", "reason": "Preferred",
            "nano_usd": 0 if local else 210_000, "first_token_seconds": 0.3, "served": True,
        })  # fmt: skip
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(route), str(recording)


def test_it_prints_what_it_cost_and_what_it_would_have_cost(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A table, what to think of it, and a line of JSON last."""
    route, recording = files

    assert main(["receipt", route, "--recording", recording, "--json"]) == 0

    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "default/chat from 2027-01-15T08:00:00Z to 2027-01-15T08:01:58Z (2 minutes): 60 requests"
    )
    assert [line[:10].strip() for line in lines[3:6]] == ["what", "as it was", "its replay"]
    assert any(line.startswith("It cost 0.0329 USD: 0.0266 for replicas and 0.0063 that hosted") for line in lines)
    assert any("the simulated engines or prices are not those that served" in line for line in lines)
    assert list(json.loads(last)["rows"])[:3] == ["charged", "replayed", "api-only"]


def test_what_to_compare_with_can_be_chosen(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """By the names that overspill simulate has."""
    route, recording = files

    assert main(["receipt", route, "--recording", recording, "--policy", "keda", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]) == ["charged", "replayed", "keda"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"seconds": 1, "route": "chat/other", "replicas": 0}\n',
            "nothing of default/chat is recorded there, but of chat/other",
        ),
        ('{"seconds": 1, "route": "default/chat", "replicas": 1}\n', "no request of default/chat is recorded there"),
        ("seconds,prompt_tokens,output_tokens\n", "recording.jsonl:1: this is no JSON; a line of a recording is such"),
        ("", "nothing of default/chat is recorded there, but of nothing"),
    ],
)
def test_a_file_that_is_no_recording_of_the_route_is_told(
    files: tuple[str, str], content: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, with the line where there is one."""
    route, recording = files
    Path(recording).write_text(content)

    assert main(["receipt", route, "--recording", recording]) == 1
    assert message in capsys.readouterr().err

"""``overspill simulate``: files in, a table and a line of JSON out; mistakes are told in a sentence."""

import json
from pathlib import Path

import pytest

from overspill_cli.main import main

ROUTE = """apiVersion: overspill.dev/v1alpha1
kind: ModelRoute
metadata: {name: chat}
spec:
  selfHosted: {source: "hf://a/b", profile: nvidia-l4}
  scaling: {maxReplicas: 2}
  hosted:
    - {name: api, baseURL: "https://api.example.com/v1", model: m, price: {input: "0.3", output: "1.2"}}
"""
TRACE = "seconds,prompt_tokens,output_tokens\n" + "".join(f"{second},500,50\n" for second in range(0, 200, 2))


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A route and a trace."""
    route, trace = tmp_path / "route.yaml", tmp_path / "trace.csv"
    route.write_text(ROUTE)
    trace.write_text(TRACE)
    return str(route), str(trace)


def test_a_table_and_one_line_of_json_last(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The policies that were asked for, in their order."""
    route, trace = files

    assert main(["simulate", route, "--trace", trace, "--policy", "overspill,static,optimal", "--json"]) == 0

    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("100 requests in 3 minutes")
    assert [line.split()[0] for line in lines[-4:-1]] == ["overspill", "static", "optimal"]
    figures = json.loads(last)
    assert list(figures["policies"]) == ["overspill", "static", "optimal"]
    assert figures["policies"]["overspill"]["ttft_slo_share"] == 1.0


def test_the_same_seed_prints_the_same(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Another one does not: hosted APIs and the scaled trace have other chance."""
    route, trace = files
    printed = []
    for seed in ("1", "1", "2"):
        main(["simulate", route, "--trace", trace, "--policy", "overspill", "--scale", "1.5", "--seed", seed])
        printed.append(capsys.readouterr().out)

    assert printed[0] == printed[1] != printed[2]


def test_it_begins_when_it_is_told_to(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A window keeps replicas off at night and not at noon."""
    route, trace = files
    windows = '  scaling: {maxReplicas: 2, windows: [{name: night, from: "22:00", to: "06:00", maxReplicas: 0}]}\n'
    Path(route).write_text(ROUTE.replace("  scaling: {maxReplicas: 2}\n", windows))
    starts = []
    for begins in ("2026-03-02T00:00+00:00", "2026-03-02T12:00"):
        main(["simulate", route, "--trace", trace, "--policy", "overspill", "--json", "--begins", begins])
        starts.append(json.loads(capsys.readouterr().out.splitlines()[-1])["policies"]["overspill"]["starts"])

    assert starts == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "best"], "--policy: there is no 'best'; there are overspill"),
        (["--engine", "speed=1"], "--engine: there is no 'speed'"),
        (["--load-seconds", "-1"], "--load-seconds is -1.0; write a number of at least 0"),
        (["--scale", "0"], "scale 0: write a number above 0"),
        (["--begins", "noon"], "--begins is 'noon'; write a time such as"),
        (["--name", "other"], "one ModelRoute is wanted, and it has chat; name one of several with --name"),
    ],
)
def test_wrong_arguments_are_told(
    files: tuple[str, str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, with the exit code 1."""
    route, trace = files

    assert main(["simulate", route, "--trace", trace, *arguments]) == 1
    assert message in capsys.readouterr().err


def test_mistakes_of_files_are_told_with_their_line(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Of the route as ``overspill check`` tells them, of the trace as well."""
    route, trace = files
    Path(trace).write_text(TRACE + "1,2,3\n")
    assert main(["simulate", route, "--trace", trace]) == 1
    assert f"overspill: {trace}:102: its time is 197 s before" in capsys.readouterr().err

    Path(route).write_text(ROUTE.replace("maxReplicas: 2", "maxreplicas: 2"))
    assert main(["simulate", route, "--trace", trace]) == 1
    assert f"{route}:6: ModelRoute chat: spec.scaling.maxreplicas: there is no such field" in capsys.readouterr().err

    assert main(["simulate", f"{route}.gone", "--trace", trace]) == 1
    assert "route.yaml.gone: No such file" in capsys.readouterr().err


def test_a_page_is_written_where_it_is_asked_for(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the table; its title says of what it is."""
    route, trace = files
    page = tmp_path / "report.html"

    assert main(["simulate", route, "--trace", trace, "--policy", "overspill,optimal", "--html", str(page)]) == 0
    assert "<title>chat on trace.csv</title>" in page.read_text()
    assert capsys.readouterr().out.splitlines()[-1] == f"{page}: the same as a page with drawings over time"


@pytest.mark.parametrize(
    ("place", "message"),
    [("", "this is a folder; give a file's name, such as"), ("none/report.html", "there is no folder")],
)
def test_a_page_that_cannot_be_written_is_told_before_anything_is_simulated(
    files: tuple[str, str], tmp_path: Path, place: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody waits for minutes in vain."""
    route, trace = files

    assert main(["simulate", route, "--trace", trace, "--html", str(tmp_path / place)]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""

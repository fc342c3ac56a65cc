"""``overspill plan``: what it prints, the patch that it writes, and what it says of wrong input."""

from pathlib import Path

import pytest
import yaml

from overspill_cli.main import main
from unit.cli.test_simulating import ROUTE

TRACE = "seconds,prompt_tokens,output_tokens\n" + "".join(f"{second / 2},900,120\n" for second in range(120))


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A route that keeps two replicas for nothing, and a trace."""
    route, trace = tmp_path / "route.yaml", tmp_path / "trace.csv"
    route.write_text(ROUTE.replace("maxReplicas: 2", "minReplicas: 2, maxReplicas: 2"))
    trace.write_text(TRACE)
    return str(route), str(trace)


def test_it_prints_costs_the_break_even_and_a_patch(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this order; the patch is written where it is asked for, and is one that kubectl takes."""
    route, trace = files
    patch = tmp_path / "patch.yaml"

    assert main(["plan", route, "--trace", trace, "--patch", str(patch)]) == 0

    text = capsys.readouterr().out
    parts = ["nvidia-l4 + api ", "nvidia-h100 + api ", "api alone ", "Break-even: ", "Recommended: ", "+++ recommended"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.splitlines()[-1] == f"kubectl patch modelroute chat --type merge --patch-file {patch}"
    assert yaml.safe_load(patch.read_text())["spec"]["scaling"]["minReplicas"] < 2


def test_without_a_place_the_patch_is_printed(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Last, so that it can be copied."""
    route, trace = files
    assert main(["plan", route, "--trace", trace]) == 0

    text = capsys.readouterr().out
    assert set(yaml.safe_load(text.partition("# patch.yaml:\n")[2])) == {"spec"}


def test_a_change_is_told_as_markdown_and_nothing_else(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that it can be posted as it is: from the other version to this one."""
    route, trace = files
    new = tmp_path / "new.yaml"
    new.write_text(ROUTE)

    assert main(["plan", str(new), "--against", route, "--trace", trace]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "### Overspill plan: `chat`"
    assert lines[2].startswith("**-"), "fewer replicas cost less"
    assert lines[-1].startswith("Simulated on 120 requests in ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "gone.yaml"], "gone.yaml: No such file"),
        (["--patch", "gone/patch.yaml"], "gone/patch.yaml: there is no folder"),
        (["--load-seconds", "-1"], "--load-seconds is -1.0"),
        (["--trace", "gone.csv"], "gone.csv: it can't be read"),
    ],
)
def test_wrong_arguments_are_told(
    files: tuple[str, str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, with the exit code 1, before anything is simulated."""
    route, trace = files

    assert main(["plan", route, "--trace", trace, *arguments]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""

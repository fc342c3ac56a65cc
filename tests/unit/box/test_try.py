"""`make try`: what its last line says, and that a step which fails is told and ends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from one_box import demo, installing, scenario
from one_box.client import GaveUpError

PARTS = ("spill while cold", "wake", "own answer", "killed", "cap reached", "zero")
"""What the steps are at least about."""


class Nothing:
    """Stands for what is started."""

    port = 1

    def __init__(self, *_: Any) -> None:
        """Nothing is started."""

    def end(self) -> None:
        """Nothing to end."""

    def result(self) -> Path:
        """Where the program would be."""
        return Path("overspill")


def own_answer(world: scenario.World) -> str:
    """An answer that took a while."""
    world.first_own_token = 12.345
    return "said something\nand more"


def fail(_: scenario.World) -> str:
    """A step that does not happen."""
    raise GaveUpError("waited in vain")


def played(
    steps: tuple[tuple[str, scenario.Step], ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> tuple[int, dict[str, Any], str]:
    """Exit code, last line, and all that was printed."""
    for name in ("Vllm", "InBackground"):
        monkeypatch.setattr(installing, name, Nothing)
    monkeypatch.setattr(demo, "HostedStandin", Nothing)
    monkeypatch.setattr(demo, "tiny_model", lambda _: folder)
    monkeypatch.setattr(scenario, "STEPS", steps)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    code = demo.main([f"--folder={folder / 'try'}"])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]), out + err


def test_the_last_line_is_one_json_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the time of the engine's own first token, and each step."""
    code, last, said = played((("one", own_answer), ("two", lambda _: "fine")), tmp_path, monkeypatch, capsys)

    assert code == 0
    assert last["seconds_to_first_answer"] == 12.35
    assert [(step["name"], step["ok"]) for step in last["steps"]] == [("one", True), ("two", True)]
    assert all(set(step) == {"name", "ok", "seconds"} for step in last["steps"])
    assert "and more" in said


def test_a_step_that_fails_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With code 1, after saying which and why; what came before is told."""
    code, last, said = played(
        (("one", own_answer), ("two", fail), ("three", own_answer)), tmp_path, monkeypatch, capsys
    )

    assert code == 1
    assert [(step["name"], step["ok"]) for step in last["steps"]] == [("one", True), ("two", False)]
    assert "waited in vain" in said
    assert "FAILED at step 2, two" in said


def test_it_has_the_steps_that_are_the_main_job() -> None:
    """In the order of a story."""
    names = [name for name, _ in scenario.STEPS]

    assert [part for part in PARTS if not any(part in name for name in names)] == []

"""Profiles of one machine: as the chart has them, or any."""

import os
from pathlib import Path

import pytest

from overspill_box.app.machine import Profiles, ProfilesError


def write(path: Path, text: str, when: int) -> None:
    """Write the file, with a time of its own."""
    path.write_text(text)
    os.utime(path, (when, when))


def test_without_a_file_any_name_is_a_profile() -> None:
    """This machine's vLLM, as the route says."""
    profiles = Profiles(None)

    assert "whatever" in profiles.current
    assert profiles.current["whatever"].local.command == []
    assert not profiles.look()


@pytest.mark.parametrize("head", ["", "profiles:\n"])
def test_the_charts_profiles(tmp_path: Path, head: str) -> None:
    """With their line above them or without; one that is null is none."""
    indent = "  " if head else ""
    path = tmp_path / "p.yaml"
    write(path, f"{head}{indent}a: {{local: {{memory: 2Gi}}}}\n{indent}b: null\n", 1)

    assert list(Profiles(path).current) == ["a"]


@pytest.mark.parametrize("text", ["a: [", "a: {locla: {}}", "- 1", "[" * 1000], ids=["open", "field", "list", "deep"])
def test_what_is_wrong_is_said(tmp_path: Path, text: str) -> None:
    """At the start, with the file's name."""
    path = tmp_path / "p.yaml"
    write(path, text, 1)

    with pytest.raises(ProfilesError, match=f"--profiles {path}: "):
        Profiles(path)


def test_a_change_is_taken_over_and_a_wrong_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so once."""
    path = tmp_path / "p.yaml"
    write(path, "a: {}\n", 1)
    profiles = Profiles(path)

    write(path, "b: {}\n", 2)
    assert not profiles.look()  # it may be half-written
    assert profiles.look()
    assert list(profiles.current) == ["b"]
    write(path, "b: [", 3)
    for _ in range(3):
        assert not profiles.look()
    path.unlink()
    for _ in range(3):
        assert not profiles.look()

    assert list(profiles.current) == ["b"]
    assert len(caplog.records) == 2

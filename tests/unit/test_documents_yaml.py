"""YAML that the documents show is YAML that works: whoever copies it is refused nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from overspill_box.app.machine import read_profiles
from overspill_cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "one-box.md")


def blocks(page: Path) -> list[str]:
    """The YAML blocks of a page."""
    return re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)


def test_there_are_some() -> None:
    """The README shows one ModelRoute on its first screen."""
    assert "kind: ModelRoute" in blocks(PAGES[0])[0]
    assert len(blocks(PAGES[0])[0].splitlines()) <= 15


@pytest.mark.parametrize(
    "text", [text for page in PAGES for text in blocks(page) if "kind: ModelRoute" in text], ids=lambda text: text[-20:]
)
def test_a_route_passes_the_check(text: str, tmp_path: Path) -> None:
    """As `overspill check` has it."""
    (tmp_path / "route.yaml").write_text(text)

    assert main.main(["check", str(tmp_path / "route.yaml")]) == 0


@pytest.mark.parametrize(
    "text",
    [text for page in PAGES for text in blocks(page) if text.startswith("profiles:")],
    ids=lambda text: text[-20:],
)
def test_profiles_are_read(text: str, tmp_path: Path) -> None:
    """As `overspill serve --profiles` reads them."""
    (tmp_path / "profiles.yaml").write_text(text)

    assert set(read_profiles(tmp_path / "profiles.yaml")) == set(yaml.safe_load(text)["profiles"])

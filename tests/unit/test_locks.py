"""Lock files: pinned, hashed, without addresses, and in a form that pip takes as well as uv."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted([*(ROOT / "requirements").glob("*.txt"), *(ROOT / "bench/gateway/requirements").glob("*.txt")])


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_hashes_and_no_addresses(path: Path) -> None:
    """Whoever installs decides where packages come from; what comes is pinned."""
    text = path.read_text()

    assert "://" not in text
    for line in text.splitlines():
        if re.match(r"^[a-z0-9]", line):
            assert line.endswith("\\"), f"{line} has no hash"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_what_is_pinned_with_an_extra_is_pinned_without(path: Path) -> None:
    """pip takes a pin of `name[extra]` for no pin of the `name` that another package asks for, and refuses the file."""
    pins = set(re.findall(r"(?m)^([a-z0-9._-]+(?:\[[a-z0-9,_-]+\])?==\S+)", path.read_text()))

    assert pins
    assert {re.sub(r"\[.*?\]", "", pin) for pin in pins} <= pins


def test_a_pin_with_an_extra_gets_a_twin_before_it() -> None:
    """With the same hashes and markers, other lines untouched."""
    loader = importlib.machinery.SourceFileLoader("lock", str(ROOT / "scripts" / "lock"))
    spec = importlib.util.spec_from_loader("lock", loader)
    assert spec is not None
    script = importlib.util.module_from_spec(spec)
    loader.exec_module(script)
    lock = "a==1 \\\n    --hash=sha256:aa\nb[x,y]==2 ; python_version < '3.12' \\\n    --hash=sha256:bb\n    # via a\n"

    assert script.with_twins(lock) == (
        "a==1 \\\n    --hash=sha256:aa\n"
        "b==2 ; python_version < '3.12' \\\n    --hash=sha256:bb\n    # via a\n"
        "b[x,y]==2 ; python_version < '3.12' \\\n    --hash=sha256:bb\n    # via a\n"
    )

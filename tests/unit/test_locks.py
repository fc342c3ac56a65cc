"""Lock files: pinned, hashed, without addresses, and in a form that pip takes as well as uv."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
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


@pytest.mark.parametrize("group", ["operator", "gateway"])
def test_an_image_has_what_the_package_says_and_no_other_version(group: str) -> None:
    """What is installed by pip and what is in an image differ in how much there is, never in which versions do."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    said = set(project["project"]["dependencies"]) | set(project["project"]["optional-dependencies"][group])

    assert set(project["dependency-groups"][group]) <= said


def test_one_machine_needs_no_extra() -> None:
    """`pip install overspill` is enough for `overspill serve`: nothing that it imports is missing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {re.split(r"[<>=;]", item)[0] for item in project["project"]["dependencies"]}
    ours = "overspill_box.commands, overspill_box.serve"
    code = f"import sys, {ours}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    of_module = importlib.metadata.packages_distributions()
    always = {"overspill", "setuptools"}  # a file of setuptools' imports it wherever it is installed
    used = {of_module[name][0].lower() for name in imported if name in of_module} - always

    assert used <= _with_all_that_they_need(needed)


def _with_all_that_they_need(names: set[str]) -> set[str]:
    """The distributions, and those that they depend on."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop().lower()
        if name in found:
            continue
        found.add(name)
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for other systems
        todo += [re.split(r"[^A-Za-z0-9._-]", item)[0] for item in wanted if "extra ==" not in item]
    return found | {name.replace("-", "_") for name in found}

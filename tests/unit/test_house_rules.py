"""Rules of the house that a machine can check: what would otherwise be found by a surprised person."""

import ast
import operator
import re
import subprocess
import sys
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from unit.import_circles import circles, imports_of, module_name, parsed

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "api/generate",
    "api/src/overspill_api",
    "operator/src/overspill_operator",
    "inference/src/overspill_gateway",
    "box/src/overspill_box",
    "cli/src/overspill_cli",
    "planner/src/overspill_planner",
)
LINES_MAX = 460
READS_A_CLOCK = re.compile(
    r"^\s*import time\b|^\s*from time import .*\b(monotonic|time|perf_counter|process_time|thread_time)(_ns)?\b"
    r"|\b(datetime|date)\.(now|utcnow|today)\("
)
HAVE_CLOCKS = frozenset({"clock.py", "time_slice.py", "worker_process.py"})
"""The clock itself; how long a stretch of work keeps the event loop; processes that bound themselves."""
SYSTEM_CLOCK = re.compile(
    r"^\s*(from|import) time\b|\b(datetime|date)\.(now|utcnow|today)\(|loop(\(\))?\.(time|call_later|call_at)\("
    r"|\basyncio\.sleep\("
)
POLL_SECONDS_MAX = 0.01
SCRIPT_SECONDS_MAX = 0.05
READS_OR_WRITES = {"now", "today", "utcnow", "open", "print", "input"}


def _tracked(*patterns: str) -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "--", *patterns], capture_output=True, text=True, check=True
        )
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("not a git checkout: nothing says which files are the project's")
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).is_file()]


def _modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_the_folder_operator_never_shadows_the_standard_library() -> None:
    """A package, a conftest or tests in operator/ would break `import operator` for the whole interpreter."""
    folder = ROOT / "operator"

    assert not (folder / "__init__.py").exists()
    assert not [path for path in folder.rglob("*.py") if path.name == "conftest.py" or path.name.startswith("test_")]
    assert operator.__file__ is not None
    assert operator.__file__.startswith(sys.base_prefix)


def test_no_lock_file_of_a_kind_that_holds_addresses() -> None:
    """uv.lock and pylock.toml name registries."""
    assert _tracked("uv.lock", "*pylock*.toml") == []


def test_a_module_says_what_it_is_for_and_stays_small() -> None:
    """The first lines of a module are its subject; one that outgrew it is two modules."""
    assert [path for path in _modules() if not ast.get_docstring(parsed(path))] == []
    assert [path for path in _modules() if len(path.read_text().splitlines()) > LINES_MAX] == []


def test_deciding_reads_no_clock_and_does_no_io() -> None:
    """Modules under core/ and the shared types take time and observations as arguments, so that tests can drive them.

    import-linter keeps modules for I/O, clocks, random sources and logs out of them; here are the calls that need no
    such module: of ``datetime``, which is there for its arithmetic, and of builtins.
    """
    deciding = [path for path in _modules() if "core" in path.parts or "overspill_api" in path.parts]
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in deciding
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
        if (node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id) in READS_OR_WRITES
    ]

    assert deciding
    assert found == []


def _lines(package: str, but: AbstractSet[str], pattern: re.Pattern[str]) -> list[str]:
    """Lines of a package's modules that match, but for those of modules with these names."""
    modules = [path for path in _modules() if package in path.parts and path.name not in but]
    assert modules
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in modules
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]


def test_the_operator_has_one_clock() -> None:
    """What looks at the time, or waits, is given a ``clock.Clock``: tests and simulators move the time themselves."""
    assert _lines("overspill_operator", {"clock.py"}, SYSTEM_CLOCK) == []


def test_the_gateway_has_one_clock() -> None:
    """What decides or counts is given a ``clock.Clock``; the event loop has its own, for timers."""
    assert _lines("overspill_gateway", HAVE_CLOCKS, READS_A_CLOCK) == []


@pytest.mark.parametrize(
    "path",
    [path for path in _modules() if path.match("overspill_operator/app/*.py")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_part_of_the_operator_uses_all_that_it_is_given(path: Path) -> None:
    """Reconcilers and what they act through get what they use by name, not a bag of everything."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef):
            accesses = [part for part in ast.walk(node) if isinstance(part, ast.Attribute)]
            kept = {part.attr for part in accesses if isinstance(part.ctx, ast.Store) and part.attr.startswith("_")}
            used = {part.attr for part in accesses if isinstance(part.ctx, ast.Load)}
            assert kept <= used, f"{node.name} keeps {sorted(kept - used)} and never looks at it"


@pytest.mark.parametrize("folder", ["api", "operator", "inference", "box", "cli", "planner"])
def test_imports_make_no_circle(folder: str) -> None:
    """A module can be read after those that it imports; imports for types and inside functions count as well."""
    sources = ROOT / folder / "src"
    modules = {module_name(path, sources): path for path in sources.rglob("*.py")}
    modules |= {module_name(path, ROOT): path for path in (ROOT / folder / "generate").rglob("*.py")}

    assert modules
    assert circles(imports_of(modules)) == []


def test_a_circle_is_found_however_it_is_closed(tmp_path: Path) -> None:
    """By an import for types only, one inside a function, or one of a module as a name of its package."""
    package = tmp_path / "p"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("")
    (package / "a.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import B\n")
    (package / "b.py").write_text("from p.inner import c\n")
    (package / "inner" / "c.py").write_text("def f():\n    import p.a\n")
    (package / "d.py").write_text("from p import a\n")
    modules = {module_name(path, tmp_path): path for path in tmp_path.rglob("*.py")}

    assert circles(imports_of(modules)) == [["p.a", "p.b", "p.inner.c"]]


def test_no_path_of_a_machine_in_the_tree() -> None:
    """What is in the repository works in any folder of any machine (an image's inside is no machine's)."""
    # After a colon it is the inner end of a container's mount.
    pattern = re.compile(rf"(^|[^a-z.:])/({'root'}|{'work'})/")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _tracked("*.py", "*.md", "*.yaml", "Makefile", "scripts/*", ".ci/*")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]

    assert found == []


def _sleeps(path: Path) -> list[tuple[int, str]]:
    """Line and fault of every sleep of a test that is neither a short pause of a loop nor a double's slowness."""
    faults: list[tuple[int, str]] = []

    def look(node: ast.AST, *, polls: bool, is_double: bool) -> None:
        match node:
            case ast.ClassDef(name="Wire"):
                is_double = True
            case ast.FunctionDef(args=args) | ast.AsyncFunctionDef(args=args):
                polls = False
                is_double |= any(argument.arg == "wire" for argument in args.args)
            case ast.While():
                polls = True
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep"), args=[seconds, *_]):
                most = SCRIPT_SECONDS_MAX if is_double else POLL_SECONDS_MAX if polls else 0.0
                length = seconds.value if isinstance(seconds, ast.Constant) else SCRIPT_SECONDS_MAX  # named: a script's
                if not isinstance(length, int | float) or length > most:
                    faults.append((node.lineno, ast.unparse(node)))
        for child in ast.iter_child_nodes(node):
            look(child, polls=polls, is_double=is_double)

    text = path.read_text()
    if "sleep" in text:
        look(ast.parse(text), polls=False, is_double=False)
    return faults


def test_unit_tests_wait_for_conditions_and_never_for_time() -> None:
    """A test that sleeps is slow on every machine and wrong on a busy one.

    Three sleeps stand: of no time, which lets others have their turn; of at most 10 ms in a loop that looks whether
    something is so; and of at most 50 ms in a backend's script (it is given a ``wire``), whose slowness is its part.
    """
    found = [
        f"{path.relative_to(ROOT)}:{line}: {fault}"
        for path in sorted((ROOT / "tests" / "unit").rglob("*.py"))
        for line, fault in _sleeps(path)
    ]

    assert found == []

"""What the script writes anew before mypyc reads it behaves as what was there."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compile-gateway"
SOURCE = '''
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Point:
    """A point."""

    x: int
    """Across."""
    y: int = 2
    names: list[str] = field(default_factory=list)

    def moved(self, by: int) -> "Point":
        """Elsewhere."""
        return Point(self.x + by, self.y, self.names)


@dataclass(slots=True)
class Mutable:
    """Another."""

    text: str
    points: list[Point] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Alone:
    """Like no other."""

    number: int


class Several:
    """Constants."""

    A, B = 1, 2
'''


def script() -> ModuleType:
    """The script, as a module."""
    loader = importlib.machinery.SourceFileLoader("compile_gateway", str(SCRIPT))
    spec = importlib.util.spec_from_loader("compile_gateway", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def namespace(source: str) -> dict[str, Any]:
    """What a module defines."""
    defined: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "sample", "exec"), defined)
    return defined


@pytest.fixture(params=["as written", "as compiled"])
def sample(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The sample, before and after."""
    if request.param == "as written":
        return namespace(SOURCE)
    written_out = script().plain(SOURCE)
    assert "@dataclass" not in written_out
    return namespace(written_out)


def test_a_dataclass_without_comparison_is_only_itself(sample: dict[str, Any]) -> None:
    """And can be a key."""
    one, other = sample["Alone"](1), sample["Alone"](1)

    assert one != other
    assert len({one, other}) == 2


@pytest.mark.parametrize("parts", ["GATEWAY", "PLANNER"])
def test_what_is_to_be_compiled_is_there(parts: str) -> None:
    """Folders and files by their packages."""
    for package, names in getattr(script(), parts).items():
        assert [name for name in names if not (SCRIPT.parents[1] / package / name).exists()] == []


def test_a_dataclass_written_out_is_made_and_compared_like_one(sample: dict[str, Any]) -> None:
    """Positions, names, defaults, a list of its own for each; equality by values; the same text."""
    point, mutable = sample["Point"], sample["Mutable"]

    assert point(1) == point(x=1, y=2, names=[])
    assert point(1) != point(1, 3)
    assert (point(1) == 1) is False
    assert repr(point(1, names=["a"])) == "Point(x=1, y=2, names=['a'])"
    assert point(1).moved(2).x == 3
    assert mutable("a").points is not mutable("a").points
    assert mutable("a", [point(1)]) == mutable("a", [point(1)])
    assert mutable.__doc__ == "Another."
    with pytest.raises(TypeError):
        point()
    with pytest.raises(TypeError):
        hash(mutable("a"))


def test_constants_written_together_are_the_same_apart(sample: dict[str, Any]) -> None:
    """mypyc reads one name for each assignment."""
    assert (sample["Several"].A, sample["Several"].B) == (1, 2)


DICTIONARY = "Py_CLEAR(*((PyObject **)((char *)self + sizeof(X))));"
LIST = "(*((PyObject **)((char *)self + sizeof(PyObject *) + sizeof(X))));"


def test_the_list_of_weak_references_is_neither_visited_nor_freed(tmp_path: Path) -> None:
    """As mypyc 2.4 writes C: the interpreter owns that list."""
    file = tmp_path / "native.c"
    file.write_text(f"Py_VISIT{LIST}\n{DICTIONARY}\nPy_CLEAR{LIST}\nPy_CLEAR{LIST}\n")

    script().mend_weak_references(str(tmp_path))

    cleared = "if (Py_REFCNT(self) == 0) PyObject_ClearWeakRefs((PyObject *)self);\n"
    assert file.read_text() == f"\n{DICTIONARY}\n{cleared}{cleared}"


@pytest.mark.parametrize(
    "text",
    [
        DICTIONARY,
        f"Py_VISIT{LIST}\nPy_CLEAR{LIST}\n",
        f"Py_CLEAR{LIST}\nPy_CLEAR{LIST}\n",
        f"Py_VISIT{LIST}\nPy_CLEAR{LIST}\nPy_CLEAR{LIST}\nPy_XDECREF{LIST}\n",
    ],
)
def test_c_that_is_not_as_it_was_ends_the_compilation(tmp_path: Path, text: str) -> None:
    """A mypyc that writes otherwise would else pass with nothing mended."""
    (tmp_path / "native.c").write_text(text)
    module = script()

    with pytest.raises(module.CompileError):
        module.mend_weak_references(str(tmp_path))


@pytest.mark.parametrize(
    "source",
    [
        "@dataclass\nclass A:\n    x: int\n",
        "@dataclasses.dataclass(slots=True)\nclass A:\n    x: int\n",
        "@final\n@dataclass(slots=True)\nclass A:\n    x: int\n",
        "@dataclass(order=True)\nclass A:\n    x: int\n",
        "@dataclass(slots=True)\nclass A:\n    x: int\n    def __post_init__(self):\n        pass\n",
        "@dataclass(slots=True)\nclass A:\n    x: int = field(default=1)\n",
        "@dataclass(slots=True)\nclass A(B):\n    x: int\n",
        "class A:\n    @dataclass(slots=True)\n    class B:\n        x: int\n",
    ],
)
def test_a_dataclass_that_would_come_out_otherwise_is_refused(source: str) -> None:
    """Rather an error here than a class that behaves differently once it is compiled."""
    module = script()

    with pytest.raises(module.CompileError):
        module.plain(source)

"""Which modules import each other in a circle, as their text has it: imports for types and inside functions count."""

import ast
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path


@cache
def parsed(path: Path) -> ast.Module:
    """A file's syntax tree, which nobody changes."""
    return ast.parse(path.read_text())


def module_name(path: Path, sources: Path) -> str:
    """Name by which a file below ``sources`` is imported."""
    parts = path.relative_to(sources).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """For each module those of the others that it names in an import, wherever in its text."""
    return {name: set(_imported(path, modules.keys())) - {name} for name, path in modules.items()}


def circles(graph: Mapping[str, AbstractSet[str]]) -> list[list[str]]:
    """One circle for each that had to be cut until none was left, each from its first name in the alphabet."""
    left = {name: set(imported) for name, imported in graph.items()}
    found: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            # Each is imported by the next; the last is the first again.
            circle = list(reversed(error.args[1]))[:-1]
            start = circle.index(min(circle))
            circle = circle[start:] + circle[:start]
            found.append(circle)
            left[circle[-1]].discard(circle[0])
        else:
            return found


def _imported(path: Path, known: AbstractSet[str]) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module is not None and node.module in known:
                    yield node.module

"""YAML as kubectl reads it, with the line of each field. Not here: what the documents mean.

kubectl's reader knows no base-60 numbers and no dates, so that ``from: 08:00`` is a text; PyYAML's does.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

Path = tuple[str | int, ...]
BYTES_MAX: Final = 4 << 20
"""The longest file that is read: objects of one are 1.5 MiB at most in the API server."""
VALUES_MAX: Final = 200_000
"""The most values of a document, aliases followed: a few lines of aliases can stand for billions."""
_INT: Final = re.compile(r"[-+]?(0b[0-1_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 but for base-60 numbers and dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"^(?:{_INT.pattern})$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+0123456789."))


class YamlError(ValueError):
    """A text is no YAML that can be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file."""

    line: int
    """Where it begins, from 1."""
    content: Any
    """What it holds, as JSON would."""
    lines: dict[Path, int] = field(default_factory=dict)
    """Line of each field by its path."""
    twice: tuple[tuple[Path, int], ...] = ()
    """Fields that stand twice in one map, where YAML's readers differ about which one holds, with the second's line."""

    def line_of(self, path: Path) -> int:
        """Line of a field, or of the nearest one above it that is there."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return self.line


def read_documents(text: str) -> Iterator[Document]:
    """The documents of a text; empty ones are passed over. Raises YamlError where it is no YAML."""
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                break
            lines: dict[Path, int] = {}
            twice: list[tuple[Path, int]] = []
            _walk(node, (), lines, twice)
            content = loader.construct_document(node)
            if content is not None:
                yield Document(node.start_mark.line + 1, content, lines, tuple(twice))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(f"this is no YAML that can be read: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _walk(node: yaml.Node | None, path: Path, lines: dict[Path, int], twice: list[tuple[Path, int]]) -> None:
    if len(lines) > VALUES_MAX:
        raise ValueError("it has too many values, or aliases that stand for too many")
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in seen:
                twice.append((inner, key.start_mark.line + 1))
            seen.add(inner)
            lines[inner] = key.start_mark.line + 1
            _walk(value, inner, lines, twice)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[*path, index] = value.start_mark.line + 1
            _walk(value, (*path, index), lines, twice)

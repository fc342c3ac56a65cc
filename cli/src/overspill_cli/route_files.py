"""A ModelRoute of a file, and files for people that a command writes. Not here: what is done with them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overspill_api.modelroute import ModelRouteSpec
from overspill_cli.checking import documents_of
from overspill_cli.errors import CommandError
from overspill_operator.core.written_objects import check_document


@dataclass(frozen=True, slots=True)
class WrittenRoute:
    """A ModelRoute as somebody has written it."""

    name: str
    """Of the object."""
    spec: ModelRouteSpec
    """What it means."""
    content: dict[str, Any]
    """The object as it stands in the file."""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.content['metadata'].get('namespace') or 'default'}/{self.name}"


def route_in(file: str, name: str | None) -> WrittenRoute:
    """The ModelRoute of a file; raises CommandError with all that is wrong with it."""
    routes = [
        document for document in documents_of(file)
        if isinstance(document.content, dict) and document.content.get("kind") == "ModelRoute"
    ]  # fmt: skip
    metas = [document.content.get("metadata") for document in routes]
    names = [str(meta.get("name")) if isinstance(meta, dict) else "" for meta in metas]
    pairs = [(document, own) for document, own in zip(routes, names, strict=True) if name is None or own == name]
    if len(pairs) != 1:
        there = f"it has {', '.join(names)}" if names else "it has none"
        raise CommandError(f"{file}: one ModelRoute is wanted, and {there}; name one of several with --name")
    (chosen, own_name), *_ = pairs
    mistakes = [str(mistake) for mistake in check_document(file, chosen, {})]
    if mistakes:
        raise CommandError("\n".join(mistakes))
    return WrittenRoute(own_name, ModelRouteSpec.model_validate(chosen.content["spec"]), chosen.content)


def page_of(file: str) -> Path:
    """Where a page is to be written; raises CommandError now, and not after minutes, where it can't be."""
    path = Path(file)
    if path.is_dir():
        raise CommandError(f"{file}: this is a folder; give a file's name, such as {path / 'report.html'}")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"{file}: there is no folder {path.absolute().parent}; make it first")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise CommandError(f"{file}: it can't be written; choose another place, or see who may write there")
    return path


def write(path: Path, text: str) -> None:
    """Write a file; raises CommandError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: it can't be written: {error.strerror}") from error

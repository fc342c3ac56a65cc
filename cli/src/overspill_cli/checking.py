"""``overspill check``: everything that is wrong with ModelRoutes and Consumers in files, without a cluster.

The API server tells some mistakes alone, and hides the others behind them: a number where a text is wanted, an unknown
field. Here all come at once, each with its line. What only the cluster knows (profiles, Secrets, names that other
routes have) is not looked at.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from overspill_api.consumer import ConsumerSpec
from overspill_api.mistakes import mistakes
from overspill_api.modelroute import ModelRouteSpec
from overspill_api.names import API_VERSION, GROUP
from overspill_api.quantities import ConsumerName, RouteName
from overspill_cli import yaml_files
from overspill_cli.errors import CommandError
from overspill_cli.yaml_files import Document
from overspill_cli.yaml_files import Path as FieldPath
from overspill_operator.core.reserved_options import reserved_arguments
from overspill_operator.core.windows import unknown_zones

KINDS: Final[dict[str, tuple[type[BaseModel], TypeAdapter[str]]]] = {
    "ModelRoute": (ModelRouteSpec, TypeAdapter(RouteName)),
    "Consumer": (ConsumerSpec, TypeAdapter(ConsumerName)),
}
TOP_FIELDS: Final = {"apiVersion", "kind", "metadata", "spec", "status"}


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that is wrong."""

    file: str
    """The file's name as it was given."""
    line: int
    """Line in it, from 1."""
    subject: str
    """Whose it is: ``ModelRoute chat/llama-8b``."""
    message: str
    """Path of the field, and what is wrong."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.subject}: {self.message}"


def check(files: Sequence[str]) -> int:
    """Print what is wrong with the files' objects; the exit code: 0 where nothing is. ``-`` is standard input."""
    mistakes_found: list[Mistake] = []
    checked = 0
    names: dict[str, str] = {}
    for file in files:
        for document in yaml_files.read(_text_of(file), file):
            if _is_ours(document.content):
                checked += 1
                mistakes_found += sorted(check_document(file, document, names), key=lambda mistake: mistake.line)
    for mistake in mistakes_found:
        print(mistake)
    if not checked:
        raise CommandError(f"no ModelRoute and no Consumer ({API_VERSION}) in {', '.join(files)}")
    objects = "1 object" if checked == 1 else f"{checked} objects"
    if mistakes_found:
        print(f"{objects} checked, {len(mistakes_found)} mistakes", file=sys.stderr)
        return 1
    print(f"{objects} checked, nothing wrong; profiles, Secrets and other routes' names are the cluster's to know")
    return 0


def check_document(file: str, document: Document, names: dict[str, str]) -> Iterator[Mistake]:
    """What is wrong with one object. ``names``: model names of the routes before it, with their routes."""
    content = document.content
    meta = content["metadata"] if isinstance(content.get("metadata"), dict) else {}
    key = "/".join(str(meta[part]) for part in ("namespace", "name") if meta.get(part))
    subject = f"{content['kind']} {key}" if key else content["kind"]
    for path, line in document.twice:
        yield Mistake(file, line, subject, f"{_shown(path)}: this field stands here twice; keep one of them")
    for path, message in _problems(content, meta):
        yield Mistake(file, document.line_of(path), subject, message)
    for name in _model_names(content, meta):
        if names.setdefault(name, subject) != subject:
            message = f'spec: the model name "{name}" is also that of {names[name]}; choose another'
            yield Mistake(file, document.line_of(("spec", "model")), subject, message)


def _problems(content: dict[str, Any], meta: dict[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    """What is wrong with an object by itself: path of the field, sentence."""
    if content.get("apiVersion") != API_VERSION:
        yield ("apiVersion",), f"apiVersion: {content.get('apiVersion')!r} is not served; write {API_VERSION}"
    for name in content.keys() - TOP_FIELDS:
        yield (str(name),), f"{name}: there is no such field; did its indentation slip? It may belong under spec"
    model, form = KINDS[content["kind"]]
    for what in _name_problems(meta, form):
        yield ("metadata", "name"), f"metadata.name: {what}"
    try:
        # As JSON and strictly, as the API server reads it: no "64" for 64, no "yes" for true.
        spec = model.model_validate_json(json.dumps(content.get("spec") or {}), strict=True)
    except ValidationError as error:
        for location, path, what in mistakes(error, model):
            yield ("spec", *location), f"{path}: {what}"
    except (TypeError, ValueError, RecursionError) as error:
        yield ("spec",), f"spec: it can't be written as JSON, which Kubernetes keeps it as: {error}"
    else:
        if isinstance(spec, ModelRouteSpec):
            yield from _route_problems(spec)


def _model_names(content: dict[str, Any], meta: dict[str, Any]) -> tuple[str, ...]:
    """The names by which a route's model is called."""
    spec = content.get("spec")
    if content["kind"] != "ModelRoute" or not isinstance(spec, dict):
        return ()
    aliases = spec["aliases"] if isinstance(spec.get("aliases"), list) else []
    names = (spec.get("model") or meta.get("name"), *aliases)
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def _route_problems(spec: ModelRouteSpec) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What no schema can say: what the operator says in a condition."""
    for where, zone in unknown_zones(spec):
        yield tuple(where.split(".")), f"{where}: {zone!r} is no time zone; use an IANA name such as Europe/Berlin"
    if spec.self_hosted:
        for fault in reserved_arguments(spec.self_hosted):
            field = "env" if fault.message.startswith("spec.selfHosted.env[") else "args"
            yield ("spec", "selfHosted", field), fault.message.removesuffix(".")


def _name_problems(meta: dict[str, Any], form: TypeAdapter[str]) -> Iterator[str]:
    if "name" not in meta:
        yield "this field is required"
        return
    try:
        form.validate_python(meta["name"])
    except ValidationError as error:
        yield from (problem["msg"] for problem in error.errors())


def _is_ours(content: Any) -> bool:
    """Whether it is one of the project's objects; a file may hold others, such as Secrets."""
    if not isinstance(content, dict) or content.get("kind") not in KINDS:
        return False
    version = content.get("apiVersion")
    return not isinstance(version, str) or version.startswith(f"{GROUP}/") or "/" not in version


def _shown(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _text_of(file: str) -> str:
    try:
        data = sys.stdin.buffer.read(yaml_files.BYTES_MAX + 1) if file == "-" else Path(file).read_bytes()
        if len(data) > yaml_files.BYTES_MAX:
            raise CommandError(f"{file}: it is over {yaml_files.BYTES_MAX >> 20} MiB, more than the API server takes")
        return data.decode()
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: it is not UTF-8: save it as that") from error

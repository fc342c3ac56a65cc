"""What is wrong with a ModelRoute or a Consumer as it is written in YAML, each mistake with its line.

The API server tells some mistakes alone, and hides the others behind them: a number where a text is wanted, an unknown
field. Here all come at once. What only the place where it is served knows (profiles, Secrets) is not looked at.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from overspill_api.consumer import ConsumerSpec
from overspill_api.mistakes import mistakes
from overspill_api.modelroute import ModelRouteSpec
from overspill_api.names import API_VERSION, GROUP
from overspill_api.quantities import DNS_LABEL, ConsumerName, RouteName
from overspill_api.yaml_documents import Document
from overspill_api.yaml_documents import Path as FieldPath
from overspill_operator.core.reserved_options import reserved_arguments
from overspill_operator.core.scaling.windows import unknown_zones

KINDS: Final[dict[str, tuple[type[BaseModel], TypeAdapter[str]]]] = {
    "ModelRoute": (ModelRouteSpec, TypeAdapter(RouteName)),
    "Consumer": (ConsumerSpec, TypeAdapter(ConsumerName)),
}
_NAMESPACE: Final = re.compile(DNS_LABEL)
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
    namespace = meta.get("namespace")
    if namespace and not (isinstance(namespace, str) and len(namespace) <= 63 and _NAMESPACE.fullmatch(namespace)):
        what = "is not the name of a namespace; use at most 63 lower-case letters, digits and dashes"
        yield ("metadata", "namespace"), f'metadata.namespace: "{namespace}" {what}'
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


def is_ours(content: Any) -> bool:
    """Whether it is one of the project's objects; a file may hold others, such as Secrets."""
    if not isinstance(content, dict) or content.get("kind") not in KINDS:
        return False
    version = content.get("apiVersion")
    return not isinstance(version, str) or version.startswith(f"{GROUP}/") or "/" not in version


def _shown(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")

"""What is wrong with an object that somebody wrote, one sentence a field: where, what, and what mends it.

Shared by the operator's conditions and ``overspill check``. Not here: the rules themselves, which stand beside the
types; reading files.
"""

import difflib
import typing
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_PYDANTIC_PREFIX: Final = "Value error, "
_KINDS: Final = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a map of fields",
    "model_attributes_type": "a map of fields",
    "dict_type": "a map",
}
"""What pydantic's kinds of type errors ask for, in the words of somebody who writes YAML."""


Location = tuple[int | str, ...]


def mistakes(
    error: ValidationError, model: type[BaseModel], root: str = "spec"
) -> tuple[tuple[Location, str, str], ...]:
    """Each wrong field: where it is, its path as a person writes it (``spec.hosted[0].price.input``), what is wrong.

    ``model`` is the type that was read, for the names of fields that there are. Values of texts are not repeated
    but where a rule of the types does so itself: they may be secrets.
    """
    mistakes_found = []
    for problem in error.errors(include_url=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
        mistakes_found.append((problem["loc"], f"{root}{path}", _what(problem, model)))
    return tuple(mistakes_found)


def sentences(error: ValidationError, model: type[BaseModel], root: str = "spec") -> tuple[str, ...]:
    """The same as one text a field."""
    return tuple(f"{path}: {what}" for _, path, what in mistakes(error, model, root))


def _what(problem: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value = problem["type"], problem["input"]
    if kind == "missing":
        return "this field is required"
    if kind == "extra_forbidden":
        return _no_such_field(problem["loc"], model)
    if kind == "enum":
        return f'"{value}" is none of the values here: {problem["ctx"]["expected"]}'
    if kind in _KINDS:
        return _wrong_kind(_KINDS[kind], value)
    return problem["msg"].removeprefix(_PYDANTIC_PREFIX)


def _wrong_kind(wanted: str, value: Any) -> str:
    """A value of another YAML type; a number or a truth where a text is wanted only lacks its quotes."""
    if value is None:
        return f"it is empty (null), {wanted} is wanted here; write one, or leave the field out"
    if wanted == "a text" and isinstance(value, bool | int | float):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        what = "true or false" if isinstance(value, bool) else "a number"
        return f'{shown} is {what} in YAML, a text is wanted here; write it in quotes: "{shown}"'
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a map"}
    mend = "; take its quotes away" if isinstance(value, str) and wanted != "a list" and "map" not in wanted else ""
    return f"it is {kinds.get(type(value), 'another kind of value')}, {wanted} is wanted here{mend}"


def _no_such_field(location: Sequence[int | str], model: type[BaseModel]) -> str:
    *above, name = location
    owner = _model_at(above, model)
    names = [field.alias or key for key, field in owner.model_fields.items()] if owner else []
    # By their lower-case forms: maxreplicas is maxReplicas.
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return f"there is no such field; {by_lower[close[0]]} is probably meant"
    return f"there is no such field; fields here are: {', '.join(sorted(names))}" if names else "there is no such field"


def _model_at(location: Sequence[int | str], model: type[BaseModel]) -> type[BaseModel] | None:
    """The type of the map that a path leads to."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        models = _models_in(current)
        fields = models[0].model_fields if models else {}
        current = next((field.annotation for key, field in fields.items() if part in (key, field.alias)), None)
    models = _models_in(current)
    return models[0] if models else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Types with fields that an annotation names, through Annotated, unions and lists."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]

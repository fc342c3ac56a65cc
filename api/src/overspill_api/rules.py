"""Rules of the API types, each written once: Python checks it, and the CRD carries it as CEL with the same message.

A ``Form`` is about one text, ``Unique`` about one list, a ``Rule`` about the fields of one object. CEL rather than
the schema's own ``pattern``, because its messages can say what mends the value. Not here: how the rules get into the
CRD (``crd.py``).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

CEL_RULES: Final = "x-kubernetes-validations"
"""Key of an OpenAPI schema under which Kubernetes reads CEL rules."""

Reason = Literal["FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden", "FieldValueDuplicate"]


def cel_text(text: str) -> str:
    """A text as a CEL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a text: a regular expression that the whole of it matches, and what to say where it does not."""

    pattern: str
    """Anchored at both ends; understood alike by Python and by RE2, which runs it in the API server."""
    problem: str
    """Follows the quoted text: ``is not a duration; write ...``."""
    refuses: bool = False
    """Whether the texts that match are those that are refused; the pattern is then looked for anywhere in them."""

    def holds(self, text: str) -> bool:
        """Whether the text has the form."""
        if self.refuses:
            return re.search(self.pattern, text) is None
        return re.fullmatch(self.pattern, text) is not None

    def check(self, text: str) -> str:
        """Give the text back, or raise what a person reads."""
        if not self.holds(text):
            raise PydanticCustomError("form", "{message}", {"message": f'"{text}" {self.problem}'})
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after the text's own constraints (its length)."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the CEL rule, and the pattern for readers of plain JSON schema (the CRD leaves it out)."""
        schema = handler(core)
        rule = {
            "rule": f"{'!' if self.refuses else ''}self.matches({cel_text(self.pattern)})",
            "messageExpression": f"""'"' + self + {cel_text('" ' + self.problem)}""",
            "message": self.problem,
        }
        pattern = {} if self.refuses else {"pattern": self.pattern}
        return {**schema, **pattern, CEL_RULES: [*schema.get(CEL_RULES, []), rule]}


@dataclass(frozen=True, slots=True)
class Unique:
    """No two elements of a list are the same, or, by keys, have the same name. Server-side apply merges such lists."""

    key: str | None = None
    """The field that names an element, the same in Python and in YAML; None: the elements themselves."""

    def check(self, values: list[Any]) -> list[Any]:
        """Give the list back, or raise what a person reads."""
        names = [value if self.key is None else getattr(value, self.key) for value in values]
        for name in names:
            if names.count(name) > 1:
                what = f"{self.key} " if self.key else ""
                raise PydanticCustomError("duplicate", "{message}", {"message": f'{what}"{name}" stands here twice'})
        return values

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after the elements are read."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say it in Kubernetes' words."""
        schema = handler(core)
        if self.key is None:
            return {**schema, "x-kubernetes-list-type": "set"}
        return {**schema, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold between the fields of one object."""

    message: str
    """What is wrong and what mends it."""
    cel: str
    """The rule over ``self``. Guard each field with ``has()``: a required one may be missing, and defaults of an
    object are checked before those of its fields are filled in."""
    holds: Callable[[Any], bool]
    """The same rule in Python, over the model."""
    field: str = ""
    """The field to blame, by its path in YAML below this object, such as ``overflow.onColdStart``."""
    reason: Reason = "FieldValueInvalid"
    """Kubernetes' kind of error."""

    def as_cel(self) -> dict[str, str]:
        """Write the rule as an entry of ``x-kubernetes-validations``."""
        entry = {"rule": self.cel, "message": self.message}
        if self.field:
            entry["fieldPath"] = f".{self.field}"
        if self.reason != "FieldValueInvalid":
            entry["reason"] = self.reason
        return entry

"""The base of every API type: names in camelCase on the wire, unknown fields refused, docstrings as descriptions."""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from overspill_api.rules import CEL_RULES, Rule


class Strict(BaseModel):
    """An immutable type that refuses unknown fields and whose attribute docstrings describe its schema."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """What must hold between the fields; Python and the CRD check the same."""

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        """Report every broken rule at once, each at the field it blames."""
        broken = [
            InitErrorDetails(
                type=PydanticCustomError("rule", "{message}", {"message": rule.message}),
                loc=tuple(rule.field.split(".")) if rule.field else (),
                input=None,
            )
            for rule in self.rules
            if not rule.holds(self)
        ]
        if broken:
            raise ValidationError.from_exception_data(type(self).__name__, broken)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the rules as CEL."""
        schema = handler(core)
        if cls.rules:
            handler.resolve_ref_schema(schema)[CEL_RULES] = [rule.as_cel() for rule in cls.rules]
        return schema

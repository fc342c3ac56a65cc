"""Whether a plain answer keeps to the JSON schema that its request set. Not here: what follows when it doesn't.

An answer that was never going to keep to it is not at fault and passes: a refusal, one that calls tools, one that
the request's own token limit cut off (the SDKs tell their users so), and one that a content filter ended. Of several
choices each is checked. Text around the JSON, such as a fence of Markdown, is a fault: no client could parse it.

The schema comes from a stranger. It may refer to nothing outside itself, its patterns run in linear time (with
lookaround: under a limit of backtracking steps), and validity alone is asked of the library where describing a
fault could take exponential time. Validity can take as long, too: this runs in a process that can be killed.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs
import msgspec

from overspill_gateway.core.answers.answer import Said, said_in

SCHEMAS_KEPT_MAX: Final = 128
"""Compiled schemas that are remembered."""
_BACKTRACK_STEPS_MAX: Final = 100_000
_WHY_CHARS_MAX: Final = 200
_REFERENCES: Final = (b'"$ref"', b'"$dynamicRef"', b'"$recursiveRef"')
_BRANCHES: Final = (b'"anyOf"', b'"oneOf"', b'"allOf"', b'"not"', b'"if"', b'"dependentSchemas"')
_PASSING_REASONS: Final = frozenset({"length", "content_filter"})
_MASK: Final = "the value"
"""Stands for parts of the answer in messages: they go into errors and logs."""


@dataclass(frozen=True, slots=True)
class StructuredCheck:
    """One compiled schema."""

    validator: jsonschema_rs.Validator
    """Of the draft that the schema names, 2020-12 where it names none."""
    describes: bool
    """Whether a fault can be described in time that grows with the answer only."""

    @classmethod
    def of(cls, schema: bytes) -> "StructuredCheck | str":
        """Compile a schema, or take it from the last ones that were; a text: why it can't be checked against."""
        return _compiled(schema)

    def check(self, body: bytes) -> str | None:
        """Why a plain answer doesn't keep to the schema; None: it does, or need not."""
        choices = said_in(body)
        if not choices:
            return "the answer holds no choices"
        for number, said in enumerate(choices):
            why = self._check_one(said)
            if why is not None:
                return why if len(choices) == 1 else f"choice {number}: {why}"
        return None

    def _check_one(self, said: Said) -> str | None:
        if said.refused or said.calls_tools or said.finish_reason in _PASSING_REASONS:
            return None
        try:
            value = msgspec.json.decode(said.text)
        except (msgspec.DecodeError, UnicodeError) as error:
            return f"it is not JSON ({error})"
        except RecursionError:
            return "it is nested too deeply"
        try:
            if self.validator.is_valid(value):
                return None
        except ValueError as error:  # nested more deeply than the library follows
            return f"it can't be checked ({error})"
        return self._describe(value) if self.describes else "it does not match the schema"

    def _describe(self, value: Any) -> str:
        try:
            self.validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
            return f"at ${path}: {error.message}"[:_WHY_CHARS_MAX]
        return "it does not match the schema"


@lru_cache(maxsize=SCHEMAS_KEPT_MAX)
def _compiled(schema: bytes) -> StructuredCheck | str:
    try:
        document = msgspec.json.decode(schema)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return "the schema is not JSON"
    try:
        validator = _validator(document, jsonschema_rs.RegexOptions())
    except (jsonschema_rs.ValidationError, ValueError):
        try:  # lookaround and backreferences need the other engine
            validator = _validator(document, jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_STEPS_MAX))
        except (jsonschema_rs.ValidationError, ValueError) as error:
            return f"the schema is not valid ({str(error).splitlines()[0][:_WHY_CHARS_MAX]})"
    refers = any(mark in schema for mark in _REFERENCES)
    return StructuredCheck(validator, describes=not (refers and any(mark in schema for mark in _BRANCHES)))


def _validator(
    document: Any, patterns: jsonschema_rs.RegexOptions | jsonschema_rs.FancyRegexOptions
) -> jsonschema_rs.Validator:
    """Offline: otherwise a ``$ref`` would be fetched, over HTTP or from a file."""
    return jsonschema_rs.validator_for(document, offline=True, pattern_options=patterns, mask=_MASK)

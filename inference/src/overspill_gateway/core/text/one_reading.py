"""What the gateway decides by must be what every parser reads: fields that another parser takes for one of these.

Go's parser, for one, ignores the case of names, and takes the last of two. A body that could be read in two ways is
refused; which of both a backend reads is nobody's guess. Not here: fields that nothing is decided by.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from overspill_gateway.core.http.errors import invalid_body
from overspill_gateway.core.text.splice import USUAL_FIELDS, BodyError, field_spans

_Names = Mapping[str, "_Names | None"]

_FORMAT: Final[_Names] = {
    "type": None, "schema": None, "json_schema": {"name": None, "schema": None, "strict": None},
}  # fmt: skip
_DECISIVE: Final[_Names] = {
    "model": None, "stream": None, "stream_options": {"include_usage": None}, "max_tokens": None,
    "max_completion_tokens": None, "max_output_tokens": None, "n": None, "best_of": None, "messages": None,
    "prompt": None, "input": None, "instructions": None, "system": None, "tools": None, "functions": None,
    "response_format": _FORMAT, "text": {"format": _FORMAT}, "api_base": None, "api_key": None, "base_url": None,
}  # fmt: skip
"""Fields by which routing, admission, money and the judging of answers go, with those inside them."""
_NESTED: Final = frozenset(name for name, inner in _DECISIVE.items() if inner is not None)
_PLAIN: Final = frozenset(USUAL_FIELDS) - _NESTED
"""Fields that are no variant of another, and have none inside them that matter."""
_PLAIN_OPTIONS: Final = frozenset({b'{"include_usage":true}', b'{"include_usage": true}'})

_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


def refuse_two_readings(fields: dict[str, Raw]) -> None:
    """Raise BodyError where another parser may read another value of a field that something is decided by.

    ``fields``: of a body, no field of which comes twice.
    """
    for name, value in fields.items():
        if name in _PLAIN:
            continue
        if name not in _NESTED:
            _refuse_variant(name, fields, _DECISIVE, "")
        elif bytes(value) not in _PLAIN_OPTIONS:
            _look_into(value, _DECISIVE[name], name + ".")


def form_name_is_doubtful(name: bytes, names: frozenset[bytes]) -> bool:
    """Whether a form's part is named like one of these, and yet not so."""
    return name not in names and name.decode("utf-8", "replace").strip().casefold().encode() in names


def _look_into(value: Raw, names: "_Names | None", where: str) -> None:
    text = bytes(value)
    if names is None or not text.startswith(b"{"):
        return
    field_spans(text)  # refuses what comes twice
    fields = _fields(text)
    for name in fields:
        _refuse_variant(name, fields, names, where)
    for name, inner in names.items():
        if inner is not None and name in fields:
            _look_into(fields[name], inner, f"{where}{name}.")


def _refuse_variant(name: str, fields: Mapping[str, Raw], names: "_Names", where: str) -> None:
    if name in names:
        return
    meant = name.strip().casefold()
    if meant in names:
        both = f'both "{where}{meant}" and "{where}{name}"' if meant in fields else f'"{where}{name}"'
        message = f'The body has {both}, which some parsers take for one field. Send it once, as "{where}{meant}".'
        raise BodyError(invalid_body(message, param=f"{where}{name}"[:100], code="ambiguous_field"))

"""What the gateway decides by must be what every parser reads: fields that another parser takes for one of these.

Go's parser, for one, ignores the case of names, and takes the last of two. A body that could be read in two ways is
refused; which of both a backend reads is nobody's guess. Not here: fields that nothing is decided by.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from overspill_gateway.core.http.errors import invalid_body
from overspill_gateway.core.text.splice import BodyError, field_spans

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
_USUAL: Final = frozenset(_DECISIVE) | {
    "temperature", "top_p", "stop", "seed", "tool_choice", "user", "metadata", "logprobs", "top_logprobs",
    "presence_penalty", "frequency_penalty", "logit_bias", "encoding_format", "dimensions", "reasoning_effort",
    "parallel_tool_calls", "store", "min_tokens", "ignore_eos", "top_k", "stop_sequences", "suffix", "echo",
}  # fmt: skip
_NESTED: Final = tuple(name for name, inner in _DECISIVE.items() if inner is not None)
_PLAIN_OPTIONS: Final = frozenset({b'{"include_usage":true}', b'{"include_usage": true}'})

_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


def refuse_two_readings(fields: Mapping[str, Raw]) -> None:
    """Raise BodyError where another parser may read another value of a field that something is decided by.

    ``fields``: of a body, no field of which comes twice.
    """
    if not fields.keys() <= _USUAL:
        _refuse_variants(fields, _DECISIVE, "")
    for name in _NESTED:
        value = fields.get(name)
        if value is not None and bytes(value) not in _PLAIN_OPTIONS:
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
    _refuse_variants(fields, names, where)
    for name, inner in names.items():
        if inner is not None and name in fields:
            _look_into(fields[name], inner, f"{where}{name}.")


def _refuse_variants(fields: Mapping[str, Raw], names: "_Names", where: str) -> None:
    for name in fields:
        if name in names:
            continue
        meant = name.strip().casefold()
        if meant in names:
            both = f'both "{where}{meant}" and "{where}{name}"' if meant in fields else f'"{where}{name}"'
            message = f'The body has {both}, which some parsers take for one field. Send it once, as "{where}{meant}".'
            raise BodyError(invalid_body(message, param=f"{where}{name}"[:100], code="ambiguous_field"))

"""Reads what routing, admission and money need from a request's body. Not here: edits of it (``splice``).

The body is never parsed and written anew: fields that this gateway does not know reach the engine byte for byte, and
prompts are measured as raw JSON. Only top-level fields count, and where two parsers could read two models, the body
is refused. Where a backend's address or key can be named in a body, it is refused as well: both come from the
configuration only.
"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from overspill_gateway.core.dialects.endpoints import CHAT, Dialect, Endpoint
from overspill_gateway.core.http.errors import ApiError, invalid_body
from overspill_gateway.core.requests.ask import Needs
from overspill_gateway.core.requests.body_fields import (
    Fields,
    Format,
    StreamOptions,
    decode_chat,
    decode_completions,
    decode_embeddings,
    decode_messages,
    decode_other,
    decode_raws,
    decode_responses,
)
from overspill_gateway.core.requests.long_facts import LongFacts
from overspill_gateway.core.requests.multipart import field_spans_of_form, is_multipart
from overspill_gateway.core.requests.prompt import (
    COMPLETION_PREFIX_BYTES,
    attachments,
    bare_prefix,
    conversation_prefix,
)
from overspill_gateway.core.text.one_reading import refuse_two_readings
from overspill_gateway.core.text.splice import BodyError, Span, field_starts, fields_of, with_fields

__all__ = ["BodyError", "BodyFacts", "json_string", "read_body", "with_deployment", "with_model"]

ANSWERS_MAX: Final = 128
"""Of one request: OpenAI's own limit for ``n``."""
MAX_TOKENS_MAX: Final = 100_000_000
"""No model writes as much: a larger number is a mistake or an attempt to overflow one."""
_ABSENT: Final = frozenset({b"", b"null", b"[]", b"{}", b'""'})
_FIELD_AT: Final = re.compile(r"at `\$\.([a-z_]+)")


@dataclass(slots=True)
class BodyFacts:
    """What is read of a body."""

    model: str
    """The name that the client sent; empty where it named none in the body."""
    stream: bool = False
    """Whether it asked for server-sent events."""
    model_start: int = 0
    """Offset of the model's value: a JSON string with its quotation marks, or the value of a form field."""
    model_end: int = 0
    """Offset behind that value; 0: no model stands in the body."""
    form: bool = False
    """Whether the body is a multipart form."""
    stream_options: bool = False
    """Whether the body has a field of that name, null included."""
    include_usage: bool = False
    """Whether the client asked for usage in a stream."""
    max_tokens: int | None = None
    """The client's limit for one answer; the higher one where it gave two."""
    max_tokens_fields: tuple[str, ...] = ()
    """Fields in which it gave it."""
    answers: int = 1
    """Answers asked for, all prompts of a batch together."""
    needs: Needs = Needs.NOTHING
    """What a backend has to be able to do."""
    conversation: tuple[bytes, bytes] = (b"", b"")
    """Instructions that stand apart, and turns, as JSON. Of a bare prompt, its beginning alone."""
    prompt_bytes: int = 0
    """Length of the prompt as JSON, tools included, base64 of attachments left out: at least one byte a token."""
    attachments: int = 0
    """Content parts other than text: their tokens don't follow from their length."""
    attachment_bytes: int = 0
    """Length of their base64."""
    schema: bytes | None = None
    """The JSON schema that the answer has to keep to, raw; None: none."""
    bare: bool = False
    """Whether the prompt has no turns."""
    long: LongFacts | None = None
    """Of a long body, which is not looked through again."""
    fields: dict[str, Raw] | None = None
    """All its top-level fields, for whoever looks at them next; None: there are none, or nobody needs them any more."""

    @property
    def prefix(self) -> int:
        """Hash of the conversation's beginning, 64 bits; 0: none."""
        if self.long is not None:
            return self.long.prefix
        system, messages = self.conversation
        return bare_prefix(messages) if self.bare else conversation_prefix(system, messages)


def read_body(body: bytes, endpoint: Endpoint = CHAT, content_type: bytes = b"") -> BodyFacts:
    """The facts of a body; raises BodyError that says what is wrong with it.

    Only on paths that are not looked into may the model be missing: ``model`` is empty then, and not in the body.
    """
    dialect = endpoint.dialect
    try:
        if dialect is Dialect.CHAT:
            return _chat_facts(body)
        if dialect is Dialect.OTHER:
            return _other_facts(body, content_type)
        return _READERS[dialect](body)
    except msgspec.ValidationError as error:
        raise BodyError(_wrong_type(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The body is not a JSON object: {error}."
        raise BodyError(invalid_body(message, code="invalid_json")) from None


def with_model(body: bytes, facts: BodyFacts, name: bytes) -> bytes:
    """The body with another model name; ``name`` is a JSON string with its quotation marks."""
    return b"%b%b%b" % (body[: facts.model_start], name, body[facts.model_end :])


def with_deployment(body: bytes, name: str, content_type: bytes) -> bytes:
    """A JSON body with the model that its path names; what is none is left for its reader to refuse."""
    if is_multipart(content_type):
        return body
    try:
        return with_fields(body, {"model": json_string(name)})
    except msgspec.MsgspecError:
        return body


def json_string(text: str) -> bytes:
    """A text as a JSON string."""
    return msgspec.json.encode(text)


# -- dialects ------------------------------------------------------------------------------------------------------


def _chat_facts(body: bytes) -> BodyFacts:
    raws = fields_of(body)
    starts = field_starts(body, raws)
    messages, without = b"", body
    start = starts.get("messages", 0)
    if start:  # nearly all of the body: it is gone through once
        end = start + len(raws["messages"])
        messages, without = body[start:end], b"%b0%b" % (body[:start], body[end:])
    fields = decode_chat(without)
    start, end = _model_span(fields, raws, starts)
    tools = fields.tools
    limits, max_tokens = _limit(fields.max_tokens, "max_tokens")
    if fields.max_completion_tokens is not None:
        further, completion_tokens = _limit(fields.max_completion_tokens, "max_completion_tokens")
        limits, max_tokens = limits + further, max(max_tokens or 0, completion_tokens or 0)
    needs, schema = _format_needs(fields.response_format) if fields.response_format else (Needs.NOTHING, None)
    parts, payload = attachments(messages)
    needs = _needs(needs, tools or fields.functions, parts)
    options = fields.stream_options
    return BodyFacts(
        fields.model or "", fields.stream or False, start, end, False, options is not UNSET,
        _asks_for_usage(options), max_tokens, limits, _answers(fields.n, "n"), needs,
        (b"", messages), len(messages) - payload + len(tools), parts, payload, schema, fields=raws,
    )  # fmt: skip


def _completions_facts(body: bytes) -> BodyFacts:
    fields, raws = decode_completions(body), fields_of(body)
    start, end = _model_span(fields, raws, field_starts(body, raws))
    prompt = bytes(fields.prompt)
    limits, max_tokens = _limit(fields.max_tokens, "max_tokens")
    needs, schema = _format_needs(fields.response_format) if fields.response_format else (Needs.NOTHING, None)
    options = fields.stream_options
    answers = max(_answers(fields.n, "n"), _answers(fields.best_of, "best_of")) * _batch(prompt)
    return BodyFacts(
        fields.model or "", fields.stream or False, start, end, stream_options=options is not UNSET,
        include_usage=_asks_for_usage(options), max_tokens=max_tokens, max_tokens_fields=limits,
        answers=answers, needs=needs, conversation=(b"", prompt[:COMPLETION_PREFIX_BYTES]), prompt_bytes=len(prompt),
        schema=schema, bare=True, fields=raws,
    )  # fmt: skip


def _embeddings_facts(body: bytes) -> BodyFacts:
    fields, raws = decode_embeddings(body), fields_of(body)
    start, end = _model_span(fields, raws, field_starts(body, raws))
    prompt = bytes(fields.input) + bytes(fields.messages)
    parts, payload = attachments(prompt)
    return BodyFacts(
        fields.model or "", bool(fields.stream), start, end, needs=Needs.VISION if parts else Needs.NOTHING,
        prompt_bytes=len(prompt) - payload, attachments=parts, attachment_bytes=payload, fields=raws,
    )  # fmt: skip


def _responses_facts(body: bytes) -> BodyFacts:
    fields, raws = decode_responses(body), fields_of(body)
    start, end = _model_span(fields, raws, field_starts(body, raws))
    prompt, instructions, tools = bytes(fields.input), bytes(fields.instructions), fields.tools
    limits, max_tokens = _limit(fields.max_output_tokens, "max_output_tokens")
    wanted = fields.text.format if fields.text is not None else None
    needs, schema = _format_needs(wanted) if wanted is not None else (Needs.NOTHING, None)
    parts, payload = attachments(prompt)
    needs = _needs(needs, tools, parts)
    return BodyFacts(
        fields.model or "", bool(fields.stream), start, end, max_tokens=max_tokens, max_tokens_fields=limits,
        needs=needs, conversation=(instructions, prompt), attachments=parts, attachment_bytes=payload,
        prompt_bytes=len(instructions) + len(prompt) - payload + len(tools), schema=schema, fields=raws,
    )  # fmt: skip


def _messages_facts(body: bytes) -> BodyFacts:
    fields, raws = decode_messages(body), fields_of(body)
    start, end = _model_span(fields, raws, field_starts(body, raws))
    system, messages, tools = bytes(fields.system), bytes(fields.messages), fields.tools
    limits, max_tokens = _limit(fields.max_tokens, "max_tokens")
    parts, payload = attachments(messages)
    needs = _needs(Needs.NOTHING, tools, parts)
    return BodyFacts(
        fields.model or "", bool(fields.stream), start, end, max_tokens=max_tokens, max_tokens_fields=limits,
        needs=needs, conversation=(system, messages), attachments=parts, attachment_bytes=payload,
        prompt_bytes=len(system) + len(messages) - payload + len(tools), fields=raws,
    )  # fmt: skip


def _other_facts(body: bytes, content_type: bytes) -> BodyFacts:
    if is_multipart(content_type):
        return _form_facts(body, content_type)
    if not body.lstrip(b" \t\r\n").startswith(b"{"):
        return BodyFacts("", prompt_bytes=len(body))
    fields, raws = decode_other(body), fields_of(body)
    starts, span = field_starts(body, raws), (0, 0)
    if fields.model:
        span = _model_span(fields, raws, starts)
    else:
        refuse_two_readings(raws)
    return BodyFacts(fields.model or "", bool(fields.stream), *span, prompt_bytes=len(body))


def _form_facts(body: bytes, content_type: bytes) -> BodyFacts:
    spans = field_spans_of_form(body, content_type, frozenset({b"model", b"stream"}))
    start, end = spans.get(b"model", (0, 0))
    streams, streams_end = spans.get(b"stream", (0, 0))
    try:
        model = body[start:end].decode()
    except UnicodeDecodeError:
        raise BodyError(invalid_body("The model's name is not UTF-8.", param="model")) from None
    stream = body[streams:streams_end].strip().lower() in {b"true", b"1"}
    return BodyFacts(model, stream, start, end if model else 0, form=True, attachments=1, attachment_bytes=len(body))


_READERS: Final = {
    Dialect.COMPLETIONS: _completions_facts,
    Dialect.EMBEDDINGS: _embeddings_facts,
    Dialect.RESPONSES: _responses_facts,
    Dialect.MESSAGES: _messages_facts,
}


# -- fields --------------------------------------------------------------------------------------------------------


def _model_span(fields: Fields, raws: dict[str, Raw], starts: dict[str, int]) -> Span:
    if "api_base" in raws or "api_key" in raws or "base_url" in raws:
        name = next(name for name in ("api_base", "api_key", "base_url") if name in raws)
        message = f'"{name}" is not for clients: where requests go, and with which key, is set in the ModelRoute.'
        raise BodyError(invalid_body(message, param=name, code="forbidden_field"))
    if not fields.model:
        message = 'The body names no model. Set "model" to one that GET /v1/models lists.'
        raise BodyError(invalid_body(message, param="model", code="missing_model"))
    refuse_two_readings(raws)
    start = starts["model"]
    return start, start + len(raws["model"])


def _asks_for_usage(options: StreamOptions | UnsetType | None) -> bool:
    return options is not UNSET and isinstance(options, StreamOptions) and options.include_usage is True


def _limit(value: int | None, name: str) -> tuple[tuple[str, ...], int | None]:
    """The field, if it was given, and its value."""
    if value is None:
        return (), None
    if not 0 <= value <= MAX_TOKENS_MAX:
        message = f'"{name}" must be a number from 0 to {MAX_TOKENS_MAX}, not {value}.'
        raise BodyError(invalid_body(message, param=name, code="invalid_value"))
    return (name,), value


def _answers(value: int | None, name: str) -> int:
    if value is None:
        return 1
    if not 1 <= value <= ANSWERS_MAX:
        message = f'"{name}" must be a number from 1 to {ANSWERS_MAX}, not {value}.'
        raise BodyError(invalid_body(message, param=name, code="invalid_value"))
    return value


def _batch(prompt: bytes) -> int:
    """Prompts in one: each gets its own answer. A list of token numbers is one prompt."""
    inner = prompt[1:].lstrip()[:1] if prompt[:1] == b"[" else b""
    return len(decode_raws(prompt)) if inner in {b'"', b"["} else 1


def _format_needs(wanted: Format) -> tuple[Needs, bytes | None]:
    if wanted.type in {None, "text"}:
        return Needs.NOTHING, None
    schema = wanted.schema if wanted.json_schema is None else wanted.json_schema.schema
    return Needs.JSON_MODE, bytes(schema) if wanted.type == "json_schema" and _given(schema) else None


def _needs(needs: Needs, tools: Raw, parts: int) -> Needs:
    """With tools and attachments; flags are joined only where there are any, for joining is slow."""
    if tools and _given(tools):
        needs |= Needs.TOOLS
    return needs | Needs.VISION if parts else needs


def _given(value: Raw) -> bool:
    """Whether a field has a value that says something."""
    return len(value) > 4 or bytes(value) not in _ABSENT


def _wrong_type(detail: str) -> ApiError:
    match = _FIELD_AT.search(detail)
    if match is not None:
        name = match[1]
        return invalid_body(f'"{name}" has the wrong type ({detail}).', param=name, code="invalid_type")
    return invalid_body(f"The body must be a JSON object ({detail}).", code="invalid_type")

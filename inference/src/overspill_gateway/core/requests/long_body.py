"""Reads a long body: the facts that any body is read for, and at once all that a short one is looked through again for.

Runs in a process of its own (``body_worker``), whose answer is told in ``long_fields``: one reading for long bodies and
for short ones, only elsewhere. Not here: the process, and who waits for it.
"""

from typing import Final

import msgspec

from overspill_gateway.core.answers.continuation import Partial, continuation_body
from overspill_gateway.core.dialects.endpoints import CHAT, Dialect, endpoint_of
from overspill_gateway.core.http.errors import ApiError, invalid_body
from overspill_gateway.core.requests.ask import Needs
from overspill_gateway.core.requests.body import BodyFacts, read_body, with_deployment
from overspill_gateway.core.requests.bounds import Bounds, bounds_of
from overspill_gateway.core.requests.long_facts import LongFacts
from overspill_gateway.core.requests.long_fields import (
    Asked,
    AskedPartial,
    Told,
    ToldBounds,
    ToldError,
    decode_asked,
    decode_told,
)
from overspill_gateway.core.text.splice import BodyError, field_spans
from overspill_gateway.core.translation.messages_request import translated

SCHEMA_BYTES_MAX: Final = 64 * 1024
"""A larger schema is not checked against; no engine takes it for guided decoding either."""
_EDITED: Final = ("stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens")
"""Besides the model."""


def question(path: bytes, content_type: bytes, deployment: str, *, translate: bool) -> bytes:
    """What is to be read of a body, for whoever reads it."""
    return msgspec.json.encode(Asked(path, content_type, deployment, translate))


def question_of_going_on(path: bytes, partial: Partial, *, local: bool) -> bytes:
    """The same of the body that goes on with an answer that broke off."""
    told = AskedPartial(
        partial.dialect is Dialect.CHAT, partial.text, partial.output_tokens, len(partial.continued), local
    )
    return msgspec.json.encode(Asked(path, partial=told))


def read_long(asked: bytes, body: bytes) -> tuple[bytes, bytes]:
    """What is told of a body, and the bytes that go with it."""
    about = decode_asked(asked)
    endpoint = endpoint_of(about.path) or CHAT
    edited = chat = b""
    try:
        if about.partial is not None:
            edited = body = _continued(body, about.partial)
        elif about.deployment:
            edited = with_deployment(body, about.deployment, about.content_type)
            body = edited
        facts = read_body(body, endpoint, about.content_type)
        told = _told(facts)
        if endpoint.dialect is not Dialect.OTHER:
            fields = facts.fields or {}
            spans = field_spans(body, fields)
            told.spans = {name: spans[name] for name in _EDITED if name in spans}
            told.first_field = body.index(b"{") + 1
            told.bounds = _told_bounds(bounds_of(fields, len(body), endpoint.dialect))
    except BodyError as error:
        return told_error(error.error), b""
    if about.translate and endpoint.dialect is Dialect.MESSAGES:
        try:
            _, chat = translated(body)
        except BodyError as error:
            told.chat_refusal = _told_error(error.error)
    told.body_bytes = len(edited)
    return msgspec.json.encode(told), edited + chat if edited else chat


def told_error(error: ApiError) -> bytes:
    """What is told of a body with which something is wrong."""
    return msgspec.json.encode(Told(_told_error(error)))


def facts_told(answer: bytes) -> tuple[BodyFacts | ApiError, int]:
    """What was read, or what is wrong with the body; and how many of the bytes behind it are the body anew."""
    told = decode_told(answer)
    error = _error(told.error)
    if error is not None:
        return error, 0
    bounds = told.bounds
    long = LongFacts(told.prefix, told.spans, told.first_field, chat_refusal=_error(told.chat_refusal))
    if bounds is not None:
        long.bounds = Bounds(
            bounds.prompt_tokens, bounds.output_tokens_more, bounds.unpriced, bounds.unbounded, bounds.reasons
        )
    return BodyFacts(
        told.model, told.stream, told.model_start, told.model_end, told.form, told.stream_options, told.include_usage,
        told.max_tokens, told.max_tokens_fields, told.answers, Needs(told.needs), (b"", b""), told.prompt_bytes,
        told.attachments, told.attachment_bytes, told.schema, told.bare, long,
    ), told.body_bytes  # fmt: skip


def _continued(body: bytes, asked: AskedPartial) -> bytes:
    partial = Partial(
        Dialect.CHAT if asked.chat else Dialect.COMPLETIONS, asked.text, asked.output_tokens, None, exact=False,
        first_chunk={}, continued=({},) * asked.continued,
    )  # fmt: skip
    made = continuation_body(body, partial, local=asked.local)
    if made is None:
        raise BodyError(invalid_body("Nobody can go on with this request."))
    return made


def _told(facts: BodyFacts) -> Told:
    schema = facts.schema
    return Told(
        None, facts.model, facts.stream, facts.model_start, facts.model_end, facts.form, facts.stream_options,
        facts.include_usage, facts.max_tokens, facts.max_tokens_fields, facts.answers, int(facts.needs),
        facts.prompt_bytes, facts.attachments, facts.attachment_bytes,
        schema if schema is not None and len(schema) <= SCHEMA_BYTES_MAX else None, facts.bare, facts.prefix,
    )  # fmt: skip


def _told_bounds(bounds: Bounds) -> ToldBounds:
    return ToldBounds(
        bounds.prompt_tokens, bounds.output_tokens_more, bounds.unpriced, bounds.unbounded, bounds.reasons
    )


def _told_error(error: ApiError) -> ToldError:
    return ToldError(error.status, error.type, error.code, error.message, error.param)


def _error(told: ToldError | None) -> ApiError | None:
    return None if told is None else ApiError(told.status, told.type, told.code, told.message, told.param)

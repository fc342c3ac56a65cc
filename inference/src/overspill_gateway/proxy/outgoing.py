"""The request as a backend gets it: head built anew, the body edited where it must be and nowhere else.

What must be: the backend's name for the model, usage asked for in streams, and a limit on output that is lower than
the client's. Only an Anthropic request to a hosted API is written anew, in OpenAI's form.
"""

from typing import TYPE_CHECKING, Final

import msgspec

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.core.dialects.endpoints import CHAT, CHAT_PATH, Dialect, Endpoint, endpoint_of
from overspill_gateway.core.dialects.request_form import STREAM_OPTIONS, RequestForm
from overspill_gateway.core.http.errors import invalid_body
from overspill_gateway.core.http.head import Head
from overspill_gateway.core.requests.body import BodyFacts
from overspill_gateway.core.requests.long_facts import LongFacts
from overspill_gateway.core.text.rope import Buffer, edited, length_of
from overspill_gateway.core.text.splice import BodyError, with_fields
from overspill_gateway.core.translation.messages_answer import MessagesStream, plain_error
from overspill_gateway.core.translation.messages_request import chat_beginning, chat_request

if TYPE_CHECKING:
    from overspill_gateway.routes.route import Route

_USAGE_ASKED: Final = b'{"include_usage":true}'
_USAGE_FIELD: Final = b',"stream_options":' + _USAGE_ASKED
_NOT_TRANSLATED: Final = invalid_body("The request was not told in OpenAI's form.", code="not_translatable")
_LIMIT_FIELDS: Final = {
    Dialect.CHAT: "max_tokens",
    Dialect.COMPLETIONS: "max_tokens",
    Dialect.RESPONSES: "max_output_tokens",
    Dialect.MESSAGES: "max_tokens",
}


def outgoing(
    backend: Replica | Hosted,
    route: "Route",
    head: Head,
    body: bytes,
    facts: BodyFacts,
    request_id: bytes,
    *,
    endpoint: Endpoint | None = None,
    max_tokens: int | None = None,
    form: RequestForm | None = None,
) -> tuple[bytes, bytes]:
    """Head and body for a backend. A hosted API gets its credential and as little else as it needs.

    ``form``: how it takes what is added, where not as it is asked first.
    ``max_tokens``: written in where it is lower than the client's own limit, or the client gave none. Raises
    BodyError where an Anthropic request can't be told to a hosted API.
    """
    if endpoint is None:
        endpoint = endpoint_of(head.path) or CHAT
    if form is None:
        form = backend.form
    clamp = max_tokens is not None and (facts.max_tokens is None or max_tokens < facts.max_tokens)
    name = backend.model or route.model_json
    if backend.speaks(endpoint.dialect):
        body = _edited(body, facts, endpoint, name, max_tokens if clamp else None, form)
    else:
        body = chat_request(body, name, max_tokens=max_tokens if clamp else facts.max_tokens, form=form)
    return _head(backend, head, endpoint, len(body), request_id), body


def outgoing_long(
    backend: Replica | Hosted,
    route: "Route",
    head: Head,
    parts: list[bytes],
    facts: BodyFacts,
    request_id: bytes,
    *,
    endpoint: Endpoint,
    max_tokens: int | None,
    form: RequestForm,
) -> tuple[bytes, list[Buffer]]:
    """The same of a long body, which is neither looked through nor copied: its parts, edited."""
    long = facts.long or LongFacts()
    clamp = max_tokens is not None and (facts.max_tokens is None or max_tokens < facts.max_tokens)
    limit = max_tokens if clamp else None
    name = backend.model or route.model_json
    body: list[Buffer]
    if backend.speaks(endpoint.dialect):
        body = edited(parts, _edits(facts, long, endpoint, name, limit, form))
    elif long.chat:
        limit = max_tokens if clamp else facts.max_tokens
        body = [chat_beginning(name, streams=facts.stream, max_tokens=limit, form=form), *long.chat]
    else:
        raise BodyError(long.chat_refusal or _NOT_TRANSLATED)
    return _head(backend, head, endpoint, length_of(body), request_id), body


def _head(backend: Replica | Hosted, head: Head, endpoint: Endpoint, length: int, request_id: bytes) -> bytes:
    target = backend.target(head, head.path if backend.speaks(endpoint.dialect) else CHAT_PATH)
    lines = backend.lines(head, endpoint)
    method = b"GET" if head.method == b"HEAD" else head.method  # the server leaves the body out
    if not length and head.content_length is None and not head.chunked:
        return b"%b %b HTTP/1.1\r\n%bx-request-id: %b\r\n\r\n" % (method, target, lines, request_id)
    return b"%b %b HTTP/1.1\r\n%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (
        method, target, lines, request_id, length,
    )  # fmt: skip


def translator_of(
    backend: Replica | Hosted, endpoint: Endpoint, facts: BodyFacts, request_id: bytes
) -> MessagesStream | None:
    """What a backend's answer goes through on its way to the client; None: nothing."""
    if not backend.speaks(endpoint.dialect):
        return MessagesStream(facts.model, request_id.decode("latin-1"))
    return None


def plain_answer(
    backend: Replica | Hosted, endpoint: Endpoint, facts: BodyFacts, request_id: bytes, status: int, body: bytes
) -> bytes | None:
    """A whole plain answer in the client's words; None: as it came. Empty: it is not an answer at all, a failure."""
    translator = translator_of(backend, endpoint, facts, request_id)
    if translator is not None:
        return translator.plain(status, body)
    if status >= 400 and endpoint.anthropic:
        return plain_error(status, body, request_id.decode("latin-1"))
    return None


def _edited(
    body: bytes,
    facts: BodyFacts,
    endpoint: Endpoint,
    name: bytes,
    max_tokens: int | None,
    form: RequestForm,
) -> bytes:
    if facts.form:
        name = msgspec.json.decode(name, type=str).encode()
    start, end = facts.model_start, facts.model_end
    usage = form.stream_options and _adds_usage(facts, endpoint)
    if usage and not facts.stream_options:
        body = b"%b%b%b%b" % (body[:start], name, _USAGE_FIELD, body[end:])
    elif end and body[start:end] != name:
        body = b"%b%b%b" % (body[:start], name, body[end:])
    fields: dict[str, bytes] = {}
    if usage and facts.stream_options:
        fields["stream_options"] = _USAGE_ASKED
    if max_tokens is not None and endpoint.dialect in _LIMIT_FIELDS:
        for field in facts.max_tokens_fields or (_limit_field(endpoint, form),):
            fields[field] = b"%d" % max_tokens
    return with_fields(body, fields) if fields else body


def _edits(
    facts: BodyFacts, long: LongFacts, endpoint: Endpoint, name: bytes, max_tokens: int | None, form: RequestForm
) -> list[tuple[int, int, bytes]]:
    """What ``_edited`` does to a short body."""
    if facts.form:
        name = msgspec.json.decode(name, type=str).encode()
    edits: list[tuple[int, int, bytes]] = []
    usage = form.stream_options and _adds_usage(facts, endpoint)
    if facts.model_end:
        added = _USAGE_FIELD if usage and not facts.stream_options else b""
        edits.append((facts.model_start, facts.model_end, name + added))
    fields: dict[str, bytes] = {}
    if usage and facts.stream_options:
        fields["stream_options"] = _USAGE_ASKED
    if max_tokens is not None and endpoint.dialect in _LIMIT_FIELDS:
        for field in facts.max_tokens_fields or (_limit_field(endpoint, form),):
            fields[field] = b"%d" % max_tokens
    new = b""
    for field, value in fields.items():
        span = long.spans.get(field)
        if span is None:
            new += b'"%b":%b,' % (field.encode(), value)
        else:
            edits.append((*span, value))
    return [*edits, (long.first_field, long.first_field, new)] if new else edits


def added_fields(endpoint: Endpoint, facts: BodyFacts, form: RequestForm, max_tokens: int | None) -> frozenset[str]:
    """Fields of a request to a hosted API that its client never sent. ``max_tokens``: the gateway's own limit."""
    translated = endpoint.dialect is Dialect.MESSAGES
    added: set[str] = set()
    asks = facts.stream if translated else _adds_usage(facts, endpoint) and not facts.stream_options
    if form.stream_options and asks:
        added.add(STREAM_OPTIONS)
    limits = max_tokens is not None and not facts.max_tokens_fields
    if (endpoint.dialect is Dialect.CHAT and limits) or (translated and (limits or facts.max_tokens is not None)):
        added.add(form.limit_field)
    return frozenset(added)


def _adds_usage(facts: BodyFacts, endpoint: Endpoint) -> bool:
    return facts.stream and not facts.include_usage and endpoint.dialect in {Dialect.CHAT, Dialect.COMPLETIONS}


def _limit_field(endpoint: Endpoint, form: RequestForm) -> str:
    """Where a limit is written that the client did not give."""
    chat = endpoint.dialect is Dialect.CHAT or endpoint.dialect is Dialect.MESSAGES
    return form.limit_field if chat else _LIMIT_FIELDS[endpoint.dialect]

"""Which header fields go on, to a backend and back to the client. Framing never does: it is built anew."""

from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.http.head import Header

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)

_NOT_TO_REPLICAS: Final = _HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"authorization",  # the client's key is for this gateway
    b"api-key",
    b"x-api-key",
    b"cookie",
    b"x-request-id",  # written anew
    b"origin",  # who may read an answer is the listener's to say, not the engine's
    b"accept-encoding",  # usage is read from the answer: it has to come as it is
}

TO_HOSTED: Final = frozenset({b"accept", b"content-type", b"user-agent", b"openai-beta"})
"""All that a hosted API learns of the client besides the body."""

_OF_THE_HOST: Final = frozenset(
    {
        b"alt-svc", b"clear-site-data", b"expect-ct", b"nel", b"public-key-pins", b"refresh", b"report-to",
        b"reporting-endpoints", b"server", b"set-cookie", b"strict-transport-security", b"www-authenticate",
    }
)  # fmt: skip
"""What a backend says of its own host: a client would take it for the gateway's."""
_BUFFERING: Final = b"x-accel-buffering"
_DROPPED: Final = 0
_LENGTH: Final = 1
_TYPE: Final = 2
_DATE: Final = 3
_ID: Final = 4
_OTHER: Final = 5
_ANSWER_KINDS: Final[dict[bytes, int]] = {
    **dict.fromkeys(_HOP_BY_HOP | _OF_THE_HOST | {_BUFFERING}, _DROPPED),  # the last one is written anew where wanted
    b"content-length": _LENGTH, b"content-type": _TYPE, b"date": _DATE, b"x-request-id": _ID,
}  # fmt: skip
"""What becomes of a field of an answer."""
_BACKENDS_REQUEST_ID: Final = b"x-overspill-backend-request-id"
UNBUFFERED_LINE: Final = b"x-accel-buffering: no\r\n"
"""Of every event stream: nginx and those that follow it would gather events until they have a buffer full of them."""
_JSON_TYPE: Final = (b"content-type", b"application/json")
_JSON_TYPES: Final = frozenset({b"application/json", b"application/json;charset=utf-8"})
"""As clients spell it, in lower case and without white space."""
_OWN_PREFIX: Final = b"x-overspill-"
_CORS_PREFIX: Final = b"access-control-"


def to_replica(headers: list[Header]) -> list[bytes]:
    """Header lines of a client's request for a replica of our own, one for each field; empty: it does not go on."""
    named = _named_by_connection(headers)
    return [
        line_of(name, value) if name not in _NOT_TO_REPLICAS and name[:12] != _OWN_PREFIX and name not in named else b""
        for name, value in headers
    ]


def line_of(name: bytes, value: bytes) -> bytes:
    """A header field as it is sent."""
    return b"%b: %b\r\n" % (name, value)  # written so, it is compiled to one copy


def to_hosted(headers: list[Header]) -> bytes:
    """Header lines of a client's request for a hosted API: only those that the API needs."""
    return b"".join([line_of(name, value) for name, value in headers if name in TO_HOSTED])


@dataclass(slots=True)
class ToldHead:
    """A backend's answer's head, as far as passing it on goes."""

    lines: bytes
    """Header lines for the client, framing left out."""
    content_length: int | None
    """Length of the body; None: it shows at its end."""
    event_stream: bool
    """Whether the body is server-sent events."""
    dated: bool
    """Whether the lines have a date."""


def to_client(headers: list[Header]) -> ToldHead:
    """What of a backend's head goes on to the client; the backend's own request id under another name."""
    named = _named_by_connection(headers)
    lines = []
    length: int | None = None
    event_stream = dated = False
    for name, value in headers:
        kind = _ANSWER_KINDS.get(name, _OTHER)
        if kind == _LENGTH:
            length = int(value)
            continue
        if kind == _DROPPED or name in named:
            continue
        if kind == _OTHER and (name[:12] == _OWN_PREFIX or name[:15] == _CORS_PREFIX):
            continue
        if kind == _TYPE:
            event_stream = value[:17].lower() == b"text/event-stream"
        elif kind == _DATE:
            dated = True
        lines.append(line_of(_BACKENDS_REQUEST_ID if kind == _ID else name, value))
    if event_stream:
        lines.append(UNBUFFERED_LINE)
    return ToldHead(b"".join(lines), length, event_stream, dated)


def with_json_type(headers: list[Header]) -> list[Header]:
    """A client's head whose body was read as JSON, which it has to say: every kind of backend hears the same.

    Nor may it say more: in another charset, which some servers heed, the same bytes can be another request. Every other
    field stays at its place.
    """
    for at, (name, value) in enumerate(headers):
        if name == b"content-type":
            if value.lower().translate(None, b" \t") in _JSON_TYPES:
                return headers
            return [*headers[:at], _JSON_TYPE, *headers[at + 1 :]]
    return [*headers, _JSON_TYPE]


def with_content_type(headers: list[Header], content_type: bytes) -> list[Header]:
    """A head whose body is of another type than it says."""
    return [*(header for header in headers if header[0] != b"content-type"), (b"content-type", content_type)]


def _named_by_connection(headers: list[Header]) -> frozenset[bytes]:
    """Fields that a Connection field names: they are meant for this hop only."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
            return frozenset(part.strip().lower() for part in value.split(b","))
    return frozenset()

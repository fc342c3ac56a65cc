"""The head of a request: its grammar, what of it is refused, and what is understood of it. Bodies are ``chunks``' part.

Doctrine: where servers disagree about framing, forwarding is a bet on the next hop, so everything ambiguous is
refused, and what goes on is built anew. What is accepted here is a subset of what llhttp accepts (tests/fuzz holds
the two against each other), in one pass over the bytes of the head.
"""

import re
from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.http.errors import ApiError, malformed, method_not_allowed

Header = tuple[bytes, bytes]
"""Name in lower case, and value."""

_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"OPTIONS", b"PUT", b"DELETE", b"PATCH"})
_METHOD_BYTES_MAX: Final = 32
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
_AUTHORITY: Final = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}")
_VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])")
_PLAIN_TARGET: Final = re.compile(rb"/[A-Za-z0-9/._~-]*")
_BAD_TARGET: Final = re.compile(rb"[^!-~]|[#\\]|%(?:00|0[aAdD])")
LENGTH_DIGITS_MAX: Final = 15
_ZERO: Final = 48
LENGTH_FIELD: Final = re.compile(rb"\r\ncontent-length: ?([0-9]+)(?=\r\n|$)", re.IGNORECASE)
"""The field in a head, its digits without white space behind them."""
REQUEST_ID_BYTES_MAX: Final = 128
_REQUEST_ID_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/+=@-"
ALLOWED_BYTES: Final = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))
"""All that may stand in a field's value; line ends are what is left of a good head without these."""

_ONCE: Final = 1
_FRAMING: Final = 2
_REQUEST_ID_FIELD: Final = 3
_CONNECTION: Final = 4
_KINDS: Final = {
    b"content-length": _FRAMING,
    b"transfer-encoding": _FRAMING,
    b"host": _ONCE,
    b"content-type": _ONCE,
    b"authorization": _ONCE,
    b"expect": _ONCE,
    b"x-request-id": _REQUEST_ID_FIELD,
    b"connection": _CONNECTION,
}
"""Fields that are looked at here. A second one of those that may come once is a way to make two servers read two
requests."""

_COMMON_NAMES: Final = (
    b"accept accept-encoding accept-language anthropic-beta anthropic-version api-key authorization cache-control "
    b"connection content-encoding content-length content-type cookie expect host openai-beta openai-organization "
    b"openai-project origin pragma priority referer sec-fetch-dest sec-fetch-mode sec-fetch-site te traceparent "
    b"tracestate transfer-encoding upgrade user-agent via x-api-key x-forwarded-for x-forwarded-host x-forwarded-port "
    b"x-forwarded-proto x-real-ip x-request-id x-stainless-arch x-stainless-async x-stainless-lang x-stainless-os "
    b"x-stainless-package-version x-stainless-read-timeout x-stainless-retry-count x-stainless-runtime "
    b"x-stainless-runtime-version x-stainless-timeout"
)
_NAMES: Final[dict[bytes, tuple[bytes, int]]] = {
    spelling: (name, _KINDS.get(name, 0))
    for name in _COMMON_NAMES.split()
    for spelling in (name, name.title(), name.title().replace(b"-Os", b"-OS"), name.title().replace(b"-Id", b"-ID"))
}
"""Names as clients spell them, to the name in lower case and its kind: found here, a name needs no further look."""


_ALLOWED: Final[dict[str, frozenset[bytes]]] = {}
"""The methods that texts of Allow name; the code has but a few of them."""


@dataclass(slots=True)
class Head:
    """A request's head, understood."""

    method: bytes
    """In capitals."""
    path: bytes
    """Without the query; always begins with a slash, or is ``*``."""
    query: bytes
    """With its question mark, or empty."""
    headers: list[Header]
    """As they came, names in lower case."""
    authorization: bytes
    """Value of Authorization, or empty."""
    request_id: bytes
    """Value of x-request-id where it has a sound form, or empty."""
    content_length: int | None
    """None: no body, or a chunked one."""
    chunked: bool
    """Whether the body comes in chunks."""
    expects_continue: bool
    """Whether the client waits for 100 before it sends the body."""
    http_1_0: bool
    """An HTTP/1.0 client: no chunks, no 100, and the connection ends with the answer."""
    keep_alive: bool = True
    """False: the client asks for the connection to end with the answer."""
    content_type: bytes = b""
    """Value of Content-Type, or empty."""
    compressed: bool = False
    """Whether the body is in a content coding."""
    body_bytes_max: int | None = None
    """Set by whoever admits the request: a lower bound for its body than the connection's."""
    deployment: str = ""
    """Set by whoever admits the request: the model that its path names, where Azure's clients put it."""
    owner: str = ""
    """Set by whoever admits the request: who has sent it, and answers for the memory that its body takes."""
    admitted: object = None
    """Kept by whoever admits the request for when it is served."""
    replica_lines: list[bytes] | None = None
    """Kept by whoever forwards the request: what replicas get of each of its fields, as ``to_replica`` has it ..."""
    hosted_lines: bytes | None = None
    """... and what hosted APIs get of all of them."""

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field, or None; the name in lower case."""
        for known, value in self.headers:
            if known == name:
                return value
        return None


def is_plain_length(digits: bytes) -> bool:
    """Whether this is the value of a Content-Length as all write it: a number of bytes without a zero in front."""
    return digits.isdigit() and len(digits) <= LENGTH_DIGITS_MAX and (len(digits) == 1 or digits[0] != _ZERO)


def is_request_id(value: bytes) -> bool:
    """Whether an x-request-id has a sound form."""
    return 0 < len(value) <= REQUEST_ID_BYTES_MAX and not value.translate(None, _REQUEST_ID_BYTES)


def with_length(headers: list[Header], digits: bytes) -> list[Header]:
    """The same header fields, with another Content-Length."""
    return [(name, digits if name == b"content-length" else value) for name, value in headers]


def read_head(  # noqa: C901, PLR0911 - a return for each way to be wrong
    raw: bytes, *, target_bytes_max: int, fields_max: int
) -> Head | ApiError:
    """The head of a request, its last empty line left off, or why it is refused."""
    lines = raw.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3:
        return bad_request_line(lines[0]) or malformed("The request line is not 'METHOD TARGET HTTP/1.1'.")
    method, target, version = parts
    plain = _PLAIN_TARGET.fullmatch(target) is not None
    if method not in _METHODS or version != b"HTTP/1.1" or not plain:
        refused = bad_request_line(lines[0])
        if refused is not None:
            return refused
    if len(target) > target_bytes_max:
        return target_too_long()
    if len(lines) - 1 > fields_max:
        return head_too_long()
    if raw.translate(None, ALLOWED_BYTES) != b"\r\n" * (len(lines) - 1):
        return malformed("The request's head holds a control character, or a line that does not end in CR LF.")
    fields = _read_fields(lines)
    if isinstance(fields, ApiError):
        return fields
    headers, understood, keep_alive, request_id = fields
    http_1_0 = version == b"HTTP/1.0"
    host = understood.get(b"host")
    if host is None or not plain or not _HOST.fullmatch(host):
        refused = _refused_host(target, http_1_0=http_1_0, plain=plain, host=host)
        if refused is not None:
            return refused
    refused = _refused_framing(understood, http_1_0=http_1_0)
    if refused is not None:
        return refused
    length = understood.get(b"content-length")
    path, mark, query = (target, b"", b"") if plain else _split_target(target)
    return Head(
        method,
        path,
        mark + query,
        headers,
        understood.get(b"authorization", b""),
        request_id,
        int(length) if length is not None else None,
        b"transfer-encoding" in understood,
        b"expect" in understood and not http_1_0,
        http_1_0,
        keep_alive,
        understood.get(b"content-type", b""),
        any(name == b"content-encoding" and value.lower() != b"identity" for name, value in headers),
    )


def _read_fields(lines: list[bytes]) -> tuple[list[Header], dict[bytes, bytes], bool, bytes] | ApiError:
    """All fields, those that come once, whether the connection stays, and the request's id."""
    headers: list[Header] = []
    understood: dict[bytes, bytes] = {}
    keep_alive = True
    request_id = b""
    names = _NAMES
    for line in lines[1:]:
        spelling, colon, raw_value = line.partition(b":")
        known = names.get(spelling)
        if known is None or not colon:
            refused = _refused_name(spelling, colon)
            if refused is not None:
                return refused
            name = spelling.lower()
            kind = _KINDS.get(name, 0)
        else:
            name, kind = known
        value = raw_value.strip(b" \t")
        headers.append((name, value))
        if not kind:
            continue
        if kind <= _FRAMING:
            if name in understood:
                return malformed(f"The request has two {name.decode()} fields.")
            if kind == _FRAMING and raw_value != value and raw_value != b" " + value:
                return malformed(f"There is unusual white space around the value of {name.decode()}.")
            understood[name] = value
        elif kind == _REQUEST_ID_FIELD:
            request_id = value if is_request_id(value) else b""
        elif b"close" in (lower := value.lower()):
            keep_alive = keep_alive and b"close" not in [option.strip() for option in lower.split(b",")]
    return headers, understood, keep_alive, request_id


def _refused_name(spelling: bytes, colon: bytes) -> ApiError | None:
    if not colon:
        return malformed("A header line has no colon.")
    if not _TOKEN.fullmatch(spelling):
        return malformed("A header's name is empty, folded, or holds a character that is not allowed there.")
    if b"_" in spelling:
        return malformed("A header name holds an underscore, which some servers read as a hyphen.")
    return None


def target_too_long() -> ApiError:
    """The target is over the limit."""
    return malformed("The request's target is too long.", status=414, code="target_too_long")


def head_too_long() -> ApiError:
    """The head is over the limit."""
    return malformed("The request's head is too long.", status=431, code="head_too_long")


def bad_request_line(line: bytes) -> ApiError | None:  # noqa: PLR0911
    """Why a request line is refused; None: it is good."""
    parts = line.split(b" ")
    method = parts[0]
    if len(method) > _METHOD_BYTES_MAX or not _TOKEN.fullmatch(method):
        return malformed("This is not HTTP/1.1; if it is TLS, use http:// here.")
    if len(parts) != 3:
        return malformed("The request line is not 'METHOD TARGET HTTP/1.1', with one space between the parts.")
    target = parts[1]
    version = _VERSION.fullmatch(parts[2])
    if version is None:
        return malformed("The request line does not end in HTTP/1.1.")
    if version[1] != b"1":
        spoken = parts[2].decode()
        return malformed(f"{spoken} is not spoken here; use HTTP/1.1.", status=505, code="http_version")
    if method == b"CONNECT" and not _AUTHORITY.fullmatch(target):
        return malformed("The target of CONNECT is not host:port.")
    if method not in _METHODS:
        name = method.decode()
        return malformed(f"The method {name} is not known here.", status=501, code="method_not_implemented")
    return _refused_target(method, target)


def _refused_target(method: bytes, target: bytes) -> ApiError | None:
    if not target or _BAD_TARGET.search(target):
        return malformed("The request's target holds a character that is not allowed there.")
    if target[:1] == b"*":
        if target != b"*" or method != b"OPTIONS":
            return malformed("The target * is for OPTIONS only.")
    elif target[:1] != b"/":
        scheme, separator, rest = target.partition(b"://")
        if scheme.lower() not in {b"http", b"https"} or not separator or not rest:
            return malformed("The request's target does not begin with a slash.")
    return None


def _refused_host(target: bytes, *, http_1_0: bool, plain: bool, host: bytes | None) -> ApiError | None:
    if host is None:
        return None if http_1_0 and plain else malformed("The request has no Host field.")
    if not _HOST.fullmatch(host):
        return malformed("The Host field is not a host and port.")
    if not plain and target[:1] not in {b"/", b"*"}:
        authority = re.split(rb"[/?]", target.partition(b"://")[2], maxsplit=1)[0]
        if authority.lower() != host.lower():
            return malformed("The request's target and its Host field name different hosts.")
    return None


def _refused_framing(  # noqa: PLR0911
    understood: dict[bytes, bytes], *, http_1_0: bool
) -> ApiError | None:
    length, encoding = understood.get(b"content-length"), understood.get(b"transfer-encoding")
    if length is not None:
        if encoding is not None:
            return malformed("The request has both Content-Length and Transfer-Encoding.")
        if not is_plain_length(length):
            return malformed("Content-Length is not a plain number.")
    if encoding is not None:
        if http_1_0:
            return malformed("Transfer-Encoding is not part of HTTP/1.0.")
        codings = [coding.strip(b" \t") for coding in encoding.lower().split(b",")]
        if any(not _TOKEN.fullmatch(coding) for coding in codings) or b"chunked" in codings[:-1]:
            return malformed("Transfer-Encoding is not a list of codings with chunked, once, as its last one.")
        if codings != [b"chunked"]:
            return malformed("Transfer-Encoding other than chunked.", status=501, code="transfer_encoding")
    expect = understood.get(b"expect")
    if expect is not None and not http_1_0 and expect.lower() != b"100-continue":
        return malformed("The only expectation known here is 100-continue.", status=417, code="expectation_failed")
    return None


def _split_target(target: bytes) -> tuple[bytes, bytes, bytes]:
    path, mark, query = target.partition(b"?")
    if path[:1] != b"/" and path != b"*":
        rest = path.partition(b"://")[2]
        path = b"/" + rest.partition(b"/")[2]
    return path, mark, query


def refused_method(head: Head, allow: str) -> ApiError | None:
    """Whether a path that takes only ``allow`` (such as ``POST, OPTIONS``) refuses this method."""
    allowed = _ALLOWED.get(allow)
    if allowed is None:
        allowed = _ALLOWED[allow] = frozenset(allow.encode().split(b", "))
    if head.method in allowed:
        return None
    return method_not_allowed(head.method.decode(), head.path.decode("latin-1"), allow)

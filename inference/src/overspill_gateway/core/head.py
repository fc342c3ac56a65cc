"""The head of a request: what of it is refused, and what is understood of it.

The parser (llhttp) checks the grammar; what it leaves open is decided here. Doctrine: where servers disagree about
framing, forwarding is a bet on the next hop, so everything ambiguous is refused, and what goes on is built anew.
"""

import re
from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.errors import ApiError, malformed, method_not_allowed

Header = tuple[bytes, bytes]
"""Name in lower case, and value."""

_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
_BAD_TARGET: Final = re.compile(rb"[^!-~]|[#\\]|%(?:00|0[aAdD])")
_PLAIN_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,14}")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_FORWARDED_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"OPTIONS", b"PUT", b"DELETE", b"PATCH"})

_SINGLE: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"expect"}
)
"""Fields that may come once; a second one is a way to make two servers read two requests."""


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


def read_head(method: bytes, target: bytes, version: str, headers: list[Header]) -> Head | ApiError:
    """The head of a request, or why it is refused."""
    found: dict[bytes, bytes] = {}
    request_id = b""
    for name, value in headers:
        if name in _SINGLE:
            if name in found:
                return malformed(f"The request has two {name.decode()} fields.")
            found[name] = value
        elif name == b"x-request-id":
            request_id = value if _REQUEST_ID.fullmatch(value) else b""
        elif b"_" in name:
            return malformed("A header name holds an underscore, which some servers read as a hyphen.")
    http_1_0 = version == "1.0"
    refused = _refused(method, target, version, found)
    if refused is not None:
        return refused
    length = found.get(b"content-length")
    path, mark, query = target.partition(b"?")
    if path[:1] != b"/" and path != b"*":
        path = b"/" + path.split(b"/", 3)[3] if path.count(b"/") >= 3 else b"/"
    return Head(
        method=method,
        path=path,
        query=mark + query,
        headers=headers,
        authorization=found.get(b"authorization", b""),
        request_id=request_id,
        content_length=int(length) if length is not None else None,
        chunked=b"transfer-encoding" in found,
        expects_continue=b"expect" in found and not http_1_0,
        http_1_0=http_1_0,
    )


def _refused(method: bytes, target: bytes, version: str, found: dict[bytes, bytes]) -> ApiError | None:
    if version not in {"1.1", "1.0"}:
        return malformed(f"HTTP/{version} is not spoken here; use HTTP/1.1.", status=505, code="http_version")
    if method not in _FORWARDED_METHODS:
        name = method.decode("latin-1")
        return malformed(f"The method {name} is not known here.", status=501, code="method_not_implemented")
    return _refused_host(target, version, found) or _refused_target(method, target) or _refused_framing(version, found)


def _refused_host(target: bytes, version: str, found: dict[bytes, bytes]) -> ApiError | None:
    host = found.get(b"host")
    if host is None:
        return malformed("The request has no Host field.") if version == "1.1" else None
    if not _HOST.fullmatch(host):
        return malformed("The Host field is not a host and port.")
    if target[:1] not in {b"/", b"*"}:
        scheme, _, rest = target.partition(b"://")
        if scheme.lower() not in {b"http", b"https"} or rest.partition(b"/")[0].lower() != host.lower():
            return malformed("The request's target and its Host field name different hosts.")
    return None


def _refused_target(method: bytes, target: bytes) -> ApiError | None:
    if _BAD_TARGET.search(target):
        return malformed("The request's target holds a character that is not allowed there.")
    if target[:1] == b"*" and (target != b"*" or method != b"OPTIONS"):
        return malformed("The target * is for OPTIONS only.")
    return None


def _refused_framing(version: str, found: dict[bytes, bytes]) -> ApiError | None:
    length, encoding = found.get(b"content-length"), found.get(b"transfer-encoding")
    if length is not None:
        if encoding is not None:
            return malformed("The request has both Content-Length and Transfer-Encoding.")
        if not _PLAIN_LENGTH.fullmatch(length):
            return malformed("Content-Length is not a plain number.")
    if encoding is not None:
        if version == "1.0":
            return malformed("Transfer-Encoding is not part of HTTP/1.0.")
        if encoding.strip().lower() != b"chunked":
            return malformed("Transfer-Encoding other than chunked.", status=501, code="transfer_encoding")
    expect = found.get(b"expect")
    if expect is not None and version == "1.1" and expect.strip().lower() != b"100-continue":
        return malformed("The only expectation known here is 100-continue.", status=417, code="expectation_failed")
    return None


def refused_method(head: Head, allow: str) -> ApiError | None:
    """Whether a path that takes only ``allow`` (such as ``POST, OPTIONS``) refuses this method."""
    method = head.method.decode()
    if method in allow.split(", "):
        return None
    return method_not_allowed(method, head.path.decode("latin-1"), allow)

"""Cross-origin requests of browsers: which origins may read answers, and what preflights are told.

Off unless origins are configured: then no answer carries a word of it, and browsers keep other sites' scripts out.
Keys travel in Authorization, never in cookies, so credentials mode is not allowed to anybody.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.http.head import Head

_ORIGIN: Final = re.compile(r"https?://(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_HEADER_NAMES: Final = re.compile(rb"[A-Za-z0-9_-]+(?:[ \t]*,[ \t]*[A-Za-z0-9_-]+){0,63}")
_DEFAULT_HEADERS: Final = b"authorization, content-type, x-api-key"
_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_PREFLIGHT_SECONDS: Final = 7200
"""The longest that Chromium keeps a preflight's answer."""
_EXPOSED: Final = b"*, retry-after, x-request-id, x-overspill-served-by, x-overspill-reason"
"""The star holds for all requests without credentials mode; the names are for browsers that don't know it."""


class CorsError(ValueError):
    """The configured origins can't be understood; the message says what to write."""


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """Who may read answers from a page of another origin."""

    origins: frozenset[bytes]
    """Exact origins, in lower case, such as ``https://chat.example.com``."""
    any_origin: bool
    """Whether every origin may."""

    def answer_lines(self, head: Head | None) -> bytes:
        """Header lines for the answer to a request."""
        if self.any_origin:
            return _ANY
        origin = head.header(b"origin") if head is not None else None
        if origin is None or origin.lower() not in self.origins:
            return b"vary: origin\r\n"
        return b"access-control-allow-origin: %b\r\nvary: origin\r\naccess-control-expose-headers: %b\r\n" % (
            origin,
            _EXPOSED,
        )

    @staticmethod
    def preflight_lines(head: Head) -> bytes:
        """What the answer to a preflight carries besides ``answer_lines``."""
        asked = head.header(b"access-control-request-headers") or b""
        headers = asked if _HEADER_NAMES.fullmatch(asked) else _DEFAULT_HEADERS
        return (
            b"access-control-allow-methods: %b\r\naccess-control-allow-headers: %b\r\n"
            b"access-control-max-age: %d\r\n" % (_METHODS, headers, _PREFLIGHT_SECONDS)
        )


_ANY: Final = b"access-control-allow-origin: *\r\naccess-control-expose-headers: " + _EXPOSED + b"\r\n"


def is_preflight(head: Head) -> bool:
    """Whether a browser asks for leave to send another request."""
    return (
        head.method == b"OPTIONS"
        and head.header(b"origin") is not None
        and head.header(b"access-control-request-method") is not None
    )


def cors_policy(origins: Sequence[str]) -> CorsPolicy | None:
    """The policy for configured origins (``*``: every one), None for none; raises CorsError."""
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise CorsError(
                f"{origin!r} is not an origin: write scheme://host[:port], such as https://chat.example.com"
            )
    if not origins:
        return None
    exact = frozenset(origin.lower().encode() for origin in origins if origin != "*")
    return CorsPolicy(exact, any_origin="*" in origins)

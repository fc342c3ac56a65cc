"""Requests to a gateway that asks for no key: those of this machine's own programs, and of no web page.

A browser sends requests of any page to loopback addresses as well. A page that may not read the answer still says where
it comes from (Origin), and one whose name was made to lead here (DNS rebinding) names itself as the host.
"""

import re
from typing import Final

from overspill_gateway.core.http import errors
from overspill_gateway.core.http.cors import CorsPolicy
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.http.head import Head
from overspill_gateway.core.requests.access import Grant

ANYONE: Final = Grant("local/anyone", frozenset(), frozenset(), opens_all=True)
"""The one consumer that every request is of."""

_LOOPBACK_HOST: Final = re.compile(
    rb"(?:(?:[a-z0-9-]+\.)*localhost\.?|127(?:\.[0-9]{1,3}){3}|\[(?:0*:)*:?0*1\]|\[::ffff:127(?:\.[0-9]{1,3}){3}\])"
    rb"(?::[0-9]{1,5})?",
    re.IGNORECASE,
)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address can lead to this machine alone."""
    text = f"[{host}]" if ":" in host else host
    return _LOOPBACK_HOST.fullmatch(text.encode("utf-8", "replace")) is not None


def refused_stranger(head: Head, cors: CorsPolicy | None) -> ApiError | None:
    """Why a request is refused that asks without a key; None: it is not."""
    host = head.header(b"host")
    if host is not None and _LOOPBACK_HOST.fullmatch(host) is None:
        return errors.foreign_host(host.decode("latin-1"))
    origin = head.header(b"origin")
    if origin is None or (cors is not None and (cors.any_origin or origin.lower() in cors.origins)):
        return None
    return errors.foreign_origin(origin.decode("latin-1"))

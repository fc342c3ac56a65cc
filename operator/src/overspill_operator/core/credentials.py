"""Secrets of a route: which ones it names, and what text a Secret holds under a key. Not how they are read."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from overspill_api.credentials import api_key_problem
from overspill_api.modelroute import ModelRouteSpec

LINE_END = " \t\r\n"
"""What `echo key` and editors leave around a key; it is no part of it."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What a Secret holds under a key."""

    text: str | None = field(default=None, repr=False)
    """The API key; None: there is none that can be sent."""
    problem: str = ""
    """Why not, with what mends it; it follows the place of the key. Empty: nothing is there."""


def secret_names(spec: ModelRouteSpec | None) -> frozenset[str]:
    """Names of the Secrets that the route may have read for it."""
    if spec is None:
        return frozenset()
    names = {entry.credentials.secret_name for entry in spec.hosted if entry.credentials}
    if spec.self_hosted and spec.self_hosted.source_secret_name:
        names.add(spec.self_hosted.source_secret_name)
    return frozenset(names)


def why_unread(name: str, namespace: str, status: int, message: str) -> str:
    """Why a Secret cannot be read and what mends it, where the API server has refused it."""
    if status not in (401, 403):
        return f"Secret {name!r} cannot be read: {message.rstrip('.')}"
    return (
        f"the operator may not read Secret {name!r}: its account needs the right to get secrets in namespace "
        f"{namespace}, which the chart's roles give in every namespace of the release (operator.watchNamespaces). "
        f"The API server says: {message.rstrip('.')}"
    )


def read_api_key(data: Mapping[str, Any], key: str) -> StoredKey:
    """The API key in a Secret's data (base64 by key)."""
    try:
        content = b64decode(data.get(key) or "", validate=True)
    except (Base64Error, ValueError):
        return StoredKey()
    try:
        text = content.decode().strip(LINE_END)
    except UnicodeDecodeError:
        return StoredKey(problem="is not plain text in UTF-8; save the key as plain text")
    if not text:
        return StoredKey()
    problem = api_key_problem(text)
    return StoredKey(problem=problem) if problem else StoredKey(text)

"""Base URLs of hosted APIs: what the gateway can ask, written as one pattern that Python and the API server check.

Stricter than the standard where the gateway would have to guess: ASCII hosts (write the xn-- form of others), ports in
range, closed brackets, no user, no query.
"""

from typing import Annotated, Final

from pydantic import StringConstraints

from overspill_api.rules import Form

_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HEX: Final = r"[0-9A-Fa-f]{1,4}"
_IPV6: Final = "|".join(
    [
        rf"({_HEX}:){{7}}{_HEX}",
        rf"({_HEX}:){{1,7}}:",
        *(rf"({_HEX}:){{1,{left}}}(:{_HEX}){{1,{7 - left}}}" for left in range(1, 7)),
        rf":((:{_HEX}){{1,7}}|:)",
    ]
)
_PORT: Final = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"  # 1 to 65535
_PATH: Final = r"(/([!$&-.0-;=@-Z_a-z~]|%[2-7][0-9A-Fa-f])*)*"

HTTP_URL_PATTERN: Final = rf"^https?://({_LABEL}(\.{_LABEL})*\.?|\[({_IPV6})\])(:{_PORT})?{_PATH}$"

ENDPOINT_PATTERN: Final = (
    r"/(chat/completions|completions|responses|embeddings|messages|messages/count_tokens|rerank|score|moderations"
    r"|audio/(speech|transcriptions|translations)|images/(generations|edits|variations))/?$"
)
"""Ends of URLs that are an endpoint's and no base's. Not ``/models``: there are APIs whose base ends in it."""

BackendUrl = Annotated[
    str,
    StringConstraints(max_length=2048),
    Form(
        HTTP_URL_PATTERN,
        "is not the base URL of an API; write https://host/path without query or credentials, with an ASCII host and a "
        "port from 1 to 65535 if any, such as https://api.openai.com/v1",
    ),
]
"""A URL that the gateway can ask."""

BaseUrl = Annotated[
    str,
    StringConstraints(max_length=2048),
    Form(
        HTTP_URL_PATTERN,
        "is not the base URL of an API; write https://host/path without query or credentials, with an ASCII host and a "
        "port from 1 to 65535 if any, such as https://api.openai.com/v1",
    ),
    Form(
        ENDPOINT_PATTERN,
        "ends in the path of an endpoint, which the gateway appends itself; write the base URL before it, such as "
        "https://api.openai.com/v1",
        refuses=True,
    ),
]
"""A URL that a person writes: the base, to which the gateway appends the path of each endpoint."""

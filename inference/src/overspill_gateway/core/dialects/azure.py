"""Paths as clients of Azure call them, told in those of OpenAI.

They are ``/openai/v1/...``, ``/openai/deployments/<model>/...`` and ``/openai/...``. A deployment's name
stands for the model, also where the body names another one, as at Azure. Not here: their header ``api-key``
(``core.requests.access``).
"""

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode

AZURE_PREFIX: Final = b"/openai/"
_DEPLOYMENT: Final = re.compile(
    r"/openai/deployments/(?P<name>.+?)/(?P<rest>chat/completions|completions|embeddings|responses|audio/[a-z]+)"
)
"""A name may have slashes: clients put the model's name there as it is."""


def plain_target(path: bytes, query: bytes) -> tuple[bytes, bytes, str] | None:
    """OpenAI's path, the query without ``api-version``, and the model that the path names, or none.

    None: Azure has no such path. ``path`` begins with ``/openai/``, ``query`` with its question mark or is empty.
    """
    text = path.decode("latin-1")
    name = ""
    if text.startswith("/openai/deployments"):
        match = _DEPLOYMENT.fullmatch(text)
        if match is None:
            return None
        name, rest = unquote(match["name"]), match["rest"]
    else:
        rest = text.removeprefix("/openai/").removeprefix("v1/")
    return b"/v1/" + rest.encode("latin-1"), _without_version(query), name


def _without_version(query: bytes) -> bytes:
    if b"api-version" not in query:
        return query
    pairs = parse_qsl(query[1:].decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    kept = urlencode([pair for pair in pairs if pair[0] != "api-version"], encoding="latin-1")
    return b"?" + kept.encode("latin-1") if kept else b""

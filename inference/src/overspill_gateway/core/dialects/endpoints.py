"""Which paths are served, in which dialect, and by whom. Not here: who may call them.

A hosted API is asked only for what OpenAI's API has. Everything else that an engine serves goes to replicas of our
own, known to this gateway or not; what controls an engine can't be reached with a user's key at all.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Dialect(Enum):
    """The form of requests and answers."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"
    """Anthropic's."""
    OTHER = "other"
    """Not looked into."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path that is served."""

    path: bytes
    """Without the query."""
    dialect: Dialect
    """Of its requests and answers."""
    hosted: bool
    """Whether a hosted API may serve it; False: replicas of our own only."""
    generates: bool
    """Whether its answer holds tokens that were generated for it."""
    allow: str
    """The methods that it takes, as in an Allow field."""

    @property
    def anthropic(self) -> bool:
        """Whether its clients expect errors in Anthropic's shape."""
        return self.path.startswith(MESSAGES_PATH)


POST: Final = "POST, OPTIONS"
GET: Final = "GET, HEAD, OPTIONS"
ANY: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

CHAT_PATH: Final = b"/v1/chat/completions"
MESSAGES_PATH: Final = b"/v1/messages"
MODELS_PATH: Final = b"/v1/models"

CHAT: Final = Endpoint(CHAT_PATH, Dialect.CHAT, hosted=True, generates=True, allow=POST)
COMPLETIONS: Final = Endpoint(b"/v1/completions", Dialect.COMPLETIONS, hosted=True, generates=True, allow=POST)
EMBEDDINGS: Final = Endpoint(b"/v1/embeddings", Dialect.EMBEDDINGS, hosted=True, generates=False, allow=POST)
RESPONSES: Final = Endpoint(b"/v1/responses", Dialect.RESPONSES, hosted=True, generates=True, allow=POST)
MESSAGES: Final = Endpoint(MESSAGES_PATH, Dialect.MESSAGES, hosted=True, generates=True, allow=POST)

_ENGINES_OWN: Final = (
    b"/tokenize", b"/detokenize", b"/score", b"/v1/score", b"/rerank", b"/v1/rerank", b"/v2/rerank", b"/pooling",
    b"/classify", b"/v2/embed", b"/v1/messages/count_tokens", b"/v1/audio/transcriptions", b"/v1/audio/translations",
)  # fmt: skip

_KNOWN: Final = {endpoint.path: endpoint for endpoint in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)} | {
    path: Endpoint(path, Dialect.OTHER, hosted=False, generates=b"/audio/" in path, allow=POST) for path in _ENGINES_OWN
}

SHOWN_PATHS: Final = [f"POST {path.decode()}" for path in list(_KNOWN)[:5]] + [f"GET {MODELS_PATH.decode()}"]
"""What an error about a path names."""

_PLAIN_PATH: Final = re.compile(rb"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~:@-]{1,128}){1,8}")
"""One spelling for each path: what a server might decode, fold or resolve to another path is not passed on."""

_CONTROL: Final = frozenset(
    {
        b"docs", b"redoc", b"openapi", b"static", b"metrics", b"health", b"ready", b"readyz", b"live", b"livez",
        b"ping", b"version", b"load", b"unload", b"reset", b"sleep", b"wake", b"is", b"collective", b"pause", b"resume",
        b"scale", b"start", b"stop", b"server", b"shutdown", b"abort", b"init", b"update", b"finish", b"get",
        b"set", b"weight", b"weights", b"release", b"fault", b"kv", b"destroy", b"flush", b"clear", b"debug", b"admin",
        b"rlhf", b"profile", b"config",
    }
)  # fmt: skip
"""First words of the segments of paths that control or describe an engine, such as ``/reset_prefix_cache``."""


def endpoint_of(path: bytes) -> Endpoint | None:
    """What is served at a path; None: nothing. ``/v1/models`` is not an engine's: the gateway answers it itself."""
    known = _KNOWN.get(path)
    if known is not None:
        return known
    if path == MODELS_PATH or path.startswith(b"/v1/models/") or not _PLAIN_PATH.fullmatch(path):
        return None
    if any(re.split(rb"[_.-]", segment, maxsplit=1)[0].lower() in _CONTROL for segment in path[1:].split(b"/")):
        return None
    return Endpoint(path, Dialect.OTHER, hosted=False, generates=True, allow=ANY)

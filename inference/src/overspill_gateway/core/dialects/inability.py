"""Who says that it can't serve a request at all: not this model, not this path, not a prompt of this length.

Such a refusal is no fault of the backend, nor one of the request: another backend may be able to. It is known by its
status where that is plain, else by what it says; the words are those of the APIs in use (OpenAI, Azure, Groq, Mistral,
Together, OpenRouter, Gemini, Anthropic, vLLM, TGI). What is not known as one passes to the client as it came.
"""

import re
from enum import Enum, auto
from typing import Final

from overspill_gateway.core.dialects.error_shapes import error_in, is_error
from overspill_gateway.core.text.json_text import decoded

BODY_BYTES_MAX: Final = 8 * 1024
"""An error is not longer; of a longer one only the status counts."""

_MODEL_CODES: Final = re.compile(
    r"model_?(?:not_?(?:found|available|supported)|decommissioned|deprecated|retired|error_not_found)|"
    r"(?:unknown|invalid|unsupported|no_such)_?model|deployment_?not_?found",
    re.IGNORECASE,
)
_MODEL_WORDS: Final = re.compile(
    r"model\b.{0,200}?\b(?:not found|does not exist|doesn't exist|deprecated|retired|decommissioned|no longer|"
    r"is not available|not a valid model|is not supported for this|has been shut)|"
    r"(?:not a valid|unknown|invalid|no such|unsupported) model\b|"
    r"no (?:allowed )?(?:endpoints|providers) (?:found|available)|"
    r"deployment\b.{0,100}?\bdoes not exist|^model: ",
    re.IGNORECASE | re.DOTALL,
)
_CONTEXT_CODES: Final = re.compile(r"context_length_exceeded|context_window|prompt_too_long", re.IGNORECASE)
_CONTEXT_WORDS: Final = re.compile(
    r"maximum (?:context|model|input|sequence|prompt) length|context (?:length|window|size)|prompt is too long|"
    r"prompt (?:contains|has) (?:too many|\d+) tokens|too many (?:input |prompt )?tokens|reduce the length|"
    r"(?:input|prompt)\b.{0,60}?\b(?:is longer than|exceeds?)\b|input token count|"
    r"inputs`? tokens \+ `?max_new_tokens`? must be|"
    r"inputs`? must have less than \d+ tokens",
    re.IGNORECASE | re.DOTALL,
)
_STORED_WORDS: Final = re.compile(
    r"\b(?:response|file|item|conversation|container|batch|assistant|thread|prompt|vector.?store)s?\b.{0,60}?"
    r"\b(?:not found|does not exist|no longer|with id)|with id ['\"]?\w+|no (?:tool|function) ",
    re.IGNORECASE | re.DOTALL,
)
"""Something that the request names is not there: no other backend has it either."""


_VLLM_NO_PATH: Final = "Not Found"
"""All that vLLM says of a path that it does not have; of everything else that is not there it says more."""


class Inability(Enum):
    """What a backend can't do."""

    PATH = auto()
    """It lacks the path."""
    MODEL = auto()
    """It does not have the model, or no longer."""
    CONTEXT = auto()
    """The prompt, or prompt and answer together, are longer than its model takes."""
    NOT_FOUND = auto()
    """It has not found something, be it the path or what the request names: nothing to be remembered."""


def inability_of(status: int, body: bytes, *, local: bool) -> Inability | None:
    """What a refusal says that the backend can't do; None: it is about the request.

    ``local``: of a replica, whose 404 is about the request unless it says that a path or a model is missing.
    """
    if status in {405, 501}:
        return None if local else Inability.PATH
    if status not in {400, 403, 404, 410, 413, 422}:
        return None
    code, message = _said(body)
    if _CONTEXT_CODES.search(code) or (status in {400, 413, 422} and _CONTEXT_WORDS.search(message)):
        return Inability.CONTEXT
    if _MODEL_CODES.search(code) or _MODEL_WORDS.search(message):
        return Inability.MODEL
    return _not_found(message, local=local) if status in {404, 410} else None


def _not_found(message: str, *, local: bool) -> Inability | None:
    if local:
        return Inability.PATH if message == _VLLM_NO_PATH else None
    return Inability.NOT_FOUND if _STORED_WORDS.search(message) else Inability.PATH


def said_by(body: bytes) -> str:
    """A refusal's own words, short; empty: it has none."""
    return _said(body)[1][:200]


def _said(body: bytes) -> tuple[str, str]:
    """Codes and message of an error in any shape."""
    document = decoded(body) if len(body) <= BODY_BYTES_MAX else None
    if not isinstance(document, dict) or not is_error(document):
        return "", ""
    error = document.get("error")
    fields = error if isinstance(error, dict) else document
    code = " ".join([str(fields.get(name) or "")[:100] for name in ("code", "type", "param")])
    return code, error_in(document).why

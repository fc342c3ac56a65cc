"""What is wrong with a backend that fails: one word for it, and the provider's own words, without secrets.

Not here: when a backend counts as failing for good, which the operator says of all gateways together.
"""

import re
from typing import Any, Final

import msgspec

from overspill_gateway.core.backends.outcome import ConnectFault, FailureKind

CREDENTIALS: Final = "CredentialsRefused"
PAYMENT: Final = "PaymentRequired"
RATE_LIMITED: Final = "RateLimited"
MODEL: Final = "ModelNotFound"
PATH: Final = "PathNotFound"
FAILING: Final = "Failing"
WORDS_CHARS_MAX: Final = 400
WORDS_BYTES_MAX: Final = 8 * 1024
"""Of a refusal's body: what is read for its words."""
_MESSAGE_CHARS_MAX: Final = 4096
"""Of its message: what is looked through."""

_BY_STATUS: Final = {
    401: CREDENTIALS, 403: CREDENTIALS, 402: PAYMENT, 407: ConnectFault.PROXY.value, 429: RATE_LIMITED,
}  # fmt: skip
_MODEL_CODES: Final = re.compile(
    r"model_?not_?(?:found|exist|available|active)|model_?(?:decommissioned|deprecated|retired)|invalid_?model"
    r"|unknown_?model|deployment_?not_?found",
    re.IGNORECASE,
)
_MODEL_WORDS: Final = re.compile(
    r"\b(?:model|deployment)\b.{0,120}\b(?:not exist|not found|not available|decommissioned|deprecated|retired|invalid)"
    r"|\b(?:no such|unknown|invalid|unsupported) (?:model|deployment)\b",
    re.IGNORECASE | re.DOTALL,
)
_WORD_FIELDS: Final = ("message", "msg", "detail", "error_description", "title", "reason")
_CODE_FIELDS: Final = ("code", "type", "status", "error_code")
_TAGS: Final = re.compile(r"<[^<>]{0,500}>")
_KEY_FORMS: Final = re.compile(
    r"\b(?:sk|pk|rk|key|gsk|xai|osk|hf|AIza)[-_][A-Za-z0-9_*.-]{6,}|\b(?:bearer|basic)\s+[A-Za-z0-9+/=._*~-]{6,}",
    re.IGNORECASE,
)
_SECRET_PART: Final = 6
"""So many characters of a key in a row are left out, wherever they stand."""
SECRET_CHARS_MIN: Final = 5
"""A shorter one is none, but a word such as "none" that stands for no key; leaving it out would tear words apart."""
_HIDDEN: Final = "[left out]"


def reason_of(kind: FailureKind, status: int, fault: ConnectFault | None) -> str:
    """One word for a failed attempt, without its words. ``status``: 0 where nothing was answered."""
    if kind is FailureKind.CONNECT:
        return (fault or ConnectFault.UNREACHABLE).value
    if status in {404, 410}:
        return PATH
    return _BY_STATUS.get(status, CREDENTIALS if kind is FailureKind.CREDENTIALS else FAILING)


def reason_of_refusal(status: int, body: bytes) -> str | None:
    """One word for a refusal whose body is known; None: it is about the request, not about the backend."""
    message, codes = _read(body)
    said_of_model = bool(_MODEL_CODES.search(codes)) or bool(_MODEL_WORDS.search(message))
    if said_of_model and status in {400, 403, 404, 410, 422}:
        return MODEL
    if status in {404, 410}:
        return PATH
    return _BY_STATUS.get(status) or (FAILING if status >= 500 or status == 408 else None)


def words_of(status: int, body: bytes, secrets: tuple[str, ...]) -> str:
    """What a provider said, for a person who looks for the cause: one line, cut, without secrets."""
    message, _ = _read(body)
    words = cleaned(message, secrets)
    return f"it answered {status}: {words}" if words else f"it answered {status}"


def cleaned(text: str, secrets: tuple[str, ...]) -> str:
    """One line of printable text without anything of a secret, cut to its longest."""
    text = text[:_MESSAGE_CHARS_MAX]
    for secret in secrets:
        text = _without(text, secret)
    text = _KEY_FORMS.sub(_HIDDEN, text)
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= WORDS_CHARS_MAX else text[: WORDS_CHARS_MAX - 3] + "..."


def without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """A text that goes on to clients: without any part of a secret, all else as it is."""
    for secret in secrets:
        text = _without(text, secret)
    return text


def _without(text: str, secret: str) -> str:
    """The text without each run of characters that is a part of the secret too, if it is long enough to be of use."""
    if len(secret) < SECRET_CHARS_MIN:
        return text
    length = min(_SECRET_PART, len(secret))
    parts = {secret[place : place + length] for place in range(len(secret) - length + 1)}
    pieces: list[str] = []
    hidden_to = 0
    shown_from = 0
    for place in range(len(text) - length + 1):
        if text[place : place + length] not in parts:
            continue
        if place > hidden_to or not pieces:
            pieces += [text[shown_from:place], _HIDDEN]
        hidden_to = shown_from = place + length
    return "".join(pieces) + text[shown_from:]


def _read(body: bytes) -> tuple[str, str]:
    """The message of a refusal, and the words that programs switch on."""
    body = body[:WORDS_BYTES_MAX]
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _TAGS.sub(" ", body.decode("utf-8", "replace"))[:_MESSAGE_CHARS_MAX], ""
    if isinstance(document, list) and document:  # as Google answers
        document = document[0]
    if not isinstance(document, dict):
        return document[:_MESSAGE_CHARS_MAX] if isinstance(document, str) else "", ""
    error = document.get("error", document)
    fields: dict[str, Any] = error if isinstance(error, dict) else {"message": error}
    message = _first(fields, _WORD_FIELDS) or (_first(document, _WORD_FIELDS) if fields is not document else "")
    codes = " ".join(value for name in _CODE_FIELDS if isinstance(value := fields.get(name), str))
    return (message or codes or body.decode("utf-8", "replace"))[:_MESSAGE_CHARS_MAX], codes[:_MESSAGE_CHARS_MAX]


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value:
            return value
    return ""

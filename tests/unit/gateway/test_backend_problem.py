"""What is said of a backend that fails: one word, and the provider's own ones without secrets or control characters."""

from __future__ import annotations

import json

import pytest

from overspill_gateway.core.backends.backend_problem import (
    WORDS_CHARS_MAX,
    cleaned,
    reason_of,
    reason_of_refusal,
    words_of,
)
from overspill_gateway.core.backends.outcome import ConnectFault, FailureKind

KEY = "sk-proj-0123456789abcdefSECRETsecret"


def refusal(message: str, **fields: str) -> bytes:
    """A refusal as OpenAI spells it."""
    return json.dumps({"error": {"message": message} | fields}).encode()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, refusal("Incorrect API key provided"), "CredentialsRefused"),
        (403, refusal("Country not supported"), "CredentialsRefused"),
        (403, refusal("Project does not have access", code="model_not_found"), "ModelNotFound"),
        (402, refusal("Insufficient credits"), "PaymentRequired"),
        (404, refusal("The model `x` does not exist or you do not have access to it"), "ModelNotFound"),
        (404, refusal("The API deployment for this resource", code="DeploymentNotFound"), "ModelNotFound"),
        (404, b'{"detail": "Not Found"}', "PathNotFound"),
        (404, b"<html><body>404</body></html>", "PathNotFound"),
        (410, refusal("The model gpt-3 has been deprecated"), "ModelNotFound"),
        (400, refusal("decommissioned", code="model_decommissioned"), "ModelNotFound"),
        (400, b'{"object":"error","message":"Invalid model: m","type":"invalid_model"}', "ModelNotFound"),
        (400, refusal("Model Not Exist"), "ModelNotFound"),
        (400, refusal("max_tokens is too large"), None),
        (400, refusal("This model's maximum context length is 8192 tokens"), None),
        (422, b'{"detail": [{"msg": "field required"}]}', None),
        (413, b"", None),
        (429, refusal("Rate limit reached"), "RateLimited"),
        (500, b"", "Failing"),
        (503, b"[]", "Failing"),
        (407, b"", "ProxyRefused"),
    ],
)
def test_refusals(status: int, body: bytes, reason: str | None) -> None:
    """A refusal of a bad request is no problem of the backend."""
    assert reason_of_refusal(status, body) == reason


@pytest.mark.parametrize(
    ("kind", "status", "fault", "reason"),
    [
        (FailureKind.CONNECT, 0, ConnectFault.NAME, "NameNotResolved"),
        (FailureKind.CONNECT, 0, ConnectFault.CERTIFICATE, "CertificateRefused"),
        (FailureKind.CONNECT, 0, ConnectFault.PROXY, "ProxyRefused"),
        (FailureKind.CONNECT, 0, None, "Unreachable"),
        (FailureKind.STATUS, 429, None, "RateLimited"),
        (FailureKind.STATUS, 503, None, "Failing"),
        (FailureKind.TIMEOUT, 0, None, "Failing"),
        (FailureKind.CREDENTIALS, 401, None, "CredentialsRefused"),
    ],
)
def test_failures(kind: FailureKind, status: int, fault: ConnectFault | None, reason: str) -> None:
    """One word for each, before anything is known of its words."""
    assert reason_of(kind, status, fault) == reason


@pytest.mark.parametrize(
    "said",
    [
        f"Incorrect API key provided: {KEY}.",
        f"{KEY}{KEY}",
        "Authorization: Bearer " + KEY,
        f"first half {KEY[:14]}, last half {KEY[-14:]}",
        "nothing of ours but sk-otherkey-abcdefgh1234",
        'Bearer "' + KEY + '"',
    ],
)
def test_no_secret_is_told(said: str) -> None:
    """Neither whole nor in parts, nor anything of a key's form, wherever the provider puts it."""
    for body in (refusal(said), said.encode(), json.dumps({"detail": said}).encode(), json.dumps([said]).encode()):
        told = words_of(401, body, (KEY,))
        assert told.startswith("it answered 401")
        assert not [KEY[at : at + 6] for at in range(len(KEY) - 5) if KEY[at : at + 6] in told]
        assert "abcdefgh1234" not in told


def test_what_is_around_a_secret_stays() -> None:
    """The words are why anybody looks."""
    assert words_of(401, refusal(f"Incorrect API key provided: {KEY}. You can find it"), (KEY,)) == (
        "it answered 401: Incorrect API key provided: [left out]. You can find it"
    )
    assert cleaned("a short-secret b", ("abc", "short-secret")) == "a [left out] b"
    assert cleaned("x EMPTY y", ("EMPTY",)) == "x [left out] y"
    assert cleaned("nonexistent", ("none",)) == "nonexistent", "what stands for no key is no secret"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("two\nlines\r\n\tand\x00 \x1b[31mred\u202e", "two lines and [31mred"),
        ("", ""),
        ("\ud800half", "half"),
        ("naïve 日本", "naïve 日本"),
    ],
)
def test_one_line_of_printable_text(text: str, told: str) -> None:
    """It goes into logs, conditions and events."""
    assert cleaned(text, ()) == told


def test_it_is_cut_and_read_in_linear_time() -> None:
    """A provider may say a megabyte of anything."""
    assert len(words_of(500, b"x" * 1_000_000, (KEY,))) <= WORDS_CHARS_MAX + 20
    assert len(cleaned("<" * 1_000_000, (KEY,))) <= WORDS_CHARS_MAX
    reason_of_refusal(404, b"model " * 100_000)
    words_of(500, b"[" * 100_000, (KEY,))


def test_of_a_long_message_the_beginning_counts() -> None:
    """Who speaks of a model says so at once; what a provider repeats for pages is not looked through."""
    assert reason_of_refusal(400, refusal("the model was not found" + ", sorry" * 900)) == "ModelNotFound"
    assert reason_of_refusal(400, refusal("sorry, " * 900 + "the model was not found")) is None

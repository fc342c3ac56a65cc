"""What a backend gets: the client's bytes, but for the model's name, usage in streams, and a lower limit."""

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.core.backends.engine_keys import EngineKeys
from overspill_gateway.core.dialects.endpoints import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    Endpoint,
    endpoint_of,
)
from overspill_gateway.core.dialects.request_form import REPLICA_FORM
from overspill_gateway.core.http.head import Head, Header
from overspill_gateway.core.requests.body import BodyError, read_body
from overspill_gateway.proxy.outgoing import outgoing, plain_answer, translator_of
from unit.gateway.harness import GatewayUnderTest

pytestmark = pytest.mark.interpreted  # its routes and backends are doubles

ROUTE: Any = SimpleNamespace(model_json=b'"served-name"')
HEADERS = [(b"content-type", b"application/json"), (b"authorization", b"Bearer osk"), (b"x-api-key", b"osk")]


def head_of(
    endpoint: Endpoint, method: bytes = b"POST", query: bytes = b"", headers: list[Header] | None = None
) -> Head:
    """A head as it was read."""
    length = 1 if method == b"POST" else None
    return Head(method, endpoint.path, query, headers or HEADERS, b"Bearer osk", b"", length, False, False, False)


def replica() -> Any:
    """As much of a replica as matters here."""
    made: Any = SimpleNamespace(host_line=b"host: 10.0.0.7:8000\r\n", keys=EngineKeys(), form=REPLICA_FORM, model=b"")
    for method in (Replica.speaks, Replica.target, Replica.lines):
        setattr(made, method.__name__, partial(method, made))
    return made


def hosted(gateway: GatewayUnderTest, url: str = "https://api.example.org/prefix/v1") -> Hosted:
    """A hosted API."""
    backend = {"name": "h", "base_url": url, "model": "hosted-name", "api_key": "sk-hosted"}
    return gateway.route(local=None, hosted=[backend], overflow={"on_cold_start": "Hosted"}).pool.hosted[0]


def sent(
    backend: Any, endpoint: Endpoint, document: dict[str, Any], *, max_tokens: int | None = None
) -> tuple[bytes, dict[str, Any]]:
    """Head and decoded body of a request as the backend gets it."""
    body = json.dumps({"model": "alias"} | document).encode()
    facts = read_body(body, endpoint)
    head, out = outgoing(
        backend, ROUTE, head_of(endpoint), body, facts, b"req-1", endpoint=endpoint, max_tokens=max_tokens
    )
    assert f"content-length: {len(out)}\r\n\r\n".encode() in head
    decoded: dict[str, Any] = json.loads(out)
    return head, decoded


async def test_a_replica_gets_its_own_path_and_no_key() -> None:
    """Path and query as they came, the address as host, the request's id; the client's key stays here."""
    body = b'{"model": "alias"}'
    head, _ = outgoing(
        replica(), ROUTE, head_of(CHAT, query=b"?beta=true"), body, read_body(body), b"req-1", endpoint=CHAT
    )

    assert head.startswith(b"POST /v1/chat/completions?beta=true HTTP/1.1\r\nhost: 10.0.0.7:8000\r\n")
    assert b"x-request-id: req-1\r\n" in head
    assert b"osk" not in head


async def test_a_hosted_api_gets_its_own_credential_and_little_else(gateway: GatewayUnderTest) -> None:
    """Its path prefix, its key, its name for the model."""
    head, body = sent(hosted(gateway), RESPONSES, {"input": "Hello"})

    assert head.startswith(b"POST /prefix/v1/responses HTTP/1.1\r\nhost: api.example.org\r\n")
    assert b"authorization: Bearer sk-hosted\r\n" in head
    assert b"osk" not in head
    assert body == {"model": "hosted-name", "input": "Hello"}


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
         {"include_usage": True, "continuous_usage_stats": True}),
    ],
)  # fmt: skip
async def test_streams_are_asked_for_usage(endpoint: Endpoint, options: dict[str, Any] | None, expected: Any) -> None:
    """Also where the client said no: what is used has to be known. A client that asked is taken at its word."""
    document = {"stream": True, "extra": [1, {"stream_options": 2}]} | (options or {})

    _, body = sent(replica(), endpoint, document)

    assert body == document | {"model": "served-name", "stream_options": expected}


@pytest.mark.parametrize("endpoint", [EMBEDDINGS, RESPONSES, MESSAGES])
async def test_other_dialects_report_usage_unasked(endpoint: Endpoint) -> None:
    """Nothing is put into their bodies."""
    document = {"stream": True, "messages": [], "input": "x"}

    assert sent(replica(), endpoint, document)[1] == document | {"model": "served-name"}


@pytest.mark.parametrize(
    ("endpoint", "given", "max_tokens", "expected"),
    [
        (CHAT, {"max_tokens": 100}, 10, {"max_tokens": 10}),
        (CHAT, {"max_tokens": 5}, 10, {"max_tokens": 5}),
        (CHAT, {}, 10, {"max_tokens": 10}),
        (CHAT, {"max_completion_tokens": 100}, 10, {"max_completion_tokens": 10}),
        (CHAT, {"max_completion_tokens": 100, "max_tokens": 3}, 10, {"max_completion_tokens": 10, "max_tokens": 10}),
        (COMPLETIONS, {}, 10, {"max_tokens": 10}),
        (RESPONSES, {"max_output_tokens": 100}, 10, {"max_output_tokens": 10}),
        (RESPONSES, {}, 10, {"max_output_tokens": 10}),
        (EMBEDDINGS, {}, 10, {}),
    ],
)
async def test_a_lower_limit_is_written_in(
    gateway: GatewayUnderTest, endpoint: Endpoint, given: dict[str, int], max_tokens: int, expected: dict[str, int]
) -> None:
    """In the fields that the client used, else in the dialect's own; never a higher one than the client's."""
    _, body = sent(hosted(gateway), endpoint, given, max_tokens=max_tokens)

    assert body == {"model": "hosted-name"} | expected


async def test_openais_newer_models_know_the_newer_field_only(gateway: GatewayUnderTest) -> None:
    """At OpenAI itself a limit that the client did not give is max_completion_tokens."""
    _, body = sent(hosted(gateway, "https://api.openai.com/v1"), CHAT, {}, max_tokens=10)

    assert body["max_completion_tokens"] == 10


async def test_an_anthropic_request_is_told_to_a_hosted_api_as_a_chat(gateway: GatewayUnderTest) -> None:
    """On its chat path, with its model, the client's limit or a lower one, and usage asked for."""
    document = {"max_tokens": 100, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}

    head, body = sent(hosted(gateway), MESSAGES, document, max_tokens=10)

    assert head.startswith(b"POST /prefix/v1/chat/completions HTTP/1.1\r\n")
    assert body == document | {"model": "hosted-name", "max_tokens": 10, "stream_options": {"include_usage": True}}
    with pytest.raises(BodyError):
        sent(hosted(gateway), MESSAGES, document | {"mcp_servers": [{"url": "x"}]})


async def test_only_answers_in_another_dialect_are_translated(gateway: GatewayUnderTest) -> None:
    """A hosted API's answer to an Anthropic request; of a replica only errors in OpenAI's shape."""
    facts = read_body(b'{"model": "alias"}', MESSAGES)
    told = b'{"error": {"message": "too long", "type": "BadRequestError", "code": 400}}'
    native = b'{"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}'

    assert translator_of(hosted(gateway), MESSAGES, facts, b"r") is not None
    assert translator_of(replica(), MESSAGES, facts, b"r") is None
    assert translator_of(hosted(gateway), CHAT, facts, b"r") is None
    assert plain_answer(replica(), MESSAGES, facts, b"r", 200, b"{}") is None
    assert plain_answer(replica(), CHAT, facts, b"r", 400, told) is None
    assert plain_answer(replica(), MESSAGES, facts, b"r", 400, native) == native
    translated = json.loads(plain_answer(replica(), MESSAGES, facts, b"r", 400, told) or b"")
    assert translated["error"] == {"type": "invalid_request_error", "message": "too long"}


async def test_a_form_names_the_model_in_its_field() -> None:
    """An upload's bytes stay as they are, but for the name."""
    audio = endpoint_of(b"/v1/audio/transcriptions")
    assert audio is not None
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nalias\r\n--b--\r\n'
    content_type = b"multipart/form-data; boundary=b"
    facts = read_body(body, audio, content_type)

    _, out = outgoing(
        replica(), ROUTE, head_of(audio, headers=[(b"content-type", content_type)]), body, facts, b"r", endpoint=audio
    )

    assert out == body.replace(b"alias", b"served-name")


async def test_a_get_has_no_body_and_a_head_is_asked_as_get() -> None:
    """Nothing is invented for requests without a body."""
    other = endpoint_of(b"/tokenizer_info")
    assert other is not None
    facts = read_body(b"", other)

    for method in (b"GET", b"HEAD"):
        head, body = outgoing(replica(), ROUTE, head_of(other, method, b"?model=a"), b"", facts, b"r", endpoint=other)

        assert head.startswith(b"GET /tokenizer_info?model=a HTTP/1.1\r\n")
        assert (b"content-length" in head, body) == (False, b"")


@given(
    st.dictionaries(st.text(alphabet="abcxyz_", min_size=1), st.text() | st.integers() | st.none(), max_size=5),
    st.booleans(),
    st.sampled_from([None, 5]),
    st.sampled_from([None, (",", ":")]),
)
async def test_all_edits_at_once_change_nothing_else(
    fields: dict[str, Any],
    streams: bool,  # noqa: FBT001
    max_tokens: int | None,
    separators: Any,
) -> None:
    """Model, usage and limit together: every other field is as it was, and in its order."""
    document = fields | {"model": "alias", "stream": streams}
    body = json.dumps(document, separators=separators, ensure_ascii=False).encode("utf-8", "replace")
    facts = read_body(body)

    _, out = outgoing(replica(), ROUTE, head_of(CHAT), body, facts, b"r", endpoint=CHAT, max_tokens=max_tokens)

    expected = json.loads(body) | {"model": "served-name"}
    if streams:
        expected["stream_options"] = {"include_usage": True}
    if max_tokens is not None:
        expected["max_tokens"] = max_tokens
    changed = json.loads(out)
    assert changed == expected
    assert [name for name in changed if name in document] == list(document)

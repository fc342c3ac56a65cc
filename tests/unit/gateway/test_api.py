"""The API's surface: which paths reach whom, with which keys, and how refusals look to each kind of client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unit.gateway.backends import Received, Wire, answers, backend
from unit.gateway.harness import KEY, MESSAGES, Answer, GatewayUnderTest, soon


async def send(
    gateway: GatewayUnderTest, method: str, path: str, document: Any = None, *, body: bytes = b"", **headers: str
) -> Answer:
    """One request on a connection of its own, with our key unless the headers have one."""
    client = await gateway.client()
    if document is not None:
        body = json.dumps(document).encode()
    if not {"authorization", "x_api_key"} & set(headers):
        headers["authorization"] = f"Bearer {KEY}"
    client.send(method, path, body, **({name: value for name, value in headers.items() if value}))
    answer: Answer = await soon(client.answer(bodiless=method == "HEAD"))
    return answer


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/tokenize",
        "/detokenize", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/pooling", "/classify",
        "/v1/messages/count_tokens", "/v1/something/new?beta=true",
    ],
)  # fmt: skip
async def test_every_path_of_an_engine_reaches_it(gateway: GatewayUnderTest, path: str) -> None:
    """With its query, and with a body in which nothing but the model's name is another."""
    async with backend(answers()) as engine:
        gateway.route("tiny", aliases=["gpt"])
        gateway.endpoints(engine.fact())
        document = {"model": "gpt", "messages": MESSAGES, "max_tokens": 5, "future_field": {"model": [1, None, "é"]}}

        answer = await send(gateway, "POST", path, document)

    assert answer.status == 200
    assert answer.served_by == "local/tiny-0"
    (received,) = engine.requests
    assert received.line == f"POST {path} HTTP/1.1"
    assert received.body == json.dumps(document).encode().replace(b'"gpt"', b'"tiny"', 1)


@pytest.mark.parametrize("path", ["/metrics", "/reset_prefix_cache", "/v1/load_lora_adapter", "/health", "/docs"])
async def test_no_key_opens_an_engines_controls(gateway: GatewayUnderTest, path: str) -> None:
    """404 as if they were not there, by any method, and nothing reaches the engine."""
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        statuses = [(await send(gateway, method, path)).status for method in ("GET", "POST", "DELETE")]

    assert statuses == [404, 404, 404]
    assert engine.requests == []


async def test_unknown_paths_need_a_key(gateway: GatewayUnderTest) -> None:
    """Nobody explores an engine without one."""
    gateway.route()

    assert (await send(gateway, "GET", "/v1/anything", x_api_key="")).status == 401


async def test_a_request_without_a_body_names_its_model_elsewhere(gateway: GatewayUnderTest) -> None:
    """In the query, in a field of the head, or not at all where the key has one pool only."""
    async with backend(answers("one")) as one, backend(answers("two")) as two:
        gateway.route("one")
        gateway.endpoints(one.fact("one-0"), route="one")
        path = "/tokenizer_info"
        alone = await send(gateway, "GET", path)
        gateway.route("two")
        gateway.endpoints(two.fact("two-0"), route="two")

        by_query = await send(gateway, "GET", f"{path}?model=two")
        by_field = await send(gateway, "GET", path, x_overspill_model="two")
        unnamed = await send(gateway, "GET", path)
        unknown = await send(gateway, "GET", f"{path}?model=three")

    assert [answer.served_by for answer in (alone, by_query, by_field)] == ["local/one-0", "local/two-0", "local/two-0"]
    assert (unnamed.status, unnamed.error["code"]) == (400, "missing_model")
    assert "one, two" in unnamed.error["message"]
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
    assert "x-overspill-model" not in two.requests[1].headers


async def test_other_methods_and_plain_bodies_pass(gateway: GatewayUnderTest) -> None:
    """What this gateway does not know it does not judge."""
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        for method in ("GET", "DELETE", "HEAD"):
            assert (await send(gateway, method, "/v1/responses/resp_1")).status == 200
        assert (await send(gateway, "POST", "/v1/responses/resp_1/cancel")).status == 200
        assert (await send(gateway, "POST", "/thing", body=b"text", content_type="text/plain")).status == 200

    assert [received.line.split(" ")[0] for received in engine.requests] == ["GET", "DELETE", "GET", "POST", "POST"]
    assert engine.requests[-1].body == b"text"


async def test_uploads_are_passed_on(gateway: GatewayUnderTest) -> None:
    """A form names the model in a field, which gets the engine's name for it; the file's bytes stay as they are."""
    audio = bytes(range(256)) * 50
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + audio
        + b'\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    )  # fmt: skip
    async with backend(answers()) as engine:
        gateway.route("whisper-large", aliases=["whisper-1"])
        gateway.endpoints(engine.fact(), route="whisper-large")

        answer = await send(
            gateway, "POST", "/v1/audio/transcriptions", body=body, content_type="multipart/form-data; boundary=b"
        )

    assert answer.status == 200
    assert engine.requests[0].body == body.replace(b"whisper-1", b"whisper-large")


@pytest.mark.parametrize("path", ["/tokenize", "/v1/messages/count_tokens", "/v1/anything"])
async def test_hosted_apis_get_no_engines_paths(gateway: GatewayUnderTest, path: str) -> None:
    """A model without replicas has none of them, and the error says so."""
    async with backend(answers()) as api:
        gateway.route(local=None, hosted=[api.hosted()], overflow={"on_cold_start": "Hosted"})

        answer = await send(gateway, "POST", path, {"model": "tiny"})

    assert answer.status == 404
    assert "vLLM replicas only" in answer.body.decode()
    assert api.requests == []


async def test_anthropics_clients_send_their_key_in_their_field(gateway: GatewayUnderTest) -> None:
    """x-api-key opens what Authorization opens, and never goes on; of both, Authorization counts."""
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        document = {"model": "tiny", "messages": MESSAGES, "max_tokens": 5}

        right = await send(gateway, "POST", "/v1/messages", document, x_api_key=KEY, anthropic_version="2023-06-01")
        wrong = await send(gateway, "POST", "/v1/messages", document, x_api_key=KEY[:-1] + "x")
        both = await send(
            gateway, "POST", "/v1/messages", document, x_api_key=KEY, authorization="Bearer osk-abcdefghij12-nope"
        )

    assert [answer.status for answer in (right, wrong, both)] == [200, 401, 401]
    assert "x-api-key" not in engine.requests[0].headers
    assert engine.requests[0].headers["anthropic-version"] == "2023-06-01"


async def test_two_keys_are_none(gateway: GatewayUnderTest) -> None:
    """Which of two would count is nobody's guess to make."""
    client = await gateway.client()
    client.writer.write(f"GET /v1/models HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\nx-api-key: {KEY}\r\n\r\n".encode())

    assert (await soon(client.answer())).status == 401


@pytest.mark.parametrize(
    ("document", "headers", "status", "kind"),
    [
        ({"model": "tiny"}, {"x_api_key": "nonsense"}, 401, "authentication_error"),
        ({"model": "nope", "messages": []}, {}, 404, "not_found_error"),
        ({"messages": []}, {}, 400, "invalid_request_error"),
        ({"model": "tiny", "max_tokens": -1}, {}, 400, "invalid_request_error"),
        ({"model": "tiny"}, {"content_encoding": "gzip"}, 415, "invalid_request_error"),
        ({"model": "tiny", "messages": MESSAGES}, {}, 503, "overloaded_error"),
    ],
)
async def test_refusals_on_anthropics_paths_have_its_shape(
    gateway: GatewayUnderTest, document: Any, headers: dict[str, Any], status: int, kind: str
) -> None:
    """Key, model, body, and nobody to serve: the error, its type, and the request's id."""
    gateway.route(overflow={"on_cold_start": "Hold", "hold_timeout_seconds": 0.05})

    answer = await send(gateway, "POST", "/v1/messages", document, x_request_id="mine-1", **headers)

    assert answer.status == status
    assert set(answer.json) == {"type", "error", "request_id"}
    assert (answer.json["type"], answer.json["error"]["type"]) == ("error", kind)
    assert answer.json["request_id"] == answer.headers["x-request-id"] == "mine-1"


async def test_what_no_hosted_api_can_take_is_refused_by_name(gateway: GatewayUnderTest) -> None:
    """An Anthropic request that can't be told in OpenAI's words, for a model without replicas."""
    async with backend(answers()) as api:
        gateway.route(local=None, hosted=[api.hosted()], overflow={"on_cold_start": "Hosted"})
        document = {"model": "tiny", "messages": MESSAGES, "max_tokens": 5, "mcp_servers": [{"url": "x"}]}

        answer = await send(gateway, "POST", "/v1/messages", document)

    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")
    assert "MCP servers" in answer.json["error"]["message"]
    assert api.requests == []


@pytest.mark.parametrize("field", ["api_base", "base_url", "api_key"])
async def test_no_body_says_where_a_request_goes(gateway: GatewayUnderTest, field: str) -> None:
    """Addresses and keys come from the ModelRoute: a body that names one is refused, whoever would serve it."""
    async with backend(answers()) as api, backend(answers()) as engine:
        gateway.route(hosted=[api.hosted()])
        gateway.endpoints(engine.fact())

        answer = await gateway.post(**{field: "http://169.254.169.254/"})

    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "forbidden_field", field)
    assert (api.requests, engine.requests) == ([], [])


async def test_nesting_has_an_end(gateway: GatewayUnderTest) -> None:
    """A body nested deeper than any request is refused before anything recurses into it."""
    gateway.route()
    body = b'{"model":"tiny","messages":' + b"[" * 5000 + b"]" * 5000 + b"}"

    answer = await send(gateway, "POST", "/v1/chat/completions", body=body)

    assert (answer.status, answer.error["code"]) == (400, "invalid_json")


async def test_the_list_of_models_in_both_shapes(gateway: GatewayUnderTest) -> None:
    """OpenAI's, or Anthropic's for clients that say which version of its API they speak; single ones, too."""
    gateway.route("tiny", aliases=["org/tiny"])

    openai = (await send(gateway, "GET", "/v1/models")).json
    anthropic = (await send(gateway, "GET", "/v1/models", anthropic_version="2023-06-01", x_api_key=KEY)).json
    one = (await send(gateway, "GET", "/v1/models/org%2Ftiny")).json
    other = (await send(gateway, "GET", "/v1/models/org%2Ftiny", anthropic_version="2023-06-01")).json

    assert (openai["object"], [model["id"] for model in openai["data"]]) == ("list", ["org/tiny", "tiny"])
    assert openai["data"][0] == one
    assert [model["id"] for model in anthropic["data"]] == ["org/tiny", "tiny"]
    assert (anthropic["has_more"], anthropic["first_id"], anthropic["last_id"]) == (False, "org/tiny", "tiny")
    assert anthropic["data"][0] == other
    assert (other["type"], other["display_name"]) == ("model", "org/tiny")
    assert other["created_at"].endswith("Z")


async def test_large_bodies_pass_untouched(gateway: GatewayUnderTest) -> None:
    """A picture of half a megabyte arrives as it was sent."""
    url = "data:image/png;base64," + "QUJD" * 150_000
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    document = {"messages": [{"role": "user", "content": content}], "model": "tiny"}

    async def script(received: Received, wire: Wire) -> None:
        assert received.json == document
        await answers()(received, wire)

    async with backend(script) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        assert (await send(gateway, "POST", "/v1/chat/completions", document)).status == 200

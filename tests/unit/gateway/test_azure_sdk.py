"""The openai SDK's client for Azure: its paths, its header, and what becomes of two keys."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from overspill_gateway.core.dialects.azure import plain_target
from unit.gateway.backends import Backend, answers, backend, streams
from unit.gateway.harness import KEY, MESSAGES, Answer, GatewayUnderTest, soon

HELLO: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hello"}]

OTHER_KEY = "osk-otherother12-" + "T" * 40


@contextlib.asynccontextmanager
async def azure(gateway: GatewayUnderTest, **options: Any) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    """A client of the SDK that tries once."""
    given = {"azure_endpoint": f"http://127.0.0.1:{gateway.port}", "api_version": "2024-10-21", "api_key": KEY}
    async with openai.AsyncAzureOpenAI(**(given | options), max_retries=0) as client:
        yield client


@pytest.fixture
async def engine(gateway: GatewayUnderTest) -> AsyncIterator[Backend]:
    """A replica of route tiny."""
    async with backend(answers("hello")) as made:
        gateway.route()
        gateway.endpoints(made.fact())
        yield made


async def test_a_chat_goes_to_the_deployment_that_the_path_names(gateway: GatewayUnderTest, engine: Backend) -> None:
    """The engine sees OpenAI's path without Azure's version, its own model, and no key."""
    async with azure(gateway) as client:
        answer = await client.chat.completions.create(model="tiny", messages=HELLO)

    assert answer.choices[0].message.content == "hello"
    assert engine.requests[0].line == "POST /v1/chat/completions HTTP/1.1"
    assert engine.requests[0].json["model"] == "tiny"
    assert "api-key" not in engine.requests[0].headers


async def test_a_client_of_one_deployment_may_call_its_model_what_it_likes(
    gateway: GatewayUnderTest, engine: Backend
) -> None:
    """As at Azure the path decides; streams and Entra's tokens (Authorization) work as well."""
    engine.script = streams(3)
    async with azure(gateway, azure_deployment="tiny", api_key=None, azure_ad_token=KEY) as client:
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    assert text
    assert engine.requests[0].json["model"] == "tiny"


async def test_models_and_the_newer_paths(gateway: GatewayUnderTest, engine: Backend) -> None:
    """/openai/models, and /openai/v1 as the plain client of the SDK uses it."""
    async with azure(gateway) as client:
        assert [model.id async for model in client.models.list()] == ["tiny"]
    url = f"http://127.0.0.1:{gateway.port}/openai/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as plain:
        await plain.chat.completions.create(model="tiny", messages=HELLO)
    assert engine.requests[0].line == "POST /v1/chat/completions HTTP/1.1"


async def post(gateway: GatewayUnderTest, path: str, body: bytes, **headers: str) -> Answer:
    """One request by hand."""
    client = await gateway.client()
    client.send("POST", path, body, content_type="application/json", **headers)
    answer: Answer = await soon(client.answer())
    return answer


async def test_a_body_needs_no_model_and_stays_the_same_on_a_kept_connection(
    gateway: GatewayUnderTest, engine: Backend
) -> None:
    """What curl's users of Azure send; a head that is remembered keeps what its path named."""
    client = await gateway.client()
    for _ in range(2):
        body = json.dumps({"messages": MESSAGES}).encode()
        client.send("POST", "/openai/deployments/tiny/chat/completions?api-version=1", body, api_key=KEY)
        assert (await soon(client.answer())).status == 200

    assert [received.json["model"] for received in engine.requests] == ["tiny", "tiny"]


async def test_a_body_that_is_none_is_told(gateway: GatewayUnderTest, engine: Backend) -> None:
    """Naming the model in the path excuses nothing else."""
    path = "/openai/deployments/tiny/chat/completions"
    statuses = [
        (await post(gateway, path, body, api_key=KEY)).status
        for body in (b"", b"[]", b"{", b'{"messages": [], "messages": []}', b'"x"')
    ]

    assert statuses == [400] * 5
    assert not engine.requests


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}", "api_key": OTHER_KEY},
        {"authorization": f"Bearer {OTHER_KEY}", "api_key": KEY},
        {"x_api_key": KEY, "api_key": OTHER_KEY},
        {"authorization": f"Basic {KEY}", "x_api_key": KEY},
    ],
)
async def test_different_keys_are_refused(gateway: GatewayUnderTest, engine: Backend, headers: dict[str, str]) -> None:
    """Nobody guesses whose request it is, and the answer says why."""
    body = json.dumps({"model": "tiny", "messages": MESSAGES}).encode()

    answer = await post(gateway, "/v1/chat/completions", body, **headers)

    assert (answer.status, answer.error["code"]) == (401, "conflicting_api_keys")
    assert not engine.requests


async def test_the_same_key_twice_is_one_key(gateway: GatewayUnderTest, engine: Backend) -> None:
    """Proxies copy a key from one field to another."""
    body = json.dumps({"model": "tiny", "messages": MESSAGES}).encode()

    answer = await post(gateway, "/v1/chat/completions", body, authorization=f"bearer  {KEY}", api_key=KEY)

    assert answer.status == 200
    assert not {"api-key", "authorization"} & set(engine.requests[0].headers)


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/openai/deployments/a/chat/completions", ("/v1/chat/completions", "a")),
        ("/openai/deployments/org%2Fname/completions", ("/v1/completions", "org/name")),
        ("/openai/deployments/org/name/embeddings", ("/v1/embeddings", "org/name")),
        ("/openai/deployments/a/audio/transcriptions", ("/v1/audio/transcriptions", "a")),
        ("/openai/responses", ("/v1/responses", "")),
        ("/openai/v1/models/a", ("/v1/models/a", "")),
        ("/openai/deployments", None),
        ("/openai/deployments/a/metrics", None),
        ("/openai/deployments//completions", None),
    ],
)
def test_paths(path: str, plain: tuple[str, str] | None) -> None:
    """A deployment may have slashes; only what generates is there, so that nothing else gets a way around."""
    found = plain_target(path.encode(), b"?api-version=1&x=%20y")

    assert (None if found is None else (found[0].decode(), found[2])) == plain
    assert found is None or found[1] == b"?x=+y"

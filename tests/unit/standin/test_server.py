"""The stand-in answers as the real servers that it plays, and does what a test tells it."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from standin.server import Standin
from standin.settings import Settings, read_settings

CHAT = {"model": "a", "messages": [{"role": "user", "content": "two words"}]}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running stand-in that knows the models a and b."""
    settings = Settings(name="me", models=("a", "b"), host="127.0.0.1", port=0, tokens=3)
    server = await Standin(settings).start()
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.close()
    await server.wait_closed()


def test_command_line_of_vllm_is_understood() -> None:
    """Model, served names and port are read; other options of vLLM do not matter."""
    line = "serve /models/x --served-model-name a b --enforce-eager --port=9000 --max-model-len 2048"

    settings = read_settings(line.split(), {"STANDIN_ANSWER_DELAY_MS": "50"})

    assert settings == replace(Settings(), models=("a", "b"), port=9000, answer_delay_seconds=0.05)


def test_bad_number_is_named() -> None:
    """A variable that is not a number is named in the error."""
    with pytest.raises(ValueError, match="STANDIN_TOKENS='many' is not a number"):
        read_settings(["serve", "m"], {"STANDIN_TOKENS": "many"})


async def test_plain_answer_has_text_and_usage(client: httpx.AsyncClient) -> None:
    """A chat answer says who served and counts its tokens."""
    answer = (await client.post("/v1/chat/completions", json=CHAT)).json()

    assert answer["choices"][0]["message"]["content"] == "me 1 2 "
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


async def test_stream_has_an_event_per_token_usage_and_done(client: httpx.AsyncClient) -> None:
    """A stream with include_usage: tokens, then usage with no choice, then [DONE]."""
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}

    text = (await client.post("/v1/chat/completions", json=body)).text

    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert len(events) == 5
    assert json.loads(events[0])["choices"][0]["delta"]["content"] == "me "
    assert json.loads(events[3])["usage"]["completion_tokens"] == 3
    assert events[4] == "[DONE]"


async def test_unknown_model_is_refused(client: httpx.AsyncClient) -> None:
    """A model that it does not serve gets 404 in vLLM's shape."""
    answer = await client.post("/v1/completions", json={"model": "c", "prompt": "x"})

    assert answer.status_code == 404
    assert "`c` does not exist" in answer.json()["error"]["message"]


async def test_told_to_fail_it_fails_so_many_times(client: httpx.AsyncClient) -> None:
    """The next requests fail as told, the one after them does not; all are on record."""
    await client.post("/standin", json={"fail": {"status": 503, "count": 2}})

    statuses = [(await client.post("/v1/chat/completions", json=CHAT)).status_code for _ in range(3)]

    assert statuses == [503, 503, 200]
    record: dict[str, Any] = (await client.get("/standin")).json()
    assert [request["model"] for request in record["requests"]] == ["a", "a", "a"]


async def test_told_to_reset_it_closes_without_an_answer(client: httpx.AsyncClient) -> None:
    """A reset connection is an error for the client, not an answer."""
    await client.post("/standin", json={"reset": 1})

    with pytest.raises(httpx.TransportError):
        await client.post("/v1/chat/completions", json=CHAT)


async def test_metrics_have_the_names_of_vllm(client: httpx.AsyncClient) -> None:
    """The gauges that scaling reads are there under vLLM's names."""
    text = (await client.get("/metrics")).text

    assert 'vllm:num_requests_waiting{engine="0",model_name="a"} 0.0' in text
    assert 'vllm:num_requests_running{engine="0",model_name="a"} 0.0' in text

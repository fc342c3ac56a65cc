"""The stand-in behaves like vLLM and like a hosted API where clients and gateways look."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import openai
import pytest

from standin.server import Standin
from standin.settings import Settings

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Say something nice."}]}


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[tuple[Standin, httpx.AsyncClient]]:
    """A stand-in in this event loop, and a client for it."""
    given = {"models": ("tiny", "small"), "host": "127.0.0.1", "port": 0, "drain_ms": 2000, **settings}
    standin = Standin(Settings(**given))  # type: ignore[arg-type]
    await standin.start()
    try:
        async with httpx.AsyncClient(base_url=standin.url, timeout=10, trust_env=False) as client:
            yield standin, client
    finally:
        await standin.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until something holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  -- any condition, not one event
            await asyncio.sleep(0)


def events(text: str) -> list[dict[str, object]]:
    """The JSON events of a stream that ended well."""
    parts = text.strip().split("\n\n")
    assert parts[-1] == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-1]]


async def test_chat_answer_has_the_field_s_shape_and_says_who_gave_it() -> None:
    """A plain chat answer carries the name, usage that adds up, and why it ended."""
    async with running(name="east", tokens=5) as (_, client):
        response = await client.post("/v1/chat/completions", json=CHAT)
    answer = response.json()
    assert response.headers["x-standin-name"] == "east"
    assert float(response.headers["x-standin-listening-unix"]) > 0
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"].startswith("east ")
    assert answer["choices"][0]["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5


async def test_usage_grows_with_the_text() -> None:
    """A prompt four times as long counts four times the tokens; max_tokens cuts the answer and says so."""
    async with running() as (_, client):
        short, long = [
            (await client.post("/v1/completions", json={"model": "tiny", "prompt": "abcd" * n, "max_tokens": 3})).json()
            for n in (10, 40)
        ]
    assert (short["usage"]["prompt_tokens"], long["usage"]["prompt_tokens"]) == (10, 40)
    assert long["usage"]["completion_tokens"] == 3
    assert long["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_stream_gives_the_same_text_then_usage_then_done(path: str) -> None:
    """Streamed pieces join to the plain answer; with include_usage the last event has usage and no choices."""
    body = {**CHAT, "prompt": "Say something nice."}
    async with running() as (_, client):
        plain = (await client.post(path, json=body)).json()
        options = {"stream": True, "stream_options": {"include_usage": True}}
        streamed = events((await client.post(path, json={**body, **options})).text)
    choices = [event["choices"][0] for event in streamed[:-1]]  # type: ignore[index]
    if "chat" in path:
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(c["delta"]["content"] for c in choices) == plain["choices"][0]["message"]["content"]
    else:
        assert "".join(c["text"] for c in choices) == plain["choices"][0]["text"]
    assert [c["finish_reason"] for c in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] == "stop"
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"] == plain["usage"]


async def test_openai_sdk_understands_it() -> None:
    """The SDK reads models, chat, streams and embeddings."""
    async with running(role="hosted", models=(), api_key="sk-test") as (standin, _):
        client = openai.AsyncOpenAI(base_url=standin.url + "/v1", api_key="sk-test", max_retries=0)
        async with client:
            chat = await client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "hi"}])
            stream = await client.completions.create(model="gpt-x", prompt="hi", stream=True)
            pieces = [event.choices[0].text async for event in stream]
            vectors = await client.embeddings.create(model="gpt-x", input=["a", "b"], dimensions=4)
            assert [model.id async for model in client.models.list()] == []
    assert chat.choices[0].message.content
    assert chat.usage is not None
    assert chat.usage.total_tokens > 0
    assert len(pieces) == 16
    assert [len(item.embedding) for item in vectors.data] == [4, 4]
    assert vectors.data[0].embedding != vectors.data[1].embedding


async def test_engine_refuses_in_vllm_s_shape() -> None:
    """Unknown model, bad JSON, missing field, too long: status and body as vLLM 0.32 gives them."""
    async with running(context_tokens=2048) as (_, client):
        unknown = await client.post("/v1/chat/completions", json={**CHAT, "model": "nope"})
        broken = await client.post("/v1/chat/completions", content=b'{"model":')
        missing = await client.post("/v1/chat/completions", json={"model": "tiny"})
        long = await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 99999})
    assert unknown.status_code == 404
    message = "The model `nope` does not exist. Valid aliases: tiny, small."
    assert unknown.json() == {"error": {"message": message, "type": "NotFoundError", "param": "model", "code": 404}}
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, 400)
    assert missing.json()["error"]["param"] == "body.messages"
    assert (long.status_code, long.json()["error"]["param"]) == (400, "max_tokens")


async def test_hosted_refuses_a_wrong_key_in_openai_s_shape() -> None:
    """No key and a wrong key get 401; the SDK sees an AuthenticationError; health needs no key."""
    async with running(role="hosted", api_key="sk-right") as (standin, client):
        async with openai.AsyncOpenAI(base_url=standin.url + "/v1", api_key="sk-wrong", max_retries=0) as sdk:
            with pytest.raises(openai.AuthenticationError) as caught:
                await sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}])
        without = await client.post("/v1/chat/completions", json=CHAT)
        with_it = await client.post("/v1/chat/completions", json=CHAT, headers={"authorization": "Bearer sk-right"})
        health = await client.get("/health")
    assert caught.value.code == "invalid_api_key"
    assert without.json()["error"]["type"] == "invalid_request_error"
    assert (without.status_code, with_it.status_code, health.status_code) == (401, 200, 200)


async def test_engine_refuses_a_wrong_key_as_vllm_does() -> None:
    """Given --api-key, vLLM answers 401 with a bare word."""
    async with running(api_key="sk-right") as (_, client):
        response = await client.get("/v1/models")
    assert (response.status_code, response.json()) == (401, {"error": "Unauthorized"})


async def test_models_and_tokenize() -> None:
    """Every served name is listed, the root being what was loaded; /tokenize counts as usage does."""
    async with running(root="/models/tiny") as (_, client):
        models = (await client.get("/v1/models")).json()["data"]
        tokens = (await client.post("/tokenize", json=CHAT)).json()
        usage = (await client.post("/v1/chat/completions", json=CHAT)).json()["usage"]
    assert [model["id"] for model in models] == ["tiny", "small"]
    assert {model["root"] for model in models} == {"/models/tiny"}
    assert tokens["count"] == len(tokens["tokens"]) == usage["prompt_tokens"]


async def test_more_than_the_limit_wait_and_the_gauges_say_so() -> None:
    """With two slots and five requests, two run and three wait; all are answered in the end, never three at once."""
    async with running(concurrency=2, answer_delay_ms=20) as (standin, client):
        asking = [asyncio.create_task(client.post("/v1/chat/completions", json=CHAT)) for _ in range(5)]
        metrics = standin.service.metrics
        await until(lambda: (metrics.running, metrics.waiting) == (2, 3))
        text = (await client.get("/metrics")).text
        most = 0
        while not all(task.done() for task in asking):
            most = max(most, metrics.running)
            await asyncio.sleep(0)
    assert 'vllm:num_requests_running{engine="0",model_name="tiny"} 2.0' in text
    assert 'vllm:num_requests_waiting{engine="0",model_name="tiny"} 3.0' in text
    assert 'vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 1.0' in text
    assert most == 2
    assert [task.result().status_code for task in asking] == [200] * 5
    assert (metrics.running, metrics.waiting) == (0, 0)


async def test_metrics_add_up_to_the_answers_usage() -> None:
    """Token counters and the histogram's count are what the answers said."""
    async with running() as (_, client):
        usages = [(await client.post("/v1/chat/completions", json=CHAT)).json()["usage"] for _ in range(3)]
        text = (await client.get("/metrics")).text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    labels = '{engine="0",model_name="tiny"}'
    assert float(values[f"vllm:prompt_tokens_total{labels}"]) == sum(u["prompt_tokens"] for u in usages)
    assert float(values[f"vllm:generation_tokens_total{labels}"]) == sum(u["completion_tokens"] for u in usages)
    assert float(values[f"vllm:time_to_first_token_seconds_count{labels}"]) == 3
    last = 'vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="tiny"}'
    assert float(values[last]) == 3


async def test_record_of_what_was_asked() -> None:
    """Model in the body, whether a credential came, how many: and nothing of the credential itself."""
    async with running() as (_, client):
        await client.post("/v1/chat/completions", json=CHAT, headers={"authorization": "Bearer sk-secret"})
        await client.post("/v1/completions", json={"model": "small", "prompt": "x", "stream": True})
        text = (await client.get("/standin/requests")).text
        after = (await client.post("/standin/reset")).json()
    record = json.loads(text)
    assert record["count"] == 2
    seen = [(r["path"], r["model"], r["authorization"], r["stream"]) for r in record["requests"]]
    assert seen == [("/v1/chat/completions", "tiny", True, False), ("/v1/completions", "small", False, True)]
    assert "sk-secret" not in text
    assert (after["count"], after["requests"]) == (0, [])


async def test_fails_as_often_as_told() -> None:
    """The next two requests get the status; the third is answered."""
    async with running(role="hosted") as (_, client):
        await client.post("/standin/fail", json={"count": 2, "status": 429, "retry_after": "7"})
        got = [await client.post("/v1/chat/completions", json=CHAT) for _ in range(3)]
    assert [response.status_code for response in got] == [429, 429, 200]
    assert got[0].headers["retry-after"] == "7"
    assert "error" in got[0].json()


async def test_resets_and_cuts_as_told() -> None:
    """`reset`: the client has nothing. `cut`: it has some tokens, no [DONE], and a broken stream."""
    async with running() as (_, client):
        await client.post("/standin/fail", json={"kind": "reset"})
        with pytest.raises(httpx.ReadError):
            await client.post("/v1/chat/completions", json=CHAT)
        await client.post("/standin/fail", json={"kind": "cut", "after_tokens": 3})
        got = b""
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012
            async with client.stream("POST", "/v1/completions", json={**CHAT, "prompt": "x", "stream": True}) as r:
                async for piece in r.aiter_bytes():
                    got += piece
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
    assert got.count(b"data: ") == 3
    assert b"[DONE]" not in got


async def test_unknown_orders_are_refused() -> None:
    """A misspelt order fails the test that gave it, instead of doing nothing."""
    async with running() as (_, client):
        kind = await client.post("/standin/fail", json={"kind": "explode"})
        field = await client.post("/standin/fail", json={"times": 3})
        behave = await client.post("/standin/behave", json={"port": 1})
        path = await client.post("/standin/fial")
    assert [r.status_code for r in (kind, field, behave, path)] == [400, 400, 400, 404]


async def test_behaviour_can_change_while_it_runs() -> None:
    """A test makes it slower, narrower or more talkative without a restart; those who wait get in at once."""
    async with running(concurrency=1, answer_delay_ms=60_000) as (standin, client):
        first = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await until(lambda: standin.service.metrics.running == 1)
        second = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await until(lambda: standin.service.metrics.waiting == 1)
        await client.post("/standin/behave", json={"concurrency": 0, "answer_delay_ms": 0, "tokens": 2})
        assert (await second).status_code == 200
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_client_that_goes_away_frees_its_slot() -> None:
    """Running and waiting requests end with their connection, and are counted as cancelled."""
    async with running(concurrency=1, answer_delay_ms=60_000) as (standin, client):
        metrics = standin.service.metrics
        first = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await until(lambda: metrics.running == 1)
        second = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await until(lambda: metrics.waiting == 1)
        for task in (second, first):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await until(lambda: (metrics.running, metrics.waiting) == (0, 0))
        record = (await client.get("/standin/requests")).json()
    assert record["cancelled"] == 2


async def test_stop_finishes_what_runs_and_takes_nothing_new() -> None:
    """On stop an answer on its way arrives whole; a new connection is refused."""
    async with running(answer_delay_ms=50) as (standin, client):
        standin_url = standin.url
        asked = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await until(lambda: standin.service.metrics.running == 1)
        stopping = asyncio.create_task(standin.stop())
        await asyncio.sleep(0)
        async with httpx.AsyncClient(trust_env=False) as other:
            with pytest.raises(httpx.ConnectError):
                await other.get(standin_url + "/health")
        response = await asked
        await stopping
    assert response.status_code == 200
    assert response.headers["connection"] == "close"


async def test_listening_on_all_addresses_of_ipv6_takes_ipv4_too() -> None:
    """As vLLM with --host=:: does; clusters of either family start engines alike."""
    async with running(host="::") as (standin, client):
        assert (await client.get(f"http://127.0.0.1:{standin.port}/health")).status_code == 200

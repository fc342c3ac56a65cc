"""Tokens: what the gateway tells and counts is what vLLM counts."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from real_engine.processes import Engine, wait_until
from real_engine.world import INPUT_NANO_USD, KEY, OUTPUT_NANO_USD, World

pytestmark = pytest.mark.timeout(180)
MESSAGES: Any = [{"role": "user", "content": "Tell me of the sea"}]


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}], ids=["silent", "declined"])
def test_a_stream_has_no_usage_that_nobody_asked_for(client: openai.OpenAI, model: str, options: Any) -> None:
    """vLLM is always asked for usage, and the client does not see it."""
    chunks = list(
        client.chat.completions.create(
            model=model, messages=MESSAGES, max_tokens=8, temperature=0, stream=True, **options
        )
    )

    assert [chunk for chunk in chunks if chunk.usage is not None] == []
    assert [chunk for chunk in chunks if not chunk.choices] == []
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_stream_has_the_usage_that_was_asked_for_once(client: openai.OpenAI, model: str) -> None:
    """Exactly one chunk, the last one, has it."""
    stream = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=8, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    *before, last = list(stream)

    assert [chunk for chunk in before if chunk.usage is not None] == []
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 8


def test_the_gateway_counts_what_vllm_counts(world: World, engine: Engine, model: str, client: openai.OpenAI) -> None:
    """Over every endpoint, plain and streamed, with and without usage for the client."""

    def of_vllm() -> tuple[float, float]:
        return engine.metric("vllm:prompt_tokens_total"), engine.metric("vllm:generation_tokens_total")

    def of_gateway() -> tuple[float, float]:
        both = {"route": f"ns/{model}", "backend": "local"}
        count = world.gateway.metric
        return (
            count("overspill_tokens_total", token_type="input", **both),
            count("overspill_tokens_total", token_type="output", **both),
        )

    wait_until("the engine is idle", lambda: engine.running == 0, 5)
    before, before_gateway = of_vllm(), of_gateway()
    answers = 0
    for stream in (False, True):
        for path, fields in (
            ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 11}),
            ("/v1/completions", {"prompt": "the sea", "max_tokens": 7}),
            ("/v1/responses", {"input": "the sea", "max_output_tokens": 5}),
            ("/v1/messages", {"messages": MESSAGES, "max_tokens": 3}),
        ):
            body = {"model": model, "stream": stream, **fields}
            answer = httpx.post(
                world.gateway.url + path, json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=20
            )
            assert answer.status_code == 200, answer.text
            answers += 1
    chats = [client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=20) for _ in range(3)]
    usages = [chat.usage for chat in chats if chat.usage is not None]

    def difference(now: tuple[float, float], then: tuple[float, float]) -> tuple[float, float]:
        return now[0] - then[0], now[1] - then[1]

    assert answers == 8
    assert len(usages) == 3
    counted = difference(of_vllm(), before)
    assert counted[1] > sum(usage.completion_tokens for usage in usages)
    wait_until("the gateway has counted as much", lambda: difference(of_gateway(), before_gateway) == counted, 3)


def test_a_hosted_api_is_charged_what_vllm_counts(world: World, engine: Engine) -> None:
    """With vLLM as the hosted API: plain, streamed and translated calls cost their tokens' price, exactly."""
    model = world.hosted_route("charged", engine, budget={"limit_nano_usd": 10**12})
    wait_until("the engine is idle", lambda: engine.running == 0, 5)
    names = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
    before = [engine.metric(name) for name in names]
    for path in ("/v1/chat/completions", "/v1/messages"):
        for stream in (False, True):
            body = {"model": model, "messages": MESSAGES, "max_tokens": 17, "stream": stream}
            answer = httpx.post(
                world.gateway.url + path, json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=20
            )
            assert answer.status_code == 200, answer.text
    prompt, output = [engine.metric(name) - then for name, then in zip(names, before, strict=True)]

    assert prompt > 0
    assert output > 0
    owed = prompt * INPUT_NANO_USD + output * OUTPUT_NANO_USD
    wait_until(
        f"{owed} nano-dollars are charged",
        lambda: world.gateway.metric("overspill_cost_nano_usd_total", route=f"ns/{model}") == owed,
        3,
    )

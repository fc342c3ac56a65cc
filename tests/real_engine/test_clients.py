"""The clients that people use, through the gateway to vLLM: SDKs, LiteLLM, vLLM's own benchmark."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from real_engine.environments import LITELLM, VLLM, made
from real_engine.processes import Engine
from real_engine.world import KEY, World

pytestmark = pytest.mark.timeout(180)
# At temperature 0 the tiny model never ends its answer by itself: each has as many tokens as it may have.
GREEDY = {"temperature": 0}
MESSAGES: Any = [{"role": "user", "content": "Tell me of the sea"}]


@pytest.fixture
def claude(world: World) -> anthropic.Anthropic:
    """The anthropic SDK; it sends its key as x-api-key."""
    return anthropic.Anthropic(base_url=world.gateway.url, api_key=KEY, max_retries=0, timeout=30)


def test_openai_chats(client: openai.OpenAI, model: str) -> None:
    """Plain and streamed."""
    chat = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=9, temperature=0)
    streamed = list(
        client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=9, temperature=0, stream=True)
    )

    assert chat.choices[0].message.content
    assert chat.usage is not None
    assert chat.usage.completion_tokens == 9
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert streamed[-1].choices[0].finish_reason == "length"


def test_openai_completes(client: openai.OpenAI, model: str) -> None:
    """The older endpoint, several answers at a time, log probabilities."""
    answer = client.completions.create(model=model, prompt=["the sea", "the sun"], n=2, max_tokens=4, logprobs=1)

    assert len(answer.choices) == 4
    assert all(choice.text and choice.logprobs for choice in answer.choices)


def test_openai_responds(client: openai.OpenAI, model: str) -> None:
    """The Responses API, plain and streamed."""
    answer = client.responses.create(model=model, input="Tell me of the sea", max_output_tokens=9, temperature=0)
    events = list(
        client.responses.create(model=model, input="the sea", max_output_tokens=9, temperature=0, stream=True)
    )

    assert answer.output_text
    assert answer.usage is not None
    assert answer.usage.output_tokens == 9
    assert events[0].type == "response.created"
    assert events[-1].type in {"response.completed", "response.incomplete"}
    assert [event for event in events if event.type == "response.output_text.delta"]


def test_openai_lists_models(client: openai.OpenAI, model: str) -> None:
    """The routes that the key may call."""
    assert model in [one.id for one in client.models.list()]


def test_what_the_engine_can_not_do_is_said_by_the_engine(client: openai.OpenAI, model: str) -> None:
    """A model that only generates has no embeddings; a request that is too long is told by vLLM how long it may be."""
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=model, input="x")
    with pytest.raises(openai.BadRequestError, match="8192"):
        client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=99_999)


def test_anthropic_talks(claude: anthropic.Anthropic, model: str) -> None:
    """Messages, plain and streamed, and the count of tokens."""
    message = claude.messages.create(model=model, messages=MESSAGES, max_tokens=9, extra_body=GREEDY)
    with claude.messages.stream(model=model, messages=MESSAGES, max_tokens=9, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    count = claude.messages.count_tokens(model=model, messages=MESSAGES)

    assert message.content[0].type == "text"
    assert message.usage.output_tokens == 9
    assert text
    assert final.stop_reason == "max_tokens"
    assert final.usage.output_tokens == 9
    assert count.input_tokens == message.usage.input_tokens


def test_anthropic_talks_to_an_openai_api(world: World, engine: Engine, claude: anthropic.Anthropic) -> None:
    """With vLLM as a hosted API that knows chat completions only as far as the gateway is concerned: translated."""
    model = world.hosted_route("translated", engine)
    message = claude.messages.create(model=model, messages=MESSAGES, max_tokens=9, extra_body=GREEDY)
    with claude.messages.stream(model=model, messages=MESSAGES, max_tokens=9, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert message.content[0].type == "text"
    assert message.content[0].text == text
    assert message.usage.output_tokens == final.usage.output_tokens == 9
    assert message.stop_reason == final.stop_reason == "max_tokens"


def test_anthropic_is_told_in_its_own_words(world: World, claude: anthropic.Anthropic, model: str) -> None:
    """Errors of the gateway have Anthropic's shape there: the SDK raises its own kinds."""
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nope", messages=MESSAGES, max_tokens=9)
    stranger = anthropic.Anthropic(base_url=world.gateway.url, api_key="sk-wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model=model, messages=MESSAGES, max_tokens=9)


def test_vllms_own_endpoints(world: World, model: str) -> None:
    """/tokenize and /detokenize reach the replica; what steers the engine does not."""
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=world.gateway.url, headers=headers, timeout=20) as http:
        tokens = http.post("/tokenize", json={"model": model, "prompt": "the sea"})
        text = http.post("/detokenize", json={"model": model, "tokens": tokens.json()["tokens"]})
        steering = [http.post(path, json={"model": model}) for path in ("/reset_prefix_cache", "/sleep", "/pause")]
        looking = [http.get(path) for path in ("/metrics", "/health", "/load", "/server_info", "/openapi.json")]

    assert tokens.json()["count"] == len(tokens.json()["tokens"]) > 0
    assert text.json()["prompt"] == "the sea"
    assert [answer.status_code for answer in (*steering, *looking)] == [404] * 8


def test_litellm_as_a_client(world: World, model: str) -> None:
    """LiteLLM's SDK: a chat, a stream with usage, a text completion, an error of its own kind."""
    script = Path(__file__).with_name("litellm_client.py")
    python = made(LITELLM) / "bin" / "python"
    done = subprocess.run(
        [str(python), str(script), f"{world.gateway.url}/v1", KEY, model],
        # Without the variable LiteLLM fetches its list of prices from the network when it is imported.
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])

    assert said["chat_tokens"] == 9
    assert said["streamed"]
    assert said["streamed_tokens"] == [9]
    assert said["text_tokens"] == 4
    assert "This key may call" in said["error"]


@pytest.mark.parametrize(
    ("backend", "path"),
    [("openai-chat", "/v1/chat/completions"), ("vllm", "/v1/completions")],
    ids=["chat", "completions"],
)
def test_vllms_benchmark_runs_through(world: World, model: str, backend: str, path: str, tmp_path: Path) -> None:
    """`vllm bench serve` finishes without a failure, with all the tokens that it asked for."""
    environment = made(VLLM)
    done = subprocess.run(
        [
            str(environment / "bin" / "vllm"), "bench", "serve", f"--backend={backend}", f"--endpoint={path}",
            f"--base-url={world.gateway.url}", f"--model={model}", f"--tokenizer={world.model}",
            "--dataset-name=random", "--random-input-len=64", "--random-output-len=32", "--ignore-eos",
            "--num-prompts=100", "--max-concurrency=16", "--disable-tqdm",
            "--save-result", f"--result-dir={tmp_path}", "--result-filename=result.json",
        ],
        env={**os.environ, "OPENAI_API_KEY": KEY, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    result = json.loads((tmp_path / "result.json").read_text())

    assert (result["completed"], result["failed"]) == (100, 0)
    assert result["total_output_tokens"] == 3200

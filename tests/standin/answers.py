"""Bodies in the shapes of OpenAI's API and of vLLM: answers, stream events, errors, metrics. Pure.

The shapes were taken from a real vLLM 0.32.0.
"""

import json
from collections.abc import Iterator
from typing import Any

CHAT, COMPLETION, EMBEDDINGS, TOKENIZE = "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize"

Json = dict[str, Any]


def words_of(request: Json) -> list[str]:
    """The prompt's words: one token each."""
    if "messages" in request:
        return " ".join(str(message.get("content", "")) for message in request["messages"]).split()
    prompt = request.get("prompt", request.get("input", ""))
    return " ".join(map(str, prompt)).split() if isinstance(prompt, list) else str(prompt).split()


def answer_words(name: str, count: int) -> list[str]:
    """The answer's tokens: who answers, then numbers."""
    return [f"{name} ", *(f"{number} " for number in range(1, count))][:count]


def usage(request: Json, output_tokens: int) -> Json:
    """Token counts of one request."""
    prompt_tokens = len(words_of(request))
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt_tokens + output_tokens,
    }


def plain(path: str, request: Json, words: list[str], identity: str, created: int) -> Json:
    """A whole answer."""
    text = "".join(words)
    choice: Json = {"index": 0, "finish_reason": "length"}
    if path == CHAT:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    kind = "chat.completion" if path == CHAT else "text_completion"
    return {
        "id": identity,
        "object": kind,
        "created": created,
        "model": request.get("model"),
        "choices": [choice],
        "usage": usage(request, len(words)),
    }


def stream(path: str, request: Json, words: list[str], identity: str, created: int) -> Iterator[bytes]:
    """The events of a stream, one per token, with usage at the end where it was asked for, and [DONE]."""
    kind = "chat.completion.chunk" if path == CHAT else "text_completion"
    base = {"id": identity, "object": kind, "created": created, "model": request.get("model")}

    def event(choices: list[Json], **more: Any) -> bytes:
        return b"data: " + json.dumps({**base, "choices": choices, **more}).encode() + b"\n\n"

    for position, word in enumerate(words):
        finish = "length" if position == len(words) - 1 else None
        piece: Json = {"delta": {"content": word}} if path == CHAT else {"text": word}
        if path == CHAT and position == 0:
            piece["delta"]["role"] = "assistant"
        yield event([{"index": 0, **piece, "finish_reason": finish}])
    if (request.get("stream_options") or {}).get("include_usage"):
        yield event([], usage=usage(request, len(words)))
    yield b"data: [DONE]\n\n"


def embeddings(request: Json) -> Json:
    """A vector of four numbers per input, made from its length."""
    inputs = request.get("input", "")
    texts = inputs if isinstance(inputs, list) else [inputs]
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(str(text))), 0.0, 0.5, 1.0]}
        for index, text in enumerate(texts)
    ]
    tokens = len(words_of(request))
    return {
        "object": "list",
        "model": request.get("model"),
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def models(names: tuple[str, ...]) -> Json:
    """The list of models."""
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "vllm"} for name in names]}


def error(status: int, kind: str, message: str, parameter: str | None = None) -> Json:
    """An error in vLLM's shape."""
    return {"error": {"message": message, "type": kind, "param": parameter, "code": status}}


def metrics(model: str, running: int, waiting: int, prompt_tokens: int, output_tokens: int, answered: int) -> str:
    """Prometheus text with vLLM's metric names."""
    labels = f'{{engine="0",model_name="{model}"}}'
    lines = [
        "# TYPE vllm:num_requests_running gauge",
        f"vllm:num_requests_running{labels} {running:.1f}",
        "# TYPE vllm:num_requests_waiting gauge",
        f"vllm:num_requests_waiting{labels} {waiting:.1f}",
        "# TYPE vllm:kv_cache_usage_perc gauge",
        f"vllm:kv_cache_usage_perc{labels} {min(1.0, running / 64):.3f}",
        "# TYPE vllm:prompt_tokens counter",
        f"vllm:prompt_tokens_total{labels} {prompt_tokens:.1f}",
        "# TYPE vllm:generation_tokens counter",
        f"vllm:generation_tokens_total{labels} {output_tokens:.1f}",
        "# TYPE vllm:request_success counter",
        f"vllm:request_success_total{labels} {answered:.1f}",
    ]
    return "\n".join(lines) + "\n"

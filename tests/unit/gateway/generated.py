"""Streams as vLLM 0.32 and hosted APIs write them, event by event, for tests of what reads them."""

from __future__ import annotations

import json
from typing import Any

from overspill_gateway.core.dialects.endpoints import Dialect

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795221245, "model": "tiny"}
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


def data_event(document: Any, name: str = "") -> bytes:
    """One event with a JSON document."""
    line = f"event: {name}\n" if name else ""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return f"{line}data: {text}\n\n".encode()


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """One chunk of a chat completion."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return data_event(HEAD | {"choices": [choice]} | more)


def said(text: str, finish: str | None = None, **more: Any) -> bytes:
    """One chunk with text."""
    return chunk({"content": text}, finish, **more)


ROLE = chunk({"role": "assistant", "content": ""})


def usage_of(prompt: int, output: int, cached: int = 0) -> dict[str, Any]:
    """Token counts as chat completions report them."""
    details = {"cached_tokens": cached}
    total = prompt + output
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": total,
        "prompt_tokens_details": details,
    }


def usage_chunk(prompt: int = 17, output: int = 3, cached: int = 0) -> bytes:
    """The chunk with token counts and nothing else."""
    return data_event(HEAD | {"choices": [], "usage": usage_of(prompt, output, cached)})


def text_chunk(text: str, finish: str | None = None) -> bytes:
    """One chunk of a plain completion."""
    head = HEAD | {"object": "text_completion"}
    return data_event(head | {"choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]})


def response_event(kind: str, number: int, **fields: Any) -> bytes:
    """One event of /v1/responses."""
    return data_event({"type": kind, "sequence_number": number} | fields, kind)


def message_event(kind: str, **fields: Any) -> bytes:
    """One event of /v1/messages."""
    return data_event({"type": kind} | fields, kind)


def message_delta(text: str) -> bytes:
    """One piece of text of /v1/messages."""
    return message_event("content_block_delta", delta={"type": "text_delta", "text": text}, index=0)


RESPONSE_USAGE = {"input_tokens": 17, "output_tokens": 2, "total_tokens": 19}

STREAMS: dict[Dialect, tuple[list[bytes], list[bytes], bytes]] = {
    Dialect.CHAT: ([ROLE, chunk({"content": ""})], [said("Grüß"), said(" dich 👋"), said("", "stop")], DONE),
    Dialect.COMPLETIONS: ([text_chunk("")], [text_chunk("one"), text_chunk(" two", "length")], DONE),
    Dialect.RESPONSES: (
        [
            response_event("response.created", 0, response={"id": "resp_1", "error": None, "usage": None}),
            response_event("response.in_progress", 1, response={"id": "resp_1", "error": None, "usage": None}),
            response_event("response.output_item.added", 2, item={"content": []}),
        ],
        [
            response_event("response.output_text.delta", 3, delta="one"),
            response_event("response.output_text.delta", 4, delta=" two"),
            response_event("response.output_text.done", 5, text="one two"),
        ],
        response_event("response.completed", 6, response={"id": "resp_1", "error": None, "usage": RESPONSE_USAGE}),
    ),
    Dialect.MESSAGES: (
        [
            message_event("message_start", message={"id": "m", "usage": {"input_tokens": 17, "output_tokens": 0}}),
            message_event("ping"),
            message_event("content_block_start", content_block={"type": "text", "text": ""}, index=0),
        ],
        [
            message_delta("one"),
            message_delta(" two"),
            message_event("content_block_stop", index=0),
            message_event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
        ],
        message_event("message_stop"),
    ),
}
"""By dialect: what comes before the first token, the output, and the end."""


def whole_stream(dialect: Dialect) -> bytes:
    """All of a stream."""
    start, output, end = STREAMS[dialect]
    return b"".join([*start, *output, end])

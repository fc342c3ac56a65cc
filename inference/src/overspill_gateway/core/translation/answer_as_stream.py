"""A plain answer as the stream that its client asked for, where a backend did not stream: chat and completions.

The events are those of a backend that had all of it at once: the whole message, why it ended, usage, the end.
"""

from typing import Any, Final

import msgspec

from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.text.json_text import decoded

_DONE: Final = b"data: [DONE]\n\n"
_SHAPED_BY: Final = ("id", "created", "model", "system_fingerprint", "service_tier")


def stream_of_answer(body: bytes, dialect: Dialect, *, include_usage: bool) -> bytes:
    """The events of a good plain answer; empty: the dialect has none that could be made of it."""
    document = decoded(body)
    if dialect not in {Dialect.CHAT, Dialect.COMPLETIONS} or not isinstance(document, dict):
        return b""
    chat = dialect is Dialect.CHAT
    base = {name: document[name] for name in _SHAPED_BY if name in document}
    base["object"] = "chat.completion.chunk" if chat else "text_completion"
    events: list[bytes] = []
    for number, choice in enumerate(document["choices"]):
        pieces = _chat_pieces(choice, number) if chat else [choice]
        events += [_event({**base, "choices": [piece]}) for piece in pieces]
    if include_usage and isinstance(document.get("usage"), dict):
        events.append(_event({**base, "choices": [], "usage": document["usage"]}))
    return b"".join(events) + _DONE


def _chat_pieces(choice: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """The message, and why it ended."""
    message = choice.get("message")
    said = {name: value for name, value in message.items() if value is not None} if isinstance(message, dict) else {}
    if not isinstance(message, dict) and isinstance(choice.get("text"), str):
        said["content"] = choice["text"]
    calls = said.get("tool_calls")
    if isinstance(calls, list):
        said["tool_calls"] = [
            {**call, "index": at} if isinstance(call, dict) else call for at, call in enumerate(calls)
        ]
    index = choice.get("index", number)
    piece = {"index": index, "delta": {"role": "assistant", **said}, "finish_reason": None}
    if choice.get("logprobs") is not None:
        piece["logprobs"] = choice["logprobs"]
    ends = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
    return [piece, ends | ({"stop_reason": choice["stop_reason"]} if choice.get("stop_reason") else {})]


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"

"""What the clients send: one request over and over, or many that differ as those of different users do.

Requests that are alike show a gateway at its best: whatever it remembers of the last one serves the next. Those that
differ have text, length and parameters of their own, are written as different SDKs write them, and each has an
identifier and a trace of its own, which the load command makes new every time it sends one.
"""

import json
import random
from typing import Any, Final

from bench.gateway.peer_settings import MODEL

PROMPT: Final = ("Say in plain words what a gateway in front of language models does, and what it should cost. " * 6)[
    :500
]
DIFFERING: Final = 1000
BODY_BYTES: Final = (300, 3000)
SEED: Final = 20261126
_IDENTIFIER: Final = "x-request-id: 00000000-0000-0000-0000-000000000000"
_TRACE: Final = f"traceparent: 00-{'0' * 32}-{'0' * 16}-01"
_VOCABULARY: Final = """
the a of to and in is that for it as with on be at by this from or an which you we not are have can will about when
gateway model answer request replica token budget cluster latency prompt table query function index error message
customer invoice recipe garden weather translate summarise explain compare rewrite shorter longer polite formal
grüßen café naïve 東京 “quoted” don't e.g. 42 3.14 2026-11-26 foo(bar) user@example.com https://example.com/a?b=c
"""
_WORDS: Final = tuple(_VOCABULARY.split())


def alike(key: str | None, *, stream: bool, model: str = MODEL) -> bytes:
    """A whole request as it goes over the wire."""
    content: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 100}
    if stream:
        content["stream"] = True
    return _request(key, json.dumps(content).encode())


def differing(key: str | None, model: str = MODEL) -> bytes:
    """Whole requests, one after the other: for each key and model the same ones but for these."""
    source = random.Random(SEED)  # not for secrets
    return b"".join(_request(key, _body(source, model), _IDENTIFIER, _TRACE) for _ in range(DIFFERING))


def _request(key: str | None, body: bytes, *more: str) -> bytes:
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: gateway", "accept: */*", "content-type: application/json"]
    if key:
        lines.append(f"authorization: Bearer {key}")
    lines += [*more, f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _body(source: random.Random, model: str) -> bytes:
    """A conversation of about as many bytes as were drawn, its fields in one of the SDKs' orders and spacings."""
    size, spaced = source.randint(*BODY_BYTES), source.random() < 0.3
    order = source.choice((("model", "messages"), ("messages", "model")))
    parameters = _parameters(source)
    turns = source.choice((1, 1, 2, 3, 5))
    length = max(1, (size - len(_written(parameters, spaced=spaced)) - 30) // turns - 40)
    messages = []
    for turn in range(turns):
        role = "system" if turn == 0 and turns > 1 else ("user", "assistant")[(turns - turn - 1) % 2]
        messages.append({"role": role, "content": _text(source, length)})
    first = {"model": model, "messages": messages}
    return _written({name: first[name] for name in order} | parameters, spaced=spaced)


def _parameters(source: random.Random) -> dict[str, Any]:
    """Each but the limit is there in a part of the requests.

    Without a limit a gateway that limits tokens has to reckon with any length, and would let eight through at a time.
    """
    limit = source.choice(("max_tokens", "max_tokens", "max_completion_tokens"))
    possible: dict[str, Any] = {
        "temperature": round(source.uniform(0, 1.5), 2),
        "top_p": round(source.uniform(0.5, 1), 3),
        "seed": source.randint(0, 1 << 31),
        "stop": source.choice((["\n\n"], ["END", "###"])),
        "presence_penalty": round(source.uniform(-1, 1), 1),
        "frequency_penalty": 0,
        "user": f"user-{source.randint(1, 10_000)}",
        "stream": False,
    }
    chosen = {name: value for name, value in possible.items() if source.random() < 0.4}
    return {limit: source.randint(16, 2000)} | chosen


def _text(source: random.Random, length: int) -> str:
    """Words, sentences and lines of about this many bytes."""
    words: list[str] = []
    while length > 0:
        word = source.choice(_WORDS) + source.choice(("", "", "", "", "", "", ".", ",", "?", ":\n", '\n- "'))
        words.append(word)
        length -= len(word.encode()) + 1
    return " ".join(words)


def _written(fields: dict[str, Any], *, spaced: bool) -> bytes:
    """As ``json.dumps`` does it by default, or as the SDKs do."""
    if spaced:
        return json.dumps(fields).encode()
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()

"""Tokens that an engine counts for the gateway: taken from the beginning of its answer, however long its list is."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from overspill_gateway.backends.tokenizer import KEPT_BYTES_MAX
from unit.gateway.backends import Backend, Received, Wire, backend, plain_head, then
from unit.gateway.generated import DONE, ROLE, said
from unit.gateway.harness import GatewayUnderTest
from unit.gateway.test_going_on import GOES_ON, writes

LONG = [7] * KEPT_BYTES_MAX


def counts(engine: Backend, document: dict[str, Any]) -> Callable[[Received, Wire], Coroutine[Any, Any, None]]:
    """The engine, answering so when it is asked for the number of tokens."""
    answer = engine.answer

    async def answered(received: Received, wire: Wire) -> None:
        if received.line.startswith("POST /tokenize "):
            body = json.dumps(document).encode()
            await wire.write(plain_head(200, len(body)) + body)
        else:
            await answer(received, wire)

    return answered


@pytest.mark.parametrize(
    ("document", "left"),
    [
        ({"count": 4, "max_model_len": 8192, "tokens": LONG}, 6),
        ({"count": 4}, 6),
        ({"tokens": [1, 2, 3, 4], "count": 4}, 6),
        ({"tokens": LONG, "count": 4}, 8),
        ({"tokens": [1], "error": "count"}, 8),
    ],
)
async def test_a_count_is_taken_from_the_beginning(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], left: int
) -> None:
    """So no list keeps the event loop; where the number comes behind a long one, the events that came stand for it."""
    script = then(writes(ROLE, said("The sky"), said(" is"), breaks=True), writes(said(" blue", "length"), DONE))
    async with backend(script) as first, backend(script) as second:
        for engine in (first, second):
            monkeypatch.setattr(engine, "answer", counts(engine, document))
        gateway.route(**GOES_ON)
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))
        answer = await gateway.post(stream=True, max_tokens=10)

    assert answer.whole
    asked = next(one for one in (*first.requests, *second.requests) if "continue_final_message" in one.json)
    assert asked.json["max_tokens"] == left

"""Many requests, backends that fail at random in every way: each request ends honestly, and nothing is left behind."""

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest

from unit.gateway import faults
from unit.gateway.backends import Received, Script, Wire, backend
from unit.gateway.fault_observer import (
    PRICE,
    TIMEOUTS,
    balanced_metrics,
    ending_in_words,
    nothing_left,
)
from unit.gateway.fault_scripts import good, path_of
from unit.gateway.faults import FAULTS, Setting
from unit.gateway.harness import KEY, Answer, GatewayUnderTest, eventually, running_gateway

SCRIPTS = [fault.script for fault in FAULTS if fault.setting is Setting.PLAIN and fault.path.endswith("completions")]
CLIENTS = 12
REQUESTS = 25
PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages")


def fails_at_random(source: random.Random, share: float) -> Script:
    """Do something else with each request, in this share of them something wrong."""

    async def script(received: Received, wire: Wire) -> None:
        wrong = source.random() < share and path_of(received).endswith("/chat/completions")
        await (source.choice(SCRIPTS) if wrong else good)(received, wire)

    return script


async def ask(gateway: GatewayUnderTest, source: random.Random) -> Answer:
    """One request of some kind, on a connection of its own."""
    path, text = source.choice(PATHS), f"Hello {source.random()}"
    prompt: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "max_tokens": 20}
    if path == "/v1/responses":
        prompt = {"input": text}
    body = json.dumps({"model": "tiny", "stream": source.random() < 0.5} | prompt).encode()
    client = await gateway.client()
    client.send("POST", path, body, authorization=f"Bearer {KEY}", content_type="application/json")
    return await asyncio.wait_for(client.answer(), 20)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_happens_every_request_ends_honestly(seed: int) -> None:
    """Half of the answers are spoiled. Whoever asks gets a whole answer, a typed error, or an error in its stream."""
    source = random.Random(seed)
    endings: Counter[str] = Counter()
    script = fails_at_random(source, 0.5)
    async with (
        running_gateway() as gateway,
        backend(script) as first,
        backend(script) as second,
        backend(fails_at_random(source, 0.2)) as api,
    ):
        route = gateway.route(
            hosted=[api.hosted(**PRICE)],
            timeouts=TIMEOUTS,
            overflow={"on_cold_start": "Hosted", "hold_timeout_seconds": 2},
            budget={"limit_nano_usd": 10**12},
        )
        gateway.endpoints(first.fact("first"), second.fact("second"))

        async def client() -> None:
            for _ in range(REQUESTS):
                endings[ending_in_words(await ask(gateway, source))] += 1

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        await eventually(lambda: nothing_left(gateway, route))
        await balanced_metrics(gateway)

    assert sum(endings.values()) == CLIENTS * REQUESTS
    assert faults.CUT not in endings, "an answer that was short enough to be held is never cut"
    assert endings[faults.ANSWER] > CLIENTS * REQUESTS / 2

"""A client that goes away takes its work with it: vLLM stops within a second, whatever was asked and however."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from typing import Any

import pytest

from real_engine.processes import Engine, wait_until
from real_engine.world import KEY, World

pytestmark = pytest.mark.timeout(180)
LONG = 6000
"""Tokens of an answer that takes many seconds."""

# At temperature 0 the tiny model says the same few words for ever.
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": LONG, "temperature": 0}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "Hello", "max_tokens": LONG, "temperature": 0},
    "/v1/responses": {"input": "Hello", "max_output_tokens": LONG, "temperature": 0},
    "/v1/messages": CHAT,
}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
@pytest.mark.parametrize("path", ASKED)
def test_the_engine_stops_when_its_client_goes(
    world: World, engine: Engine, model: str, path: str, *, stream: bool
) -> None:
    """vllm:num_requests_running is 0 again within a second of the client's end, and nothing is left in the gateway."""
    wait_until("the engine is idle", lambda: engine.running == 0, 5)
    connection = http.client.HTTPConnection(world.gateway.url.removeprefix("http://"), timeout=10)
    body = json.dumps({"model": model, "stream": stream, **ASKED[path]})
    with contextlib.closing(connection), contextlib.ExitStack() as opened:
        connection.request("POST", path, body, {"authorization": f"Bearer {KEY}", "content-type": "application/json"})
        if stream:
            answer = opened.enter_context(connection.getresponse())
            assert answer.status == 200, answer.read()
            assert answer.read(100)
        wait_until("the engine works", lambda: engine.running == 1, 5)

    gone = time.monotonic()
    wait_until("the engine has stopped", lambda: engine.running == 0, 1.0)

    print(f"{path}: stopped {time.monotonic() - gone:.3f} s after its client went")
    wait_until("nothing is left", lambda: world.gateway.metric("overspill_exchanges") == 0, 1.0)

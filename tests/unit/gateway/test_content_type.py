"""A body that was read as JSON is called JSON to every backend, whatever its client called it."""

from __future__ import annotations

import json

import pytest

from unit.gateway.backends import answers, backend
from unit.gateway.harness import KEY, MESSAGES, GatewayUnderTest, soon

JSON = "application/json"


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        (None, JSON),
        ("application/x-www-form-urlencoded", JSON),
        ("text/plain", JSON),
        (JSON, JSON),
        ("Application/JSON; charset=utf-8", "Application/JSON; charset=utf-8"),
        ("application/json; charset=utf-7", "application/json"),
        ("application/json; charset=utf-8; charset=utf-7", "application/json"),
        ("application/jsonlines", "application/json"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_every_kind_of_backend_hears_the_same(
    gateway: GatewayUnderTest, said: str | None, passed: str, path: str
) -> None:
    """Cold, from a hosted API, and warm, from a replica: one answer to one request."""
    async with backend(answers()) as engine, backend(answers()) as hosted:
        gateway.route("warm")
        gateway.endpoints(engine.fact(), route="warm")
        gateway.route("cold", local=None, hosted=[hosted.hosted()])
        for model in ("warm", "cold"):
            client = await gateway.client()
            body = json.dumps({"model": model, "messages": MESSAGES, "max_tokens": 5}).encode()
            headers = {"authorization": f"Bearer {KEY}"} | ({"content_type": said} if said else {})
            client.send("POST", path, body, **headers)
            assert (await soon(client.answer())).status == 200

        (warm,), (cold,) = engine.requests, hosted.requests
        assert warm.headers["content-type"] == cold.headers["content-type"] == passed

"""Engines ask for a key of their route's own: the gateway knows it, also while it is changed, and tells nobody."""

import json

import pytest

from overspill_gateway.core.backends.engine_keys import EngineKeys, key_lines
from unit.gateway.backends import Received, Script, Wire, answers, backend
from unit.gateway.harness import KEY, GatewayUnderTest


def asks_for(key: str, refused: list[str]) -> Script:
    """An engine as vLLM is with a key; ``refused`` gets what it was given instead."""

    async def script(received: Received, wire: Wire) -> None:
        given = received.headers.get("authorization", "")
        if given == f"Bearer {key}":
            await answers("hi")(received, wire)
        else:
            refused.append(given)
            await answers("no", status=401)(received, wire)

    return script


def local(*keys: str) -> dict[str, object]:
    """The part of a compiled route that tells of its engine."""
    return {"service": "tiny-engine", "port": 8000, "served_model": "tiny", "api_keys": keys}


async def test_a_replica_gets_its_routes_key_and_never_the_clients(gateway: GatewayUnderTest) -> None:
    """The client's own key stays here."""
    refused: list[str] = []
    async with backend(asks_for("new", refused)) as engine:
        gateway.route(local=local("new"))
        gateway.endpoints(engine.fact())
        answer = await gateway.post()

    assert (answer.status, refused) == (200, [])
    assert all(KEY not in json.dumps(request.headers) for request in engine.requests)


async def test_a_rotation_fails_no_request(gateway: GatewayUnderTest) -> None:
    """Replicas with the former key are asked with it, those with the new one as well, and each is learnt once."""
    old_refused: list[str] = []
    new_refused: list[str] = []
    async with backend(asks_for("old", old_refused)) as old, backend(asks_for("new", new_refused)) as new:
        gateway.route(local=local("old"))
        gateway.endpoints(old.fact("old"))
        before = await gateway.post()
        gateway.route(local=local("new", "old"))
        gateway.endpoints(old.fact("old"), new.fact("new"))
        seen = [await gateway.post() for _ in range(4)]
        gateway.endpoints(new.fact("new"))
        seen += [await gateway.post() for _ in range(4)]

    assert {answer.status for answer in (before, *seen)} == {200}
    assert {answer.served_by for answer in seen} == {"local/old", "local/new"}
    assert not old_refused, "what a replica took is kept"
    assert not new_refused, "a new replica is asked with the new key"


async def test_a_replica_whose_key_is_not_known_is_asked_with_each(gateway: GatewayUnderTest) -> None:
    """A gateway that starts in the middle of a rotation: one refusal, unseen by the client, and then none."""
    refused: list[str] = []
    async with backend(asks_for("old", refused)) as engine:
        gateway.route(local=local("new", "old"))
        gateway.endpoints(engine.fact())
        seen = [await gateway.post() for _ in range(4)]

    assert {answer.status for answer in seen} == {200}
    assert refused == ["Bearer new"]


async def test_a_key_that_no_replica_takes_reaches_nobody(gateway: GatewayUnderTest) -> None:
    """Each is tried once; what the client and the log hear holds none of them."""
    refused: list[str] = []
    async with backend(asks_for("other", refused)) as engine:
        gateway.route(local=local("secret-one", "secret-two"))
        gateway.endpoints(engine.fact())
        answer = await gateway.post()
        metrics = (await gateway.admin("/metrics")).body.decode()

    assert answer.status >= 400
    assert {"Bearer secret-one", "Bearer secret-two"} == set(refused)
    assert "secret-" not in answer.body.decode() + metrics


def test_a_key_of_other_characters_is_no_header() -> None:
    """A line break would add a header."""
    assert key_lines(("a\r\nx: y", "schlüssel", "good")) == [b"authorization: Bearer good\r\n"]


@pytest.mark.parametrize("tried", [2, 3])
def test_keys_are_tried_once_each(tried: int) -> None:
    """Then the refusal is the answer."""
    keys = EngineKeys()
    keys.renew(key_lines(("a", "b")))
    assert keys.another(b"POST / HTTP/1.1\r\n" + keys.line, tried) is None

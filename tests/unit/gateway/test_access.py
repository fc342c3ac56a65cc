"""API keys: who gets in, and what they may call."""

import pytest

from overspill_api.compiled import CompiledConsumer, CompiledKey
from overspill_api.keys import key_hash
from overspill_gateway.core.requests.access import KeyRing
from unit.gateway.harness import KEY, PEPPER, GatewayUnderTest


def consumer(key: str = KEY, *routes: str) -> CompiledConsumer:
    """A consumer with one key."""
    keys = (CompiledKey(id=key.split("-")[1], hash=key_hash(PEPPER, key)),)
    return CompiledConsumer(namespace="ns", name="me", uid="u", generation=1, keys=keys, routes=routes)


def test_a_key_opens_what_its_consumer_may_call() -> None:
    """Routes by name, and whole namespaces by a star."""
    grant = KeyRing(PEPPER, [consumer(KEY, "ns/a", "other/*")]).check(f"Bearer {KEY}".encode())

    assert grant is not None
    assert grant.consumer == "ns/me"
    assert grant.allows("ns/a", "ns")
    assert not grant.allows("ns/b", "ns")
    assert grant.allows("other/x", "other")
    assert not grant.allows("others/x", "others")


@pytest.mark.parametrize(
    ("allowed", "may"),
    [
        ((), False),
        (("ns/me",), True),
        (("ns/*",), True),
        (("*/*",), True),
        (("ns/you", "else/*", "n/*"), False),
        (None, True),
    ],
)
def test_a_route_of_another_namespace_must_allow_it(allowed: tuple[str, ...] | None, may: object) -> None:
    """By name or by a star alike; None is of an operator that did not ask. Those of its own namespace need not."""
    grant = KeyRing(PEPPER, [consumer(KEY, "other/*", "third/x", "ns/*")]).check(f"Bearer {KEY}".encode())
    assert grant is not None
    assert grant.allows("other/x", "other", allowed) is may
    assert grant.allows("third/x", "third", allowed) is may
    assert grant.allows("ns/x", "ns", allowed)
    assert not grant.allows("fourth/x", "fourth", ("*/*",))


@pytest.mark.parametrize(
    "authorization",
    [
        "", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Bearer {KEY} x",
        "Bearer osk-abcdefghij12-" + "T" * 40, "Bearer osk-unknownid000-" + "S" * 40, "Bearer " + "x" * 5000,
    ],
)  # fmt: skip
def test_nothing_else_gets_in(authorization: str) -> None:
    """Missing, malformed, unknown and wrong keys are all refused."""
    assert KeyRing(PEPPER, [consumer(KEY, "ns/*")]).check(authorization.encode()) is None


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("stolen", ["f" * 64, key_hash(PEPPER, KEY)])
def test_nobody_takes_a_key_away_by_writing_its_id(order: int, stolen: str) -> None:
    """Ids are no secrets, and hashes not always: a Consumer of another namespace that has them changes nothing."""
    mine = consumer(KEY, "ns/*").model_copy(update={"created": "2026-01-01T00:00:00Z"})
    keys = (CompiledKey(id=KEY.split("-")[1], hash=stolen),)
    other = mine.model_copy(update={"namespace": "evil", "created": "2026-01-02T00:00:00Z", "keys": keys})
    grant = KeyRing(PEPPER, [mine, other][::order]).check(f"Bearer {KEY}".encode())
    assert grant is not None
    assert grant.consumer == "ns/me"


def test_another_pepper_knows_none_of_the_keys() -> None:
    """The hash is keyed: under another release's pepper it fits nothing."""
    assert KeyRing(b"other", [consumer(KEY, "ns/*")]).check(f"Bearer {KEY}".encode()) is None


async def test_every_refusal_looks_the_same(gateway: GatewayUnderTest) -> None:
    """401 in OpenAI's shape, the same words for every cause."""
    gateway.route()
    client = await gateway.client()
    for authorization in ("", "Bearer x", "Bearer osk-unknownid000-" + "S" * 40, "Bearer osk-abcdefghij12-" + "T" * 40):
        client.send("POST", "/v1/chat/completions", b"{}", authorization=authorization)

    seen = [await client.answer() for _ in range(4)]

    assert {answer.status for answer in seen} == {401}
    assert {answer.error["code"] for answer in seen} == {"invalid_api_key"}
    assert len({answer.body for answer in seen}) == 1


async def test_a_withdrawn_key_stops_working_at_once(gateway: GatewayUnderTest) -> None:
    """A consumer without keys (suspended) or without the route lets nobody in any more."""
    gateway.route()
    client = await gateway.client()

    async def status_and_code() -> tuple[int, str]:
        client.send("GET", "/v1/models/tiny", authorization=f"Bearer {KEY}")
        answer = await client.answer()
        return answer.status, answer.json.get("error", {}).get("code", "")

    assert await status_and_code() == (200, "")
    gateway.allow("elsewhere/*")
    assert await status_and_code() == (404, "model_not_found")
    gateway.gateway.catalog.remove_consumer("ns/me")
    assert await status_and_code() == (401, "invalid_api_key")


async def test_an_unknown_model_lists_what_may_be_called(gateway: GatewayUnderTest) -> None:
    """The same 404 for a model that is not there and for one that this key may not call."""
    gateway.route("a")
    gateway.route("b")
    gateway.allow("ns/a")

    unknown, forbidden = await gateway.post("nope"), await gateway.post("b")

    for answer in (unknown, forbidden):
        assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
        assert "This key may call: a." in answer.error["message"]

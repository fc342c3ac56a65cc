"""Cross-origin requests: off by default, exact origins or all, preflights without a key, every answer marked."""

from __future__ import annotations

import pytest

from overspill_gateway.core.http.cors import CorsError, cors_policy
from overspill_gateway.settings import SettingsError, read_settings
from unit.gateway.backends import answers, backend
from unit.gateway.harness import KEY, GatewayUnderTest, running_gateway, soon

PAGE = "https://chat.example.com"


def fields_of(headers: dict[str, str]) -> set[str]:
    """Which fields of an answer are about other origins."""
    return {name for name in headers if name.startswith("access-control-") or name == "vary"}


async def test_without_configuration_no_answer_speaks_of_origins(gateway: GatewayUnderTest) -> None:
    """Not even where the engine does: a page of another origin can read nothing."""
    async with backend(answers(access_control_allow_origin="*", access_control_allow_credentials="true")) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        client.send("OPTIONS", "/v1/models", origin=PAGE, access_control_request_method="GET")
        preflight = await soon(client.answer())
        answer = await gateway.post()

    assert not fields_of(preflight.headers)
    assert not fields_of(answer.headers)
    assert "origin" not in engine.requests[0].headers


async def test_a_preflight_needs_no_key_and_is_told_what_it_may() -> None:
    """Whatever the path: methods, the headers that it asks for, and how long that holds."""
    async with running_gateway(cors_origins=(PAGE,)) as gateway:
        client = await gateway.client()
        for path in ("/v1/chat/completions", "/v1/unknown"):
            client.send(
                "OPTIONS",
                path,
                origin=PAGE,
                access_control_request_method="POST",
                access_control_request_headers="authorization,x-stainless-os",
            )
            answer = await soon(client.answer())
            assert answer.status == 204
            assert answer.headers["access-control-allow-origin"] == PAGE
            assert "POST" in answer.headers["access-control-allow-methods"]
            assert answer.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
            assert int(answer.headers["access-control-max-age"]) > 0
            assert answer.headers["vary"] == "origin"
            assert "access-control-allow-credentials" not in answer.headers


async def test_every_answer_carries_the_policy() -> None:
    """Served, refused for its key, its path or its framing: a page can read why."""
    async with running_gateway(cors_origins=(PAGE,)) as gateway, backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        client.send("GET", "/v1/models", origin=PAGE, authorization=f"Bearer {KEY}")
        client.send("GET", "/v1/models", origin=PAGE)
        client.send("GET", "/metrics", origin=PAGE)
        gateway_answers = [await soon(client.answer()) for _ in range(3)]
        body = b'{"model": "tiny", "messages": []}'
        client.send("POST", "/v1/chat/completions", body, origin=PAGE.upper(), authorization=f"Bearer {KEY}")
        served = await soon(client.answer())

        assert [answer.status for answer in gateway_answers] == [200, 401, 404]
        for answer in gateway_answers:
            assert answer.headers["access-control-allow-origin"] == PAGE
            assert "x-overspill-served-by" in answer.headers["access-control-expose-headers"]
            assert "retry-after" in answer.headers["access-control-expose-headers"]
        assert served.status == 200
        assert served.headers["access-control-allow-origin"] == PAGE.upper()


async def test_other_origins_get_the_answer_but_their_pages_cannot_read_it() -> None:
    """No permission for another origin, or for none; caches are told that it depends on the origin."""
    async with running_gateway(cors_origins=(PAGE, "http://localhost:3000")) as gateway:
        client = await gateway.client()
        client.send("GET", "/", origin="https://evil.example.com")
        client.send("GET", "/", origin="null")
        client.send("GET", "/")
        for _ in range(3):
            answer = await soon(client.answer())
            assert answer.status == 200
            assert fields_of(answer.headers) == {"vary"}


async def test_all_origins() -> None:
    """A star, without credentials; nothing depends on the origin then."""
    async with running_gateway(cors_origins=("*",)) as gateway:
        client = await gateway.client()
        client.send("GET", "/", origin="https://any.example.com")
        answer = await soon(client.answer())

    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers


@pytest.mark.parametrize("origin", ["chat.example.com", "https://a/b", "https://a,b", "ftp://a", "https://", "null"])
def test_what_is_no_origin_is_told(origin: str) -> None:
    """A policy that would never match is a typo."""
    with pytest.raises(CorsError, match="is not an origin"):
        cors_policy([origin])


def test_origins_come_from_flag_and_environment() -> None:
    """Comma-separated; a wrong one ends the start with the flag's name."""
    environment = {"OVERSPILL_KEY_PEPPER": "p", "OVERSPILL_CORS_ORIGINS": "https://a, http://b:1"}

    assert read_settings([], environment).cors_origins == ("https://a", "http://b:1")
    assert read_settings([], {"OVERSPILL_KEY_PEPPER": "p"}).cors_origins == ()
    with pytest.raises(SettingsError, match="--cors-origins"):
        read_settings(["--cors-origins", "a"], environment)

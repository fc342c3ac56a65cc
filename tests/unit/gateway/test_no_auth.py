"""Without keys: programs of this machine are let in as one consumer, web pages are not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from overspill_gateway.core.requests.loopback import is_loopback
from overspill_gateway.settings import SettingsError, read_settings
from unit.gateway.backends import answers, backend
from unit.gateway.harness import KEY, Client, GatewayUnderTest, running_gateway, soon

PAGE = "https://chat.example"
KEY_OF_NOBODY = "Bearer sk-anything"


@pytest.fixture
async def gateway() -> AsyncIterator[GatewayUnderTest]:
    """One that asks for no key, and lets in pages of one origin."""
    async with running_gateway(no_auth=True, cors_origins=(PAGE,)) as running:
        yield running


async def asked(gateway: GatewayUnderTest, path: str = "/v1/models", method: str = "GET", **headers: str) -> Any:
    """The answer to a request without a body."""
    client = await gateway.client()
    client.send(method, path, b"", **{"host": "localhost"} | headers)
    return await soon(client.answer())


async def test_whoever_is_on_this_machine_may_call_every_route() -> None:
    """Also one that names the consumers that it allows: the consumer's name is what money is counted for."""
    async with running_gateway(no_auth=True) as gateway, backend(answers()) as engine:
        gateway.route(allowed_consumers=("ns/me",))
        gateway.endpoints(engine.fact())
        for headers in ({}, {"authorization": KEY_OF_NOBODY}, {"x_api_key": "anything"}):
            client = await gateway.client()
            client.send(
                "POST", "/v1/chat/completions", b'{"model": "tiny", "messages": []}',
                host="localhost", content_type="application/json", **headers,
            )  # fmt: skip
            assert (await soon(client.answer())).status == 200
        client = await Client.connect(gateway.gateway.admin_port)
        client.send("GET", "/metrics", host="localhost")
        metrics = (await soon(client.answer())).body.decode()
        client.close()

    assert 'consumer="local/anyone"' in metrics


async def test_a_key_still_says_who_it_is(gateway: GatewayUnderTest) -> None:
    """A known one opens what its consumer may call, and no more."""
    gateway.allow("ns/other")
    gateway.route("tiny")

    mine = await asked(gateway, authorization="Bearer " + "osk-abcdefghijkl-" + "x" * 40)
    assert b'"tiny"' in mine.body  # a key of nobody is as good as none
    answer = await asked(gateway, "/v1/models/tiny", authorization=f"Bearer {KEY}")
    assert answer.status == 404


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "a.localhost", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "LOCALHOST"]
)
async def test_this_machine_by_any_name(gateway: GatewayUnderTest, host: str) -> None:
    """However it is called."""
    assert (await asked(gateway, host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.test", "localhost.evil.test", "evil.test:127", "128.0.0.1", "127.0.0.1.evil.test", "10.0.0.1", "[::2]"],
)
@pytest.mark.parametrize("path", ["/v1/models", "/", "/v1/unknown"])
async def test_a_name_that_was_made_to_lead_here_is_refused(gateway: GatewayUnderTest, host: str, path: str) -> None:
    """A page's own name, whose address its owner has changed to this machine's: DNS rebinding."""
    answer = await asked(gateway, path, host=host)

    assert answer.status == 403
    assert b"foreign_host" in answer.body
    assert b"API keys" in answer.body


async def test_pages_that_were_not_let_in_are_refused(gateway: GatewayUnderTest) -> None:
    """Before their request does anything: that they can't read the answer would not undo it."""
    assert (await asked(gateway, origin=PAGE)).status == 200
    for origin in ("https://evil.test", "null", "http://localhost:3000"):
        answer = await asked(gateway, origin=origin)
        assert answer.status == 403
        assert b"--cors-origins" in answer.body


async def test_the_admin_port_keeps_them_out_as_well(gateway: GatewayUnderTest) -> None:
    """What it shows is nobody's business who has only made a name lead here."""
    client = await Client.connect(gateway.gateway.admin_port)
    client.send("GET", "/metrics", host="evil.test")
    assert (await soon(client.answer())).status == 403
    client.send("GET", "/healthz", host="localhost")
    assert (await soon(client.answer())).status == 200
    client.close()


async def test_with_keys_hosts_and_origins_are_nobodys_business() -> None:
    """Whoever has a key may come from anywhere."""
    async with running_gateway() as gateway:
        gateway.route()
        client = await gateway.client()
        client.send("GET", "/v1/models", host="evil.test", origin="https://evil.test")
        assert (await soon(client.answer())).status == 401


def test_only_on_a_loopback_address() -> None:
    """Else the whole network would be let in: said in a sentence."""
    environment = {"OVERSPILL_KEY_PEPPER": "p"}
    assert read_settings(["--no-auth", "--listen", "127.0.0.1:8080"], environment).no_auth
    assert read_settings(["--listen", "localhost:1"], environment | {"OVERSPILL_NO_AUTH": "true"}).no_auth
    assert not read_settings([], environment).no_auth
    with pytest.raises(SettingsError, match="OVERSPILL_NO_AUTH is '1': write true or false"):
        read_settings([], environment | {"OVERSPILL_NO_AUTH": "1"})
    for listen in ("[::]:8080", "0.0.0.0:8080", "192.168.1.1:8080"):
        with pytest.raises(SettingsError, match=r"--no-auth lets in everybody .* listen on 127\.0\.0\.1"):
            read_settings(["--no-auth", "--listen", listen], environment)


@pytest.mark.parametrize(
    ("host", "is_it"),
    [("::1", True), ("0:0:0:0:0:0:0:1", True), ("::ffff:127.0.0.1", True), ("::", False), ("::11", False)],
)
def test_loopback_in_ipv6(host: str, is_it: bool) -> None:  # noqa: FBT001 - a case
    """In each of its spellings."""
    assert is_loopback(host) is is_it

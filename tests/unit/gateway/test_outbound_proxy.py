"""HTTPS_PROXY, HTTP_PROXY and NO_PROXY lead to hosted APIs, never to replicas; TLS goes through unseen."""

from __future__ import annotations

import base64
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from overspill_gateway.core.http.outbound_proxy import ProxyError, read_proxy_rules
from overspill_gateway.settings import SettingsError, read_settings
from unit.gateway.backends import Backend, answers, backend, streams
from unit.gateway.certificates import make_certificate
from unit.gateway.harness import running_gateway
from unit.gateway.proxies import proxy

ANY = {"https_proxy": "http://p:1", "http_proxy": "http://p:2"}


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context for localhost, whose certificate gateways trust."""
    pair = make_certificate(tmp_path / "tls", "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


@pytest.fixture
async def secure_api(certificate: ssl.SSLContext) -> AsyncIterator[Backend]:
    """A hosted API over TLS."""
    made = Backend(answers("secret"))
    await made.listen(certificate)
    yield made
    made.kill()


async def test_tls_goes_through_a_tunnel(secure_api: Backend) -> None:
    """CONNECT with the name, credentials in its own field, and a request that the proxy can't read; then a stream."""
    async with proxy() as way:
        rules = read_proxy_rules({"HTTPS_PROXY": f"http://me:p%40ss@127.0.0.1:{way.port}"})
        async with running_gateway(proxies=rules) as gateway:
            gateway.route(local=None, hosted=[secure_api.hosted(base_url=f"https://localhost:{secure_api.port}/v1")])
            answer = await gateway.post()
            secure_api.script = streams(3)
            stream = await gateway.post(stream=True)

    assert (answer.status, stream.status) == (200, 200)
    assert stream.body.endswith(b"data: [DONE]\n\n")
    lines = way.heads[0].split("\r\n")
    assert lines[0] == f"CONNECT localhost:{secure_api.port} HTTP/1.1"
    assert f"proxy-authorization: Basic {base64.b64encode(b'me:p@ss').decode()}" in lines
    assert len(way.heads) == 1, "the connection is kept"
    assert "proxy-authorization" not in secure_api.requests[0].headers


async def test_a_proxy_may_be_spoken_to_over_tls(secure_api: Backend, certificate: ssl.SSLContext) -> None:
    """TLS inside TLS, both certificates checked."""
    async with proxy(certificate) as way:
        rules = read_proxy_rules({"https_proxy": f"https://localhost:{way.port}"})
        async with running_gateway(proxies=rules) as gateway:
            gateway.route(local=None, hosted=[secure_api.hosted(base_url=f"https://localhost:{secure_api.port}/v1")])
            assert (await gateway.post()).status == 200
    assert len(way.heads) == 1


async def test_plain_requests_are_told_to_the_proxy_and_names_are_its_to_resolve() -> None:
    """In absolute form, with its credentials; the name need not be known here."""
    async with proxy() as way, backend(answers("hi")) as api:
        way.names["api.test"] = "127.0.0.1"
        rules = read_proxy_rules({"HTTP_PROXY": f"http://me:x@127.0.0.1:{way.port}"})
        async with running_gateway(proxies=rules) as gateway:
            gateway.route(local=None, hosted=[api.hosted(base_url=f"http://api.test:{api.port}/v1")])
            assert (await gateway.post()).status == 200
    assert way.heads[0].startswith(f"POST http://api.test:{api.port}/v1/chat/completions HTTP/1.1\r\n")
    assert "proxy-authorization: Basic " in way.heads[0]


async def test_replicas_and_exempt_hosts_are_reached_past_it() -> None:
    """A proxy for everything, with nobody there: replicas answer, and so does whom NO_PROXY names."""
    async with backend(answers("local")) as engine, backend(answers("hosted")) as api:
        dead = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.0/8"}
        async with running_gateway(proxies=read_proxy_rules(dead)) as gateway:
            gateway.route(local=None, hosted=[api.hosted()])
            assert (await gateway.post()).served_by == "hosted/openai"
        del dead["NO_PROXY"]
        async with running_gateway(proxies=read_proxy_rules(dead)) as gateway:
            gateway.route()
            gateway.endpoints(engine.fact())
            assert (await gateway.post()).served_by == "local/tiny-0"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy Authentication Required; set its user"),
        (b"HTTP/1.1 403 Forbidden\r\nx: y\r\n\r\n", "refused: it answered 403 Forbidden"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "did not answer in HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "more than an answer to CONNECT"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, "has no end"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000, "has no end"),
    ],
)
async def test_a_proxy_that_refuses_is_told_as_such(
    secure_api: Backend, caplog: pytest.LogCaptureFixture, answer: bytes, told: str
) -> None:
    """With its status, and without its password anywhere."""
    async with proxy() as way:
        way.answer = answer
        rules = read_proxy_rules({"HTTPS_PROXY": f"http://me:hunter2@127.0.0.1:{way.port}"})
        with caplog.at_level(logging.DEBUG):
            async with running_gateway(proxies=rules) as gateway:
                hosted = secure_api.hosted(base_url=f"https://localhost:{secure_api.port}/v1")
                gateway.route(local=None, hosted=[hosted], retry_attempts=0)
                refused = await gateway.post()

    assert refused.status == 502
    assert f"http://127.0.0.1:{way.port}" in refused.error["message"]
    assert told in refused.error["message"]
    secrets = ("hunter2", base64.b64encode(b"me:hunter2").decode())
    assert not [secret for secret in secrets if secret in caplog.text or secret in refused.error["message"]]
    assert not secure_api.requests


async def test_interim_answers_of_a_proxy_are_passed_over(secure_api: Backend) -> None:
    """A few of them, in one read or in several."""
    async with proxy() as way:
        way.answer = b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + way.answer
        rules = read_proxy_rules({"HTTPS_PROXY": f"127.0.0.1:{way.port}"})
        async with running_gateway(proxies=rules) as gateway:
            gateway.route(local=None, hosted=[secure_api.hosted(base_url=f"https://localhost:{secure_api.port}/v1")])
            assert (await gateway.post()).status == 200


async def test_behind_a_proxy_certificates_are_checked_as_well(secure_api: Backend) -> None:
    """A proxy that leads elsewhere gets nothing."""
    async with proxy() as way:
        way.names["api.test"] = "127.0.0.1"
        rules = read_proxy_rules({"HTTPS_PROXY": f"http://127.0.0.1:{way.port}"})
        async with running_gateway(proxies=rules) as gateway:
            gateway.route(local=None, hosted=[secure_api.hosted(base_url=f"https://api.test:{secure_api.port}/v1")])
            answer = await gateway.post()
    assert answer.status == 502
    assert "certificate" in answer.error["message"]
    assert not secure_api.requests


async def test_a_dead_proxy_is_told_as_such(secure_api: Backend) -> None:
    """It is not the provider that can't be reached."""
    async with running_gateway(proxies=read_proxy_rules({"HTTPS_PROXY": "http://127.0.0.1:9"})) as gateway:
        gateway.route(local=None, hosted=[secure_api.hosted(base_url=f"https://localhost:{secure_api.port}/v1")])
        answer = await gateway.post()
    assert "the proxy http://127.0.0.1:9: Connection refused" in answer.error["message"]


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "direct"),
    [
        ("*", "api.example.com", 443, True),
        ("api.example.com", "api.example.com", 443, True),
        ("api.example.com", "API.Example.com.", 443, True),
        ("example.com", "api.example.com", 443, True),
        (".example.com", "api.example.com", 443, True),
        ("*.example.com", "api.example.com", 443, True),
        ("example.com", "notexample.com", 443, False),
        ("other, .svc\t.cluster.local", "llm.team.svc", 80, True),
        ("api.example.com:8443", "api.example.com", 443, False),
        ("api.example.com:8443", "api.example.com", 8443, True),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:80", "10.1.2.3", 443, False),
        ("10.0.0.0/8", "10.9.9.9", 443, True),
        ("10.1.2.3/8", "10.9.9.9", 443, True),
        ("10.0.0.0/8", "11.0.0.1", 443, False),
        ("10.0.0.0/8", "10.example.com", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("::1", "::1", 443, True),
        ("[::1]", "::1", 443, True),
        ("[::1]:443", "::1", 443, True),
        ("[::1]:444", "::1", 443, False),
        ("", "api.example.com", 443, False),
        (",,", "api.example.com", 443, False),
        (".", "api.example.com", 443, False),
    ],
)
def test_forms_of_no_proxy(no_proxy: str, host: str, port: int, *, direct: bool) -> None:
    """As curl, Go and Python's clients read them."""
    rules = read_proxy_rules(ANY | {"NO_PROXY": no_proxy})
    assert (rules.proxy_for(host, port, secure=True) is None) is direct


def test_each_scheme_has_its_own_and_small_letters_count_first() -> None:
    """Also where they take a variable back."""
    rules = read_proxy_rules({"HTTPS_PROXY": "http://big:1", "https_proxy": "http://small", "HTTP_PROXY": "p.example"})
    secure, plain = rules.proxy_for("h", 443, secure=True), rules.proxy_for("h", 80, secure=False)
    assert secure is not None
    assert plain is not None
    assert (secure.host, secure.port, plain.host, plain.port) == ("small", 80, "p.example", 80)
    assert read_proxy_rules({"HTTPS_PROXY": "http://big:1", "https_proxy": ""}).https is None


@pytest.mark.parametrize("value", ["socks5://p:1", "http://", "http://p:99999", "http://u:hunter2@p:x", "http://a b:1"])
def test_what_is_no_proxy_ends_the_start(value: str) -> None:
    """With the variable's name, and without its password."""
    with pytest.raises(ProxyError, match="HTTPS_PROXY") as raised:
        read_proxy_rules({"HTTPS_PROXY": value})
    assert "hunter2" not in str(raised.value)
    with pytest.raises(SettingsError):
        read_settings([], {"OVERSPILL_KEY_PEPPER": "p", "HTTPS_PROXY": value})

"""Hosted APIs over TLS: the certificate is checked, and an answer streams as it does without."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from unit.gateway.backends import Backend, answers, streams
from unit.gateway.harness import GatewayUnderTest


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
async def provider(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backend]:
    """A hosted API with that certificate, which the gateway trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    made = Backend(answers("secret"))
    await made.listen(context)
    yield made
    made.kill()


def hosted_route(gateway: GatewayUnderTest, provider: Backend, host: str) -> None:
    """A route to the provider alone."""
    hosted = provider.hosted(base_url=f"https://{host}:{provider.port}/v1")
    gateway.route(local=None, hosted=[hosted], overflow={"on_cold_start": "Hosted"})


async def test_answers_and_streams_come_through_tls(gateway: GatewayUnderTest, provider: Backend) -> None:
    """Plain answers and streams, on a connection that is kept."""
    hosted_route(gateway, provider, "localhost")

    plain = await gateway.post()
    provider.script = streams(3)
    stream = await gateway.post(stream=True)

    assert (plain.status, stream.status) == (200, 200)
    assert stream.body.endswith(b"data: [DONE]\n\n")
    assert provider.requests[0].headers["host"] == f"localhost:{provider.port}"
    assert provider.connections == 1


async def test_a_certificate_for_another_name_is_refused(gateway: GatewayUnderTest, provider: Backend) -> None:
    """Nothing is sent to a server that can't prove its name."""
    hosted_route(gateway, provider, "127.0.0.1")

    answer = await gateway.post()

    assert (answer.status, answer.error["code"]) == (502, "backend_failed")
    assert "certificate" in answer.error["message"]
    assert not provider.requests

"""Hosted APIs over TLS: the certificate is checked, and an answer streams as it does without."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from unit.gateway.backends import Backend, answers, streams
from unit.gateway.harness import GatewayUnderTest, eventually


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(autouse=True)
def one_authority(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway trusts that certificate alone: reading the system's hundreds takes a busy machine a while."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("SSL_CERT_DIR", str(certificate[0].parent / "none"))


@pytest.fixture
async def provider(certificate: tuple[Path, Path]) -> AsyncIterator[Backend]:
    """A hosted API with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
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


def open_files() -> int:
    """File descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_handshakes_that_never_end_are_given_up_and_leave_nothing(gateway: GatewayUnderTest) -> None:
    """A provider that takes connections and says nothing: the message says what was waited for, no socket stays."""

    class Silent(asyncio.Protocol):
        """Reads and never writes."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            """Remember."""
            open_there.append(transport)

        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
            """Count."""
            ended.append(self)

    open_there: list[asyncio.BaseTransport] = []
    ended: list[Silent] = []
    server = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0)
    with contextlib.closing(server):
        port = server.sockets[0].getsockname()[1]
        hosted = {"name": "openai", "base_url": f"https://localhost:{port}/v1", "model": "m"}
        gateway.route(local=None, hosted=[hosted], timeouts={"connect_seconds": 0.1}, retry_attempts=0)
        await gateway.post()
        before = open_files()

        told = [await gateway.post() for _ in range(5)]

        said = [answer.error["message"] for answer in told]  # one's time may be over before its turn to connect comes
        assert any("the end of the TLS handshake is waited for" in message for message in said), said
        await eventually(lambda: len(ended) == len(open_there))
        for client in gateway.clients:
            client.close()
        await eventually(lambda: not gateway.gateway.connections)
        await eventually(lambda: open_files() <= before)


async def test_what_speaks_no_tls_is_told(gateway: GatewayUnderTest) -> None:
    """An https:// URL of a server that speaks plain HTTP."""

    class Plain(asyncio.Protocol):
        """Answers anything."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            """Answer."""
            transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")  # type: ignore[attr-defined]

    server = await asyncio.get_running_loop().create_server(Plain, "127.0.0.1", 0)
    with contextlib.closing(server):
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
        route = gateway.route(local=None, hosted=[{"name": "openai", "base_url": url, "model": "m"}], retry_attempts=0)
        assert (await gateway.post()).status == 502
        problem = route.demand().backends["hosted/openai"].problem
        assert problem is not None
        assert problem.reason == "TLSFailed"


async def test_a_certificate_that_is_refused_is_a_problem_of_its_own(
    gateway: GatewayUnderTest, provider: Backend
) -> None:
    """The operator tells it apart from a provider that is down."""
    hosted_route(gateway, provider, "127.0.0.1")
    await gateway.post()
    problem = gateway.gateway.catalog.routes["ns/tiny"].demand().backends["hosted/openai"].problem
    assert problem is not None
    assert problem.reason == "CertificateRefused"

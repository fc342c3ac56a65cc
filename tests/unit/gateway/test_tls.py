"""TLS on the listener: real handshakes, and certificates that change under open connections."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from pathlib import Path

import pytest

from overspill_gateway.main import check_certificate
from overspill_gateway.settings import SettingsError, read_settings
from overspill_gateway.wire.tls import TlsFiles
from unit.gateway.backends import backend, streams
from unit.gateway.certificates import make_certificate
from unit.gateway.harness import Client, GatewayUnderTest, eventually, running_gateway, settings, soon


class Mounted:
    """A Secret as the kubelet mounts it: files that are links into a folder that is swapped by one rename."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.swap_in("1")
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(Path("..data") / name)

    @property
    def pair(self) -> tuple[Path, Path]:
        """What the gateway is told to read."""
        return self.folder / "tls.crt", self.folder / "tls.key"

    def swap_in(self, version: str, *, key_of: str | None = None) -> Path:
        """A new certificate, with its own key or another version's; its path."""
        made = self.folder / f"..version-{version}"
        certificate, key = make_certificate(made, "localhost")
        if key_of is not None:
            key.write_bytes((self.folder / f"..version-{key_of}" / "tls.key").read_bytes())
        link = self.folder / "..data_tmp"
        link.symlink_to(made.name)
        os.rename(link, self.folder / "..data")  # noqa: PTH104 - as the kubelet does it
        return certificate


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    """A mounted Secret."""
    return Mounted(tmp_path / "tls")


def trusting(certificate: Path, **changes: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that trusts this certificate only."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name, value in changes.items():
        setattr(context, name, value)
    return context


async def connect(gateway: GatewayUnderTest, context: ssl.SSLContext, name: str | None = "localhost") -> Client:
    """A client over TLS; without a name it sends none."""
    opened = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=context, server_hostname=name or "")
    client = Client(*opened)
    gateway.clients.append(client)
    return client


async def test_requests_are_served_over_tls(mounted: Mounted) -> None:
    """TLS 1.3 by default, 1.2 still, nothing older; HTTP/1.1 is negotiated; streams arrive whole."""
    certificate = mounted.pair[0]
    async with running_gateway(tls=mounted.pair) as gateway, backend(streams(3)) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await connect(gateway, trusting(certificate))
        secured = client.writer.get_extra_info("ssl_object")
        assert (secured.version(), secured.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
        gateway.send(client, stream=True)
        answer = await soon(client.answer())
        assert (answer.status, answer.whole) == (200, True)
        assert answer.body.endswith(b"data: [DONE]\n\n")

        old = await connect(gateway, trusting(certificate, maximum_version=ssl.TLSVersion.TLSv1_2))
        assert old.writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        older = trusting(certificate)
        older.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        older.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.deprecated_call():
            older.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(gateway, older)


async def test_a_new_certificate_is_served_and_open_connections_stay(mounted: Mounted) -> None:
    """New handshakes get the new pair, with a server name or without; a stream under way goes on."""
    first = mounted.pair[0].resolve()
    gate = asyncio.Event()
    async with running_gateway(tls=mounted.pair) as gateway, backend(streams(2, gate=gate)) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        streaming = await connect(gateway, trusting(first))
        gateway.send(streaming, stream=True)
        await streaming.head()

        second = mounted.swap_in("2")
        files = gateway.gateway.tls_files
        assert files is not None
        files.check()
        assert (files.reloads, files.refused) == (1, 0)
        assert b"\noverspill_certificate_changes_total 1" in (await gateway.admin("/metrics")).body
        fresh = await connect(gateway, trusting(second))
        fresh.send("GET", "/")
        assert (await soon(fresh.answer())).status == 200
        nameless = trusting(second)
        nameless.check_hostname = False
        await connect(gateway, nameless, None)
        with pytest.raises(ssl.SSLError):
            await connect(gateway, trusting(first))

        gate.set()
        body = b""
        while piece := await soon(streaming.chunk()):
            body += piece
        assert body.endswith(b"data: [DONE]\n\n")
        streaming.send("GET", "/")
        assert (await soon(streaming.answer())).status == 200


async def test_a_pair_that_does_not_fit_changes_nothing(mounted: Mounted, caplog: pytest.LogCaptureFixture) -> None:
    """The last good pair is served on, the log says so once, and a good pair after it is taken."""
    first = mounted.pair[0].resolve()
    async with running_gateway(tls=mounted.pair) as gateway:
        files = gateway.gateway.tls_files
        assert files is not None
        with caplog.at_level(logging.ERROR):
            mounted.swap_in("2", key_of="1")
            files.check()
            files.check()
        assert files.reloads == 0
        assert files.refused == 2
        assert len(caplog.records) == 1
        assert "last good one" in caplog.text
        await connect(gateway, trusting(first))

        (mounted.folder / "..data").unlink()
        files.check()
        await connect(gateway, trusting(first))

        third = mounted.swap_in("3")
        files.check()
        assert files.reloads == 1
        await connect(gateway, trusting(third))


@pytest.mark.interpreted  # with a double of a method
async def test_a_look_at_files_keeps_nobody_waiting(mounted: Mounted, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP looks at once; a disk that hangs holds up that look, not the event loop, and no second one begins."""
    first = mounted.pair[0].resolve()
    hangs, looks = threading.Event(), []
    read = TlsFiles.load_if_changed

    def slow(files: TlsFiles) -> object:
        looks.append(files)
        hangs.wait(10)
        return read(files)

    async with running_gateway(tls=mounted.pair) as gateway:
        files = gateway.gateway.tls_files
        assert files is not None
        monkeypatch.setattr(TlsFiles, "load_if_changed", slow)
        second = mounted.swap_in("2")
        assert gateway.gateway.look_at_certificate()
        assert gateway.gateway.look_at_certificate()
        await connect(gateway, trusting(first))
        assert len(looks) == 1
        hangs.set()
        await eventually(lambda: files.reloads == 1)
        await connect(gateway, trusting(second))


async def test_a_client_that_never_finishes_its_handshake_is_no_connection(mounted: Mounted) -> None:
    """Only a finished handshake makes a connection of the API's; plain HTTP is not answered."""
    async with running_gateway(tls=mounted.pair) as gateway:
        client = await gateway.client()
        client.writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await soon(client.head())
        assert not gateway.gateway.connections


def test_unchanged_files_are_not_read_again(mounted: Mounted) -> None:
    """A look at files that are as they were does nothing."""
    files = TlsFiles(*mounted.pair)
    files.check()

    assert (files.reloads, files.refused) == (0, 0)


def test_settings_that_cannot_be_used_are_told(tmp_path: Path, mounted: Mounted) -> None:
    """One without the other, or files that are no pair, end the start with a sentence."""
    with pytest.raises(SettingsError, match="go together"):
        read_settings(["--tls-cert", "x"], {"OVERSPILL_KEY_PEPPER": "p"})
    with pytest.raises(SettingsError, match="can't be used"):
        check_certificate(settings(tls=(tmp_path / "none", tmp_path / "none")))
    check_certificate(settings(tls=mounted.pair))

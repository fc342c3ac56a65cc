"""Where a port listens: on both families, on IPv4 alone where there is no IPv6, and how it is left."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any

import pytest

from overspill_gateway.settings import ListenAddress
from overspill_gateway.wire import listener
from overspill_gateway.wire.newcomers import turn_newcomers_away
from unit.gateway.harness import Client, running_gateway, soon

EVERYWHERE: dict[str, Any] = {"listen": ListenAddress("::", 0), "admin_listen": ListenAddress("::", 0)}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_both_families_reach_both_ports(host: str) -> None:
    """In a cluster of either family, or of both, clients and probes are answered."""
    async with running_gateway(**EVERYWHERE) as gateway:
        for port, path in ((gateway.port, "/"), (gateway.gateway.admin_port, "/healthz")):
            client = Client(*await asyncio.open_connection(host, port))
            gateway.clients.append(client)
            client.send("GET", path)
            assert (await soon(client.answer())).status == 200


def test_without_ipv6_it_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A kernel may have IPv6 switched off: the log says so, and who has IPv4 is served."""
    real = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, kind)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with caplog.at_level(logging.WARNING):
        endpoint = listener.listen_everywhere(0)
    monkeypatch.undo()

    with endpoint:
        assert endpoint.family == socket.AF_INET
        assert endpoint.getsockname()[0] == "0.0.0.0"
    assert "IPv4 alone" in caplog.text


def test_a_port_that_is_taken_is_an_error() -> None:
    """It does not quietly fall back to anything."""
    with listener.listen_everywhere(0) as first:
        first.listen()
        with pytest.raises(OSError, match="in use"):
            listener.listen_everywhere(first.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_newcomers_of_both_families_are_turned_away(host: str) -> None:
    """What has begun can be accepted, nothing begins: the filter sees no difference between the families."""
    with listener.listen_everywhere(0) as endpoint:
        endpoint.listen()
        port = endpoint.getsockname()[1]
        with socket.create_connection((host, port), timeout=5):
            turn_newcomers_away(endpoint)
            with pytest.raises(TimeoutError):
                socket.create_connection((host, port), timeout=0.3)
            endpoint.settimeout(5)
            accepted, _ = endpoint.accept()
            accepted.close()

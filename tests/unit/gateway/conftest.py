"""The gateway's tests run on uvloop, as the gateway does."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvloop

from unit.gateway.harness import GatewayUnderTest, running_gateway
from unit.gateway.name_server import NameServer


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Loops of uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def gateway() -> AsyncIterator[GatewayUnderTest]:
    """A running gateway without routes."""
    async with running_gateway() as running:
        yield running


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """The system's resolver knows what a test says."""
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.look_up)
    yield server
    server.release.set()

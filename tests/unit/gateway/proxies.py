"""An HTTP proxy for tests: makes tunnels, passes plain requests on, or refuses, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

Transport = asyncio.Transport


class _End(asyncio.Protocol):
    """One end of what the proxy connects: what it receives goes to the other."""

    def __init__(self) -> None:
        self.transport: Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """It is gone, so is the other."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)


class _Client(_End):
    """A client's end, until its first head has come."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        super().connection_made(transport)
        self._proxy.clients.add(self)

    def data_received(self, data: bytes) -> None:
        """The head of a request, then anything."""
        if self.other is not None:
            super().data_received(data)
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            self.other = _End()
            task = asyncio.ensure_future(self._proxy.lead_on(self, head.decode(), rest))
            self._proxy.tasks.add(task)
            task.add_done_callback(self._proxy.tasks.discard)


class Proxy:
    """A listening proxy."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        """First lines and fields of what it was asked."""
        self.answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        """To CONNECT; another status than 2xx ends the connection."""
        self.names: dict[str, str] = {}
        """What names lead to behind it."""
        self.port = 0
        self.clients: set[_Client] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def lead_on(self, client: _Client, head: str, rest: bytes) -> None:
        """Answer a client's first head."""
        self.heads.append(head)
        assert client.transport is not None
        assert client.other is not None
        method, target, _ = head.partition("\r\n")[0].split(" ")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            first = rest
            if b" 200 " not in self.answer:
                client.transport.write(self.answer)
                client.transport.close()
                return
        else:
            url = urlsplit(target)
            host, port = url.hostname or "", str(url.port or 80)
            first = head.replace(f"http://{url.netloc}", "", 1).encode() + b"\r\n\r\n" + rest
        end = client.other
        end.other = client
        host = host.strip("[]")
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: end, self.names.get(host, host), int(port))
        assert end.transport is not None
        end.transport.write(first)
        if method == "CONNECT":
            client.transport.write(self.answer)


@contextlib.asynccontextmanager
async def proxy(tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy that listens as long as the block lasts."""
    made = Proxy()
    server = await asyncio.get_running_loop().create_server(lambda: _Client(made), "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for client in made.clients:
            for end in (client, client.other):
                if end is not None and end.transport is not None:
                    end.transport.abort()
        if made.tasks:
            await asyncio.wait(made.tasks)
        await asyncio.sleep(0)

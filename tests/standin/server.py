"""Listening, and ending: the stand-in as a process, or inside a test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time

from .connection import Connection
from .service import Service
from .settings import Settings


class Standin:
    """A stand-in that listens."""

    def __init__(self, settings: Settings) -> None:
        self.service = Service(settings)
        self.listening_unix = 0.0
        self._open: set[Connection] = set()
        self._none_open = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; from here on it answers."""
        settings = self.service.settings
        self.listening_unix = time.time()
        told = f"x-standin-name: {settings.name}\r\nx-standin-listening-unix: {self.listening_unix:.6f}\r\n"
        headers = told.encode("latin-1", "replace")
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self.service.handle, self._opened, self._closed, headers),
            sock=_listening(settings.host, settings.port),
            backlog=1024,
        )

    def _opened(self, connection: Connection) -> None:
        self._open.add(connection)
        self._none_open.clear()

    def _closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._none_open.set()

    @property
    def port(self) -> int:
        """The port that it listens on, also when any free one was asked for."""
        assert self._server is not None, "not started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Where a client on this machine reaches it."""
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Listen no more, finish what runs, within the time that the settings give."""
        assert self._server is not None, "not started"
        self._server.close()
        for connection in list(self._open):
            connection.finish()
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_open.wait(), self.service.settings.drain_ms / 1000)
        for connection in list(self._open):
            connection.abort()


def _listening(host: str, port: int) -> socket.socket:
    """A socket as vLLM makes it: one for `::` takes IPv4 as well, which asyncio's own would not."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listening.bind((host, port))
    return listening


async def run(settings: Settings) -> None:
    """Load, listen, serve until SIGTERM or SIGINT, finish."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)  # process 1 has no default handler: without this it would not end
    if settings.load_ms:
        try:
            await asyncio.wait_for(ended.wait(), settings.load_ms / 1000)
        except TimeoutError:
            pass  # loaded
        else:
            return
    standin = Standin(settings)
    await standin.start()
    print(json.dumps({"listening": standin.port, "name": settings.name, "unix": standin.listening_unix}), flush=True)
    await ended.wait()
    await standin.stop()

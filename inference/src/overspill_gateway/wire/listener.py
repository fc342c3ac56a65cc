"""One listening port: what all its connections share, and how it begins and ends."""

import asyncio
import logging
import socket
import ssl
from typing import Final

from overspill_gateway.clock import Clock
from overspill_gateway.core.http.cors import CorsPolicy
from overspill_gateway.wire.limits import Limits
from overspill_gateway.wire.newcomers import turn_newcomers_away
from overspill_gateway.wire.server import Handler, PortState, ServerConnection
from overspill_gateway.wire.sweep import Sweeper

logger = logging.getLogger(__name__)

EVERYWHERE: Final = "::"
_ALL_OF_IPV4: Final = "0.0.0.0"  # noqa: S104 - a gateway serves all who reach it
_BACKLOG: Final = 4096
_HANDSHAKE_SECONDS: Final = 10.0
_TLS_SHUTDOWN_SECONDS: Final = 5.0
_ACCEPTED_WITHIN_SECONDS: Final = 0.25
"""In which a connection that has begun to be made is made: some round trips."""


def listen_everywhere(port: int) -> socket.socket:
    """A socket that is bound on all addresses of both families, or of IPv4 alone where the kernel has no IPv6.

    Event loops make sockets for ``::`` that take IPv6 only.
    """
    family, host = socket.AF_INET6, EVERYWHERE
    try:
        endpoint = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        logger.warning("there is no IPv6 here: listening on IPv4 alone", extra={"port": port, "reason": str(error)})
        family, host = socket.AF_INET, _ALL_OF_IPV4
        endpoint = socket.socket(family, socket.SOCK_STREAM)
    try:
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            endpoint.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        endpoint.bind((host, port))
    except OSError:
        endpoint.close()
        raise
    endpoint.setblocking(False)
    return endpoint


class Listener:
    """A port and its connections."""

    __slots__ = ("_server", "port", "state")

    def __init__(
        self, handler: Handler, limits: Limits, sweeper: Sweeper, clock: Clock, cors: CorsPolicy | None = None
    ) -> None:
        self.state = PortState(handler, limits, sweeper, cors, asyncio.get_running_loop(), clock)
        self.port = 0
        """The TCP port, once it listens."""
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Begin to listen; port 0: any free one."""
        seconds = (_HANDSHAKE_SECONDS, _TLS_SHUTDOWN_SECONDS) if tls is not None else (None, None)
        if host == EVERYWHERE:
            self._server = await self.state.loop.create_server(
                self._connection,
                sock=listen_everywhere(port),
                backlog=_BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=seconds[0],
                ssl_shutdown_timeout=seconds[1],
            )
        else:
            self._server = await self.state.loop.create_server(
                self._connection,
                host,
                port,
                backlog=_BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=seconds[0],
                ssl_shutdown_timeout=seconds[1],
            )
        self.port = self._server.sockets[0].getsockname()[1]

    def _connection(self) -> ServerConnection:
        return ServerConnection(self.state)

    def begin_drain(self) -> None:
        """Take connections on, but let every answer say that its connection ends."""
        self.state.draining = True

    async def stop_accepting(self) -> None:
        """Take the connections that have been made already, then none: closing alone would reset those."""
        if self._server is not None:
            for listening in self._server.sockets:
                turn_newcomers_away(listening)
            await asyncio.sleep(_ACCEPTED_WITHIN_SECONDS)
            self._server.close()

    def stop_listening(self) -> None:
        """Take no further connection, now."""
        if self._server is not None:
            self._server.close()

    def close_connections(self, *, at_once: bool = False) -> None:
        """Close connections as they become idle; ``at_once``: those that are idle, now."""
        self.state.draining = True
        for connection in list(self.state.connections):
            connection.drain(at_once=at_once)

"""Makes a connection to a hosted API: its name resolved anew, its addresses tried in turn, a proxy, TLS.

Not here: which connections are kept (``pool``), and which proxy (``core.http.outbound_proxy``).
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from overspill_gateway.core.backends.outcome import ConnectFault
from overspill_gateway.core.http.outbound_proxy import ProxyServer, host_and_port
from overspill_gateway.wire.resolver import Resolver, SocketAddress, UnresolvedError
from overspill_gateway.wire.tunnel import ProxyRefusedError, Tunnel

NEXT_ADDRESS_SECONDS: Final = 0.25
"""After this long the next address is tried beside one that does not answer (RFC 8305's connection attempt delay)."""

Protocol = TypeVar("Protocol", bound=asyncio.Protocol)
TlsContext = Callable[[], Awaitable[ssl.SSLContext]]


class DialError(Exception):
    """There is no connection; the text says why."""

    def __init__(self, fault: ConnectFault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


@dataclass(slots=True)
class _Progress:
    """What a dial waits for: told when it takes too long."""

    fault: ConnectFault = ConnectFault.NAME
    waits_for: str = ""


class Dialer:
    """Connects to one host."""

    def __init__(
        self, resolver: Resolver, tls: TlsContext, host: str, port: int, proxy: ProxyServer | None = None
    ) -> None:
        """``tls``: checks certificates, the proxy's too.

        A proxy is asked for a tunnel where there is TLS behind it, else the requests themselves are told to it.
        """
        self._resolver = resolver
        self._host = host
        self._port = port
        self._tls = tls
        self._proxy = proxy

    async def dial(self, protocol: Callable[[], Protocol], seconds: float, *, secure: bool) -> Protocol:
        """A connection within this time; raises DialError."""
        progress = _Progress()
        try:
            async with asyncio.timeout(seconds):
                return await self._connect(protocol, progress, secure=secure)
        except TimeoutError:
            detail = f"no connection within {seconds:g} s: {progress.waits_for} is waited for"
            raise DialError(progress.fault, detail) from None
        except UnresolvedError as error:
            raise DialError(progress.fault, f"no connection ({error.strerror or error})") from None
        except ProxyRefusedError as error:
            raise DialError(ConnectFault.PROXY, f"no connection ({error})") from None
        except (OSError, ValueError) as error:  # TLS errors are among them, and names that TLS knows to be none
            reason = _words_of(error)
            if progress.fault is ConnectFault.PROXY:
                reason = f"{progress.waits_for}: {reason}"
            raise DialError(_fault_of(error, progress.fault), f"no connection ({reason})") from None

    async def _connect(self, protocol: Callable[[], Protocol], progress: _Progress, *, secure: bool) -> Protocol:
        proxy = self._proxy
        if proxy is None:
            progress.waits_for = host_and_port(self._host, self._port)
            endpoint = await self._socket(self._host, self._port, progress, ConnectFault.UNREACHABLE)
            return await self._begin(protocol, endpoint, self._host if secure else None, progress)
        progress.fault, progress.waits_for = ConnectFault.PROXY, f"the proxy {proxy.shown}"
        endpoint = await self._socket(proxy.host, proxy.port, progress, ConnectFault.PROXY)
        if not secure:
            return await self._begin(protocol, endpoint, proxy.host if proxy.tls else None, progress)
        return await self._through(proxy, endpoint, protocol, progress)

    async def _socket(self, host: str, port: int, progress: _Progress, fault: ConnectFault) -> socket.socket:
        """A connected socket; its failing is ``fault`` once the name is known."""
        waits_for, progress.waits_for = progress.waits_for, f"the address of {host}"
        addresses = await self._resolver.addresses(host, port)
        progress.fault, progress.waits_for = fault, waits_for
        endpoint, address = await connected_socket(addresses)
        if address is not addresses[0]:
            self._resolver.prefer(host, port, address)
        return endpoint

    async def _begin(
        self,
        protocol: Callable[[], Protocol],
        endpoint: socket.socket,
        server_name: str | None,
        progress: _Progress,
    ) -> Protocol:
        """HTTP on a connected socket, over TLS where there is a server's name."""
        loop = asyncio.get_running_loop()
        with _closed_on_error(endpoint):
            context = await self._trusting(progress) if server_name is not None else None
            if context is not None and progress.fault is not ConnectFault.PROXY:
                progress.waits_for = "the end of the TLS handshake"
            _, connection = await loop.create_connection(
                protocol, sock=endpoint, ssl=context, server_hostname=server_name if context is not None else None
            )
        return connection

    async def _trusting(self, progress: _Progress) -> ssl.SSLContext:
        """Whom TLS trusts; its being read at first use is a wait of its own."""
        waits_for, progress.waits_for = progress.waits_for, "the reading of the authorities' certificates"
        context = await self._tls()
        progress.waits_for = waits_for
        return context

    async def _through(
        self,
        proxy: ProxyServer,
        endpoint: socket.socket,
        protocol: Callable[[], Protocol],
        progress: _Progress,
    ) -> Protocol:
        """TLS with the host inside a tunnel that the proxy makes."""
        loop = asyncio.get_running_loop()
        with _closed_on_error(endpoint):
            context = await self._trusting(progress)
            transport, tunnel = await loop.create_connection(
                lambda: Tunnel(proxy, self._host, self._port),
                sock=endpoint,
                ssl=context if proxy.tls else None,
                server_hostname=proxy.host if proxy.tls else None,
            )
        try:
            await tunnel.opened
            progress.fault, progress.waits_for = ConnectFault.UNREACHABLE, "the end of the TLS handshake"
            connection = protocol()
            secured = await loop.start_tls(transport, connection, context, server_hostname=self._host)
        except BaseException:
            transport.abort()
            raise
        if secured is None:  # what the types allow
            raise ConnectionResetError("the connection was closed in the TLS handshake")
        connection.connection_made(secured)
        return connection


async def connected_socket(addresses: tuple[SocketAddress, ...]) -> tuple[socket.socket, SocketAddress]:
    """The first of these addresses that can be connected to; each next one is tried beside those that are silent.

    Raises the error of the last one that failed.
    """
    if len(addresses) == 1:
        return await _connected(addresses[0]), addresses[0]
    left = list(addresses)
    trying: dict[asyncio.Task[socket.socket], SocketAddress] = {}
    failure: OSError = OSError("there is no address")
    try:
        while left or trying:
            if left:
                address = left.pop(0)
                trying[asyncio.ensure_future(_connected(address))] = address
            pause = NEXT_ADDRESS_SECONDS if left else None
            done, _ = await asyncio.wait(trying, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                address = trying[attempt]
                error = attempt.exception()
                if error is None:
                    del trying[attempt]
                    return attempt.result(), address
                del trying[attempt]
                if not isinstance(error, OSError):
                    raise error
                failure = error
        raise failure
    finally:
        for attempt in trying:
            attempt.add_done_callback(_close_loser)
            attempt.cancel()


async def _connected(address: SocketAddress) -> socket.socket:
    endpoint = socket.socket(address.family, socket.SOCK_STREAM)
    with _closed_on_error(endpoint):
        endpoint.setblocking(False)
        endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(endpoint, address.parts)
    return endpoint


def _words_of(error: Exception) -> str:
    """The system's own words; event loops put addresses in their place."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or "the connection was closed"


def _fault_of(error: Exception, during: ConnectFault) -> ConnectFault:
    if during is ConnectFault.PROXY or not isinstance(error, ssl.SSLError):
        return during
    return ConnectFault.CERTIFICATE if isinstance(error, ssl.SSLCertVerificationError) else ConnectFault.TLS


def _close_loser(attempt: "asyncio.Task[socket.socket]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


@contextlib.contextmanager
def _closed_on_error(endpoint: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        endpoint.close()
        raise

"""The beginning of a connection through a proxy: CONNECT, and what the proxy says to it."""

import asyncio
import re
from typing import Final

from overspill_gateway.core.http.outbound_proxy import ProxyServer, host_and_port

_BYTES_MAX: Final = 16 * 1024
"""Of all that it says before there is a tunnel, or none."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (?P<status>[1-5][0-9]{2})(?: (?P<reason>[ -~]{0,100}))?")


class ProxyRefusedError(OSError):
    """The proxy does not lead to the host; the text says what it answered."""


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel; from then on the connection belongs to whoever asked."""

    def __init__(self, proxy: ProxyServer, host: str, port: int) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the proxy has made the tunnel; fails with ProxyRefusedError."""
        self._proxy = proxy
        name = host if host.isascii() else host.encode("idna").decode()
        self._target = host_and_port(name, port).encode()
        self._head = b""
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        credentials = self._proxy.authorization
        line = b"proxy-authorization: %b\r\n" % credentials if credentials else b""
        target = self._target
        transport.write(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, target, line))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """What the proxy says: one head, and no word behind it, for the client begins in TLS."""
        if self.opened.done():
            return
        self._received += len(data)
        self._head += data
        while not self.opened.done():
            head, end, self._head = self._head.partition(b"\r\n\r\n")
            if end:
                self._take(head)
                continue
            self._head = head
            if self._received > _BYTES_MAX:
                self._refused("its answer to CONNECT has no end")
            return

    def _take(self, head: bytes) -> None:
        match = _STATUS.match(head)
        if match is None:
            self._refused("it did not answer in HTTP/1.1")
        elif match["status"].startswith(b"1"):
            return  # there is more to come
        elif not match["status"].startswith(b"2"):
            status, reason = match["status"].decode(), (match["reason"] or b"").decode()
            self._refused(f"it answered {status} {reason}".rstrip() + _what_mends(status))
        elif self._head:
            self._refused("it sent more than an answer to CONNECT")
        else:
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """It is gone."""
        if not self.opened.done():
            self._refused("it closed the connection")

    def _refused(self, what: str) -> None:
        self.opened.set_exception(ProxyRefusedError(f"the proxy {self._proxy.shown} refused: {what}"))
        self.opened.exception()  # whoever waited may have stopped


def _what_mends(status: str) -> str:
    return "; set its user and password in HTTPS_PROXY" if status == "407" else ""

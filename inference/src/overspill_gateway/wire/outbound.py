"""The way out to hosted APIs, shared by all of them: the resolver, the proxies, and whom TLS trusts."""

import asyncio
import ssl
from typing import Final

from overspill_gateway.core.http.outbound_proxy import ProxyRules
from overspill_gateway.wire.dialing import Dialer
from overspill_gateway.wire.own_thread import in_own_thread
from overspill_gateway.wire.resolver import Resolver

CONNECTION_SECONDS: Final = 60.0
"""How long a connection is used unless it is set: what a name leads to changes within a minute or few."""


class Outbound:
    """How hosted APIs are reached."""

    def __init__(self, proxies: ProxyRules | None = None, connection_seconds: float = CONNECTION_SECONDS) -> None:
        """``connection_seconds``: a connection that is older gets no further request."""
        self.proxies = proxies or ProxyRules()
        self.connection_seconds = connection_seconds
        self._resolver = Resolver()
        self._tls: asyncio.Task[ssl.SSLContext] | None = None

    def dialer(self, host: str, port: int, *, secure: bool) -> Dialer:
        """Makes connections to a host, by the proxy that leads there."""
        return Dialer(self._resolver, self.tls, host, port, self.proxies.proxy_for(host, port, secure=secure))

    def direct(self, host: str, port: int) -> Dialer:
        """Makes connections past all proxies."""
        return Dialer(self._resolver, self.tls, host, port)

    async def tls(self) -> ssl.SSLContext:
        """Checks certificates against the system's authorities (SSL_CERT_FILE names others), read at first use.

        Reading some hundred of them takes longer than the event loop may be kept.
        """
        if self._tls is None or (self._tls.done() and self._tls.exception() is not None):
            self._tls = asyncio.ensure_future(in_own_thread(_trusting_context, "authorities"))
        return await asyncio.shield(self._tls)


def _trusting_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context

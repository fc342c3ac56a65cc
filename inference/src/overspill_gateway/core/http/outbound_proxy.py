"""Which proxy leads out to a hosted API, as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say. Replicas never go through one.

The variables are read as curl, Go and Python's clients read them: the spelling in small letters counts before the one
in capitals; the proxy of a scheme is for URLs of that scheme; NO_PROXY is a list of names (with all names below them),
addresses, networks, each with or without a port, or ``*``. ALL_PROXY is not looked at, SOCKS is not spoken.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class ProxyError(Exception):
    """A variable does not name a proxy that can be used; the message says which, without its password."""


@dataclass(frozen=True, slots=True)
class ProxyServer:
    """One proxy."""

    host: str
    """Name or address."""
    port: int
    """TCP port."""
    tls: bool = False
    """Whether it is spoken to over TLS."""
    authorization: bytes = b""
    """Value of Proxy-Authorization, or empty. Never logged."""

    @property
    def shown(self) -> str:
        """For logs and messages: without credentials."""
        return f"{'https' if self.tls else 'http'}://{host_and_port(self.host, self.port)}"


@dataclass(frozen=True, slots=True)
class Exemption:
    """One entry of NO_PROXY."""

    name: str
    """A name in small letters, without a dot at either end; empty: see ``network``."""
    network: IPv4Network | IPv6Network | None
    """An address or a network; with no name either, everything."""
    port: int | None
    """Of this port only; None: of any."""

    def covers(self, host: str, address: IPv4Address | IPv6Address | None, port: int) -> bool:
        """Whether a host (in small letters) is reached without a proxy."""
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address is not None and address.version == self.network.version and address in self.network
        return not self.name or host == self.name or host.endswith("." + self.name)


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """What the environment says."""

    http: ProxyServer | None = None
    """For URLs that begin with http."""
    https: ProxyServer | None = None
    """For URLs that begin with https."""
    exempt: tuple[Exemption, ...] = ()
    """Who is reached without one."""

    def proxy_for(self, host: str, port: int, *, secure: bool) -> ProxyServer | None:
        """The proxy that leads to a host; None: none does."""
        proxy = self.https if secure else self.http
        if proxy is None:
            return None
        host = host.strip("[]").rstrip(".").lower()
        address = _address(host)
        return None if any(exemption.covers(host, address, port) for exemption in self.exempt) else proxy


def host_and_port(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_proxy_rules(environment: Mapping[str, str]) -> ProxyRules:
    """The rules of an environment; raises ProxyError."""
    http, https = _proxy(environment, "http_proxy"), _proxy(environment, "https_proxy")
    entries = re.split(r"[\s,]+", _value(environment, "no_proxy"))
    return ProxyRules(http, https, tuple(_exemption(entry) for entry in entries if entry))


def _value(environment: Mapping[str, str], name: str) -> str:
    """Set to nothing in small letters takes back what is set in capitals."""
    return environment.get(name, environment.get(name.upper(), "")).strip()


def _proxy(environment: Mapping[str, str], name: str) -> ProxyServer | None:
    text = _value(environment, name)
    if not text:
        return None
    variable = name if name in environment else name.upper()
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        port = url.port
    except ValueError:
        raise ProxyError(f"{variable} is no URL of a proxy such as http://proxy.example:3128") from None
    host = url.hostname or ""
    if url.scheme not in _DEFAULT_PORTS:
        raise ProxyError(f"{variable} begins with {url.scheme}://: only http:// and https:// proxies can be used")
    if not _HOST.fullmatch(host) or (port is not None and not port):
        raise ProxyError(f"{variable} names no host and port of a proxy, such as http://proxy.example:3128")
    authorization = b""
    if url.username is not None:
        credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
        authorization = b"Basic " + b64encode(credentials.encode())
    return ProxyServer(host, port or _DEFAULT_PORTS[url.scheme], url.scheme == "https", authorization)


def _exemption(entry: str) -> Exemption:
    """One entry; what is neither network, address nor name covers nobody."""
    if entry == "*":
        return Exemption("", None, None)
    network = _network(entry)
    if network is not None:
        return Exemption("", network, None)
    host, colon, digits = entry.rpartition(":")
    port: int | None = None
    if colon and digits.isascii() and digits.isdigit():
        entry, port = host, int(digits)
    network = _network(entry.strip("[]"))
    if network is not None:
        return Exemption("", network, port)
    return Exemption(entry.lower().removeprefix("*").strip(".") or "\0", None, port)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None

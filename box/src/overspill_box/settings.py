"""What ``overspill serve`` is told: its options, and what they mean on this machine."""

import errno
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overspill_api.log_levels import read_log_level
from overspill_api.quantities import storage_bytes
from overspill_gateway.core.http.cors import CorsError, cors_policy
from overspill_gateway.settings import ListenAddress, SettingsError, check_no_auth

LISTEN: Final = "127.0.0.1:8080"
ADMIN_LISTEN: Final = "127.0.0.1:9090"


class ServeError(Exception):
    """``serve`` can't begin, or go on; the message says why and what mends it."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Options as they are typed."""

    files: tuple[str, ...] = ()
    """Files and folders with ModelRoutes."""
    listen: str = LISTEN
    """``host:port`` of the API."""
    admin_listen: str | None = None
    """``host:port`` of health, metrics and status; None: the usual one, or any free port."""
    state: str | None = None
    """The state directory; None: the user's."""
    profiles: str | None = None
    """File with profiles; None: any name means vLLM of this machine."""
    secrets: str | None = None
    """Folder with Secrets."""
    memory: str | None = None
    """Memory for engines, with a unit; None: what the machine says, or one engine at a time."""
    vllm: str | None = None
    """Path of vLLM, or ``cpu`` or ``gpu`` for an environment that is made; None: looked for, else made."""
    no_auth: bool = False
    """Whether no API key is asked for."""
    cors_origins: str = ""
    """Origins whose pages may call, comma-separated."""
    keep_engines: bool | None = None
    """Whether engines outlive this process; None: where a service manager restarts it."""
    log_level: str = "INFO"
    """Of the log."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of the process."""

    files: tuple[Path, ...]
    """Files and folders with ModelRoutes."""
    listen: ListenAddress
    """The API."""
    admin_listen: ListenAddress
    """Health, metrics, status and demand."""
    state: Path
    """The state directory."""
    profiles: Path | None
    """File with profiles; None: any name means vLLM of this machine."""
    secrets: Path | None
    """Folder with Secrets."""
    memory_bytes: int | None
    """Memory for engines; None: not said."""
    vllm: str | None
    """Path of vLLM, or ``cpu`` or ``gpu`` for an environment that is made; None: looked for, else made."""
    no_auth: bool
    """Whether no API key is asked for."""
    cors_origins: tuple[str, ...]
    """Origins whose pages may call."""
    keep_engines: bool | None
    """Whether engines outlive this process; None: where a service manager restarts it."""
    log_level: str
    """Of the log."""

    @property
    def url(self) -> str:
        """Base of what clients call, without ``/v1``."""
        return f"http://{shown(self.listen)}"


def read_settings(options: ServeOptions, state: Path) -> ServeSettings:
    """Settings of options, with the ports that are free; ``state``: the state directory. Raises ServeError."""
    listen = _address("--listen", options.listen)
    origins = tuple(origin.strip() for origin in options.cors_origins.split(",") if origin.strip())
    try:
        cors_policy(origins)
        if options.no_auth:
            check_no_auth(listen)
        memory_bytes = storage_bytes(options.memory) if options.memory else None
        log_level = read_log_level(options.log_level)
    except SettingsError as error:
        raise ServeError(str(error)) from None
    except CorsError as error:
        raise ServeError(f"--cors-origins: {error}") from None
    except ValueError as error:
        flag = "--memory" if options.memory and options.memory in str(error) else "--log-level"
        raise ServeError(f"{flag}: {error}") from None
    if listen.port:
        need_free("--listen", listen)
    else:
        listen = _with_free_port(listen)
    return ServeSettings(
        files=tuple(Path(file) for file in options.files),
        listen=listen,
        admin_listen=_admin_address(options.admin_listen),
        state=state,
        profiles=Path(options.profiles) if options.profiles else None,
        secrets=_folder("--secrets", options.secrets),
        memory_bytes=memory_bytes,
        vllm=options.vllm,
        no_auth=options.no_auth,
        cors_origins=origins,
        keep_engines=options.keep_engines,
        log_level=log_level,
    )


def shown(address: ListenAddress) -> str:
    """``host:port`` as it is called from this machine."""
    host = {"::": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(address.host, address.host)  # noqa: S104 - looked at
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def need_free(flag: str, address: ListenAddress) -> None:
    """Raise ServeError where nobody could listen there."""
    problem = _taken(address)
    if problem is None:
        return
    if problem == errno.EADDRINUSE:
        raise ServeError(
            f"port {address.port} of {address.host} is taken by another program: end it, or name another one with "
            f"{flag} {address.host}:{address.port + 1}"
        )
    if problem == errno.EACCES:
        raise ServeError(f"port {address.port} may not be used by this user: name one above 1023 with {flag}")
    raise ServeError(f"{flag} {address.host} is no address of this machine: 127.0.0.1 is; 0.0.0.0 means all")


def _admin_address(given: str | None) -> ListenAddress:
    """The admin port, as a number in any case: this process calls it itself."""
    address = _address("--admin-listen", given or ADMIN_LISTEN)
    if given is not None and address.port:
        need_free("--admin-listen", address)
        return address
    if address.port and _taken(address) is None:
        return address
    return _with_free_port(address)


def _with_free_port(address: ListenAddress) -> ListenAddress:
    """The address with a port that nobody has: people and this process are to know it before it listens."""
    with socket.socket() as endpoint:
        endpoint.bind(("127.0.0.1", 0))
        return ListenAddress(address.host, endpoint.getsockname()[1])


def _taken(address: ListenAddress) -> int | None:
    """Why nobody could listen there, as an error number; None: somebody could."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family) as endpoint:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            endpoint.bind((address.host, address.port))
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return None


def _address(flag: str, text: str) -> ListenAddress:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ServeError(f"{flag} {text!r} is not host:port, such as {LISTEN}")
    return ListenAddress(host.strip("[]") or "127.0.0.1", int(port))


def _folder(flag: str, text: str | None) -> Path | None:
    if text is None:
        return None
    if not Path(text).is_dir():
        raise ServeError(f"{flag} {text}: there is no such folder")
    return Path(text)

